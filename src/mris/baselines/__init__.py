"""Networks that synthesize a target directly from a source, to compare retrieval with.

What other rooms and users import from here; all else is private to the room:

- ``mris.baselines.embedding_ridge``: `train_embedding_ridge`
- ``mris.baselines.files``: `predict_files`
- ``mris.baselines.mean_map``: `BATCH`, `MeanMap`, `check_not_empty`, `check_subjects`, `evenly_spaced`
- ``mris.baselines.predictor``: `Baseline`, `baseline_folder`, `open_baseline`
- ``mris.baselines.ridge``: `MapRegression`, `fit_map_regression`
- ``mris.baselines.settings``: `BaselineSettings`, `METHODS`, `preset`
- ``mris.baselines.train``: `build_network`, `train_baseline`
"""
