"""The pairs that the OAI study's sheets promise: a knee at a visit, its split, joint center and grade."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mris.cohort.names import require_sound_subjects
from mris.cohort.split import leaking_subjects
from mris.errors import SettingsError, SubjectLeakError
from mris.knee.klg_sheet import GradedVisits
from mris.knee.oai_sheets import TEST_SET, Fold, month_number
from mris.wording import counted, first_of

NO_VALIDATION = "none"

_SHOWN = 8


@dataclass(frozen=True)
class OaiPair:
    """One knee at one visit, as the sheets promise it.

    Attributes:
        patient: Number of the patient in the study.
        month: As the sheets write it, such as "00_MONTH".
        side: "left" or "right".
        fold: "test_set", or such as "fold1".
        split: "train", "val" or "test".
        xray: Folder of the plate, relative to the folder of radiographs.
        center: Row and column of the joint center in pixels of the plate; None if the sheet has none.
        klg: Kellgren-Lawrence grade, None where it was not read.
    """

    patient: str
    month: str
    side: str
    fold: str
    split: str
    xray: str
    center: tuple[float, float] | None
    klg: int | None

    @property
    def key(self) -> str:
        """Key of the pair in a cohort."""
        return f"{self.patient}/{month_number(self.month)}/{self.side}"


def pairs_of_folds(folds: Sequence[Fold], grades: GradedVisits, val_fold: str) -> tuple[OaiPair, ...]:
    """Join the sheets of all folds with the grades.

    Args:
        folds: As `mris.knee.oai_sheets.read_folds` gives them.
        grades: As `mris.knee.klg_sheet.read_klg_sheet` gives them.
        val_fold: The fold that becomes the validation split; "none" leaves all in train.

    Returns:
        In the order of the folds and their sheets, left knee before right; knees without an MR scan have no pair.

    Raises:
        ManifestError: Two sheets spell one patient's number in two ways.
        SettingsError: There is no such fold.
        SubjectLeakError: A patient is in two folds.
    """
    _check_folds(folds, val_fold)
    named = [row.patient for fold in folds for row in fold.visits]
    named += [row.patient for fold in folds for row in fold.keypoints]
    require_sound_subjects((*named, *np.unique(grades.subjects).tolist()), "the sheets of the study, taken together")
    known = _grades_by_visit(grades)
    return tuple(itertools.chain.from_iterable(_pairs_of(fold, val_fold, known) for fold in folds))


def _check_folds(folds: Sequence[Fold], val_fold: str) -> None:
    names = [fold.name for fold in folds if fold.name != TEST_SET]
    if val_fold not in (*names, NO_VALIDATION):
        raise SettingsError(
            f"the validation fold is {val_fold!r}, but the sheets have {', '.join(names) or 'no fold of train_set'}; "
            f"name one of them, or {NO_VALIDATION!r}"
        )
    rows = [(visit.patient, fold.name) for fold in folds for visit in fold.visits]
    leaks = leaking_subjects([patient for patient, _ in rows], [name for _, name in rows])
    if leaks:
        named = [f"{patient} in {' and '.join(found)}" for patient, found in sorted(leaks.items())]
        raise SubjectLeakError(
            f"{counted(len(leaks), 'patient')} in two folds: {first_of(named, most=_SHOWN)}; a patient belongs to one "
            "fold: fetch the sheets again"
        )


def _grades_by_visit(visits: GradedVisits) -> dict[tuple[str, int, str], int]:
    columns = (visits.subjects.tolist(), visits.months.tolist(), visits.sides.tolist(), visits.grades.tolist())
    return {
        (subject, month, side): int(grade)
        for subject, month, side, grade in zip(*columns, strict=True)
        if not np.isnan(grade)
    }


def _pairs_of(fold: Fold, val_fold: str, grades: Mapping[tuple[str, int, str], int]) -> Iterable[OaiPair]:
    split = "test" if fold.name == TEST_SET else "val" if fold.name == val_fold else "train"
    centers = {(row.patient, row.month): {"left": row.left, "right": row.right} for row in fold.keypoints}
    for visit in fold.visits:
        for side, scan in (("left", visit.mri_left), ("right", visit.mri_right)):
            if scan is None:
                continue
            center = centers.get((visit.patient, visit.month), {}).get(side)
            klg = grades.get((visit.patient, month_number(visit.month), side))
            yield OaiPair(visit.patient, visit.month, side, fold.name, split, visit.xray, center, klg)
