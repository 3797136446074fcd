"""`EmbeddingDatabase`: embeddings, target images and metadata of one encoder, on disk and searchable."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from mris.cohort.cohort import Cohort
from mris.cohort.names import normal_form
from mris.database import approximate
from mris.database.build import ALONE, build_entries, commit_first
from mris.database.changes import Removal, Writable
from mris.database.checks import check_excluded, checked_queries
from mris.database.commit import COMMIT_FILE, Commit, TableState, at_newest, check_files
from mris.database.header import HEADER_FILE, read_header
from mris.database.neighbors import Neighbors
from mris.database.search import exact_search
from mris.database.stored import StoredEntries
from mris.database.table import table_schema
from mris.database.verify import VerifyReport, verify_entries
from mris.defaults import N_NEIGHBORS
from mris.errors import DatabaseError, EncoderMismatchError, SettingsError
from mris.images.write import atomic_directory
from mris.storage.address import place_of
from mris.storage.folder import Folder, changed, folder_at, newest
from mris.storage.publish import new_folder
from mris.types import Embeddings, Encoder

EXACT_BYTES = 2 << 30
"""Above this size of all embeddings (a million of 512 numbers), a database that has an index is searched by it."""


class EmbeddingDatabase(StoredEntries):
    """Embeddings and target images of one encoder, in a folder.

    The folder holds ``database.json`` (the header), the atlas mask, the Lance table ``entries.lance``, and
    ``commit.json``, which says which state of them counts. An open database is one committed state, whatever others do
    meanwhile; `at` gives a newer one. Changes are all or nothing, and one writer changes the folder at a time.
    Embeddings and targets can identify people: treat the folder as personal data.

    A row is the position of an entry today; removing others changes it. A key (``subject/timepoint[/side]``) is stable.

    Example:
        >>> database = EmbeddingDatabase.open("hands.lance")                 # doctest: +SKIP
        >>> neighbors = database.search(encoder.encode_sources(sources), 20)  # doctest: +SKIP
        >>> neighbors.keys[0], neighbors.similarities[0]                     # doctest: +SKIP
    """

    _index: tuple[TableState, approximate.OpenIndex] | None = None

    @classmethod
    def build(
        cls, path: str | Path, cohort: Cohort, encoder: Encoder, *, batch_size: int = 64, progress: bool = True
    ) -> "EmbeddingDatabase":
        """Embed the targets of a cohort (or a view of one) and store them with their images and metadata.

        The database appears at `path` when it is complete, and not before.

        Args:
            path: Folder to make, or its address in a storage; it must not exist.
            cohort: What to store; it must hold the encoder's regions.
            encoder: The encoder whose space this is.
            batch_size: Targets embedded at a time.
            progress: Show a progress bar on standard error.

        Returns:
            The open database.

        Raises:
            DatabaseError: `path` exists, a key occurs twice, or the encoder gives no unit vectors.
            CohortError: The cohort is empty, damaged, or lacks a region.
            OutputError: The disk refuses.
        """
        place = place_of(path)
        if isinstance(place, Path) and place.exists() and not (place.is_dir() and not any(place.iterdir())):
            raise DatabaseError(f"{place} exists; remove it, choose another place, or add to it")
        with atomic_directory(place) if isinstance(place, Path) else new_folder(place) as temporary:
            state = build_entries(temporary, cohort, encoder, batch_size=batch_size, progress=progress)
            commit_first(temporary, {ALONE: state})
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, fingerprint: str | None = None) -> "EmbeddingDatabase":
        """Open a database.

        Args:
            path: Its folder, or its address in a storage.
            fingerprint: That of the encoder in hand; None does not check.

        Raises:
            DatabaseError: There is no database, or it is damaged.
            EncoderMismatchError: Another encoder made it.
            StorageError: The storage refuses, or holds nothing of ours there.
        """
        root = folder_at(path)
        if not Path(root / COMMIT_FILE).is_file() and Path(root / HEADER_FILE).is_file():
            raise DatabaseError(f"{root} has no {COMMIT_FILE}; is it part of a bundle? Then open the bundle")
        database = at_newest(root, lambda commit: cls.of_folder(root, ALONE, commit))
        if fingerprint is not None:
            database.check_fingerprint(fingerprint)
        return database

    @classmethod
    def of_folder(cls, root: Folder, folder: str, commit: Commit) -> "EmbeddingDatabase":
        """Open the state of a database that a commit names.

        Args:
            root: Folder of ``commit.json``.
            folder: The database's, relative to it.
            commit: The state.

        Raises:
            DatabaseError: A file is missing, damaged or edited, or the state is no longer there.
        """
        header = read_header(root / folder)
        check_files(root, commit)
        if folder not in commit.tables:
            raise DatabaseError(f"{root / COMMIT_FILE} names no database {folder!r}; restore a copy, or index again")
        database = cls(root, folder, header, commit)
        expected, found = table_schema(header), database._table.schema
        if found.names != expected.names or found.types != expected.types:
            raise DatabaseError(f"database {database.path}: its table does not fit its header; restore a copy")
        return database

    def __reduce__(self) -> tuple[Callable[..., "EmbeddingDatabase"], tuple[Folder, str]]:
        """Let it be sent to another process, which opens its newest state."""
        return _newest, (self.root, self.folder)

    def at(self, commit: Commit) -> "EmbeddingDatabase":
        """Give the database as another commit of the same folder has it: this object itself, where that is the same.

        Raises:
            DatabaseError: The state is damaged, or no longer there.
        """
        if commit.tables.get(self.folder) == self.state:
            return self
        return EmbeddingDatabase.of_folder(self.root, self.folder, commit)

    def check_fingerprint(self, fingerprint: str) -> None:
        """Raise EncoderMismatchError if another encoder made the database."""
        if fingerprint != self.header.fingerprint:
            raise EncoderMismatchError(
                f"database {self.path} was made by encoder {self.header.fingerprint[:12]}, but this is encoder "
                f"{fingerprint[:12]}; their embeddings cannot be compared: use its own encoder, or build it again"
            )

    def add(
        self, cohort: Cohort, encoder: Encoder, *, batch_size: int = 64, progress: bool = True, wait: bool = True
    ) -> int:
        """Embed and append the pairs of a cohort, all of them or (on any failure) none.

        Args:
            cohort: What to add; if the database holds all of it as it is, nothing is done.
            encoder: The encoder that made the database.
            batch_size: Targets embedded at a time.
            progress: Show a progress bar on standard error.
            wait: Wait for another process that changes the database; False raises at once.

        Returns:
            How many entries were added.

        Raises:
            EncoderMismatchError: The encoder is not the one that made the database.
            DatabaseError: The cohort is empty, a key is there already with another image, or regions, shape, unit or
                spacing differ.
            OutputError: The disk refuses, or another process is writing.
        """
        with self._changing(wait) as writable:
            added = writable.add(cohort, {ALONE: encoder}, batch_size=batch_size, progress=progress)
        self._reload()
        return added

    def remove(self, subjects: Sequence[str], *, purge: bool = False, wait: bool = True) -> Removal:
        """Remove every entry of some subjects.

        Args:
            subjects: Whom to remove.
            purge: Also take their bytes off the disk; see `purge`.
            wait: Wait for another process that changes the database; False raises at once.

        Raises:
            DatabaseError: A subject is not in the database; nothing is removed then.
            OutputError: The disk refuses, or another process is writing.
        """
        with self._changing(wait, erase=purge) as writable:
            removal = writable.remove(subjects, purge=purge)
        self._reload()
        return removal

    def purge(self, *, wait: bool = True) -> tuple[str, ...]:
        """Rewrite what still holds removed entries and delete every old version, so that no byte of them is left.

        Should the process end on the way, the database is whole, and another purge finishes.

        Args:
            wait: Wait for another process that changes the database; False raises at once.

        Returns:
            The subjects who had been removed.

        Raises:
            OutputError: The disk refuses, or another process is writing.
            SettingsError: There is an index, and FAISS is not installed.
        """
        with self._changing(wait, erase=True) as writable:
            purged = writable.purge()
        self._reload()
        return purged

    def verify(self) -> VerifyReport:
        """Read everything and check it: checksums, norms, dimensions, keys, counts."""
        return at_newest(self.root, lambda commit: verify_entries(self.root, self.folder, self.header, commit))

    def search(
        self,
        queries: Embeddings,
        n_neighbors: int = N_NEIGHBORS,
        *,
        exclude_subjects: Sequence[str | None] | None = None,
        one_per_subject: bool = False,
        exact: bool | None = None,
    ) -> Neighbors:
        """Find the entries of highest cosine similarity to each query.

        Args:
            queries: (n, d) embeddings of norm 1.
            n_neighbors: k, at least 1.
            exclude_subjects: For each query the subject it must not meet (its own), or None.
            one_per_subject: Keep only the best entry of each subject.
            exact: Compare with every entry (True), use the index (False), or decide by size: the index, if there is
                one, where all embeddings take more than `EXACT_BYTES` (None).

        Returns:
            The neighbors, best first, ties by ascending row; padded where fewer than k are admissible.

        Raises:
            SettingsError: A number, a length or an excluded subject cannot work.
            DatabaseError: Queries have another dimension or are no unit vectors, or there is no index to use, or it is
                damaged or older than the table.
        """
        if n_neighbors < 1:
            raise SettingsError(f"n_neighbors is {n_neighbors}; it must be at least 1")
        queries = checked_queries(queries, self.header, self.path)
        if exclude_subjects is not None:
            check_excluded(exclude_subjects, len(queries))
        if exact is None:
            exact = self.n_embedding_bytes <= EXACT_BYTES or self.state.index is None
        excluded = self._codes_of(exclude_subjects)
        if exact:
            found = exact_search(
                self.embeddings,
                queries,
                n_neighbors,
                groups=self.groups,
                excluded=excluded,
                one_per_group=one_per_subject,
            )
        else:
            found = approximate.indexed_search(
                self._open_index(), self, queries, n_neighbors, excluded=excluded, one_per_group=one_per_subject
            )
        return Neighbors(
            _taken(self.keys, found.rows),
            _taken(self.subjects, found.rows),
            found.rows,
            found.similarities,
            found.counts,
        )

    def neighbors_at(self, rows: Int64[np.ndarray, " k"], query: Float32[np.ndarray, " d"]) -> Neighbors:
        """Tell who stands in some rows, and how similar they are to a query; n = 1, in the order of the rows."""
        similarities = (self.embeddings[rows] @ query).astype(np.float32)
        found = rows[np.newaxis].astype(np.int64)
        counts = np.array([len(rows)])
        return Neighbors(self.keys[found], self.subjects[found], found, similarities[np.newaxis], counts)

    @property
    def n_embedding_bytes(self) -> int:
        """How many bytes all embeddings take."""
        return 4 * len(self) * self.header.embedding_dim

    @property
    def has_index(self) -> bool:
        """Whether there is an index."""
        return self.state.index is not None

    def create_index(self, *, wait: bool = True) -> None:
        """Make (or make anew) the index for searches that do not look at every entry.

        Args:
            wait: Wait for another process that changes the database; False raises at once.

        Raises:
            OutputError: The disk refuses, or another process is writing.
            SettingsError: FAISS is not installed.
        """
        with self._changing(wait) as writable:
            writable.create_index()
        self._reload()

    def drop_index(self, *, wait: bool = True) -> None:
        """Delete the index: all searches are exact.

        Args:
            wait: Wait for another process that changes the database; False raises at once.

        Raises:
            OutputError: The disk refuses, or another process is writing.
        """
        with self._changing(wait) as writable:
            writable.drop_index()
        self._reload()

    def _open_index(self) -> approximate.OpenIndex:
        if self._index is None or self._index[0] != self.state:
            self._index = self.state, approximate.open_index(self)
        return self._index[1]

    @contextmanager
    def _changing(self, wait: bool, *, erase: bool = False) -> Iterator[Writable]:
        if self.folder != ALONE:
            raise DatabaseError(f"database {self.path} is part of bundle {self.root}; change the bundle")
        with changed(self.root, erase=erase) as root:
            yield Writable(root, wait)

    def _reload(self) -> None:
        self.root = self.path = newest(self.root)
        at_newest(self.root, self._load)

    def _codes_of(self, subjects: Sequence[str | None] | None) -> Int64[np.ndarray, " n"] | None:
        if subjects is None:
            return None
        wanted = np.array([normal_form(name or "") for name in subjects], dtype=str)
        names = self._metadata.subject_names
        codes = np.searchsorted(names, wanted)  # which are in order
        known = np.append(names, "")[codes] == wanted
        return np.where(known & (wanted != ""), codes, -1)


def _taken(names: Shaped[np.ndarray, " N"], rows: Int64[np.ndarray, "n k"]) -> Shaped[np.ndarray, "n k"]:
    if not len(names):
        return np.full(rows.shape, "", dtype="<U1")
    return np.where(rows >= 0, names[rows], "")


def _newest(root: Folder, folder: str) -> EmbeddingDatabase:
    return at_newest(root, lambda commit: EmbeddingDatabase.of_folder(root, folder, commit))
