"""`EmbeddingDatabase`: embeddings, target images and metadata of one encoder, on disk and searchable."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

import mris
from mris.cohort.cohort import Cohort
from mris.cohort.names import normal_form
from mris.database import approximate
from mris.database.checks import check_cohort, check_encoder, check_excluded, check_new_keys, checked_queries
from mris.database.embed import embedded_entries, write_all
from mris.database.header import HEADER_FILE, MASK_FILE, TABLE_FOLDER, DatabaseHeader, read_header
from mris.database.neighbors import Neighbors
from mris.database.search import exact_search
from mris.database.stored import StoredEntries
from mris.database.table import (
    EntryWriter,
    date_back,
    entry_schema,
    open_table,
    subject_filter,
    writing,
)
from mris.database.verify import VerifyReport, verify_entries
from mris.errors import DatabaseError, EncoderMismatchError, SettingsError
from mris.images.write import atomic_directory, write_json, write_npz
from mris.types import Embeddings, Encoder

EXACT_ROWS = 1_000_000
"""Above this number of entries, a database that has an index is searched approximately unless told otherwise."""


class EmbeddingDatabase(StoredEntries):
    """Embeddings and target images of one encoder, in a folder.

    The folder holds ``database.json`` (the header), ``atlas_mask.npz`` and the Lance table ``entries.lance``.
    Appends and deletes are atomic: whatever ends the process, the database is as before or as after. Embeddings and
    targets can identify people: treat the folder as personal data.

    A row is the position of an entry today; removing others changes it. A key (``subject/timepoint[/side]``) is stable.

    Example:
        >>> database = EmbeddingDatabase.open("knees.lance")                 # doctest: +SKIP
        >>> neighbors = database.search(encoder.encode_sources(sources), 20)  # doctest: +SKIP
        >>> neighbors.keys[0], neighbors.similarities[0]                     # doctest: +SKIP
    """

    @classmethod
    def build(
        cls, path: str | Path, cohort: Cohort, encoder: Encoder, *, batch_size: int = 64, progress: bool = True
    ) -> "EmbeddingDatabase":
        """Embed the targets of a cohort (or a view of one) and store them with their images and metadata.

        The database appears at `path` when it is complete, and not before.

        Args:
            path: Folder to make; it must not exist.
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
        path = Path(path)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise DatabaseError(f"{path} exists; remove it, choose another place, or add to it")
        if len(cohort) == 0:
            raise DatabaseError(f"the cohort {cohort.path} has no pair in this selection; there is nothing to store")
        check_new_keys(cohort, np.array([], dtype=np.str_))
        channels = cohort.region_channels(encoder.regions)
        batches = embedded_entries(cohort, encoder, batch_size, progress)
        first = next(batches)
        header = DatabaseHeader(
            fingerprint=encoder.fingerprint,
            embedding_dim=first.embeddings.shape[1],
            regions=tuple(encoder.regions),
            target_shape=(len(channels), *cohort.header.target_shape[1:]),
            target_spacing=cohort.header.target_spacing,
            unit=cohort.header.unit,
            mirror_targets=cohort.header.mirror_targets,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            software=f"mris {mris.__version__}",
        )
        with atomic_directory(path) as temporary:
            writer = EntryWriter(temporary / TABLE_FOLDER, _schema(header))
            mask = write_all(writer, first, batches, np.zeros(header.target_shape, dtype=bool))
            writer.commit()
            write_npz(temporary / MASK_FILE, mask=mask)
            write_json(temporary / HEADER_FILE, header.to_json())
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, fingerprint: str | None = None) -> "EmbeddingDatabase":
        """Open a database.

        Args:
            path: Its folder.
            fingerprint: That of the encoder in hand; None does not check.

        Raises:
            DatabaseError: There is no database, or it is damaged.
            EncoderMismatchError: Another encoder made it.
        """
        path = Path(path)
        header = read_header(path)
        if fingerprint is not None and fingerprint != header.fingerprint:
            raise EncoderMismatchError(
                f"database {path} was made by encoder {header.fingerprint[:12]}, but this is encoder "
                f"{fingerprint[:12]}; their embeddings cannot be compared: use its own encoder, or build it again"
            )
        database = cls(path, header)
        expected, found = _schema(header), database._table.schema
        if found.names != expected.names or found.types != expected.types:
            raise DatabaseError(f"database {path}: its table does not fit its header; restore a copy or build it again")
        return database

    def add(self, cohort: Cohort, encoder: Encoder, *, batch_size: int = 64, progress: bool = True) -> int:
        """Embed and append the pairs of a cohort, all of them or (on any failure) none.

        Returns:
            How many entries were added.

        Raises:
            EncoderMismatchError: The encoder is not the one that made the database.
            DatabaseError: A key is there already, or regions, shape, unit or spacing differ.
            OutputError: The disk refuses.
        """
        check_encoder(encoder, self.header, self.path)
        check_cohort(cohort, self.header, self.path)
        check_new_keys(cohort, self.keys)
        if len(cohort) == 0:
            return 0
        batches = embedded_entries(cohort, encoder, batch_size, progress)
        writer = EntryWriter(self._table_path, _schema(self.header), read_version=self._table.version)
        mask = write_all(writer, next(batches), batches, self.atlas_mask.copy())
        # First the mask, then the entries: a mask that is too large is harmless, one that is too small loses pixels.
        write_npz(self.path / MASK_FILE, mask=mask)
        writer.commit()
        self._load()
        return len(cohort)

    def remove(self, subjects: Sequence[str]) -> int:
        """Remove every entry of some subjects; `purge` then takes their bytes off the disk.

        Returns:
            How many entries were removed.

        Raises:
            DatabaseError: A subject is not in the database; nothing is removed then.
            OutputError: The disk refuses.
        """
        if isinstance(subjects, str):
            raise SettingsError(f"subjects is the text {subjects!r}; give a list of subjects")
        named = {normal_form(str(name)) for name in subjects}
        unknown = sorted(named - self._spellings.keys())
        if unknown:
            raise DatabaseError(
                f"database {self.path} has no subject {', '.join(map(repr, unknown[:5]))}"
                f"{' ...' if len(unknown) > 5 else ''}; nothing was removed; `mris bundle list` shows who is there"
            )
        before = len(self)
        if named:
            with writing(self._table_path):
                self._table.delete(subject_filter(self._spelled(sorted(named))))
            self._load()
        return before - len(self)

    def purge(self) -> None:
        """Rewrite what still holds removed entries and delete every old version, so that no byte of them is left.

        No other process may write to the database meanwhile. Should the process end on the way, the database is whole,
        and another purge finishes; an index may have to be created again.

        Raises:
            OutputError: The disk refuses.
        """
        indexed = self.has_index
        if indexed:
            approximate.drop_index(self._table, self._table_path)
        with writing(self._table_path):
            self._table.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
            date_back(self._table_path)
            # The version that stays is one that adds nothing: that of a removal names the removed.
            version = open_table(self._table_path).version
            EntryWriter(self._table_path, _schema(self.header), read_version=version).commit()
            self._table = open_table(self._table_path)
            # By count, not by age: Lance takes an age of zero for "the default of two weeks".
            self._table.cleanup_old_versions(retain_versions=1, delete_unverified=True)
        self._load()
        if indexed:
            self.create_index()

    def verify(self) -> VerifyReport:
        """Read everything and check it: checksums, norms, dimensions, keys, counts."""
        return verify_entries(self.path, self.header, open_table(self._table_path), self.atlas_mask)

    def search(
        self,
        queries: Embeddings,
        n_neighbors: int = 20,
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
            exact: Compare with every entry (True), use the index (False), or decide by size: the index from a
                million entries on, if there is one (None).

        Returns:
            The neighbors, best first, ties by ascending row; padded where fewer than k are admissible.

        Raises:
            SettingsError: A number, a length or an excluded subject cannot work.
            DatabaseError: Queries have another dimension or are no unit vectors, or there is no index to use.
        """
        if n_neighbors < 1:
            raise SettingsError(f"n_neighbors is {n_neighbors}; it must be at least 1")
        queries = checked_queries(queries, self.header, self.path)
        if exclude_subjects is not None:
            check_excluded(exclude_subjects, len(queries))
        if exact is False and not self.has_index:
            raise DatabaseError(f"database {self.path} has no index; call create_index() first, or search exactly")
        if exact is None:
            exact = len(self) <= EXACT_ROWS or not self.has_index
        if exact:
            found = exact_search(
                self.embeddings,
                queries,
                n_neighbors,
                groups=self._groups,
                excluded=self._codes_of(exclude_subjects),
                one_per_group=one_per_subject,
            )
        else:
            names = None if exclude_subjects is None else [self._spelled([name or ""]) for name in exclude_subjects]
            found = approximate.indexed_search(
                self._table,
                self._table_path,
                self._row_ids,
                self._groups.codes,
                queries,
                n_neighbors,
                excluded=names,
                one_per_group=one_per_subject,
            )
        return Neighbors(
            _taken(self.keys, found.rows),
            _taken(self.subjects, found.rows),
            found.rows,
            found.similarities,
            found.counts,
        )

    @property
    def has_index(self) -> bool:
        """Whether there is a vector index."""
        return approximate.has_index(self._table)

    def create_index(self, kind: approximate.IndexKind = "IVF_PQ") -> None:
        """Build the vector index for approximate search; worth it from about a million entries on.

        Raises:
            OutputError: The disk refuses.
        """
        approximate.create_index(self._table, self._table_path, kind)
        self._table = open_table(self._table_path)

    def _codes_of(self, subjects: Sequence[str | None] | None) -> Int64[np.ndarray, " n"] | None:
        if subjects is None:
            return None
        known = {name: code for code, name in enumerate(self._subject_names.tolist())}
        return np.array([known.get(normal_form(name or ""), -1) for name in subjects], dtype=np.int64)

    def _spelled(self, subjects: Iterable[str]) -> list[str]:
        """Give all spellings under which the table holds subjects."""
        return [spelling for name in subjects for spelling in self._spellings.get(normal_form(name), [])]


def _schema(header: DatabaseHeader) -> Any:
    return entry_schema(header.embedding_dim, int(np.prod(header.target_shape)))


def _taken(names: Shaped[np.ndarray, " N"], rows: Int64[np.ndarray, "n k"]) -> Shaped[np.ndarray, "n k"]:
    if not len(names):
        return np.full(rows.shape, "", dtype="<U1")
    return np.where(rows >= 0, names[rows], "")
