"""The OAI study's public layout -> a manifest that `mris.cohort.prepare.prepare_cohort` takes.

The sheets say which visits there are; files are looked for where the layout puts them. A pair of which something is
missing is left out, counted, and listed with the reason.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mris
from mris.cohort.origin import ORIGIN_COLUMN
from mris.cohort.workers import shown
from mris.errors import ManifestError, OutputError, SettingsError
from mris.images.write import atomic_write, write_json
from mris.knee.klg_sheet import Reading, read_klg_sheet
from mris.knee.oai_counts import PAPER_COUNTS, SplitCounts, counts_table
from mris.knee.oai_files import MAP_FILES, find_plate, map_folder, missing_of, plate_file
from mris.knee.oai_pairs import NO_VALIDATION, OaiPair, pairs_of_folds
from mris.knee.oai_sheets import OFFICIAL_FOLDS, month_number, read_folds
from mris.reading import LARGEST_LIST
from mris.records import Record, read_record
from mris.wording import counted, first_of

GRADES_SHEET = "KLG_score.csv"
MANIFEST_FILE, REPORT_FILE = "manifest.csv", "import.json"
COLUMNS = (
    "subject", "timepoint", "side", "source", "target_femoral", "target_tibial", "center_row", "center_col", "split",
    "fold", "klg",
)  # fmt: skip

_TOLD = ("grade_rule", "val_fold", "counts", "left_out_by_reason")
"""What two accounts of one import agree in; folders may be spelled otherwise, and the software be newer."""

_SHOWN = 8


@dataclass(frozen=True)
class LeftOut:
    """A pair that the manifest does not get.

    Attributes:
        key: The pair.
        reasons: What is missing or wrong, by the short name under which it is counted: the file, or what was found.
    """

    key: str
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class OaiSurvey:
    """What the sheets promise and what was found of it.

    Attributes:
        sheets: Folder of the sheets.
        radiographs: Folder of the plates, None if the files were not looked for.
        thickness: The same of the maps.
        reading: Which read stands for a grade, see `mris.knee.klg_sheet.read_klg_sheet`.
        val_fold: The fold that is the validation split, None if there is none.
        pairs: In the order of the sheets, left before right.
        left_out: Those of `pairs` that cannot be written.
        counts: By split, in the order train, val, test; a split without pairs is not there.
        spacings: Plates by their row spacing in mm, as their headers state it.
        absent_folds: Folds of the official sheets that are not here.
        unused_centers: Visits that have joint centers and no images.
        simulated: Plates whose headers say that no patient is shown, by their folder.
    """

    sheets: Path
    radiographs: Path | None
    thickness: Path | None
    reading: Reading
    val_fold: str | None
    pairs: tuple[OaiPair, ...]
    left_out: tuple[LeftOut, ...]
    counts: Mapping[str, SplitCounts]
    spacings: Mapping[str, int]
    absent_folds: tuple[str, ...]
    unused_centers: tuple[str, ...]
    simulated: frozenset[str] = frozenset()

    @property
    def kept(self) -> tuple[OaiPair, ...]:
        """The pairs that a manifest gets; all of the sheets' as long as no files were looked for."""
        dropped = {pair.key for pair in self.left_out}
        return tuple(pair for pair in self.pairs if pair.key not in dropped)

    @property
    def reasons(self) -> dict[str, int]:
        """Pairs left out by reason; a pair counts under each of its reasons."""
        return dict(Counter(reason for pair in self.left_out for reason in pair.reasons).most_common())

    def summary(self) -> str:
        """Tell the whole in lines of text: rules, counts next to the paper's, what is missing."""
        validation = f"{self.val_fold} is val" if self.val_fold else "there is no val"
        lines = [f"splits: test_set is test, the folds of train_set are train, {validation}; no patient in two of them"]
        lines += [f"grades: {_RULES[self.reading]}", counts_table(self.counts)]
        if self.absent_folds:
            lines.append(f"not in these sheets: {', '.join(self.absent_folds)}")
        if self.unused_centers:
            lines.append(
                f"visits with joint centers and without images, not used: {first_of(self.unused_centers, most=_SHOWN)}"
            )
        if self.spacings:
            found = ", ".join(f"{spacing} mm: {count:,}" for spacing, count in self.spacings.items())
            lines.append(f"plates by pixel spacing: {found}")
        lines += [f"left out, {reason}: {counted(count, 'pair')}" for reason, count in self.reasons.items()]
        lines += [
            f"  {pair.key}: {'; '.join(f'{reason} ({found})' for reason, found in pair.reasons.items())}"
            for pair in self.left_out[:_SHOWN]
        ]
        if len(self.left_out) > _SHOWN:
            lines.append(f"  ... and {len(self.left_out) - _SHOWN:,} more")
        return "\n".join(lines)

    def record(self) -> "ImportRecord":
        """Give what ``import.json`` holds."""
        return ImportRecord(
            sheets=self.sheets,
            radiographs=self.radiographs,
            thickness=self.thickness,
            grade_rule=self.reading,
            val_fold=self.val_fold,
            counts=self.counts,
            total=SplitCounts.total(self.counts.values()),
            paper=PAPER_COUNTS,
            absent_folds=self.absent_folds,
            unused_centers=self.unused_centers,
            spacings_mm=self.spacings,
            n_left_out=len(self.left_out),
            left_out_by_reason=self.reasons,
            left_out=self.left_out,
            software=f"mris {mris.__version__}",
        )


