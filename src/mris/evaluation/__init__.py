"""How well it works: image error on one fixed mask, retrieval, and intervals resampled by subject.

What other rooms and users import from here; all else is private to the room:

- ``mris.evaluation.aggregate``: `DIFFERENCE_METRICS`, `summarize`
- ``mris.evaluation.bootstrap``: `MIN_SUBJECTS`, `ResampleCounts`, `Resamples`, `percentile_interval`,
  `resample_counts`, `subject_codes`
- ``mris.evaluation.bundle_evaluation``: `METHOD_NAME`, `check_names`, `evaluate_bundle`, `queried_subjects`
- ``mris.evaluation.evaluate``: `Evaluation`, `check_views`, `evaluate`
- ``mris.evaluation.image_error``: `METRIC`, `METRICS`, `bounding_box`, `error_numbers`
- ``mris.evaluation.mask``: `evaluation_mask`
- ``mris.evaluation.pictures``: `ErrorMaps`, `Example`
- ``mris.evaluation.predictor``: `Predictor`, `SynthesizerPredictor`
- ``mris.evaluation.prevalence``: `check_prevalences`, `describe_prevalences`
- ``mris.evaluation.record_file``: `read_record`, `write_record`
- ``mris.evaluation.references``: `REFERENCE_NAMES`
- ``mris.evaluation.results``: `ALL`, `COMBINED`, `Cost`, `Difference`, `Estimate`, `IntervalCoverage`, `MISSING`,
  `PerImage`, `Prevalence`, `Recall`, `Results`, `WEIGHTED`, `read_results`, `write_results`
- ``mris.evaluation.site_results``: `PIXELS`, `SiteAudit`, `SiteShare`
- ``mris.evaluation.strata``: `Merge`, `groups_of`, `values_by_label`
- ``mris.evaluation.trust``: `trust`
- ``mris.evaluation.validation``: `retrieval_at_chance`
- ``mris.evaluation.verdict``: `against`, `on_origin`, `shown_recall`, `turned`, `verdict`
"""
