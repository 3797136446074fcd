"""A digital cohort on disk: pictures, maps and the manifest that says which belong together.

Each subject's files are followed by a small record of its rows; a subject without a record is made again. The header
`phantom.json` comes last: a folder that has it is complete.
"""

import csv
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from pydantic import Field

import mris
from mris.cohort.origin import ORIGIN_COLUMN
from mris.cohort.workers import in_processes, shown
from mris.cores import n_cores
from mris.errors import OutputError, SettingsError, remedy
from mris.images.write import atomic_write, write_json
from mris.knee.choices import check_choice
from mris.knee.phantom.atlas import FEMORAL_HEIGHT_MM, FEMORAL_LENGTH_MM, REGIONS, TIBIAL_HEIGHT_MM, TIBIAL_LENGTH_MM
from mris.knee.phantom.extraction import Extraction
from mris.knee.phantom.population import subject_generator
from mris.knee.phantom.simulate import KneeVisit, simulate_subject, subject_name
from mris.knee.phantom.varied import Look
from mris.reading import LARGEST_JSON, parse_json, read_text
from mris.records import Record, read_record
from mris.wording import counted

MODEL_VERSION = 2
"""Raised whenever the same seed would give other pictures."""
COLUMNS = (
    "subject", "timepoint", "side", "source", "target_femoral", "target_tibial", "spacing",
    "klg", "medial_jsw_mm", "lateral_jsw_mm", "age", "sex", "site", ORIGIN_COLUMN,
)  # fmt: skip

Row = dict[str, str]
"""What a pair says of itself; every layout gives at least "timepoint" and "klg"."""

_HEADER, _STARTED, _RECORDS, _MANIFEST = "phantom.json", "started.json", "records", "manifest.csv"
_ANEW = "remove its folder and write the cohort again"


@dataclass(frozen=True)
class PhantomSettings:
    """What decides the content of a digital cohort (see `write_phantom`)."""

    n_subjects: int
    size: int
    seed: int
    enriched: bool
    max_visits: int | None
    extraction: Extraction = "measured"
    look: Look = "plain"

    def __post_init__(self) -> None:
        if self.n_subjects < 1:
            raise SettingsError(f"n_subjects is {self.n_subjects}: a cohort needs at least 1 subject")
        if not 32 <= self.size <= 1024:
            raise SettingsError(f"size is {self.size} px: choose 32 to 1024")
        if self.seed < 0:
            raise SettingsError(f"seed is {self.seed}: choose an integer of at least 0")
        if self.max_visits is not None and self.max_visits < 1:
            raise SettingsError(f"max_visits is {self.max_visits}: keep at least 1 visit, or None for all")
        check_choice("extraction", self.extraction, Extraction)
        check_choice("look", self.look, Look)


@dataclass(frozen=True)
class PhantomLayout:
    """How a digital cohort lies on disk. Its functions are those of a module, so that they reach other processes.

    Attributes:
        name: Short; a folder begun in one layout is not gone on with in another.
        table: Where a reader begins, relative to the cohort's folder.
        write_visits: Writes the files of one subject, given the folder, the subject's visits and a generator of its
            own; gives a row for each pair.
        write_tables: Writes what describes the whole, given the folder and the rows of each subject.
    """

    name: str
    table: str
    write_visits: Callable[[Path, Sequence[KneeVisit], np.random.Generator], list[Row]]
    write_tables: Callable[[Path, Sequence[Sequence[Row]]], None]


