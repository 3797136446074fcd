"""The paper's experiment: classifiers on maps, their metrics, error against the size of the database.

What other rooms and users import from here; all else is private to the room:

- ``mris.study.class_results``: `ClassEstimate`, `SeedSpread`, `chance_level`, `class_names_of`,
  `find_estimate`
- ``mris.study.database_size_results``: `DatabaseSizeCurve`, `SizePoint`
- ``mris.study.experiment``: `open_experiment`, `run_experiment`
- ``mris.study.experiment_results``: `ExperimentResults`, `GRADE_ALONE`, `MethodCost`, `TRUE_MAPS`, `TaskResults`
- ``mris.study.plan``: `Plan`, `make_plan`
- ``mris.study.read_experiment``: `read_experiment`
- ``mris.study.seeds``: `OverSeeds`, `reference_differences`
- ``mris.study.stages``: `Work`
"""
