"""What classifiers on maps are asked: which pairs each task is about, and their classes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from mris.cohort.cohort import Cohort
from mris.study.class_predictions import ClassPredictions
from mris.study.plan import Task

SETS = ("downstream", "test")
"""Splits that classifiers learn from and are tested on."""

Progression = Callable[[Cohort, str, int], Float64[np.ndarray, " n"]]
"""Whether the grade in a label rises within some months: 1 or 0 for the baseline pairs of a cohort where that is known,
NaN for all others. What a grade is depends on the disease, so who runs an experiment gives it."""


@dataclass(frozen=True)
class Labeled:
    """Which pairs a task is about, and their classes.

    Args:
        positions: (n,) positions in the cohort, ascending.
        classes: (n,) class of each.
        names: Names of the classes, in order.
    """

    positions: Int64[np.ndarray, " n"]
    classes: Int64[np.ndarray, " n"]
    names: tuple[str, ...]

    def counts(self, cohort: Cohort) -> dict[str, dict[str, int]]:
        """Count the pairs of each class, by split."""
        splits = cohort.splits[self.positions]
        return {
            split: {name: int(np.sum((self.classes == i) & (splits == split))) for i, name in enumerate(self.names)}
            for split in SETS
        }


def labeled(cohort: Cohort, task: Task, progression: Progression) -> Labeled:
    """Find the baseline pairs that a task is about, with their classes.

    Raises:
        CohortError: The cohort has no such label, or its values are no grades.
    """
    if task.kind == "progression":
        rises = progression(cohort, task.label, task.months)
        positions = np.flatnonzero(np.isfinite(rises))
        return Labeled(positions, rises[positions].astype(np.int64), ("stays", "rises"))
    values = cohort.label(task.label).tolist()
    texts = np.array(["" if v != v else f"{v:g}" if isinstance(v, float) else str(v) for v in values])
    merged = np.array([task.merge.get(text, text) for text in texts])
    positions = np.flatnonzero(cohort.is_baseline & (merged != ""))
    names = tuple(sorted(set(merged[positions].tolist())))
    return Labeled(positions, np.searchsorted(names, merged[positions]).astype(np.int64), names)


def grade_alone(task: Task, labels: Labeled, cohort: Cohort, tested: ClassPredictions) -> ClassPredictions:
    """Answer a progression task from the baseline grade alone: the share of risers in the second set, by grade.

    Args:
        task: The progression task.
        labels: Its labeled pairs.
        cohort: Their cohort.
        tested: A classifier's answers, for keys, people and truth.
    """
    grades = cohort.label(task.label)[labels.positions]
    learned = cohort.splits[labels.positions] == "downstream"
    grade_of = dict(zip(cohort.keys[labels.positions].tolist(), grades.tolist(), strict=True))
    shares = {grade: labels.classes[learned & (grades == grade)].mean() for grade in np.unique(grades[learned])}
    base = labels.classes[learned].mean()
    rises = np.array([shares.get(grade_of[key], base) for key in tested.keys])
    return replace(tested, probabilities=np.column_stack([1 - rises, rises]))
