"""The manifest: a table (CSV or Parquet) with one pair a row, checked before any image is opened."""

import difflib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mris.cohort.exclusion import excluding_name, require_matches
from mris.cohort.header import OWN_COLUMNS, label_column, region_finding
from mris.cohort.labels import Label, LabelKind, typed_labels
from mris.cohort.located import locate
from mris.cohort.manifest_file import ManifestCells, read_cells
from mris.cohort.names import normal_form, subject_findings
from mris.cohort.origin import ORIGIN_COLUMN, Origin, common_origin
from mris.cohort.report import (
    EXCLUDED,
    MALFORMED_ROW,
    MISSING_FILE,
    SHOWN,
    RowFinding,
    dropped_rows,
    listed,
    rows_with_errors,
)
from mris.cohort.split import leaking_subjects
from mris.errors import ManifestError, SubjectLeakError
from mris.finding import Severity
from mris.images.two_numbers import two_numbers
from mris.wording import counted

_REQUIRED = ("subject", "timepoint", "source")
_OPTIONAL = ("side", "split", "spacing", "center_row", "center_col", ORIGIN_COLUMN)
_ORIGINS: Mapping[str, Origin] = {"": "unknown", "real": "real", "simulated": "simulated"}
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One pair that a manifest names.

    Attributes:
        row: Its row as a spreadsheet numbers it (the header is row 1).
        key: "subject/timepoint" or "subject/timepoint/side".
        subject: Whose images these are.
        timepoint: When, in free text.
        side: "left", "right", or "" in a manifest without sides.
        source: Path of the source file, absolute, perhaps with "::key" for an array of an NPZ; "" without sources.
        targets: Paths of the target files in the order of the regions.
        split: The split's name, or "" in a manifest without splits.
        spacing: Row and column spacing of the source in mm where the manifest gives it.
        center: Row and column (in source pixels) of the region's center where the manifest gives it.
        labels: Values of the label columns, in their order; None where missing.
    """

    row: int
    key: str
    subject: str
    timepoint: str
    side: str
    source: str
    targets: tuple[str, ...]
    split: str
    spacing: tuple[float, float] | None
    center: tuple[float, float] | None
    labels: tuple[Label, ...]

    def finding(self, column: str, reason: str, rule: str, severity: Severity = "error") -> RowFinding:
        """Say what was found in a cell of this row; see `RowFinding`."""
        return RowFinding(reason, rule, severity, row=self.row, key=self.key, column=column)


@dataclass(frozen=True)
class Manifest:
    """A manifest after its checks.

    Attributes:
        path: Its file.
        sha256: SHA-256 (hex) of the file's bytes.
        all_rows: Every row of the file, in its order, sound or not.
        findings: What was found in rows, in the file's order.
        regions: Target regions in the order of the columns; the region of a bare `target` column is "target".
        labels: Names of the label columns and their types.
        has_side: Whether there is a `side` column with values.
        has_split: Whether there is a `split` column with values.
        origin: Whether the images are of people or simulated; of all rows, also those that are left out.
    """

    path: Path
    sha256: str
    all_rows: tuple[ManifestRow, ...]
    findings: tuple[RowFinding, ...]
    regions: tuple[str, ...]
    labels: dict[str, LabelKind]
    has_side: bool
    has_split: bool
    origin: Origin = "unknown"

    @property
    def n_rows(self) -> int:
        """Number of pairs that the file names."""
        return len(self.all_rows)

    @property
    def rows(self) -> tuple[ManifestRow, ...]:
        """The sound rows, in the file's order."""
        dropped = dropped_rows(self.findings)
        return tuple(row for row in self.all_rows if row.row not in dropped)

    @property
    def excluded_rows(self) -> tuple[ManifestRow, ...]:
        """The rows that a list leaves out, in the file's order; nothing is known of their files."""
        excluded = {finding.row for finding in self.findings if finding.excludes}
        return tuple(row for row in self.all_rows if row.row in excluded)

    def require_sound(self) -> None:
        """Refuse the manifest if any row that is not left out anyway has a finding of severity "error".

        Raises:
            SubjectLeakError: A subject is in two splits (and nothing else is wrong).
            ManifestError: Lists all findings (see `listed`; the first twenty in full).
        """
        if not self._errors:
            return
        head, *lines = self.told()
        kind = SubjectLeakError if all(finding.rule == _LEAK for finding in self._errors) else ManifestError
        raise kind("\n  ".join([f"{self.path}: {head}; mend them, or use --on-error skip", *lines]))

    def told(self, most: int | None = SHOWN) -> list[str]:
        """Tell how many rows cannot be used, and why (see `listed`); nothing where none is at fault."""
        if not self._errors:
            return []
        count = len(rows_with_errors(self._errors))
        looked_at = self.n_rows - len(self.excluded_rows)
        head = f"{count:,} of {counted(self.n_rows, 'row')} cannot be used"
        return [head, *listed(self._errors, most, n_rows=looked_at)]

    @property
    def _errors(self) -> list[RowFinding]:
        return [finding for finding in self.findings if finding.severity == "error"]