class Stated(Record):
    """What files say of the settings; they do not say the defaults, what all cohorts were before there was a choice."""

    n_subjects: int
    size: int
    seed: int
    enriched: bool
    max_visits: int | None
    extraction: str = "smooth"
    look: str = "plain"
    model_version: int
    layout: str = "plain"

    def to_json(self) -> dict[str, Any]:
        """Give them as plain JSON values, without the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)


class PhantomHeader(Record):
    """``phantom.json``, written last: what decided the content of a digital cohort, and what came of it."""

    settings: Stated
    versions: dict[str, str]
    regions: tuple[str, ...]
    unit: str
    target_spacing_mm: dict[str, tuple[float, float]]
    n_pairs: int
    baseline_grades: tuple[int, ...] = Field(min_length=5, max_length=5)

    def to_json(self) -> dict[str, Any]:
        """Give them as plain JSON values."""
        return {**super().to_json(), "settings": self.settings.to_json()}


@dataclass(frozen=True)
class PhantomReport:
    """What was written.

    Attributes:
        manifest: The table of pairs, or what another layout has in its place.
        n_subjects: Subjects.
        n_pairs: Rows of the manifest.
        n_reused: Subjects found complete from an earlier, interrupted call.
        baseline_grades: Knees by KLG 0 to 4 at month 0.
    """

    manifest: Path
    n_subjects: int
    n_pairs: int
    n_reused: int
    baseline_grades: tuple[int, ...]

    def summary(self) -> str:
        """One line for people."""
        grades = "/".join(str(count) for count in self.baseline_grades)
        return (
            f"{self.manifest}: {counted(self.n_pairs, 'pair')} of {counted(self.n_subjects, 'subject')} "
            f"({self.n_reused} found complete); knees of KLG 0/1/2/3/4 at baseline: {grades}"
        )


def _write_plain_visits(folder: Path, visits: Sequence[KneeVisit], _: np.random.Generator) -> list[Row]:
    (folder / visits[0].state.subject).mkdir(exist_ok=True)
    return [_write_visit(folder, visit) for visit in visits]


def _write_visit(folder: Path, visit: KneeVisit) -> Row:
    state = visit.state
    stem = f"{state.subject}/{state.month:02d}_{state.knee.side}"
    # No flush to disk here: the record, written last, says that a subject is complete.
    PIL.Image.fromarray(visit.radiograph).save(folder / f"{stem}.png", compress_level=1)
    for region, name in enumerate(REGIONS):
        np.save(folder / f"{stem}_{name}.npy", visit.thickness[region], allow_pickle=False)
    values = (
        state.subject, state.month, state.knee.side, f"{stem}.png", f"{stem}_femoral.npy", f"{stem}_tibial.npy",
        f"{visit.spacing:.6g}", state.klg if state.klg_known else "", f"{state.placement.medial_jsw_mm:.2f}",
        f"{state.placement.lateral_jsw_mm:.2f}", f"{state.person.age + state.month / 12:.1f}", state.person.sex,
        state.person.site, "simulated",
    )  # fmt: skip
    return dict(zip(COLUMNS, (str(value) for value in values), strict=True))


def _write_manifest(folder: Path, rows: Sequence[Sequence[Row]]) -> None:
    with atomic_write(folder / _MANIFEST) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="simulated")  # records of earlier versions lack the last column
        writer.writeheader()
        writer.writerows(itertools.chain.from_iterable(rows))


PLAIN = PhantomLayout("plain", _MANIFEST, _write_plain_visits, _write_manifest)
"""PNG pictures, NPY maps, and a manifest as `mris.cohort.prepare` takes it."""


def write_phantom(
    out: str | os.PathLike[str],
    *,
    n_subjects: int,
    size: int = 128,
    seed: int = 0,
    enriched: bool = False,
    max_visits: int | None = None,
    workers: int | None = None,
    progress: bool = True,
    layout: PhantomLayout = PLAIN,
    extraction: Extraction = "measured",
    look: Look = "plain",
) -> PhantomReport:
    """Write a digital knee cohort: 16-bit PNG radiographs, float32 NPY thickness maps (mm, NaN outside) and a manifest.

    Interrupted, the same call goes on where it stopped. A subject's files depend on ``seed`` and the subject's number
    only, not on ``n_subjects`` or ``workers``.

    Args:
        out: Folder to make, or to go on with.
        n_subjects: Number of persons, each with two knees and 1 to 6 visits (3.4 on average).
        size: Rows and columns of pictures and maps, 32 to 1024.
        seed: Cohort seed, at least 0.
        enriched: More osteoarthritis: baseline KLG 0..4 of 25/15/30/20/10 % instead of 38.5/17.8/26.5/13.8/3.4 %.
        max_visits: Keep at most so many visits of each person; None keeps all.
        workers: Processes; None means one a core.
        progress: Show a progress bar.
        layout: How the same knees lie on disk; see also `mris.knee.phantom.oai_layout.OAI`.
        extraction: How noisy the maps are: "measured" as real ones, or "smooth" (`mris.knee.phantom.extraction`).
        look: "plain" radiographs, all of one kind, or "varied" ones as they come (`mris.knee.phantom.varied`).

    Returns:
        Counts and the path of the manifest.

    Raises:
        SettingsError: If a number is out of range, `out` holds something else or a cohort of other settings, or the
            layout has no varied radiographs.
        OutputError: If the system refuses to write, or a process died.
    """
    settings = PhantomSettings(n_subjects, size, seed, enriched, max_visits, extraction, look)
    workers = n_cores() if workers is None else workers
    if workers < 1:
        raise SettingsError(f"workers is {workers}: use at least 1 process, or None for one a core")
    if look != "plain" and layout is not PLAIN:
        raise SettingsError(
            f"look is {look!r}, but layout {layout.name!r} is of plates, whose fields are all alike; use layout 'plain'"
        )
    folder = Path(out)
    try:
        _claim(folder, settings, layout)
        present = {path.stem for path in (folder / _RECORDS).glob("*.json")}
        if not (folder / _HEADER).is_file():
            (folder / _RECORDS).mkdir(exist_ok=True)
            missing = [i for i in range(n_subjects) if subject_name(seed, i) not in present]
            write = partial(_write_subject, folder, settings, layout)
            done = in_processes(write, missing, workers, OutputError, "simulates knees")
            for _ in shown(done, "Simulating knees", len(missing), progress):
                pass
            _finish(folder, settings, layout)
        else:
            present = {subject_name(seed, i) for i in range(n_subjects)}
        shutil.rmtree(folder / _RECORDS, ignore_errors=True)
        for left in (folder / _STARTED, *filter(_is_remnant, folder.iterdir())):
            left.unlink(missing_ok=True)
        return _report(folder, layout, len(present))
    except OSError as error:
        raise OutputError(
            f"cannot write the cohort {folder}: {error.strerror or error}; {remedy(error)}, or choose another place; "
            "the same command goes on where it stopped"
        ) from error


def _stated(settings: PhantomSettings, layout: PhantomLayout) -> Stated:
    return Stated(**asdict(settings), model_version=MODEL_VERSION, layout=layout.name)


def _claim(folder: Path, settings: PhantomSettings, layout: PhantomLayout) -> None:
    """Take a new or empty folder, or one begun with the same settings."""
    found, wanted = _found(folder), _stated(settings, layout)
    if found is not None:
        pairs = ((name, getattr(found, name), getattr(wanted, name)) for name in Stated.model_fields)
        differing = [f"{name} {there!r} (asked: {asked!r})" for name, there, asked in pairs if there != asked]
        if differing:
            raise SettingsError(
                f"{folder} holds a cohort of other settings: {', '.join(differing)}; choose another folder"
            )
        return
    if folder.exists() and (not folder.is_dir() or not all(map(_is_remnant, folder.iterdir()))):
        raise SettingsError(f"{folder} exists and is not a digital cohort; choose a new or empty folder")
    # First of all: from here on the folder is known as a cohort's, whatever stops this call.
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _STARTED, wanted)


def _is_remnant(path: Path) -> bool:
    """Whether a file is what a kill in the middle of an atomic write leaves."""
    return path.name.startswith(tuple(f".{name}." for name in (_STARTED, _MANIFEST, _HEADER)))


def _found(folder: Path) -> Stated | None:
    if (folder / _HEADER).is_file():
        return _header_of(folder).settings
    started = folder / _STARTED
    return read_record(started, Stated, SettingsError, _ANEW) if started.is_file() else None


def _header_of(folder: Path) -> PhantomHeader:
    return read_record(folder / _HEADER, PhantomHeader, SettingsError, _ANEW)


def _write_subject(folder: Path, settings: PhantomSettings, layout: PhantomLayout, index: int) -> None:
    visits = simulate_subject(
        settings.seed,
        index,
        size=settings.size,
        enriched=settings.enriched,
        max_visits=settings.max_visits,
        extraction=settings.extraction,
        look=settings.look,
    )
    rows = layout.write_visits(folder, visits, subject_generator(settings.seed, index, 3))
    record = folder / _RECORDS / f"{subject_name(settings.seed, index)}.json"
    temporary = record.with_suffix(".part")
    temporary.write_text(json.dumps(rows), encoding="utf-8")
    temporary.replace(record)


def _finish(folder: Path, settings: PhantomSettings, layout: PhantomLayout) -> None:
    records = [folder / _RECORDS / f"{subject_name(settings.seed, index)}.json" for index in range(settings.n_subjects)]
    try:
        by_subject: list[list[Row]] = [parse_json(read_text(record, LARGEST_JSON)) for record in records]
    except ValueError as error:
        raise SettingsError(
            f"{folder / _RECORDS} is damaged: {error}; remove {folder} and write the cohort again"
        ) from error
    layout.write_tables(folder, by_subject)
    rows = list(itertools.chain.from_iterable(by_subject))
    grades = Counter(row["klg"] for row in rows if row["timepoint"] == "0")
    header = PhantomHeader(
        settings=_stated(settings, layout),
        versions={"mris": mris.__version__, "numpy": np.__version__},
        regions=REGIONS,
        unit="mm",
        target_spacing_mm={
            "femoral": (FEMORAL_HEIGHT_MM / settings.size, FEMORAL_LENGTH_MM / settings.size),
            "tibial": (TIBIAL_HEIGHT_MM / settings.size, TIBIAL_LENGTH_MM / settings.size),
        },
        n_pairs=len(rows),
        baseline_grades=tuple(grades.get(str(grade), 0) for grade in range(5)),
    )
    write_json(folder / _HEADER, header)


def _report(folder: Path, layout: PhantomLayout, n_reused: int) -> PhantomReport:
    header = _header_of(folder)
    return PhantomReport(
        manifest=folder / layout.table,
        n_subjects=header.settings.n_subjects,
        n_pairs=header.n_pairs,
        n_reused=n_reused,
        baseline_grades=header.baseline_grades,
    )
