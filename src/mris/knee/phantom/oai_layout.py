"""The digital cohort as the OAI study's files lie: plates as DICOM, thickness maps, sheets, grades of two projects.

    sheets/KLG_score.csv, sheets/test_set/*.csv, sheets/train_set/fold1/*.csv to fold5/*.csv
    radiographs/<xray>/001
    thickness/<subject>/MR_SAG_3D_DESS/<SIDE>_KNEE/<MONTH>/avsm/FC_2d_thickness.npy, TC_2d_thickness.npy

The knees are those of the plain layout; a plate shows both of a visit. What this layout adds (plates, dates, numbers, a
second reader) comes from a generator of its own.
"""

import csv
import itertools
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from mris.images.write import atomic_write
from mris.knee.klg_sheet import VISIT_MONTHS, WORST_GRADE
from mris.knee.oai_files import MAP_FILES, map_folder, plate_file
from mris.knee.oai_sheets import KEYPOINTS_SHEET, TEST_SET, TRAIN_SET, VISITS_SHEET, month_name
from mris.knee.phantom import plate
from mris.knee.phantom.atlas import REGIONS
from mris.knee.phantom.cohort import PhantomLayout, Row
from mris.knee.phantom.plate_file import PlateRecord, write_plate
from mris.knee.phantom.simulate import KneeState, KneeVisit

SHEETS, RADIOGRAPHS, THICKNESS = "sheets", "radiographs", "thickness"

FOLDS = ("fold1", TEST_SET, "fold5", "fold2", "fold3", TEST_SET, "fold4")
"""Fold of the first seven subjects, the next seven, and so on: 2 in 7 are tested (897 of 2,897 in the study)."""

MONOCHROME1_SHARE = 0.35
SECOND_PROJECT_SHARE = 0.42
"""Share of knees that project 37 reads, too (3,834 of 9,016 in the public sheet)."""
DISAGREEMENT = 0.023
"""Share of visits read twice whose grades differ by one (177 of 7,599 differ there)."""

_FIRST_DAY = date(2004, 2, 1)
_SIDES = {"right": "1", "left": "2"}
_CODES = {month: code for code, month in VISIT_MONTHS.items()}
_PROJECTS = ("15", "37")
_ONLY_37 = 72
_TWICE = (0, 48)


def number_of(subject: str) -> str:
    """The number that stands for a digital subject where names must be numbers, as the study's are: 9000017.

    Example:
        >>> number_of("P00017"), number_of("P3-00017")
        ('9000017', '930000017')
    """
    seed, _, index = subject.removeprefix("P").rpartition("-")
    return f"9{seed}{int(index):07d}" if seed else f"9{int(index):06d}"


def _write_numbered(folder: Path, visits: Sequence[KneeVisit], rng: np.random.Generator) -> list[Row]:
    """As `_write_visits`, with a number for the subject's name and raw plates."""
    numbered = [replace(visit, state=replace(visit.state, subject=number_of(visit.state.subject))) for visit in visits]
    return _write_visits(folder, numbered, rng, raw=True)


def _write_visits(
    folder: Path, visits: Sequence[KneeVisit], rng: np.random.Generator, *, raw: bool = False
) -> list[Row]:
    """Plates and maps of one subject."""
    by_month = {month: tuple(knees) for month, knees in itertools.groupby(visits, lambda visit: visit.state.month)}
    enrolled = _FIRST_DAY + timedelta(days=int(rng.integers(0, 850)))
    numbers = itertools.count(int(rng.integers(100_000, 9_000_000)))
    twice = dict(zip(_SIDES, rng.random(2) < SECOND_PROJECT_SHARE, strict=True))
    rows: list[Row] = []
    # A child for each visit: what is drawn for it does not depend on how many visits there are.
    for (month, knees), own in zip(by_month.items(), rng.spawn(len(by_month)), strict=True):
        scanned = enrolled + timedelta(days=round(month * 30.44) + int(own.integers(-20, 21)))
        exposed = scanned - timedelta(days=int(own.integers(0, 71)))
        number = f"{next(numbers):08d}"
        xray = f"{_release(knees[0].state)}/{exposed:%Y%m%d}/{number}"
        centers = _write_plate(plate_file(folder / RADIOGRAPHS, xray), knees, number, exposed, own, raw=raw)
        for visit in knees:
            state, side = visit.state, visit.state.knee.side
            target = map_folder(folder / THICKNESS, state.subject, month_name(month), side)
            target.mkdir(parents=True, exist_ok=True)
            for region, name in enumerate(REGIONS):
                np.save(target / MAP_FILES[name], visit.thickness[region].astype(np.float64), allow_pickle=False)
            row, column = centers[side]
            rows.append(
                {
                    "subject": state.subject,
                    "timepoint": str(month),
                    "side": side,
                    "klg": str(state.klg) if state.klg_known else "",
                    "xray": xray,
                    "mri": f"{_release(state)}/{scanned:%Y%m%d}/{next(numbers):08d}",
                    "keypoint": f"[{column:.0f}, {row:.0f}]",
                    **_reads(state, bool(twice[side]), own),
                }
            )
    return rows


