"""Tells of files of another size than the rest, since all are stretched to one, and of targets that are all alike."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mris.cohort.pair import PreparedPair
from mris.images.extent import Extent, common_extent
from mris.wording import counted


@dataclass(frozen=True)
class FileSizes:
    """What is kept of one pair's files: their sizes, which of its targets are flat, whether a person is shown.

    Attributes:
        row: Row of the manifest.
        key: The pair's key.
        sizes: Rows and columns of each target file, in the order of the regions.
        extent_mm: Height and width of the source in mm, None where its spacing is unknown.
        constant: Whether each target has one value throughout, in the order of the regions.
        synthetic: Whether a header says that no patient is shown.
    """

    row: int
    key: str
    sizes: tuple[tuple[int, int], ...]
    extent_mm: Extent | None = None
    constant: tuple[bool, ...] = ()
    synthetic: bool = False

    @classmethod
    def of(cls, pair: PreparedPair) -> "FileSizes":
        """Take them from a pair that was read."""
        return cls(pair.row.row, pair.row.key, pair.file_sizes, pair.extent_mm, pair.constant, pair.synthetic)


def notes_on_sizes(found: Sequence[FileSizes], columns: Sequence[str], stored: tuple[int, int]) -> Iterator[str]:
    """Note for each column how many of its targets have another size than the commonest, and which is the first.

    Regions are not compared with each other: each may have a frame of its own.

    Args:
        found: Every pair that is kept.
        columns: The manifest's target columns, in the order of the regions.
        stored: Rows and columns that all are stretched to.

    Example:
        >>> pairs = [FileSizes(row, f"S{row}/0", ((8, 8),)) for row in (2, 3)] + [FileSizes(4, "S4/0", ((16, 8),))]
        >>> next(notes_on_sizes(pairs, ["target"], (6, 6))).partition(";")[0]
        "1 of 3 maps in column 'target' has another size than the commonest, 8x8 pixels"
    """
    for place, column in enumerate(columns):
        counts = Counter(pair.sizes[place] for pair in found)
        if len(counts) < 2:
            continue
        common, n_common = counts.most_common(1)[0]
        first = next(pair for pair in found if pair.sizes[place] != common)
        n_other = len(found) - n_common
        yield (
            f"{n_other:,} of {counted(len(found), 'map')} in column {column!r} {'has' if n_other == 1 else 'have'} "
            f"another size than the commonest, {_written(common)} pixels; first: row {first.row} ({first.key}) with "
            f"{_written(first.sizes[place])}; all are stretched to {_written(stored)}, which fits only if they show "
            "the same area"
        )


def notes_on_sameness(
    found: Sequence[FileSizes], files: Mapping[int, Sequence[str]], columns: Sequence[str]
) -> Iterator[str]:
    """Note each column from whose targets nothing can be learned, since they are one file, or flat.

    Args:
        found: Every pair that is kept.
        files: The target files of each row of the manifest, in the order of the regions.
        columns: The manifest's target columns, likewise.

    Example:
        >>> pairs = [FileSizes(row, f"S{row}/0", ((8, 8),), constant=(False,)) for row in (2, 3)]
        >>> list(notes_on_sameness(pairs, {2: ["mean.npy"], 3: ["mean.npy"]}, ["target"]))
        ["all 2 targets in column 'target' are one file (mean.npy): nothing is to be learned from them"]
    """
    for place, column in enumerate(columns):
        named = {files[pair.row][place] for pair in found}
        every = f"all {len(found):,} targets in column {column!r}"
        if len(found) > 1 and len(named) == 1:
            yield f"{every} are one file ({named.pop()}): nothing is to be learned from them"
        elif len(found) > 1 and all(pair.constant[place : place + 1] == (True,) for pair in found):
            yield f"{every} have one value throughout: they hold no map"


def notes_on_extents(found: Sequence[FileSizes], stored: tuple[int, int]) -> Iterator[str]:
    """Note why a cohort of whole sources has no one extent, where some of them have one.

    Args:
        found: Every pair that is kept.
        stored: Rows and columns that all are stretched to.

    Example:
        >>> pairs = [FileSizes(row, f"S{row}/0", (), (mm, mm)) for row, mm in ((2, 140.0), (3, 98.0))]
        >>> next(notes_on_extents(pairs, (64, 64))).partition(":")[0]
        'sources show areas of different size'
    """
    known = [(math.prod(pair.extent_mm), pair) for pair in found if pair.extent_mm is not None]
    if not known or common_extent([pair.extent_mm for pair in found]) is not None:
        return
    if len(known) < len(found):
        yield (
            f"the pixel spacing of {len(found) - len(known):,} of {counted(len(found), 'source')} is unknown, so it is "
            "not recorded how many mm they show"
        )
        return
    (_, least), (_, largest) = min(known, key=lambda one: one[0]), max(known, key=lambda one: one[0])
    shown = " and ".join(
        f"{pair.extent_mm[0]:.4g} x {pair.extent_mm[1]:.4g} mm (row {pair.row}, {pair.key})"
        for pair in (least, largest)
        if pair.extent_mm is not None
    )
    yield (
        f"sources show areas of different size: {shown}; all are stretched to {_written(stored)}, and it is not "
        "recorded how many mm they show"
    )


def _written(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
