"""Writes the table of a cohort, in appends that each succeed whole or not at all."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64

from mris.cohort.header import label_column
from mris.cohort.labels import LabelKind
from mris.cohort.lance_library import lance
from mris.cohort.lance_path import lance_path
from mris.cohort.pair import PreparedPair
from mris.cohort.pair_table import image_array, pixels_of
from mris.errors import CohortError, OutputError, reason_of

_ARROW_TYPES = {"int": pa.int64(), "float": pa.float64(), "text": pa.string()}
_MANY_FRAGMENTS = 100
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class PairWriter:
    """The growing table of a cohort that is being prepared; only one process may have it.

    Attributes:
        path: Folder of the Lance table; absent before the first append.
        labels: Label columns and their types.
    """

    path: Path
    labels: dict[str, LabelKind]

    def append(self, pairs: Sequence[PreparedPair], splits: Sequence[str]) -> None:
        """Add pairs in one atomic commit.

        Args:
            pairs: Pairs with pixels.
            splits: The split of each.

        Raises:
            OutputError: The disk is full or refuses; the table stays as it was.
        """
        table = pair_rows(pairs, splits, self.labels)
        with self._as_output_error():
            if self.exists():
                lance.write_dataset(table, lance_path(self.path), mode="append")
            else:
                lance.write_dataset(table, lance_path(self.path), mode="create")

    def exists(self) -> bool:
        """Whether a first append has succeeded."""
        versions = self.path / "_versions"
        return versions.is_dir() and any(versions.glob("*.manifest"))

    def rows_done(self) -> Int64[np.ndarray, " n"]:
        """Give the manifest rows that are in the table, in its order.

        Raises:
            CohortError: The table is damaged.
        """
        return np.asarray(self._column("manifest_row").to_numpy(), dtype=np.int64)

    def splits(self) -> list[str]:
        """Give the split of each row."""
        return list(self._column("split").to_pylist())

    def subjects(self) -> list[str]:
        """Give the subject of each row."""
        return list(self._column("subject").to_pylist())

    def n_channels(self, source_size: tuple[int, int]) -> int | None:
        """Tell how many channels the stored sources have; None before the first append."""
        if not self.exists():
            return None
        return int(self._open().schema.field("source").type.list_size) // (source_size[0] * source_size[1])

    def target_spacing(self) -> tuple[float, float] | None:
        """Give the pixel size (mm) that all targets share to within one percent, or None."""
        column = self._column("target_spacing").combine_chunks()
        spacings = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, 2)
        if np.isnan(spacings).any():
            return None
        middle = np.median(spacings, axis=0)
        if np.any(np.abs(spacings - middle) > 0.01 * middle):
            return None
        return float(middle[0]), float(middle[1])

    def valid_pixels(self, split: str | None) -> Bool[np.ndarray, " p"]:
        """Mark the target pixels that have a value in at least one row of a split (None: of all rows).

        Raises:
            CohortError: The table is damaged.
        """
        valid: Any = False
        inside = np.flatnonzero([split in (None, name) for name in self.splits()])
        with self._as_cohort_error():
            dataset = self._open()
            # Blocks taken by row: a scan reads ahead as far as it can, and its memory grows with the table.
            for start in range(0, len(inside), _ROWS_AT_ONCE):
                taken = dataset.take(inside[start : start + _ROWS_AT_ONCE].tolist(), columns=["target"])
                for pixels in pixels_of(taken["target"]):
                    # A float16 is NaN where its bits without the sign exceed those of infinity: far faster than isnan.
                    has_value = (pixels.view(np.uint16) & 0x7FFF) <= 0x7C00
                    valid = valid | has_value.any(axis=0)
        return np.asarray(valid, dtype=np.bool_)

    def tidy(self) -> None:
        """Join the fragments if there are very many, and remove what no longer belongs to the table.

        Raises:
            OutputError: The disk is full or refuses; the table stays as it was.
        """
        with self._as_output_error():
            dataset = self._open()
            if len(dataset.get_fragments()) > _MANY_FRAGMENTS:
                dataset.optimize.compact_files()
            # By count, not by age: Lance takes an age of zero for "the default of two weeks".
            self._open().cleanup_old_versions(retain_versions=1, delete_unverified=True)

    def _open(self) -> Any:
        return lance.dataset(lance_path(self.path))

    def _column(self, name: str) -> pa.ChunkedArray:
        with self._as_cohort_error():
            return self._open().to_table(columns=[name], scan_in_order=True)[name]

    @contextlib.contextmanager
    def _as_output_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {reason_of(error)}; what was written before is intact: free some space "
                "(or mend the rights) and run the same command again, it resumes"
            ) from error

    @contextlib.contextmanager
    def _as_cohort_error(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise CohortError(
                f"the table {self.path} is damaged ({reason_of(error)}); prepare again with --overwrite"
            ) from error


def pair_rows(pairs: Sequence[PreparedPair], splits: Sequence[str], labels: dict[str, LabelKind]) -> pa.Table:
    """Make the rows of the table.

    Args:
        pairs: Pairs with pixels, all of the same shapes.
        splits: The split of each.
        labels: Label columns and their types.

    Returns:
        An Arrow table with the columns of a cohort.
    """
    rows = [pair.row for pair in pairs]
    sources = np.stack([pair.source for pair in pairs if pair.source is not None])
    targets = np.stack([pair.target for pair in pairs if pair.target is not None])
    spacings = np.array([pair.target_spacing for pair in pairs], dtype=np.float64)
    columns: dict[str, Any] = {
        "key": pa.array([row.key for row in rows], pa.string()),
        "subject": pa.array([row.subject for row in rows], pa.string()),
        "timepoint": pa.array([row.timepoint for row in rows], pa.string()),
        "side": pa.array([row.side for row in rows], pa.string()),
        "split": pa.array(list(splits), pa.string()),
        "manifest_row": pa.array([row.row for row in rows], pa.int64()),
        "target_spacing": pa.FixedSizeListArray.from_arrays(pa.array(spacings.reshape(-1)), 2),
    }
    for index, (name, kind) in enumerate(labels.items()):
        columns[label_column(name)] = pa.array([row.labels[index] for row in rows], _ARROW_TYPES[kind])
    columns["source"] = image_array(sources.reshape(len(rows), -1))
    columns["target"] = image_array(targets.reshape(len(rows), -1))
    return pa.table(columns)
