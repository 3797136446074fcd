"""The shared embedding space: encoders, losses, training, export.

What other rooms and users import from here; all else is private to the room:

- ``mris.metric.encoders``: `DualEncoder`
- ``mris.metric.data``: `PairsData`
- ``mris.metric.export``: `export_encoder`
- ``mris.metric.losses``: `CrossModalTripletLoss`
- ``mris.metric.module``: `MetricModule`
- ``mris.metric.outcome``: `Outcome`
- ``mris.metric.settings``: `PresetName`, `TrainSettings`, `preset`
- ``mris.metric.train``: `encoder_spec`, `train_encoders`, `trainable`
"""
