"""The Lance table of a database: one row an entry; atomic appends and deletes; three checksums a row."""

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from jaxtyping import Float16, Float32, Int64, Shaped, UInt8

from mris.cohort.lance_library import lance
from mris.cohort.lance_path import lance_path, open_lance
from mris.database.header import DatabaseHeader
from mris.errors import DatabaseError, OutputError, reason_of
from mris.storage.folder import Folder
from mris.storage.objects import reason_at

METADATA = ("key", "subject", "timepoint", "side", "split", "labels")
CHECKSUMS = ("metadata_checksum", "embedding_checksum", "target_checksum")
CHECKSUM_BYTES = 16


@dataclass(frozen=True)
class Entries:
    """Some entries in memory, column by column.

    Attributes:
        metadata: For each name of `METADATA`, (n,) strings; "labels" is a JSON object.
        embeddings: (n, d) of norm 1.
        features: (n, q) what a linear readout reads of each source; NaN for an entry without one, q = 0 for no feature.
        targets: (n, p) flattened target images, NaN where there is no value.
    """

    metadata: dict[str, Shaped[np.ndarray, " n"]]
    embeddings: Float32[np.ndarray, "n d"]
    features: Float32[np.ndarray, "n q"]
    targets: Float16[np.ndarray, "n p"]


def metadata_checksums(metadata: dict[str, Shaped[np.ndarray, " n"]]) -> list[bytes]:
    """XXH3 of the metadata of each entry. It tells a flipped bit, not a forgery."""
    columns = [metadata[name].tolist() for name in METADATA]
    return [xxhash.xxh3_128_digest("\0".join(values).encode()) for values in zip(*columns, strict=True)]


def vector_checksums(keys: Shaped[np.ndarray, " n"], vectors: np.ndarray) -> list[bytes]:
    """XXH3 of the embedding or target of each entry, (n, size), and of the key that tells whose it is."""
    stored = np.ascontiguousarray(vectors, dtype=vectors.dtype.newbyteorder("<"))
    digests = []
    for row, key in enumerate(keys.tolist()):
        digest = xxhash.xxh3_128(key.encode())
        digest.update(stored[row])
        digests.append(digest.digest())
    return digests


def entry_schema(embedding_dim: int, n_features: int, n_pixels: int) -> pa.Schema:
    """Columns of the table."""
    features = [pa.field("features", pa.list_(pa.float32(), n_features), nullable=False)] if n_features else []
    return pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in METADATA]
        + [pa.field("embedding", pa.list_(pa.float32(), embedding_dim), nullable=False)]
        + features
        + [pa.field("target", pa.list_(pa.float16(), n_pixels), nullable=False)]
        + [pa.field(name, pa.binary(CHECKSUM_BYTES), nullable=False) for name in CHECKSUMS]
    )


def table_schema(header: DatabaseHeader) -> pa.Schema:
    """Columns of the table of a database."""
    return entry_schema(header.embedding_dim, header.n_features, int(np.prod(header.target_shape)))


def arrow_entries(entries: Entries, schema: pa.Schema) -> pa.Table:
    """Lay entries out as the table wants them."""
    columns: list[pa.Array] = [pa.array([str(value) for value in entries.metadata[name]]) for name in METADATA]
    columns.append(_fixed_lists(entries.embeddings))
    columns += [_fixed_lists(entries.features)] if entries.features.shape[1] else []
    columns.append(_fixed_lists(entries.targets))
    keys = entries.metadata["key"]
    checksums = (
        metadata_checksums(entries.metadata),
        vector_checksums(keys, np.concatenate([entries.embeddings, entries.features], axis=1)),
        vector_checksums(keys, entries.targets),
    )
    columns += [pa.array(values, pa.binary(CHECKSUM_BYTES)) for values in checksums]
    return pa.Table.from_arrays(columns, schema=schema)


def strings_of(table: pa.RecordBatch | pa.Table, name: str) -> Shaped[np.ndarray, " n"]:
    """A string column as a NumPy array of strings."""
    return np.array(table[name].to_pylist(), dtype=np.str_)


def checksums_of(table: pa.Table, name: str) -> UInt8[np.ndarray, "n 16"]:
    """A column of checksums as an array of bytes."""
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype=np.uint8)[CHECKSUM_BYTES * chunk.offset :][
            : CHECKSUM_BYTES * len(chunk)
        ]
        for chunk in table[name].chunks
        if len(chunk)
    ]
    return np.concatenate([np.empty(0, dtype=np.uint8), *parts]).reshape(-1, CHECKSUM_BYTES)


