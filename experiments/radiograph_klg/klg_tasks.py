"""What is to be told from a radiograph: its grade, and whether the grade rises; from the sheet of all reads."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from radiographs import GRADES, Knees

from mris.errors import ManifestError
from mris.knee.klg_sheet import GradedVisits, read_klg_sheet
from mris.knee.progression import ProgressionLabels, progression_labels
from mris.study.class_predictions import ClassPredictions

MERGED = ("0-1", "2", "3", "4")


@dataclass(frozen=True)
class KneeTask:
    """A label of some knees.

    Args:
        name: Of the task, in tables.
        rows: (m,) which knees have it.
        classes: (m,) class of each.
        class_names: Names of the classes, in order.
    """

    name: str
    rows: np.ndarray
    classes: np.ndarray
    class_names: tuple[str, ...]

    @property
    def is_ranking(self) -> bool:
        """Whether the second of two classes is to be put first."""
        return len(self.class_names) == 2

    def part(self, inside: np.ndarray) -> "KneeTask":
        """The knees of it that a mask over all knees holds."""
        kept = inside[self.rows]
        return replace(self, rows=self.rows[kept], classes=self.classes[kept])


@dataclass(frozen=True)
class Agreement:
    """How the grades of the index agree with the sheet's baseline reads.

    Args:
        n_knees: Knees of the index.
        n_in_sheet: Of them, knees that the sheet has.
        n_read: Of them, knees with a read at the baseline.
        n_equal: Of them, knees with the same grade.
        n_equal_other_side: Knees whose grade equals that of the other knee in the sheet: were it the larger number,
            sides would be exchanged.
    """

    n_knees: int
    n_in_sheet: int
    n_read: int
    n_equal: int
    n_equal_other_side: int

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.n_in_sheet} of {self.n_knees} knees are in the sheet, {self.n_read} with a baseline read, "
            f"{self.n_equal} with the same grade (with sides exchanged {self.n_equal_other_side})"
        )


def check_agreement(knees: Knees, visits: GradedVisits) -> Agreement:
    """Compare the index with the sheet.

    Raises:
        ManifestError: A knee is not in the sheet, or fewer than 99 % of the grades agree: other people, sides
            exchanged, or another reading.
    """
    months = visits.months == 0
    keys = zip(visits.subjects[months].tolist(), visits.sides[months].tolist(), strict=True)
    grade_of = dict(zip(keys, visits.grades[months].tolist(), strict=True))
    other = {"left": "right", "right": "left"}
    own = list(zip(knees.subjects.tolist(), knees.sides.tolist(), strict=True))
    grades = np.array([grade_of.get(knee, np.nan) for knee in own])
    exchanged = np.array([grade_of.get((person, other[side]), np.nan) for person, side in own])
    found = Agreement(
        n_knees=len(knees),
        n_in_sheet=sum(knee in grade_of for knee in own),
        n_read=int(np.isfinite(grades).sum()),
        n_equal=int((grades == knees.grades).sum()),
        n_equal_other_side=int((exchanged == knees.grades).sum()),
    )
    if found.n_in_sheet < found.n_knees or found.n_equal < 0.99 * found.n_read:
        raise ManifestError(f"radiographs and sheet do not belong together: {found.summary()}; give the sheet of both")
    return found


def grade_task(knees: Knees) -> KneeTask:
    """The grade in five classes; `merge_grades` makes four of its answers."""
    return KneeTask("KLG", np.arange(len(knees)), knees.grades, GRADES)


def merge_grades(answers: ClassPredictions) -> ClassPredictions:
    """Put grades 0 and 1 together, in truth and in probabilities."""
    probabilities = np.column_stack([answers.probabilities[:, :2].sum(axis=1), answers.probabilities[:, 2:]])
    truth = np.maximum(answers.truth - 1, 0)
    return replace(answers, truth=truth, probabilities=probabilities, class_names=MERGED)


def rise_labels(visits: GradedVisits, knees: Knees, months: int) -> ProgressionLabels:
    """Labels of progression of these knees alone; grade 4, which cannot rise, is left out and counted."""
    own = set(zip(knees.subjects.tolist(), knees.sides.tolist(), strict=True))
    inside = np.array([knee in own for knee in zip(visits.subjects.tolist(), visits.sides.tolist(), strict=True)])
    return progression_labels(*(column[inside] for column in visits), horizon=months, at_ceiling="excluded")


def rise_task(labels: ProgressionLabels, knees: Knees) -> KneeTask:
    """Whether the grade rises, of knees of which that is known."""
    known = labels.at_baseline(knees.subjects, knees.sides, np.full(len(knees), "0"))
    rows = np.flatnonzero(np.isfinite(known))
    return KneeTask(f"progression to {labels.horizon} months", rows, known[rows].astype(np.int64), ("stays", "rises"))


def read_visits(data: Path) -> GradedVisits:
    """The sheet of grades, project 15 where it read a visit, else project 37."""
    return read_klg_sheet(data / "oai_sheets" / "KLG_score.csv")