_LEAK = "subject in two splits"


def read_manifest(path: str | Path, exclude: Sequence[str] = (), *, sources: bool = True) -> Manifest:
    """Read and check a manifest; no image is opened, but every file must exist.

    Columns: `subject`, `timepoint`, `source`, and `target` or one `target_<region>` a region; optional `side`
    (left/right/L/R), `split`, `spacing` (mm of a source pixel: one number, or "rows x columns"), `center_row` and
    `center_col` (source pixels), `image_origin` (real/simulated). All others are labels, whose types are found from
    their values. Relative paths start at the manifest's folder. Names stay text: subject "007" keeps its zeros, and
    is at fault beside a "7".

    Args:
        path: A CSV (comma, semicolon or tab; UTF-8) or a Parquet file.
        exclude: Names of pairs to leave out (see `read_exclusions`). Such a row is counted as excluded and for no
            fault of its own; it takes part in no check of others.
        sources: Whether rows name sources; without, a column `source` may be absent and is not read.

    Returns:
        Sound rows and findings. A second row with the same key is an error, the first is kept; a subject in two
        splits loses all its rows.

    Raises:
        ManifestError: The file cannot be read, has no rows, or lacks a column (columns found and wanted are named); or
            a name to leave out matches no row.
    """
    file = Path(path)
    cells = read_cells(file)
    required = _REQUIRED if sources else tuple(name for name in _REQUIRED if name != "source")
    regions = _regions(file, cells.columns, required)
    target_columns = tuple("target" if "target" in cells.columns else f"target_{name}" for name in regions)
    label_names = [name for name in cells.columns if name not in (*_REQUIRED, *_OPTIONAL, *target_columns)]
    _check_label_names(file, label_names)
    kinds, labels = typed_labels(cells, label_names)
    has_side = any(cells.text("side"))
    has_split = any(cells.text("split"))
    filled = (*required, *target_columns, *(["split"] if has_split else []))
    columns = {name: cells.text(name) for name in (*_REQUIRED, *_OPTIONAL, *target_columns)}
    reader = _RowReader(str(file.resolve().parent), cells, columns, target_columns, has_side, filled)
    findings: list[RowFinding] = []
    rows: list[ManifestRow] = []
    names, used = frozenset(exclude), set[str]()
    for index in range(len(cells)):
        row, found = reader.read(index, labels[index])
        rows.append(row)
        name = excluding_name(row.key, names)
        if name is None:
            findings += found
        else:
            used.add(name)
            findings.append(row.finding("key", f"left out, as the list names {name!r}", EXCLUDED, "note"))
    require_matches(exclude, used, (row.key for row in rows), file)
    excluded = {finding.row for finding in findings if finding.excludes}
    findings += _misspelled([row for row in rows if row.row not in excluded])
    dropped = dropped_rows(findings)
    findings += _duplicates([row for row in rows if row.row not in dropped])
    findings += _leaks([row for row in rows if row.subject and row.split and row.row not in excluded])
    return Manifest(
        path=file,
        sha256=cells.sha256,
        all_rows=tuple(rows),
        findings=tuple(sorted(findings, key=lambda finding: finding.row)),
        regions=regions,
        labels=kinds,
        has_side=has_side,
        has_split=has_split,
        origin=common_origin(_ORIGINS.get(text.lower(), "unknown") for text in cells.text(ORIGIN_COLUMN)),
    )