def embeddings_and_features(
    table: pa.RecordBatch | pa.Table,
) -> tuple[Float32[np.ndarray, "n d"], Float32[np.ndarray, "n q"]]:
    """Embeddings and features of some entries; q = 0 where a table has no features."""
    embeddings = np.ascontiguousarray(vectors_of(table, "embedding"), dtype=np.float32)
    if "features" not in table.schema.names:
        return embeddings, np.empty((len(embeddings), 0), dtype=np.float32)
    return embeddings, np.ascontiguousarray(vectors_of(table, "features"), dtype=np.float32)


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
                lance_path(self._path),
                schema=self._schema,
                mode="create" if self._read_version is None else "append",
            )

    def commit(self) -> int:
        """Make all that was written part of the table, at once; returns the table's new version.

        Raises:
            OutputError: The disk refuses.
        """
        with writing(self._path):
            operation: Any = lance.LanceOperation.Append(self._fragments)
            if self._read_version is None:
                operation = lance.LanceOperation.Overwrite(self._schema, self._fragments)
            return int(
                lance.LanceDataset.commit(lance_path(self._path), operation, read_version=self._read_version).version
            )


def open_table(path: Folder, version: int | None = None) -> lance.LanceDataset:
    """Open the table as it was at a version, or as it is now.

    Raises:
        DatabaseError: It is absent or damaged.
    """
    with reading(path):
        table: lance.LanceDataset = open_lance(path, version)
        return table


def take_vectors(table: lance.LanceDataset, column: str, rows: Int64[np.ndarray, " m"], path: Folder) -> np.ndarray:
    """Read a vector column at some rows, in the order asked; a row may be asked for twice.

    Raises:
        DatabaseError: The table is damaged.
    """
    distinct, places = np.unique(rows, return_inverse=True)
    with reading(path):
        taken = vectors_of(table.take(distinct.tolist(), columns=[column]), column)
    return taken if len(places) == len(distinct) and np.all(np.diff(places) == 1) else taken[places]


def scan(table: lance.LanceDataset, columns: Sequence[str], path: Folder, batch_size: int) -> Iterator[pa.RecordBatch]:
    """Read columns of all rows, in row order, a batch at a time.

    Raises:
        DatabaseError: The table is damaged.
    """
    with reading(path):
        yield from table.to_batches(columns=list(columns), batch_size=batch_size, scan_in_order=True)


def appended_embeddings(
    path: Path, version: int, first: int
) -> Iterator[tuple[Int64[np.ndarray, " m"], Float32[np.ndarray, "m d"]]]:
    """Read Lance's identifiers and the embeddings of the rows from `first` on, some at a time.

    Raises:
        DatabaseError: The table is damaged.
    """
    table = open_table(path, version)
    with reading(path):
        rows = table.scanner(columns=["embedding"], with_row_id=True, offset=first, scan_in_order=True)
        for batch in rows.to_batches():
            yield batch["_rowid"].to_numpy().astype(np.int64), vectors_of(batch, "embedding")


def restored(path: Path, version: int) -> int:
    """Make the table hold again what it held at a version, if a writer that was killed has changed it since.

    Returns:
        The version that holds it now: the newest.

    Raises:
        DatabaseError: The table is absent or damaged.
        OutputError: The disk refuses.
    """
    newest = open_table(path)
    if newest.version == version:
        return version
    committed = open_table(path, version)
    with writing(path):
        committed.restore()  # type: ignore[no-untyped-call]
    return int(open_table(path).version)


def sweep(path: Path) -> None:
    """Delete all that does not belong to the newest version, and what killed writers left half written.

    Raises:
        OutputError: The disk refuses.
    """
    _date_back(path)
    table = open_table(path)
    with writing(path):
        # By count, not by age: Lance takes an age of zero for "the default of two weeks".
        table.cleanup_old_versions(retain_versions=1, delete_unverified=True)
        for file in list(path.rglob("*")):
            if file.is_file() and _half_written(file.relative_to(path)):
                file.unlink()


_WHOLE_FILES = {
    "data": re.compile(r".*\.lance"),
    "_deletions": re.compile(r".*\.(arrow|bin)"),
    "_transactions": re.compile(r".*\.txn"),
    "_versions": re.compile(r".*\.manifest|latest_version_hint\.json"),
}


def _half_written(name: Path) -> bool:
    """Whether a file has the name under which one is written before it is renamed."""
    if "#" in name.name or name.name.startswith("."):
        return True
    whole = _WHOLE_FILES.get(name.parts[0])
    return whole is not None and whole.fullmatch(name.name) is None


def _date_back(path: Path) -> None:
    """Give files of a table that are dated in the future, as by a disk whose clock is ahead, the time of now.

    Lance deletes no file that is younger than the version that stays.
    """
    now = time.time()
    for file in path.rglob("*"):
        if file.stat().st_mtime > now:
            os.utime(file, (now, now))


@contextlib.contextmanager
def reading(path: Folder) -> Iterator[None]:
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
        raise OutputError(f"cannot write {path} ({reason_of(error)}); make room, or mend the rights") from error


def _unreadable(path: Folder, error: BaseException) -> str:
    return (
        f"the table {path} is absent or damaged ({reason_at(path, error)}); "
        "restore a copy, or build the database again from its cohort"
    )


def _fixed_lists(values: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])
