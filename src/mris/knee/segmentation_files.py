"""Which knee a segmentation file shows: from an index, or from its name."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mris.cohort.manifest_file import read_cells
from mris.errors import ManifestError, SettingsError
from mris.images.image import side_name
from mris.knee.segmentation import Side

INDEX_COLUMNS = ("file", "subject", "side", "timepoint")
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

_SIDE = re.compile(r"(?:^|[_\-. ])(left|right|l|r)(?=[_\-. ]|$)", re.IGNORECASE)
_MONTHS = re.compile(r"0*(\d+)m", re.IGNORECASE)


@dataclass(frozen=True)
class KneeFile:
    """A segmentation file and whose knee it shows.

    Attributes:
        path: The file.
        subject: Whose knee it is.
        side: ``"left"`` or ``"right"``.
        timepoint: When; free text.
    """

    path: Path
    subject: str
    side: Side
    timepoint: str

    @property
    def key(self) -> str:
        """The file's name without its suffix: the name of its folder of maps."""
        return stem_of(self.path)


def stem_of(path: Path) -> str:
    """Give the name of a file without the suffix of a volume.

    Example:
        >>> stem_of(Path("scans/9000000_R.nii.gz"))
        '9000000_R'
    """
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)]


def knee_of_name(path: Path, side: Side | None = None) -> KneeFile:
    """Read subject, side and timepoint from a name such as ``9000000_R_00m_seg.nii.gz``.

    What stands before the side is the subject; the next word is the timepoint (``00m`` is month 0), ``0`` if there is
    none.

    Args:
        path: The file.
        side: Overrules the name.

    Raises:
        SettingsError: The name tells no side and none is given.

    Example:
        >>> knee_of_name(Path("9000000_R_12m_seg.nii.gz"))
        KneeFile(path=PosixPath('9000000_R_12m_seg.nii.gz'), subject='9000000', side='right', timepoint='12')
    """
    stem = stem_of(path)
    found = _SIDE.search(stem)
    if found is None and side is None:
        raise SettingsError(
            f"{path.name}: its name tells no side (such as 9000000_R_00m.nii.gz); give --side, or an --index with the "
            f"columns {', '.join(INDEX_COLUMNS)}"
        )
    if found is None:
        return KneeFile(path, stem, cast(Side, side), "0")
    words = [word for word in re.split(r"[_\-. ]", stem[found.end() :]) if word]
    timepoint = words[0] if words and words[0].lower() not in ("seg", "segmentation", "labels") else "0"
    months = _MONTHS.fullmatch(timepoint)
    subject = stem[: found.start()] or stem
    return KneeFile(
        path, subject, side or cast(Side, side_name(found.group(1))), months.group(1) if months else timepoint
    )


def knee_files(paths: Sequence[Path], side: Side | None = None, index: Path | None = None) -> tuple[KneeFile, ...]:
    """Say for each file whose knee it shows.

    Args:
        paths: Segmentation files; with an index, none means all files of the index.
        side: The side of all of them, overruling names (not with an index).
        index: CSV with the columns `INDEX_COLUMNS`; files are relative to its folder.

    Raises:
        SettingsError: No file, two files of one name, a side that no name tells, or an index and a side.
        ManifestError: The index cannot be read, lacks a column, or does not name a file.
    """
    if index is not None and side is not None:
        raise SettingsError("--side and --index both say the side; give one of them")
    knees = _from_index(index, paths) if index else tuple(knee_of_name(path, side) for path in paths)
    if not knees:
        raise SettingsError("no segmentation was given; name files, or an --index")
    repeated = [key for key, n in Counter(knee.key for knee in knees).items() if n > 1]
    if repeated:
        raise SettingsError(f"two files are called {repeated[0]!r}; their maps would share a folder: rename one")
    return knees


def _from_index(index: Path, paths: Sequence[Path]) -> tuple[KneeFile, ...]:
    cells = read_cells(index, "index")
    missing = [name for name in INDEX_COLUMNS if name not in cells.columns]
    if missing:
        raise ManifestError(f"index {str(index)!r} has no column {missing[0]!r}; it needs {', '.join(INDEX_COLUMNS)}")
    knees = {}
    for row, damage, *values in zip(cells.row_numbers, cells.damage, *map(cells.text, INDEX_COLUMNS), strict=True):
        file, subject, side, timepoint = (str(value) for value in values)
        name = side_name(side)
        fault = damage or ("" if file and subject and timepoint else "file, subject and timepoint must not be empty")
        if not fault and name not in ("left", "right"):
            fault = f"side is {side!r}; give left, right, L or R"
        if fault:
            raise ManifestError(f"index {str(index)!r} row {row}: {fault}")
        path = index.parent / file
        knees[path.name] = KneeFile(path, subject, cast(Side, name), timepoint)
    if not paths:
        return tuple(knees.values())
    unknown = [path.name for path in paths if path.name not in knees]
    if unknown:
        raise ManifestError(f"index {str(index)!r} does not name {unknown[0]}; add a row for it")
    return tuple(KneeFile(path, *_who(knees[path.name])) for path in paths)


def _who(knee: KneeFile) -> tuple[str, Side, str]:
    return knee.subject, knee.side, knee.timepoint
