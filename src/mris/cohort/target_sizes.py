"""Tells of targets whose files have another size than the rest, since all are stretched to one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mris.cohort.pair import PreparedPair
from mris.wording import counted


@dataclass(frozen=True)
class TargetSizes:
    """The sizes of one pair's target files.

    Attributes:
        row: Row of the manifest.
        key: The pair's key.
        sizes: Rows and columns of each file, in the order of the regions.
    """

    row: int
    key: str
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, pair: PreparedPair) -> "TargetSizes":
        """Take them from a pair that was read."""
        return cls(pair.row.row, pair.row.key, pair.file_sizes)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TargetSizes":
        """Read what `dataclasses.asdict` gave."""
        return cls(values["row"], values["key"], tuple((rows, columns) for rows, columns in values["sizes"]))


def notes_on_sizes(found: Sequence[TargetSizes], columns: Sequence[str], stored: tuple[int, int]) -> Iterator[str]:
    """Note for each column how many of its targets have another size than the commonest, and which is the first.

    Regions are not compared with each other: each may have a frame of its own.

    Args:
        found: Every pair that is kept.
        columns: The manifest's target columns, in the order of the regions.
        stored: Rows and columns that all are stretched to.

    Example:
        >>> pairs = [TargetSizes(row, f"S{row}/0", ((8, 8),)) for row in (2, 3)] + [TargetSizes(4, "S4/0", ((16, 8),))]
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


def _written(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
