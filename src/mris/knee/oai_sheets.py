"""The sheets of the OAI study as its users split it: which plate and MR scans a visit has, and where its knees are.

A folder of sheets holds ``test_set/`` and ``train_set/fold1/`` to ``fold5/``, each with ``mri_xray.csv`` (paths by
patient and month) and ``xray_keypoints.csv`` (joint centers on the plate).
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from mris.cohort.manifest_file import ManifestCells
from mris.cohort.names import normal_form, subject_findings
from mris.cohort.report import RowFinding
from mris.errors import ManifestError
from mris.knee.sheets import read_sheet, refuse_bad_rows

VISITS_SHEET = "mri_xray.csv"
KEYPOINTS_SHEET = "xray_keypoints.csv"
TEST_SET = "test_set"
TRAIN_SET = "train_set"
OFFICIAL_FOLDS = (TEST_SET, *(f"fold{number}" for number in range(1, 6)))
"""Names of the six folds of the public sheets."""

_VISIT_COLUMNS = ("patient_id", "month", "mri_left", "mri_right", "xray")
_KEYPOINT_COLUMNS = ("patient_id", "month", "keypoint_right", "keypoint_left")
_MONTH = re.compile(r"(\d{1,3})_MONTH")
_MISSING = ("", "[]", "na", "nan", "none", "[nan, nan]")
_Found = list[tuple[str, str]]
_Place = tuple[float, float]
_Entry = TypeVar("_Entry")


@dataclass(frozen=True)
class VisitPaths:
    """One row of `VISITS_SHEET`: the images of a patient's visit.

    Attributes:
        patient: Number of the patient in the study.
        month: Such as "00_MONTH".
        xray: Folder of the plate, relative to the folder of radiographs.
        mri_left: Folder of the left knee's MR scan, None where the cell is empty.
        mri_right: The same of the right knee.
    """

    patient: str
    month: str
    xray: str
    mri_left: str | None
    mri_right: str | None


@dataclass(frozen=True)
class PlateKeypoints:
    """One row of `KEYPOINTS_SHEET`: centers of the knee joints on a plate.

    Attributes:
        patient: Number of the patient in the study.
        month: Such as "00_MONTH".
        right: Row and column, in pixels of the plate, of the patient's right knee, which stands at the picture's left;
            None where the cell is empty.
        left: The same of the left knee.
    """

    patient: str
    month: str
    right: tuple[float, float] | None
    left: tuple[float, float] | None


@dataclass(frozen=True)
class Fold:
    """The two sheets of one folder.

    Attributes:
        name: "test_set", or such as "fold1".
        visits: Rows of its `VISITS_SHEET`.
        keypoints: Rows of its `KEYPOINTS_SHEET`.
    """

    name: str
    visits: tuple[VisitPaths, ...]
    keypoints: tuple[PlateKeypoints, ...]


def month_number(month: str) -> int:
    """Months since enrollment of a visit as the sheets write it.

    Raises:
        ManifestError: The text is no month of that form.

    Example:
        >>> month_number("00_MONTH"), month_number("12_MONTH")
        (0, 12)
    """
    match = _MONTH.fullmatch(month)
    if match is None:
        raise ManifestError(f"{month!r} is no month of a visit; write it as 00_MONTH, 12_MONTH")
    return int(match[1])


def month_name(month: int) -> str:
    """Write months since enrollment as the sheets do: ``month_name(0)`` is "00_MONTH"."""
    return f"{month:02d}_MONTH"


def read_visits(path: str | Path) -> tuple[VisitPaths, ...]:
    """Read a sheet of images: patient_id, month, mri_left, mri_right, xray.

    Args:
        path: The CSV file.

    Returns:
        One entry a row, in the order of the sheet.

    Raises:
        ManifestError: The file cannot be read or has no rows, lacks a column, or has rows that break a rule (all are
            named): a visit or a plate twice, no plate, no MR scan, a month of another form, a path that leaves its
            folder, cells missing.

    Example:
        >>> read_visits("test_set/mri_xray.csv")[0].xray           # doctest: +SKIP
        '0.C.2/9000798/20040802/00162704'
    """
    plates: dict[str, str] = {}

    def visit_of(text: Mapping[str, str], found: _Found) -> VisitPaths:
        key = f"{text['patient_id']}/{text['month']}"
        for column in ("mri_left", "mri_right", "xray"):
            if text[column] and not _stays_inside(text[column]):
                found.append((column, f"{text[column]!r} is no relative path below the folder of images"))
        if not text["xray"]:
            found.append(("xray", "the cell is empty; every visit needs a plate"))
        elif plates.setdefault(text["xray"], key) != key:
            found.append(
                ("xray", f"{text['xray']} is also the plate of {plates[text['xray']]}; a plate is of one visit")
            )
        if not text["mri_left"] and not text["mri_right"]:
            found.append(("mri_left", "neither knee has an MR scan; give one, or remove the row"))
        return VisitPaths(
            text["patient_id"], text["month"], text["xray"], text["mri_left"] or None, text["mri_right"] or None
        )

    return _read_sheet(Path(path), _VISIT_COLUMNS, visit_of)


def read_keypoints(path: str | Path) -> tuple[PlateKeypoints, ...]:
    """Read a sheet of joint centers: patient_id, month, keypoint_right, keypoint_left, each "[column, row]" in pixels.

    An empty cell (or "[]", "nan") says that this knee is not on the plate or was not found.

    Args:
        path: The CSV file.

    Returns:
        One entry a row, in the order of the sheet, as (row, column).

    Raises:
        ManifestError: The file cannot be read or has no rows, lacks a column, or has rows that break a rule (all are
            named): a visit twice, a center that is not two numbers of at least 0, no knee at all, cells missing; a
            right knee that does not stand at the left of the left one, as where columns were swapped.

    Example:
        >>> read_keypoints("test_set/xray_keypoints.csv")[0].right           # doctest: +SKIP
        (648.0, 631.0)
    """
    return _read_sheet(Path(path), _KEYPOINT_COLUMNS, _keypoints_of)


def read_folds(folder: str | Path) -> tuple[Fold, ...]:
    """Read the sheets of all folds that a folder holds: ``test_set`` and every folder of ``train_set``.

    Args:
        folder: Where ``test_set/`` and ``train_set/`` are.

    Returns:
        The test set first, if there is one, then the folds by name.

    Raises:
        ManifestError: There is no fold, a fold lacks one of its two sheets, or a sheet is broken.
    """
    top = Path(folder)
    train = top / TRAIN_SET
    folders = [top / TEST_SET, *(sorted(train.iterdir()) if train.is_dir() else [])]
    found = [place for place in folders if place.is_dir()]
    if not found:
        raise ManifestError(
            f"{top} holds no sheets of the OAI study; it needs {TEST_SET}/ or {TRAIN_SET}/fold1/ with {VISITS_SHEET} "
            f"and {KEYPOINTS_SHEET}"
        )
    return tuple(
        Fold(place.name, read_visits(place / VISITS_SHEET), read_keypoints(place / KEYPOINTS_SHEET)) for place in found
    )


def _read_sheet(
    file: Path, columns: Sequence[str], entry_of: Callable[[Mapping[str, str], _Found], _Entry]
) -> tuple[_Entry, ...]:
    """Rows of a sheet; all bad ones are named at once."""
    cells = read_sheet(file, columns)
    faults = subject_findings(map(normal_form, cells.text("patient_id")))
    visits: dict[tuple[str, str], int] = {}
    entries: list[_Entry] = []
    findings: list[RowFinding] = []
    for row, text, damage in _rows(cells, columns):
        key = text["patient_id"], text["month"]
        found: _Found = [("(row)", f"{damage}; in the last row, the file was cut")] if damage else []
        if not damage:
            found += _key_findings(text, faults)
            entries.append(entry_of(text, found))
            if visits.setdefault(key, row) != row:
                found.append(("patient_id", f"the same visit as row {visits[key]}; keep one"))
        findings += [
            RowFinding(reason, "bad row", row=row, key="/".join(key), column=column) for column, reason in found
        ]
    refuse_bad_rows(file, len(cells), findings)
    return tuple(entries)


def _rows(cells: ManifestCells, columns: Sequence[str]) -> Iterable[tuple[int, Mapping[str, str], str]]:
    for index, row in enumerate(cells.row_numbers):
        text = {name: cells.text(name)[index] for name in columns}
        yield row, text | {"patient_id": normal_form(text["patient_id"])}, cells.damage[index]


def _key_findings(text: Mapping[str, str], faults: Mapping[str, str]) -> _Found:
    found = []
    if text["patient_id"] in faults:
        found.append(("patient_id", faults[text["patient_id"]]))
    elif not re.fullmatch(r"\w[\w.-]*", text["patient_id"]):
        found.append(("patient_id", f"{text['patient_id']!r} is no number of a patient"))
    try:
        month_number(text["month"])
    except ManifestError as error:
        found.append(("month", str(error)))
    return found


def _keypoints_of(text: Mapping[str, str], found: _Found) -> PlateKeypoints:
    before = len(found)
    places = {side: _place(text, f"keypoint_{side}", found) for side in ("right", "left")}
    right, left = places["right"], places["left"]
    if len(found) == before and right is None and left is None:
        found.append(("keypoint_right", "no knee has a center; give one, or remove the row"))
    if right is not None and left is not None and right[1] >= left[1]:
        found.append(
            (
                "keypoint_right",
                f"the right knee is at column {right[1]:g} and the left one at {left[1]:g}, but the right knee stands "
                "at the picture's left; are the columns swapped?",
            )
        )
    return PlateKeypoints(text["patient_id"], text["month"], right, left)


def _place(text: Mapping[str, str], column: str, found: _Found) -> _Place | None:
    """Row and column of "[column, row]"."""
    cell = text[column]
    if cell.lower() in _MISSING:
        return None
    parts = cell.removeprefix("[").removesuffix("]").split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 2 or not all(math.isfinite(number) for number in numbers):
        found.append((column, f"{cell!r} is no center; write [column, row] in pixels, or leave the cell empty"))
        return None
    if min(numbers) < 0:
        found.append((column, f"{cell} has a negative number; pixels count from 0 at the top left"))
        return None
    return numbers[1], numbers[0]


def _stays_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return "\\" not in path and not pure.is_absolute() and ".." not in pure.parts