@dataclass(frozen=True)
class _RowReader:
    """Turns the cells of one row into a `ManifestRow` and the findings it shows."""

    folder: str
    cells: ManifestCells
    columns: Mapping[str, Sequence[str]]
    target_columns: tuple[str, ...]
    has_side: bool
    filled_columns: tuple[str, ...]

    def read(self, index: int, labels: tuple[Label, ...]) -> tuple[ManifestRow, list[RowFinding]]:
        text = {name: column[index] for name, column in self.columns.items()}
        text |= {name: normal_form(text[name]) for name in ("subject", "timepoint", "side", "split")}
        side = _SIDES.get(text["side"].lower(), text["side"])
        named = [text["subject"], text["timepoint"], *([side] if self.has_side else [])]
        named_files = [name for name in ("source", *self.target_columns) if name in self.filled_columns]
        files = {name: locate(self.folder, text[name]) for name in named_files}
        row = ManifestRow(
            row=self.cells.row_numbers[index],
            key="/".join(named),
            subject=text["subject"],
            timepoint=text["timepoint"],
            side=side,
            source=files["source"].path if "source" in files else "",
            targets=tuple(files[name].path for name in self.target_columns),
            split=text["split"],
            spacing=None,
            center=None,
            labels=labels,
        )
        findings: list[RowFinding] = []

        def report(column: str, reason: str, rule: str) -> None:
            findings.append(row.finding(column, reason, rule))

        if self.cells.damage[index]:
            report("(row)", self.cells.damage[index], MALFORMED_ROW)
            return row, findings
        for name in self.filled_columns:
            if not text[name]:
                report(name, "the cell is empty; every row needs a value", f"empty {name}")
        for name in ("subject", "timepoint"):
            if "/" in text[name]:
                report(name, f"{text[name]!r} holds '/', which parts a key; use another sign", "bad name")
        if self.has_side and side not in ("left", "right"):
            found = f"{side!r} is not a side" if side else "the cell is empty while other rows have a side"
            report("side", f"{found}; give left, right, L or R", "unknown side")
        if (origin := text[ORIGIN_COLUMN]).lower() not in _ORIGINS:
            report(ORIGIN_COLUMN, f"{origin!r} is not known; give real, simulated or nothing", "unknown origin")
        for name, located in files.items():
            if located.path and not located.found:
                report(name, f"there is no file {located.path}", MISSING_FILE)
        if not (text["spacing"] or text["center_row"] or text["center_col"]):
            return row, findings
        try:
            row = replace(
                row, spacing=_spacing(text["spacing"]), center=_center(text["center_row"], text["center_col"])
            )
        except ValueError as error:
            report("spacing" if "spacing" in str(error) else "center_row", str(error), "bad number")
        return row, findings


