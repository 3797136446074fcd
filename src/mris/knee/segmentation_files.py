"""Which knee a segmentation file shows: from an index, or from its name."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import cast

from mris.cohort.manifest_file import read_cells
from mris.cohort.names import normal_form, require_sound_subjects
from mris.errors import ManifestError, SettingsError
from mris.images.header import Side
from mris.images.image import side_name
from mris.images.result_names import result_stems
from mris.knee.label_volume import source_files
from mris.knee.segmentation_names import SCHEMES, knee_of_stem

INDEX_COLUMNS = ("file", "subject", "side", "timepoint")
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

_INDEX = f"an --index, a CSV with the columns {', '.join(INDEX_COLUMNS)}"


@dataclass(frozen=True)
class KneeFile:
    """A segmentation file and whose knee it shows.

    Attributes:
        path: The file.
        subject: Whose knee it is.
        side: ``"left"`` or ``"right"``.
        timepoint: When; free text.
        name: What its folder of maps is called; "" for the file's name without its suffix.
    """

    path: Path
    subject: str
    side: Side
    timepoint: str
    name: str = ""

    @property
    def key(self) -> str:
        """The name of its folder of maps."""
        return self.name or stem_of(self.path)


def stem_of(path: Path) -> str:
    """Give the name of a file without the suffix of a volume.

    Example:
        >>> stem_of(Path("scans/9000000_R.nii.gz"))
        '9000000_R'
    """
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)]


def knee_of_name(path: Path, side: Side | None = None) -> KneeFile:
    """Read subject, side and timepoint from a file's name (see `knee_of_stem`).

    Args:
        path: The file.
        side: For a name that tells none.

    Raises:
        SettingsError: The name is doubtful, tells another side than the given one, or tells no side and none is given.

    Example:
        >>> knee_of_name(Path("9000000_R_12m_seg.nii.gz")).subject
        '9000000'
    """
    try:
        named = knee_of_stem(stem_of(path))
    except SettingsError as error:
        raise SettingsError(f"{path.name}: {error}; rename it, such as to {SCHEMES}, or give {_INDEX}") from error
    if named.side is None and side is None:
        raise SettingsError(f"{path.name}: its name tells no side (as {SCHEMES} do); give --side, or {_INDEX}")
    if named.side and side and named.side != side:
        raise SettingsError(f"{path.name}: its name says {named.side} and --side {side}; give {_INDEX}")
    return KneeFile(path, named.subject, named.side or cast(Side, side), named.timepoint)


def knee_files(paths: Sequence[Path], side: Side | None = None, index: Path | None = None) -> tuple[KneeFile, ...]:
    """Say for each file whose knee it shows.

    Args:
        paths: Segmentation files; with an index, none means all files of the index. A tibial probability map goes with
            its femoral one.
        side: The side of files whose names tell none (not with an index).
        index: CSV with the columns `INDEX_COLUMNS`; files are relative to its folder. A row is of the file that it
            names; failing that, of the only one whose path ends as the row does.

    Returns:
        One entry a file; files that share a name are called after their folders, too.

    Raises:
        SettingsError: No file, two files of the same knee and timepoint or that cannot be told apart by their names,
            a name that is doubtful, or an index and a side.
        ManifestError: The index cannot be read, lacks a column, or names a file not once; or a subject is at fault
            (see `subject_findings`).
    """
    if index is not None and side is not None:
        raise SettingsError("--side and --index both say the side; give one of them")
    tibial = {tibial for path in paths for tibial in source_files(path)[1:]}
    paths = [path for path in paths if path not in tibial]
    knees = _from_index(index, paths) if index else tuple(knee_of_name(path, side) for path in paths)
    if not knees:
        raise SettingsError("no segmentation was given; name files, or an --index")
    require_sound_subjects((knee.subject for knee in knees), f"index {str(index)!r}" if index else "names of files")
    _require_distinct(knees)
    names = result_stems([knee.path for knee in knees])
    return tuple(replace(knee, name=name) for knee, name in zip(knees, names, strict=True))


def _require_distinct(knees: Sequence[KneeFile]) -> None:
    first: dict[tuple[str, str, str], Path] = {}
    for knee in knees:
        other = first.setdefault((knee.subject, knee.side, knee.timepoint), knee.path)
        if other is not knee.path:
            raise SettingsError(
                f"{other} and {knee.path} would both be the {knee.side} knee of subject {knee.subject!r} at timepoint "
                f"{knee.timepoint!r}; leave one out, or tell them apart in {_INDEX}"
            )


def _from_index(index: Path, paths: Sequence[Path]) -> tuple[KneeFile, ...]:
    cells = read_cells(index, "index")
    missing = [name for name in INDEX_COLUMNS if name not in cells.columns]
    if missing:
        raise ManifestError(f"index {str(index)!r} has no column {missing[0]!r}; it needs {', '.join(INDEX_COLUMNS)}")
    knees: dict[Path, KneeFile] = {}
    named: dict[str, list[KneeFile]] = defaultdict(list)
    for row, damage, *values in zip(cells.row_numbers, cells.damage, *map(cells.text, INDEX_COLUMNS), strict=True):
        file, subject, side, timepoint = values[0], *map(normal_form, values[1:])
        name = side_name(side)
        fault = damage or ("" if file and subject and timepoint else "file, subject and timepoint must not be empty")
        if not fault and name not in ("left", "right"):
            fault = f"side is {side!r}; give left, right, L or R"
        knee = KneeFile(index.parent / file, subject, cast(Side, name), timepoint)
        if not fault and knees.setdefault(knee.path.resolve(), knee) is not knee:
            fault = f"{file} stands in two rows; keep one"
        if fault:
            raise ManifestError(f"index {str(index)!r} row {row}: {fault}")
        named[knee.path.name].append(replace(knee, name=file))
    if not paths:
        return tuple(knees.values())
    rows = [knees.get(path.resolve()) or _by_end(index, path, named[path.name]) for path in paths]
    return tuple(KneeFile(path, row.subject, row.side, row.timepoint) for path, row in zip(paths, rows, strict=True))


def _by_end(index: Path, path: Path, rows: Sequence[KneeFile]) -> KneeFile:
    """Find the row of a file that lies elsewhere than the index says: its cell ends the path."""
    parts = path.resolve().parts
    absent = [row for row in rows if not row.path.exists()]  # a row whose own file is there is of no other
    found = [row for row in absent if (cell := PurePath(row.name).parts) == parts[-len(cell) :]]
    if not found:
        raise ManifestError(f"index {str(index)!r} does not name {path}; add a row for it")
    if len(found) > 1:
        raise ManifestError(
            f"index {str(index)!r} names {path} in {len(found)} rows ({', '.join(row.name for row in found)}); write "
            "its path from the folder of the index"
        )
    return found[0]
