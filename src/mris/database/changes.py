"""Changes of the databases of one folder: one writer at a time, all of a change or nothing, finished by repeating it.

Each change writes new versions of the tables, and then commits all of them at once (`mris.database.commit`). A writer
that was killed leaves versions that nobody reads; the next one takes them back before it begins.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mris.cohort.cohort import Cohort
from mris.cohort.names import normal_form
from mris.database.approximate import build_index
from mris.database.checks import check_cohort, check_encoder, new_pairs
from mris.database.commit import Commit, TableState, read_commit, told_state, write_commit
from mris.database.embed import embedded_entries, write_all
from mris.database.header import TABLE_FOLDER, read_header
from mris.database.stored import StoredEntries, read_database_mask, table_state
from mris.database.table import (
    EntryWriter,
    appended_embeddings,
    open_table,
    restored,
    scan,
    sweep,
    table_schema,
    vectors_of,
    writing,
)
from mris.database.vector_index import VectorIndex, require_faiss
from mris.errors import DatabaseError, MrisError, OutputError, SettingsError
from mris.images.lock import writer_lock
from mris.images.write import clear_temporaries, share_alike, write_npz
from mris.reading import file_sha256
from mris.types import AtlasMask, Encoder

LOCK_FILE = ".lock"


@dataclass(frozen=True)
class Removal:
    """What a removal did.

    Attributes:
        n_entries: Entries that were removed now.
        subjects: Whom they belonged to.
        earlier: Subjects asked for who had been removed before, and were still on the disk.
    """

    n_entries: int
    subjects: tuple[str, ...]
    earlier: tuple[str, ...]


@dataclass(frozen=True)
class Writable:
    """A folder of databases that may be changed: a database by itself, or a bundle.

    Attributes:
        root: Where ``commit.json`` is.
        wait: Whether to wait for another writer, or raise at once.
        after: Called with each state that was committed, and with the one found: brings up to date what people read.
    """

    root: Path
    wait: bool = True
    after: Callable[[Commit], None] = field(default=lambda _: None)

    def add(
        self, cohort: Cohort, encoders: Mapping[str, Encoder], *, batch_size: int = 64, progress: bool = True
    ) -> int:
        """Embed the pairs of a cohort and add them to every database, or (on any failure) to none.

        Pairs that are all there already, as they are, are left as they are: a repeated command succeeds.

        Args:
            cohort: What to add.
            encoders: The encoder of each database, by its folder.
            batch_size: Targets embedded at a time.
            progress: Show a progress bar on standard error.

        Returns:
            How many entries were added to each database.

        Raises:
            EncoderMismatchError: An encoder is not the one that made its database.
            DatabaseError: The cohort is empty or does not fit, or a key is there already with another image.
            OutputError: The disk refuses, or another process is writing.
            SettingsError: There is an index, and FAISS is not installed.
        """
        if len(cohort) == 0:
            raise DatabaseError(f"the cohort {cohort.path} has no pair in this selection; there is nothing to add")
        with self._changing("mris bundle add") as commit:
            new = cohort.select([])
            for folder, encoder in encoders.items():
                header = read_header(self.root / folder)
                check_encoder(encoder, header, self.root / folder)
                check_cohort(cohort, header, self.root / folder)
                new = new_pairs(cohort, StoredEntries(self.root, folder, header, commit))
            if len(new):
                tables = {
                    folder: self._appended(folder, commit, new, encoder, batch_size=batch_size, progress=progress)
                    for folder, encoder in encoders.items()
                }
                self._commit(commit, tables)
        return len(new)

    def remove(self, subjects: Sequence[str], *, purge: bool = False) -> Removal:
        """Remove all entries of some subjects from every database.

        Args:
            subjects: Whom to remove.
            purge: Take their bytes off the disk, too; see `purge`.

        Raises:
            DatabaseError: A subject is neither in a database nor among those who were removed and not purged;
                nothing is removed then.
            SettingsError: `subjects` is a text, not a list; or FAISS is not installed, and a purge renews an index.
            OutputError: The disk refuses, or another process is writing.
        """
        if isinstance(subjects, str):
            raise SettingsError(f"subjects is the text {subjects!r}; give a list of subjects")
        named = {normal_form(str(name)) for name in subjects}
        with self._changing("mris bundle remove") as commit:
            if purge:
                require_faiss(commit)
            stored = {
                folder: StoredEntries(self.root, folder, read_header(self.root / folder), commit)
                for folder in commit.tables
            }
            present = {name for entries in stored.values() for name in entries.subjects.tolist()} & named
            unknown = sorted(named - present - set(commit.removed))
            if unknown:
                more = " ..." if len(unknown) > 5 else ""
                raise DatabaseError(
                    f"{self.root} has no subject {', '.join(map(repr, unknown[:5]))}{more}, neither in a database "
                    "nor removed and still on the disk; nothing was removed; `mris bundle list --subjects` tells who is"
                )
            removed = 0
            if present:
                tables = {folder: _without(entries, present) for folder, entries in stored.items()}
                removed = max(len(entries) - tables[folder].n_entries for folder, entries in stored.items())
                earlier = tuple(sorted({*commit.removed, *present}))
                commit = self._commit(commit, tables, removed=earlier)
            if purge:
                self._purge(commit)
        return Removal(removed, tuple(sorted(present)), tuple(sorted(named - present)))

    def purge(self) -> tuple[str, ...]:
        """Rewrite what still holds removed entries and delete every old version, so that no byte of them is left.

        Returns:
            The subjects who had been removed.

        Raises:
            OutputError: The disk refuses, or another process is writing.
            SettingsError: There is an index, and FAISS is not installed.
        """
        with self._changing("mris bundle purge") as commit:
            require_faiss(commit)
            self._purge(commit)
        return commit.removed

    def create_index(self) -> None:
        """Make (or make anew) the index of every database.

        Raises:
            OutputError: The disk refuses, or another process is writing.
            SettingsError: FAISS is not installed.
        """
        with self._changing("mris bundle index") as commit:
            self._commit(commit, {folder: self._indexed(folder, commit) for folder in commit.tables})

    def drop_index(self) -> None:
        """Delete the index of every database.

        Raises:
            OutputError: The disk refuses, or another process is writing.
        """
        with self._changing("mris bundle index --drop") as commit:
            commit = self._commit(commit, {folder: _unindexed(state) for folder, state in commit.tables.items()})
            self._clear(commit)

    @contextlib.contextmanager
    def _changing(self, action: str) -> Iterator[Commit]:
        """Hold the folder's lock, and give the state that counts, once what a killed writer left is taken back."""
        read_commit(self.root)  # before a lock file is made where there is no database
        with writer_lock(self.root / LOCK_FILE, action, wait=self.wait) as lock:
            before = read_commit(self.root)
            self._check_inside(before)
            commit = self._recovered(before, thorough=lock.left_behind)
            try:
                yield commit
            except MrisError as error:
                with contextlib.suppress(MrisError):
                    self._recovered(read_commit(self.root), thorough=True)
                    lock.finish()
                if isinstance(error, OutputError):
                    raise OutputError(f"{error}; {told_state(self.root, commit)}") from error
                raise
            lock.finish()

    def _check_inside(self, commit: Commit) -> None:
        root = self.root.resolve()
        for folder in commit.tables:
            table = self.root / folder / TABLE_FOLDER
            if not table.resolve().is_relative_to(root):
                raise DatabaseError(
                    f"{table} lies outside {self.root}, at {table.resolve()}: to change it would change another's "
                    "database; replace the link by a copy"
                )

    def _recovered(self, commit: Commit, *, thorough: bool) -> Commit:
        """Take back what a writer that was killed has done without committing it."""
        tables = {folder: self._restored(folder, state) for folder, state in commit.tables.items()}
        if tables != commit.tables:
            commit, thorough = self._commit(commit, tables), True
        if thorough:
            self._clear(commit)
            self.after(commit)
        return commit

    def _restored(self, folder: str, state: TableState) -> TableState:
        path = self.root / folder / TABLE_FOLDER
        version = restored(path, state.version)
        return state if version == state.version else table_state(path, version, state.mask, state)

    def _commit(
        self, earlier: Commit, tables: Mapping[str, TableState], *, removed: Sequence[str] | None = None
    ) -> Commit:
        kept = set(earlier.files) - {_name(folder, state.mask) for folder, state in earlier.tables.items()}
        masks = [_name(folder, state.mask) for folder, state in tables.items()]
        share_alike(self.root)
        commit = write_commit(
            self.root,
            Commit(
                number=earlier.number + 1,
                tables=dict(tables),
                files={name: earlier.files[name] for name in sorted(kept)}
                | {name: file_sha256(self.root / name) for name in masks},
                removed=earlier.removed if removed is None else tuple(removed),
            ),
        )
        self._delete_indexes(earlier, commit)
        self.after(commit)
        return commit

    def _purge(self, commit: Commit) -> None:
        commit = self._commit(commit, {folder: self._rewritten(folder, commit) for folder in commit.tables})
        self._clear(commit)
        self._commit(commit, commit.tables, removed=())

    def _appended(
        self, folder: str, commit: Commit, cohort: Cohort, encoder: Encoder, *, batch_size: int, progress: bool
    ) -> TableState:
        path, state = self.root / folder, commit.tables[folder]
        index = None if state.index is None else VectorIndex.read(path, state.index, to_change=True)
        header = read_header(path)
        batches = embedded_entries(cohort, encoder, batch_size, progress, n_features=header.n_features)
        writer = EntryWriter(path / TABLE_FOLDER, table_schema(header), read_version=state.version)
        mask = read_database_mask(path / state.mask, header)
        grown = write_all(writer, batches, mask)
        name = self._mask_written(folder, commit, mask, grown)
        now = table_state(path / TABLE_FOLDER, writer.commit(), name, state)
        if state.index is None or index is None:
            return now
        for ids, embeddings in appended_embeddings(path / TABLE_FOLDER, now.version, state.n_entries):
            index.add(ids, embeddings)
        return now.model_copy(update={"index": index.write(path / _index_name(commit), state.index.recall)})

    def _rewritten(self, folder: str, commit: Commit) -> TableState:
        """Write the table anew without its removed entries, and the mask of those that stay."""
        path, state = self.root / folder, commit.tables[folder]
        table = open_table(path / TABLE_FOLDER)
        with writing(path / TABLE_FOLDER):
            table.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
        table = open_table(path / TABLE_FOLDER)
        header = read_header(path)
        valid = np.zeros(int(np.prod(header.target_shape)), dtype=np.bool_)
        for batch in scan(table, ["target"], path / TABLE_FOLDER, batch_size=64):
            valid |= ~np.isnan(vectors_of(batch, "target")).all(axis=0)
        before = read_database_mask(path / state.mask, header)
        name = self._mask_written(folder, commit, before, valid.reshape(before.shape))
        now = _unindexed(table_state(path / TABLE_FOLDER, int(table.version), name, state))
        if state.index is None:
            return now
        return self._indexed(folder, commit.model_copy(update={"tables": {folder: now}}))

    def _mask_written(self, folder: str, commit: Commit, before: AtlasMask, now: AtlasMask) -> str:
        """Write a mask that differs under a name of its own: readers of the earlier state go on with theirs."""
        if np.array_equal(before, now):
            return commit.tables[folder].mask
        name = f"atlas_mask.{commit.number + 1}.npz"
        write_npz(self.root / folder / name, mask=now)
        return name

    def _indexed(self, folder: str, commit: Commit) -> TableState:
        """Make the index of a database as a commit has it, under a name of its own."""
        state = commit.tables[folder]
        if not state.n_entries:
            return _unindexed(state)
        entries = StoredEntries(self.root, folder, read_header(self.root / folder), commit)
        index = build_index(entries, self.root / folder / _index_name(commit))
        return state.model_copy(update={"index": index})

    def _clear(self, commit: Commit) -> None:
        """Delete what belongs to no committed state: earlier versions, and whatever killed writers left."""
        for folder, state in commit.tables.items():
            sweep(self.root / folder / TABLE_FOLDER)
            with writing(self.root / folder):
                for mask in (self.root / folder).glob("atlas_mask.*.npz"):
                    if mask.name != state.mask:
                        mask.unlink()
        self._delete_indexes(commit)
        for folder in {".", *commit.tables}:
            clear_temporaries(self.root / folder)

    def _delete_indexes(self, *kept: Commit) -> None:
        """Delete the files of indexes that belong to none of some commits: they are too large to lie about."""
        for folder in kept[-1].tables:
            states = [commit.tables[folder].index for commit in kept]
            names = {state.file for state in states if state is not None}
            with writing(self.root / folder):
                for file in (self.root / folder).glob("index.*.faiss"):
                    if file.name not in names:
                        file.unlink()


def _without(entries: StoredEntries, subjects: set[str]) -> TableState:
    """Delete the entries of subjects from a table; an index of nobody goes with the last one."""
    # By row, not by name: what a version says about its making would keep the name.
    ids = entries.row_ids[np.isin(entries.subjects, sorted(subjects))]
    path = Path(entries.path / TABLE_FOLDER)
    table = open_table(path)
    if len(ids):
        with writing(path):
            table.delete(f"_rowid IN ({', '.join(map(str, ids.tolist()))})")
    state = table_state(path, int(open_table(path).version), entries.state.mask, entries.state)
    return state if state.n_entries else _unindexed(state)


def _unindexed(state: TableState) -> TableState:
    return state.model_copy(update={"index": None})


def _index_name(commit: Commit) -> str:
    """Name the index that the next commit names: readers of the earlier state go on with theirs."""
    return f"index.{commit.number + 1}.faiss"


def _name(folder: str, file: str) -> str:
    return file if folder == "." else f"{folder}/{file}"
