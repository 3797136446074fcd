"""The Lance table of a cohort: one row a pair, images as fixed-size lists of float16."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float16, Float32, Int64

from mris.cohort.header import IMAGE_COLUMNS
from mris.cohort.lance_library import lance
from mris.cohort.lance_path import lance_path
from mris.errors import CohortError, reason_of


def image_array(images: Float16[np.ndarray, "n p"]) -> pa.FixedSizeListArray:
    """View rows of pixels as an Arrow array, without a copy when they are contiguous."""
    flat = np.ascontiguousarray(images, dtype=np.float16).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), images.shape[1])


def pixels_of(column: pa.ChunkedArray) -> list[Float16[np.ndarray, "n p"]]:
    """View each chunk of an image column as rows of pixels, without a copy."""
    return [
        chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(chunk), chunk.type.list_size)
        for chunk in column.chunks
    ]


@dataclass(frozen=True)
class PairTable:
    """Read access to the table of a finished cohort; opened at the first read, and again after unpickling.

    Attributes:
        path: Folder of the Lance table.
    """

    path: Path
    _process: int = field(default_factory=os.getpid, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _process=os.getpid())

    @cached_property
    def dataset(self) -> Any:
        """The open `lance.LanceDataset`.

        Raises:
            CohortError: The table is absent or damaged.
        """
        with self._readable():
            return lance.dataset(lance_path(self.path))

    def metadata(self) -> pa.Table:
        """Read every column but the images, in the order of the rows."""
        columns = [name for name in self.dataset.schema.names if name not in IMAGE_COLUMNS]
        with self._readable():
            return self.dataset.to_table(columns=columns, scan_in_order=True).combine_chunks()

    def read(self, columns: Sequence[str], rows: Int64[np.ndarray, " n"]) -> list[Float32[np.ndarray, "n p"]]:
        """Read images of the given rows, in the order asked; a row may be asked twice.

        Args:
            columns: Of "source" and "target".
            rows: Positions in the table.

        Returns:
            For each column the pixels as float32, shape (n, number of pixels).

        Raises:
            CohortError: The table is damaged, or this process was forked from one that had it open.
        """
        if os.getpid() != self._process:
            raise CohortError(
                "a cohort that was opened before a fork cannot be read in the child (Lance's threads do not "
                "survive it); start workers with the 'spawn' method, or open the cohort in the worker"
            )
        # Lance wants sorted positions to read neighbors together; equal ones are read once.
        distinct, places = np.unique(rows, return_inverse=True)
        with self._readable():
            taken = self.dataset.take(distinct.tolist(), columns=list(columns))
        return [_gathered(pixels_of(taken[name]), places) for name in columns]

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise CohortError(
                f"the table {self.path} cannot be read ({reason_of(error)}); prepare again with --overwrite"
            ) from error


def _gathered(chunks: list[Float16[np.ndarray, "_ p"]], places: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n p"]:
    """Widen to float32 and put in the order asked, in a single pass over the pixels."""
    stored = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    if len(places) == len(stored) and np.array_equal(places, np.arange(len(stored))):
        return stored.astype(np.float32)
    gathered = np.empty((len(places), stored.shape[1]), dtype=np.float32)
    for place, row in enumerate(places):
        gathered[place] = stored[row]
    return gathered
