"""The Lance table of a database: one row an entry; atomic appends and deletes; a checksum a row."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import lance.fragment
import numpy as np
import pyarrow as pa
from jaxtyping import Float16, Float32, Int64, Shaped

from mris.errors import DatabaseError, OutputError, reason_of

METADATA = ("key", "subject", "timepoint", "side", "split", "labels")
CHECKSUM_BYTES = 16


@dataclass(frozen=True)
class Entries:
    """Some entries in memory, column by column.

    Attributes:
        metadata: For each name of `METADATA`, (n,) strings; "labels" is a JSON object.
        embeddings: (n, d) of norm 1.
        targets: (n, p) flattened target images, NaN where there is no value.
        checksums: (n,) bytes, as `entry_checksums` gives them.
    """

    metadata: dict[str, Shaped[np.ndarray, " n"]]
    embeddings: Float32[np.ndarray, "n d"]
    targets: Float16[np.ndarray, "n p"]
    checksums: list[bytes]


def entry_checksums(
    metadata: dict[str, Shaped[np.ndarray, " n"]],
    embeddings: Float32[np.ndarray, "n d"],
    targets: Float16[np.ndarray, "n p"],
) -> list[bytes]:
    """BLAKE2b of all that an entry holds: it tells a flipped bit anywhere in a row."""
    digests = []
    for row in range(len(embeddings)):
        digest = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
        for name in METADATA:
            digest.update(str(metadata[name][row]).encode() + b"\0")
        digest.update(embeddings[row].astype("<f4", copy=False).tobytes())
        digest.update(targets[row].astype("<f2", copy=False).tobytes())
        digests.append(digest.digest())
    return digests


def entry_schema(embedding_dim: int, n_pixels: int) -> pa.Schema:
    """Columns of the table."""
    return pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in METADATA]
        + [
            pa.field("embedding", pa.list_(pa.float32(), embedding_dim), nullable=False),
            pa.field("target", pa.list_(pa.float16(), n_pixels), nullable=False),
            pa.field("checksum", pa.binary(CHECKSUM_BYTES), nullable=False),
        ]
    )


def arrow_entries(entries: Entries, schema: pa.Schema) -> pa.Table:
    """Lay entries out as the table wants them."""
    columns: list[pa.Array] = [pa.array([str(value) for value in entries.metadata[name]]) for name in METADATA]
    columns.append(_fixed_lists(entries.embeddings))
    columns.append(_fixed_lists(entries.targets))
    columns.append(pa.array(entries.checksums, pa.binary(CHECKSUM_BYTES)))
    return pa.Table.from_arrays(columns, schema=schema)


def numpy_entries(table: pa.RecordBatch | pa.Table) -> Entries:
    """Read back what `arrow_entries` gave."""
    return Entries(
        {name: strings_of(table, name) for name in METADATA},
        vectors_of(table, "embedding"),
        vectors_of(table, "target"),
        table["checksum"].to_pylist(),
    )


def strings_of(table: pa.RecordBatch | pa.Table, name: str) -> Shaped[np.ndarray, " n"]:
    """A string column as a NumPy array of strings."""
    return np.array(table[name].to_pylist(), dtype=np.str_)


def vectors_of(table: pa.RecordBatch | pa.Table, name: str) -> np.ndarray:
    """A column of fixed-size lists as an array (n, size), in the stored type."""
    column = table[name]
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    size = column.type.list_size
    parts = [chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, size) for chunk in chunks]
    empty = np.empty((0, size), column.type.value_type.to_pandas_dtype())
    return parts[0] if len(parts) == 1 else np.concatenate([empty, *parts])


class EntryWriter:
    """Writes entries as fragments that nobody sees until one commit makes all of them part of the table.

    Whatever ends the process before the commit leaves the table as it was.
    """

    def __init__(self, path: Path, schema: pa.Schema, read_version: int | None = None) -> None:
        """Write to `path`; ``read_version`` is that of the table to append to, None for a new table."""
        self._path, self._schema, self._read_version = path, schema, read_version
        self._fragments: list[Any] = []

    def write(self, entries: Entries) -> None:
        """Write entries to disk, still invisible.

        Raises:
            OutputError: The disk refuses.
        """
        with writing(self._path):
            self._fragments += lance.fragment.write_fragments(
                arrow_entries(entries, self._schema),
                str(self._path),
                schema=self._schema,
                mode="create" if self._read_version is None else "append",
            )

    def commit(self) -> None:
        """Make all that was written part of the table, at once.

        Raises:
            OutputError: The disk refuses, or another process changed the table in a way that conflicts.
        """
        with writing(self._path):
            operation: Any = lance.LanceOperation.Append(self._fragments)
            if self._read_version is None:
                operation = lance.LanceOperation.Overwrite(self._schema, self._fragments)
            lance.LanceDataset.commit(str(self._path), operation, read_version=self._read_version)


def open_table(path: Path) -> lance.LanceDataset:
    """Open the table.

    Raises:
        DatabaseError: It is absent or damaged.
    """
    with reading(path):
        return lance.dataset(str(path))


def take_vectors(table: lance.LanceDataset, column: str, rows: Int64[np.ndarray, " m"], path: Path) -> np.ndarray:
    """Read a vector column at some rows, in the order asked; a row may be asked for twice.

    Raises:
        DatabaseError: The table is damaged.
    """
    distinct, places = np.unique(rows, return_inverse=True)
    with reading(path):
        taken = vectors_of(table.take(distinct.tolist(), columns=[column]), column)
    return taken if len(places) == len(distinct) and np.all(np.diff(places) == 1) else taken[places]


def scan(table: lance.LanceDataset, columns: Sequence[str], path: Path, batch_size: int) -> Iterator[pa.RecordBatch]:
    """Read columns of all rows, in row order, a batch at a time.

    Raises:
        DatabaseError: The table is damaged.
    """
    with reading(path):
        yield from table.to_batches(columns=list(columns), batch_size=batch_size, scan_in_order=True)


def subject_filter(subjects: Iterable[str], *, excluding: bool = False) -> str:
    """The SQL condition that a row belongs (or does not belong) to one of the subjects."""
    quoted = ", ".join("'" + subject.replace("'", "''") + "'" for subject in subjects)
    return f"subject {'NOT IN' if excluding else 'IN'} ({quoted})"


def date_back(path: Path) -> None:
    """Give files of a table that are dated in the future, as by a disk whose clock is ahead, the time of now.

    Lance deletes no file that is younger than the version that stays.
    """
    now = time.time()
    for file in path.rglob("*"):
        if file.stat().st_mtime > now:
            os.utime(file, (now, now))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what Lance raises on an absent or damaged table into one clear line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        raise DatabaseError(_unreadable(path, error)) from error
    except BaseException as error:
        # A damaged file can make Lance's Rust code panic, and that is no `Exception` in Python.
        if type(error).__name__ == "PanicException":
            raise DatabaseError(_unreadable(path, error)) from error
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what Lance raises on a full disk, missing rights or a conflict into one clear line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"cannot write {path} ({reason_of(error)}); what was there before is unchanged; "
            "free space, rights or another place would help"
        ) from error


def _unreadable(path: Path, error: BaseException) -> str:
    return (
        f"the table {path} is absent or damaged ({reason_of(error)}); "
        "restore a copy, or build the database again from its cohort"
    )


def _fixed_lists(values: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])