def _write_plate(
    path: Path, knees: Sequence[KneeVisit], number: str, day: date, rng: np.random.Generator, *, raw: bool
) -> Mapping[str, plate.Center]:
    """Write the plate of a visit; give the centers of its knees' regions."""
    person = knees[0].state.person
    spacing = plate.DETECTORS[0 if person.site == "A" else 1][1]
    # A hospital keeps its detector: draw until it is the one.
    drawn = (plate.sample_plate_layout(rng) for _ in itertools.count())
    place = next(layout for layout in drawn if layout.spacing_mm == spacing)
    pictures = {visit.state.knee.side: visit.radiograph for visit in knees}
    composed = plate.compose_plate(
        pictures.get("right"),
        pictures.get("left"),
        spacing_mm=place.spacing_mm,
        shape=place.shape,
        centers=place.centers,
        rng=rng,
    )
    record = PlateRecord(
        subject=knees[0].state.subject,
        number=number,
        month=knees[0].state.month,
        sex=person.sex,
        age=person.age + knees[0].state.month / 12,
        day=day,
        inverted=bool(rng.random() < MONOCHROME1_SHARE),
        at_detector=person.site == "B",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_plate(path, composed, record, raw=raw)
    return {str(side): center for side, center in composed.centers.items()}


def _release(state: KneeState) -> str:
    """First folders of a scan or plate, as the study numbers them: visit, group, release, then the subject."""
    visit = _CODES[state.month].removeprefix("V").lstrip("0") or "0"
    return f"{visit}.{'C.2' if state.person.site == 'A' else 'E.1'}/{state.subject}"


def _reads(state: KneeState, twice: bool, rng: np.random.Generator) -> Row:
    """Grades of both reading projects; the one that the study relies on at this visit is that of the plain layout."""
    other = int(np.clip(state.klg + rng.choice((-1, 1)), 0, WORST_GRADE))
    second = other if rng.random() < DISAGREEMENT else state.klg
    reads = {
        "15": state.klg if state.month != _ONLY_37 else None,
        "37": state.klg if state.month == _ONLY_37 else second if twice and state.month in _TWICE else None,
    }
    return {
        f"klg_{project}": "NA" if klg is None or not state.klg_known else str(klg) for project, klg in reads.items()
    }


def _write_tables(folder: Path, rows: Sequence[Sequence[Row]]) -> None:
    """All sheets; an earlier, interrupted attempt is removed."""
    sheets = folder / SHEETS
    shutil.rmtree(sheets, ignore_errors=True)
    by_fold: dict[str, list[Row]] = defaultdict(list)
    for index, of_subject in enumerate(rows):
        by_fold[FOLDS[index % len(FOLDS)]] += of_subject
    for fold, members in by_fold.items():
        place = sheets / fold if fold == TEST_SET else sheets / TRAIN_SET / fold
        visits = [
            {row["side"]: row for row in knees}
            for _, knees in itertools.groupby(members, lambda row: (row["subject"], row["timepoint"]))
        ]
        _write_csv(
            place / VISITS_SHEET,
            ("patient_id", "month", "mri_left", "mri_right", "xray"),
            ((*_visit(knees), knees["left"]["mri"], knees["right"]["mri"], knees["left"]["xray"]) for knees in visits),
        )
        _write_csv(
            place / KEYPOINTS_SHEET,
            ("patient_id", "month", "keypoint_right", "keypoint_left"),
            ((*_visit(knees), knees["right"]["keypoint"], knees["left"]["keypoint"]) for knees in visits),
        )
    _write_csv(
        sheets / "KLG_score.csv",
        ("ID", "SIDE", "READPRJ", *(f"{code}XRKL" for code in VISIT_MONTHS)),
        itertools.chain.from_iterable(_grade_rows(of_subject) for of_subject in rows),
    )


def _visit(knees: Mapping[str, Row]) -> tuple[str, str]:
    return knees["left"]["subject"], month_name(int(knees["left"]["timepoint"]))


def _grade_rows(rows: Sequence[Row]) -> Iterable[tuple[str, ...]]:
    for side, code in _SIDES.items():
        knee = {int(row["timepoint"]): row for row in rows if row["side"] == side}
        for project in _PROJECTS:
            reads = [knee[month][f"klg_{project}"] if month in knee else "NA" for month in VISIT_MONTHS.values()]
            if project == "15" or set(reads) != {"NA"}:
                yield (rows[0]["subject"], code, project, *reads)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


OAI = PhantomLayout("oai", SHEETS, _write_visits, _write_tables)
"""The layout of the OAI study, as `mris import oai` reads it."""

OAI_NUMBERS = PhantomLayout("oai-numbers", SHEETS, _write_numbered, _write_tables)
"""The same with numbers for names and raw pixels, for programs that expect those of the study."""