class ImportRecord(Record):
    """``import.json``: the survey of an import, every pair left out included, the others by their number."""

    sheets: Path
    radiographs: Path | None
    thickness: Path | None
    grade_rule: Reading
    val_fold: str | None
    counts: Mapping[str, SplitCounts]
    total: SplitCounts
    paper: Mapping[str, Mapping[str, int]]
    absent_folds: tuple[str, ...]
    unused_centers: tuple[str, ...]
    spacings_mm: Mapping[str, int]
    n_left_out: int
    left_out_by_reason: Mapping[str, int]
    left_out: tuple[LeftOut, ...]
    software: str


_RULES: Mapping[Reading, str] = {
    "15-first": "the read of project 15; where it has none, that of project 37 (15-first)",
    "37-first": "the read of project 37; where it has none, that of project 15 (37-first)",
    "15-only": "the read of project 15 alone (15-only)",
    "37-only": "the read of project 37 alone (37-only)",
}


def survey_oai(
    sheets: str | os.PathLike[str],
    radiographs: str | os.PathLike[str] | None = None,
    thickness: str | os.PathLike[str] | None = None,
    *,
    reading: Reading = "15-first",
    val_fold: str = "fold5",
    progress: bool = False,
) -> OaiSurvey:
    """Read the sheets, check them, and look for the files they name.

    Args:
        sheets: Folder with ``test_set/``, ``train_set/fold1/`` to ``fold5/`` and ``KLG_score.csv``.
        radiographs: Folder of the plates, ``<xray>/001``; None does not look for them.
        thickness: Folder of the maps, ``<patient>/MR_SAG_3D_DESS/<SIDE>_KNEE/<MONTH>/avsm/FC_2d_thickness.npy``;
            None does not look for them.
        reading: Which of the two reading projects stands for a grade.
        val_fold: The fold that becomes the validation split; "none" leaves all in train.
        progress: Show a bar on stderr while files are looked for.

    Returns:
        All pairs of the sheets, and which of them cannot be used.

    Raises:
        ManifestError: A sheet is missing or broken.
        SubjectLeakError: A patient is in two folds.
        SettingsError: The fold is not there, or a folder of files does not exist.

    Example:
        >>> survey_oai("oai_sheets").counts["test"].pairs           # doctest: +SKIP
        8418
    """
    top = Path(sheets)
    plates_in, maps_in = (
        _folder(name, place) for name, place in (("radiographs", radiographs), ("thickness", thickness))
    )
    folds = read_folds(top)
    pairs = pairs_of_folds(folds, read_klg_sheet(top / GRADES_SHEET, reading), val_fold)
    xrays = [] if plates_in is None else list(dict.fromkeys(pair.xray for pair in pairs))
    plates = {
        xray: find_plate(plate_file(plates_in or Path(), xray))
        for xray in shown(xrays, "Reading headers", len(xrays), progress and bool(xrays))
    }
    lacking = {
        pair.key: missing_of(pair, plates.get(pair.xray), maps_in)
        for pair in shown(pairs, "Looking for maps", len(pairs), progress and maps_in is not None)
    }
    missing = {key: reasons for key, reasons in lacking.items() if reasons}
    by_split = {name: [pair for pair in pairs if pair.split == name] for name in ("train", "val", "test")}
    looked_for = {"plates": plates_in is not None, "maps": maps_in is not None}
    spacings = Counter(f"{plate.spacing_mm:.3g}" for plate in plates.values() if plate.spacing_mm is not None)
    with_images = {(visit.patient, visit.month) for fold in folds for visit in fold.visits}
    centers = [(row.patient, row.month) for fold in folds for row in fold.keypoints]
    return OaiSurvey(
        sheets=top,
        radiographs=plates_in,
        thickness=maps_in,
        reading=reading,
        val_fold=None if val_fold == NO_VALIDATION else val_fold,
        pairs=pairs,
        left_out=tuple(LeftOut(key, reasons) for key, reasons in missing.items()),
        counts={name: SplitCounts.of(some, missing, **looked_for) for name, some in by_split.items() if some},
        spacings=dict(spacings.most_common()),
        absent_folds=tuple(name for name in OFFICIAL_FOLDS if name not in {fold.name for fold in folds}),
        unused_centers=tuple(f"{row[0]}/{month_number(row[1])}" for row in centers if row not in with_images),
        simulated=frozenset(xray for xray, plate in plates.items() if plate.simulated),
    )


