"""Cohorts: pairs of images with subject, timepoint, side and labels; check, split, prepare, load.

What other rooms and users import from here; all else is private to the room:

- ``mris.cohort.cohort``: `Cohort`, `PairBatch`
- ``mris.cohort.exclusion``: `read_exclusions`
- ``mris.cohort.few_people``: `FEWEST_SUBJECTS`, `OTHERS`, `values_of_few`
- ``mris.cohort.header``: `CohortHeader`, `region_finding`
- ``mris.cohort.lance_library``: `lance`
- ``mris.cohort.lance_path``: `lance_path`, `open_lance`
- ``mris.cohort.manifest_file``: `ManifestCells`, `read_cells`
- ``mris.cohort.names``: `normal_form`, `require_sound_subjects`, `subject_findings`
- ``mris.cohort.origin``: `ORIGIN_COLUMN`, `Origin`, `SIMULATED_NOTE`, `common_origin`
- ``mris.cohort.prepare``: `PrepareReport`, `PrepareSettings`, `check_cohort`, `prepare_cohort`
- ``mris.cohort.quality.check``: `QualityCheck`, `check_cohort_quality`, `check_manifest_quality`
- ``mris.cohort.quality.map_quality``: `LEAST_SUBJECTS`, `MapQuality`, `SCORES`
- ``mris.cohort.report``: `PrepareReport`, `RowFinding`, `listed`
- ``mris.cohort.split``: `leaking_subjects`, `split_by_subject`
- ``mris.cohort.training_subjects``: `RECORD_FILE`, `TrainingSubjects`, `read_training_subjects`,
  `write_training_subjects`
- ``mris.cohort.work_folder``: `check_folder`
- ``mris.cohort.workers``: `bar_is_seen`, `in_processes`, `shown`
"""