def _regions(file: Path, columns: Sequence[str], required: Sequence[str]) -> tuple[str, ...]:
    wanted = [*required, "target or target_<region>"]
    named = [name for name in columns if name.startswith("target_")]
    missing = [name for name in required if name not in columns]
    if "target" not in columns and not named:
        missing.append("target or target_<region>")
    if missing:
        spare = [name for name in columns if name not in (*_REQUIRED, *_OPTIONAL)]
        guesses = {name: _similar(name.split(" ")[0], spare) for name in missing}
        hints = "".join(f"; did you mean {guess!r} for {name!r}?" for name, guess in guesses.items() if guess)
        raise ManifestError(
            f"manifest {str(file)!r} lacks the {'column' if len(missing) == 1 else 'columns'} "
            f"{', '.join(map(repr, missing))}{hints}{'' if hints else '.'} "
            f"Found: {', '.join(columns)}. Wanted: {', '.join(wanted)}, and perhaps {', '.join(_OPTIONAL)}"
        )
    if "target" in columns and named:
        raise ManifestError(
            f"manifest {str(file)!r} has both 'target' and {named[0]!r}; use 'target' for one region, "
            "'target_<region>' for several"
        )
    if "target_spacing" in named:
        raise ManifestError(
            f"manifest {str(file)!r} has a column 'target_spacing', which is no region; give the pixel size of targets "
            "in the settings (target_spacing), and name regions otherwise"
        )
    if "target_" in named:
        raise ManifestError(
            f"manifest {str(file)!r} has a column 'target_' without a region's name; write target_<region>"
        )
    regions = ("target",) if "target" in columns else tuple(name.removeprefix("target_") for name in named)
    for region in regions:
        fault = region_finding(region)
        if fault is not None:
            raise ManifestError(f"manifest {str(file)!r} has a column {f'target_{region}'!r}: {fault}; rename it")
    return regions


def _similar(wanted: str, spare: Iterable[str]) -> str | None:
    by_lower = {name.lower().strip(): name for name in spare}
    close = difflib.get_close_matches(wanted, by_lower, n=1, cutoff=0.7)
    return by_lower[close[0]] if close else None


def _check_label_names(file: Path, names: Sequence[str]) -> None:
    taken: dict[str, str] = {}
    for name in names:
        column = label_column(name)
        if column in OWN_COLUMNS or column.startswith("_"):
            raise ManifestError(f"manifest {str(file)!r}: the label column {name!r} bears a reserved name; rename it")
        if column in taken:
            raise ManifestError(
                f"manifest {str(file)!r}: the label columns {taken[column]!r} and {name!r} collide; rename one"
            )
        taken[column] = name


def _misspelled(rows: Sequence[ManifestRow]) -> list[RowFinding]:
    faults = subject_findings(row.subject for row in rows)
    return [row.finding("subject", faults[row.subject], "doubtful subject") for row in rows if row.subject in faults]


def _duplicates(rows: Sequence[ManifestRow]) -> list[RowFinding]:
    first: dict[str, ManifestRow] = {}
    found = []
    for row in rows:
        earlier = first.setdefault(row.key, row)
        if earlier is not row:
            reason = f"the same subject, timepoint and side as row {earlier.row}; a pair stands once"
            found.append(row.finding("subject", reason, "duplicate key"))
    return found


def _leaks(rows: Sequence[ManifestRow]) -> list[RowFinding]:
    leaks = leaking_subjects([row.subject for row in rows], [row.split for row in rows])
    rows_of: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        if row.subject in leaks:
            rows_of[row.subject].append(row)
    return [
        row.finding(
            "split",
            f"subject {subject} is in {' and '.join(map(repr, leaks[subject]))}; give each subject one split",
            _LEAK,
        )
        for subject, members in rows_of.items()
        for row in members
    ]


def _spacing(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    found = two_numbers(text)
    if found is None:
        raise ValueError(
            f"spacing is {text!r}; give millimetres, as one number or as 'rows x columns', such as 0.15 x 0.2"
        )
    return found


def _center(row: str, column: str) -> tuple[float, float] | None:
    if not row and not column:
        return None
    values = _number(row), _number(column)
    if values[0] is None or values[1] is None:
        raise ValueError(
            f"center is ({row!r}, {column!r}); give center_row and center_col as pixels, or leave both empty"
        )
    return values[0], values[1]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
