"""A database and a query become an image, its neighbors, their weights and their spread.

What other rooms and users import from here; all else is private to the room:

- ``mris.synthesis.batch_synthesizer``: `BATCH_SIZE`, `BatchSynthesizer`
- ``mris.synthesis.build_bundle``: `build_bundle`, `check_new`
- ``mris.synthesis.bundle``: `Bundle`, `CARD`, `Member`
- ``mris.synthesis.bundle_checks``: `check_encoder_fits`
- ``mris.synthesis.bundle_header``: `HEADER_FILE`, `read_header`
- ``mris.synthesis.bundle_synthesizer``: `BundleSynthesizer`
- ``mris.synthesis.calibration``: `MeanInterval`, `open_calibration`
- ``mris.synthesis.calibration_record``: `STALE_SHARE`
- ``mris.synthesis.parts``: `Parts`, `read_parts`
- ``mris.synthesis.readouts``: `Readout`, `SynthesisSettings`
- ``mris.synthesis.synthesis``: `Contribution`, `Synthesis`
- ``mris.synthesis.synthesizer``: `Synthesizer`
- ``mris.synthesis.weights``: `Weights`, `similarity_weights`
"""
