"""The reading half of a database: metadata in memory, embeddings and target images from the table.

What is read is what was committed: every value is compared with a checksum before it is handed out.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float16, Int64, Shaped

from mris.cohort.names import normal_form
from mris.database.commit import Commit, TableState
from mris.database.gallery import MEMORY_LIMIT, Gallery, check_rows
from mris.database.header import TABLE_FOLDER, DatabaseHeader
from mris.database.metadata import Metadata, metadata_sha256
from mris.database.search import Groups
from mris.database.table import (
    CHECKSUM_BYTES,
    CHECKSUMS,
    METADATA,
    checksums_of,
    embeddings_and_features,
    metadata_checksums,
    open_table,
    reading,
    scan,
    take_vectors,
    vector_checksums,
)
from mris.errors import DatabaseError, ImageError
from mris.images.arrays import read_mask
from mris.reading import file_sha256
from mris.storage.folder import Folder
from mris.types import AtlasMask, Embeddings, Features, Pixels, Targets

_HINT = "latest_version_hint.json"
"""The one file of a table that is written anew; a wrong one misleads nobody, since versions are asked for by number."""

_BLOCK_ROWS = 8192
"""Embeddings read at a time: some tens of megabytes."""


class StoredEntries:
    """What stands in a database, by row, in one committed state."""

    def __init__(self, root: Folder, folder: str, header: DatabaseHeader, commit: Commit) -> None:
        """Use `mris.database.database.EmbeddingDatabase.open` or `build`.

        Args:
            root: Folder of ``commit.json``.
            folder: Folder of the database, relative to it.
            header: The database's header.
            commit: The state to read.
        """
        self.path = root / folder
        self.root = root
        self.folder = folder
        self.header = header
        self._load(commit)

    def _load(self, commit: Commit) -> None:
        self.commit = commit
        state = commit.tables[self.folder]
        self._table = open_table(self._table_path, state.version)
        with reading(self._table_path):
            columns = self._table.to_table(columns=[*METADATA, *CHECKSUMS], with_row_id=True, scan_in_order=True)
        self._metadata = Metadata(columns.select(METADATA))
        self._row_ids: Int64[np.ndarray, " N"] = columns["_rowid"].to_numpy().astype(np.int64)
        self._checksums = {name: checksums_of(columns, name) for name in CHECKSUMS}
        if len(self) != state.n_entries or entries_sha256(columns) != state.entries:
            raise self._damaged(f"its {len(self)} entries are not the {state.n_entries} that were committed")
        if metadata_sha256(columns) != state.metadata:
            self._compare(np.arange(len(self)), metadata_checksums(self._metadata.all()), "metadata_checksum")
            if state.metadata is not None:
                raise self._damaged("its metadata is not what was committed")
        self._embedded: tuple[Embeddings, Features] | None = None
        self._mask: AtlasMask | None = None
        self._gallery: Gallery | None = None

    @property
    def state(self) -> TableState:
        """The committed state that is read."""
        return self.commit.tables[self.folder]

    @property
    def row_ids(self) -> Int64[np.ndarray, " N"]:
        """Lance's identifier of each entry."""
        return self._row_ids

    @property
    def groups(self) -> Groups:
        """Which entries belong to one subject."""
        return self._metadata.groups

    @property
    def _table_path(self) -> Folder:
        return self.path / TABLE_FOLDER

    def __len__(self) -> int:
        return len(self._row_ids)

    def __repr__(self) -> str:
        n_subjects = len(self._metadata.subject_names)
        return f"EmbeddingDatabase({str(self.path)!r}, {len(self)} entries of {n_subjects} subjects)"

    @property
    def keys(self) -> Shaped[np.ndarray, " N"]:
        """Key of each entry, ``subject/timepoint[/side]``; (N,) strings."""
        return self._metadata["key"]

    @property
    def subjects(self) -> Shaped[np.ndarray, " N"]:
        """Subject of each entry; (N,) strings."""
        return self._metadata["subject"]

    @property
    def timepoints(self) -> Shaped[np.ndarray, " N"]:
        """Timepoint of each entry; (N,) strings."""
        return self._metadata["timepoint"]

    @property
    def sides(self) -> Shaped[np.ndarray, " N"]:
        """Side of each entry, "" where there is none; (N,) strings."""
        return self._metadata["side"]

    @property
    def splits(self) -> Shaped[np.ndarray, " N"]:
        """Split of each entry in the cohort it came from; (N,) strings."""
        return self._metadata["split"]

    @property
    def labels(self) -> list[dict[str, Any]]:
        """Labels of each entry; a missing one is None."""
        return self._metadata.labels

    @property
    def version(self) -> int:
        """Version of the table; it grows with every change."""
        return self.state.version

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the target regions."""
        return self.header.regions

    @property
    def embeddings(self) -> Embeddings:
        """All embeddings, (N, d), read once and kept.

        Raises:
            DatabaseError: The table is damaged.
        """
        return self._vectors()[0]

    @property
    def features(self) -> Features:
        """What a linear readout reads of each entry's source, (N, q), read once and kept; NaN where there is no source.

        Raises:
            DatabaseError: The table is damaged.
        """
        return self._vectors()[1]

    def is_other(self, subject: str | None) -> Bool[np.ndarray, " N"]:
        """Tell which entries are of other people than a subject; of anybody, where None is asked for."""
        return np.asarray(self.subjects != normal_form(subject or ""))

    def vector_blocks(self) -> Iterator[tuple[slice, Embeddings, Features]]:
        """Give the embeddings and features of all rows in turn: a part of the rows, (m, d) and (m, q).

        Raises:
            DatabaseError: The table is damaged.
        """
        start = 0
        for batch in scan(self._table, self._vector_columns, self._table_path, batch_size=_BLOCK_ROWS):
            part = slice(start, start + len(batch))
            yield part, *self._checked_vectors(np.arange(part.start, part.stop), *embeddings_and_features(batch))
            start = part.stop

    def embeddings_of(self, rows: Int64[np.ndarray, " m"]) -> Embeddings:
        """Give the embeddings of some rows, (m, d), from memory where all are there.

        Raises:
            DatabaseError: The table is damaged.
        """
        if self._embedded is not None:
            return np.asarray(self._embedded[0][rows])
        taken = [take_vectors(self._table, name, rows, self._table_path) for name in self._vector_columns]
        features = taken[1] if len(taken) > 1 else np.empty((len(rows), 0), dtype=np.float32)
        return self._checked_vectors(rows, taken[0], features)[0]

    def _vectors(self) -> tuple[Embeddings, Features]:
        if self._embedded is None:
            embeddings = np.empty((len(self), self.header.embedding_dim), dtype=np.float32)
            features = np.empty((len(self), self.header.n_features), dtype=np.float32)
            for part, *block in self.vector_blocks():
                embeddings[part], features[part] = block
            self._embedded = embeddings, features
        return self._embedded

    def _checked_vectors(
        self, rows: Int64[np.ndarray, " m"], embeddings: Embeddings, features: Features
    ) -> tuple[Embeddings, Features]:
        checksums = vector_checksums(self.keys[rows], np.concatenate([embeddings, features], axis=1))
        self._compare(rows, checksums, "embedding_checksum")
        return embeddings, features

    @property
    def _vector_columns(self) -> list[str]:
        return ["embedding", *(["features"] if self.header.n_features else [])]

    @property
    def atlas_mask(self) -> AtlasMask:
        """Pixels at which a stored target may have a value, (r, h, w).

        Raises:
            DatabaseError: Its file is absent, damaged or of another shape.
        """
        if self._mask is None:
            self._mask = read_database_mask(self.path / self.state.mask, self.header)
        return self._mask

    def read_targets(self, rows: Int64[np.ndarray, " m"] | Sequence[int]) -> Targets:
        """Read target images.

        Args:
            rows: Rows in [0, N), in any order; a row may be asked for twice.

        Returns:
            (m, r, h, w) float32, in the database's unit, NaN where there is no value.

        Raises:
            DatabaseError: A row is out of range, or the table is damaged.
        """
        return self._stored_targets(rows).astype(np.float32).reshape(-1, *self.header.target_shape)

    def gallery(self, memory_limit: int = MEMORY_LIMIT) -> Gallery:
        """Give the target pixels inside the atlas mask, to average and to combine; what is in memory is read once.

        Args:
            memory_limit: Bytes of pixels that may be held in memory; above it, rows are read when they are needed.

        Raises:
            DatabaseError: The database is damaged; reading may raise it later, too.
        """
        gallery = Gallery(self.atlas_mask, np.arange(len(self)), self._read_pixels)
        if gallery.n_bytes > memory_limit:
            return gallery
        if self._gallery is None:
            self._gallery = gallery.in_memory()
        return self._gallery

    def rows_of(self, keys: Shaped[np.ndarray, " m"] | Sequence[str]) -> Int64[np.ndarray, " m"]:
        """Find entries by their keys.

        Raises:
            DatabaseError: One is not there, such as that of somebody who was removed.
        """
        try:
            return np.array([self._metadata.places[str(key)] for key in keys], dtype=np.int64)
        except KeyError as error:
            raise DatabaseError(f"database {self.path} has no entry {error}; it may have been removed") from error

    def checksums(self, name: str, rows: Int64[np.ndarray, " m"]) -> list[bytes]:
        """Give the committed checksums of some rows, by one of the names of `mris.database.table.CHECKSUMS`."""
        return [checksum.tobytes() for checksum in self._checksums[name][rows]]

    def _read_pixels(self, rows: Int64[np.ndarray, " m"]) -> Pixels:
        # Fewer pixels first: widening float16 is the slow step.
        return self._stored_targets(rows).take(np.flatnonzero(self.atlas_mask.ravel()), axis=1).astype(np.float32)

    def _stored_targets(self, rows: Int64[np.ndarray, " m"] | Sequence[int]) -> Float16[np.ndarray, "m q"]:
        rows = np.asarray(rows, dtype=np.int64)
        check_rows(rows, len(self))
        targets = take_vectors(self._table, "target", rows, self._table_path)
        self._compare(rows, vector_checksums(self.keys[rows], targets), "target_checksum")
        return targets

    def _compare(self, rows: Int64[np.ndarray, " m"], found: list[bytes], name: str) -> None:
        told = np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, CHECKSUM_BYTES)
        wrong = np.flatnonzero((told != self._checksums[name][rows]).any(axis=1))
        if len(wrong):
            raise self._damaged(f"entry {str(self.keys[rows[wrong[0]]])!r} does not match its checksum")

    def _damaged(self, reason: str) -> DatabaseError:
        return DatabaseError(
            f"the table {self._table_path} is damaged: {reason}; restore a copy, or build the database again from its "
            "cohort"
        )


def entries_sha256(columns: pa.Table) -> str:
    """SHA-256 (hex) over the checksums of all entries, in order: it tells any entry lost, doubled, moved or revived."""
    digest = hashlib.sha256()
    for name in CHECKSUMS:
        digest.update(checksums_of(columns, name).tobytes())
    return digest.hexdigest()


def table_state(path: Path, version: int, mask: str, earlier: TableState | None = None) -> TableState:
    """Describe a version of a table, for a commit.

    Args:
        path: The table.
        version: The version.
        mask: Name of the file of the atlas mask.
        earlier: The state before, whose files need not be read again: a table's files never change.

    Raises:
        DatabaseError: The table is damaged.
    """
    table = open_table(path, version)
    with reading(path):
        columns = table.to_table(columns=[*METADATA, *CHECKSUMS], scan_in_order=True)
        known = {} if earlier is None else earlier.stored
        names = [file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if file.is_file()]
        stored = {name: known.get(name) or file_sha256(path / name) for name in names if not name.endswith(_HINT)}
    return TableState(
        version=version,
        n_entries=len(columns),
        entries=entries_sha256(columns),
        metadata=metadata_sha256(columns),
        mask=mask,
        index=None if earlier is None else earlier.index,
        stored=stored,
    )


def read_database_mask(path: Folder, header: DatabaseHeader) -> Bool[np.ndarray, "r h w"]:
    """Read the atlas mask of a database.

    Raises:
        DatabaseError: Its file is absent, damaged or of another shape.
    """
    try:
        return read_mask(Path(path), header.target_shape)
    except ImageError as error:
        raise DatabaseError(f"{error}; restore a copy or build the database again") from error
