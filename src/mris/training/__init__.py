"""The one Lightning set-up that metric learning, baselines and downstream networks share.

What other rooms and users import from here; all else is private to the room:

- ``mris.training.augmentation``: `apply_augmentation`, `draw_augmentation`
- ``mris.training.callbacks``: `MEAN_MAP`, `Row`, `read_metrics`
- ``mris.training.card``: `Architecture`, `ENCODER_FILE`, `EncoderCard`, `EncoderSpec`, `NetworkCard`, `Pooling`,
  `SourceContrast`, `Stem`, `TargetNetwork`
- ``mris.training.checkpoint_file``: `write_tensors`
- ``mris.training.export``: `export_network`
- ``mris.training.lightning_library``: `lightning`
- ``mris.training.networks``: `build_network`, `cover_strides`, `embed_with_features`, `imagenet_weights_file`,
  `keep_places`, `last_layer`, `load_weights`, `see_local_contrast`
- ``mris.training.onnx_network``: `OnnxNetwork`, `RUNTIME_ERRORS`
- ``mris.training.onnx_runtime``: `onnxruntime`
- ``mris.training.pairs``: `Batch`, `PairReader`, `PrefetchedBatches`, `in_order`, `planned_batches`, `scale_targets`,
  `step_chance`, `train_and_val`, `validation_batches`
- ``mris.training.precision``: `Precision`, `choose_precision`
- ``mris.training.processes``: `gathered`, `mean_of_all`, `process_of`, `process_rank`
- ``mris.training.recipe``: `Recipe`
- ``mris.training.resnet``: `Bottleneck`
- ``mris.training.run``: `Run`, `run_card`
- ``mris.training.run_folder``: `LAST_CHECKPOINT`, `RUN_FILE`, `ReadMaps`, `RunCard`, `foreign_to_run`
- ``mris.training.sampling``: `epoch_batches`, `one_pair_per_subject`
- ``mris.training.trainer``: `check_devices`, `quiet_lightning`
- ``mris.training.versions``: `software_versions`
"""
