"""The reference that progression is held against: the baseline grade and nothing else."""

import numpy as np

from mris.study.class_predictions import ClassPredictions
from mris.study.plan import Task
from mris.study.tasks import Labeled, grade_alone


def test_a_knee_has_the_share_of_risers_of_its_grade_in_the_second_set(make_cohort) -> None:
    rng = np.random.default_rng(0)
    subjects = [f"S{i}" for i in range(12)]
    grades = [0, 0, 0, 0, 2, 2, 2, 2, 0, 2, 0, 3]
    cohort = make_cohort(subjects, rng=rng, split=["downstream"] * 8 + ["test"] * 4, grades=grades)
    rises = np.array([0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 1, 0])
    labels = Labeled(np.arange(12), rises, ("stays", "rises"))
    keys = tuple(cohort.keys[[9, 8, 10, 11]].tolist())
    tested = ClassPredictions(keys, keys, rises[[9, 8, 10, 11]], np.full((4, 2), 0.5), ("stays", "rises"))
    task = Task(name="progression", label="klg", kind="progression")
    found = grade_alone(task, labels, cohort, tested).probabilities[:, 1]
    np.testing.assert_allclose(found, [3 / 4, 1 / 4, 1 / 4, 4 / 8])  # grade 3 is not in the second set: all its knees
