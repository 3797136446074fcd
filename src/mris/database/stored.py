"""The reading half of a database: metadata in memory, embeddings and target images from the table.

What is read is what was committed: every value is compared with a checksum before it is handed out.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float16, Int64, Shaped

from mris.cohort.names import normal_form
from mris.database.commit import Commit, TableState
from mris.database.gallery import MEMORY_LIMIT, Gallery, check_rows
from mris.database.header import TABLE_FOLDER, DatabaseHeader
from mris.database.search import Groups
from mris.database.table import (
    CHECKSUMS,
    METADATA,
    embeddings_and_features,
    metadata_checksums,
    open_table,
    reading,
    strings_of,
    take_vectors,
    vector_checksums,
)
from mris.errors import DatabaseError, ImageError
from mris.images.arrays import read_mask
from mris.reading import file_sha256, parse_json
from mris.storage.folder import Folder
from mris.types import AtlasMask, Embeddings, Features, Pixels, Targets

_HINT = "latest_version_hint.json"
"""The one file of a table that is written anew; a wrong one misleads nobody, since versions are asked for by number."""


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
            self._metadata = {name: strings_of(columns, name) for name in METADATA}
            self._row_ids: Int64[np.ndarray, " N"] = columns["_rowid"].to_numpy().astype(np.int64)
            self._checksums = {name: columns[name].to_pylist() for name in CHECKSUMS}
        if len(self) != state.n_entries or entries_sha256(columns) != state.entries:
            raise self._damaged(f"its {len(self)} entries are not the {state.n_entries} that were committed")
        self._compare(range(len(self)), metadata_checksums(self._metadata), "metadata_checksum")
        self._subject_names, codes = np.unique(self._metadata["subject"], return_inverse=True)
        self._groups = Groups.of(codes.astype(np.int64))
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
    def _table_path(self) -> Folder:
        return self.path / TABLE_FOLDER

    def __len__(self) -> int:
        return len(self._row_ids)

    def __repr__(self) -> str:
        return f"EmbeddingDatabase({str(self.path)!r}, {len(self)} entries of {len(self._subject_names)} subjects)"

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
        return [parse_json(text) for text in self._metadata["labels"]]

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

    def _vectors(self) -> tuple[Embeddings, Features]:
        if self._embedded is None:
            with reading(self._table_path):
                table = self._table.to_table(columns=self._vector_columns, scan_in_order=True)
            embedded = embeddings_and_features(table)
            checksums = vector_checksums(self.keys, np.concatenate(embedded, axis=1))
            self._compare(range(len(self)), checksums, "embedding_checksum")
            self._embedded = embedded
        return self._embedded

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
            return np.array([self._places[str(key)] for key in keys], dtype=np.int64)
        except KeyError as error:
            raise DatabaseError(f"database {self.path} has no entry {error}; it may have been removed") from error

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.keys.tolist())}

    def checksums(self, name: str, rows: Int64[np.ndarray, " m"]) -> list[bytes]:
        """Give the committed checksums of some rows, by one of the names of `mris.database.table.CHECKSUMS`."""
        return [self._checksums[name][row] for row in rows.tolist()]

    def _read_pixels(self, rows: Int64[np.ndarray, " m"]) -> Pixels:
        # Fewer pixels first: widening float16 is the slow step.
        return self._stored_targets(rows).take(np.flatnonzero(self.atlas_mask.ravel()), axis=1).astype(np.float32)

    def _stored_targets(self, rows: Int64[np.ndarray, " m"] | Sequence[int]) -> Float16[np.ndarray, "m q"]:
        rows = np.asarray(rows, dtype=np.int64)
        check_rows(rows, len(self))
        targets = take_vectors(self._table, "target", rows, self._table_path)
        self._compare(rows.tolist(), vector_checksums(self.keys[rows], targets), "target_checksum")
        return targets

    def _check_embeddings(self, rows: Int64[np.ndarray, " m"]) -> None:
        """Compare embeddings that were read by a search of the table itself."""
        taken = [take_vectors(self._table, name, rows, self._table_path) for name in self._vector_columns]
        vectors = np.concatenate(taken, axis=1)
        self._compare(rows.tolist(), vector_checksums(self.keys[rows], vectors), "embedding_checksum")

    def _compare(self, rows: Iterable[int], found: list[bytes], name: str) -> None:
        committed = self._checksums[name]
        for row, checksum in zip(rows, found, strict=True):
            if checksum != committed[row]:
                raise self._damaged(f"entry {str(self.keys[row])!r} does not match its checksum")

    def _damaged(self, reason: str) -> DatabaseError:
        return DatabaseError(
            f"the table {self._table_path} is damaged: {reason}; restore a copy, or build the database again from its "
            "cohort"
        )


def entries_sha256(columns: pa.Table) -> str:
    """SHA-256 (hex) over the checksums of all entries, in order: it tells any entry lost, doubled, moved or revived."""
    digest = hashlib.sha256()
    for name in CHECKSUMS:
        digest.update(b"".join(columns[name].to_pylist()))
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
        columns = table.to_table(columns=list(CHECKSUMS), scan_in_order=True)
        known = {} if earlier is None else earlier.stored
        names = [file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if file.is_file()]
        stored = {name: known.get(name) or file_sha256(path / name) for name in names if not name.endswith(_HINT)}
    return TableState(
        version=version,
        n_entries=len(columns),
        entries=entries_sha256(columns),
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