def write_oai_manifest(survey: OaiSurvey, out: str | os.PathLike[str]) -> Path:
    """Write ``manifest.csv``, the pairs of a survey that have all their files, and ``import.json``, its account.

    Args:
        survey: Of sheets, radiographs and maps.
        out: A new or empty folder, or one in which the same import was interrupted or finished.

    Returns:
        Path of the manifest.

    Raises:
        SettingsError: The survey has not looked for the files.
        ManifestError: No pair is left.
        OutputError: The folder holds files that no import wrote, or an import with another result; or the system
            refuses to write.
    """
    if survey.radiographs is None or survey.thickness is None:
        raise SettingsError("a manifest needs the folders of radiographs and of thickness maps; name both")
    if not survey.kept:
        found = ", ".join(f"{reason}: {count:,}" for reason, count in survey.reasons.items())
        first = "; ".join(f"{reason} {where}" for reason, where in survey.left_out[0].reasons.items())
        raise ManifestError(
            f"none of {counted(len(survey.pairs), 'pair')} can be used ({found}); the first, "
            f"{survey.left_out[0].key}: {first}; "
            "check the folders named for radiographs and thickness"
        )
    folder, report = Path(out), survey.record()
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    # Without simulated plates there is no such column: the manifest is that of earlier versions, byte by byte.
    writer.writerow((*COLUMNS, ORIGIN_COLUMN) if survey.simulated else COLUMNS)
    for pair in survey.kept:
        row = _row_of(pair, survey.radiographs, survey.thickness)
        origin = "simulated" if pair.xray in survey.simulated else ""
        writer.writerow((*row, origin) if survey.simulated else row)
    data = table.getvalue().encode()
    _check_folder(folder, report, data)
    write_json(folder / REPORT_FILE, report)
    with atomic_write(folder / MANIFEST_FILE) as temporary:
        temporary.write_bytes(data)
    return folder / MANIFEST_FILE


def _check_folder(folder: Path, report: ImportRecord, manifest: bytes) -> None:
    """Refuse a folder that holds anything but this import, whole or interrupted."""
    if not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir()):
        return
    if not (folder / REPORT_FILE).is_file():
        raise OutputError(f"{folder} holds files and no import wrote it; choose another folder")
    earlier = read_record(folder / REPORT_FILE, ImportRecord, OutputError, "choose another folder", most=LARGEST_LIST)
    same = all(getattr(earlier, name) == getattr(report, name) for name in _TOLD)
    written = folder / MANIFEST_FILE
    if not same or (written.exists() and written.read_bytes() != manifest):
        raise OutputError(
            f"{folder} holds an import with another result (other files, sheets, grades or validation fold); choose "
            "another folder, or remove this one"
        )


def _folder(name: str, place: str | os.PathLike[str] | None) -> Path | None:
    if place is not None and not Path(place).is_dir():
        raise SettingsError(f"{name} is {str(place)!r}, which is no folder; name the one that holds the files")
    return None if place is None else Path(place)


def _row_of(pair: OaiPair, radiographs: Path, thickness: Path) -> tuple[object, ...]:
    folder = map_folder(thickness, pair.patient, pair.month, pair.side).resolve()
    maps = [folder / name for name in MAP_FILES.values()]
    row, column = pair.center or ("", "")
    klg = "" if pair.klg is None else pair.klg
    source = plate_file(radiographs, pair.xray).resolve()
    month = month_number(pair.month)
    return (pair.patient, month, pair.side, source, *maps, row, column, pair.split, pair.fold, klg)
