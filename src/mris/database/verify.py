"""Is a database whole? Every checksum, norm, dimension and count."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mris.database.approximate import ENOUGH_RECALL, open_index, recall, sampled_truth
from mris.database.commit import COMMIT_FILE, Commit, TableState, file_findings
from mris.database.embed import NORM_TOLERANCE
from mris.database.header import TABLE_FOLDER, DatabaseHeader
from mris.database.stored import StoredEntries, entries_sha256, read_database_mask
from mris.database.table import (
    CHECKSUMS,
    METADATA,
    embeddings_and_features,
    metadata_checksums,
    open_table,
    reading,
    scan,
    strings_of,
    table_schema,
    vector_checksums,
    vectors_of,
)
from mris.database.vector_index import ANEW
from mris.errors import DatabaseError
from mris.storage.folder import Folder, sha256_at
from mris.types import AtlasMask
from mris.wording import counted


@dataclass(frozen=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        path: Where the database is.
        n_entries: Entries that could be read.
        n_subjects: Their subjects.
        findings: What is damaged, one line each; empty if the database is whole.
        removed: Subjects who were removed and are still on the disk.
        n_without_source: Entries whose source the database knows nothing of, while others' it does.
        recall: Share of the 20 nearest that the index finds of sampled entries; None without an index that is whole.
    """

    path: Folder
    n_entries: int
    n_subjects: int
    findings: tuple[str, ...]
    removed: tuple[str, ...] = ()
    n_without_source: int = 0
    recall: float | None = None

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.findings

    def summary(self) -> str:
        """The report in a few lines."""
        verdict = "whole" if self.ok else f"{len(self.findings)} finding(s)"
        lines = [f"{self.path}: {counted(self.n_entries, 'entry')} of {counted(self.n_subjects, 'subject')}: {verdict}"]
        if self.n_without_source:
            what = "entry has" if self.n_without_source == 1 else "entries have"
            lines.append(f"  {self.n_without_source:,} {what} no source: the linear readout leaves them out")
        if self.recall is not None:
            advice = "" if self.recall >= ENOUGH_RECALL else f"; below {ENOUGH_RECALL}: {ANEW}"
            lines.append(f"  its index finds {self.recall:.4f} of what the exact search finds (recall@20){advice}")
        if self.removed:
            lines.append(f"  {counted(len(self.removed), 'removed subject')} still on the disk; purge to take them off")
        return "\n".join(lines + [f"  {finding}" for finding in self.findings])


def verify_entries(root: Folder, folder: str, header: DatabaseHeader, commit: Commit) -> VerifyReport:
    """Read every entry of a committed state and check it against its checksums and the header.

    Args:
        root: Folder of ``commit.json``.
        folder: The database's, relative to it.
        header: The database's header.
        commit: The state.

    Returns:
        The report; damage that keeps Lance from reading on is its last finding.

    Raises:
        DatabaseError: The table cannot be opened.
    """
    path, state = root / folder, commit.tables[folder]
    findings = file_findings(root, commit)
    table_path = path / TABLE_FOLDER
    try:
        mask = read_database_mask(path / state.mask, header)
    except DatabaseError as error:
        findings += [str(error)] if not findings else []
        mask = np.ones(header.target_shape, dtype=np.bool_)
    table = open_table(table_path, state.version)
    expected = table_schema(header)
    if list(table.schema.names) != list(expected.names) or list(table.schema.types) != list(expected.types):
        findings.append(f"columns are {table.schema.to_string()!r}; the header asks for {expected.to_string()!r}")
        return VerifyReport(path, 0, 0, tuple(findings), commit.removed)
    keys: list[str] = []
    subjects: set[str] = set()
    n_without_source = 0
    try:
        for batch in scan(table, expected.names, table_path, batch_size=64):
            findings += _findings_of(batch, mask)
            keys += batch["key"].to_pylist()
            n_without_source += int((~np.isfinite(embeddings_and_features(batch)[1]).all(axis=1)).sum())
            subjects |= set(batch["subject"].to_pylist())
        with reading(table_path):
            columns = table.to_table(columns=list(CHECKSUMS), scan_in_order=True)
        if len(keys) != state.n_entries or entries_sha256(columns) != state.entries:
            findings.append(f"its {len(keys)} entries are not the {state.n_entries} that were committed")
    except DatabaseError as error:
        findings.append(f"after {len(keys)} entries: {error}")
    names, counts = np.unique(np.array(keys, dtype=np.str_), return_counts=True)
    findings += [f"key {name!r} occurs {count} times" for name, count in zip(names, counts, strict=True) if count > 1]
    findings += _stored_findings(table_path, state)
    found = None
    if state.index is not None and not findings:
        entries = StoredEntries(root, folder, header, commit)
        try:
            found = recall(open_index(entries), entries, sampled_truth(entries))
        except DatabaseError as error:
            findings.append(str(error))
    return VerifyReport(path, len(keys), len(subjects), tuple(findings), commit.removed, n_without_source, found)


def _stored_findings(path: Folder, state: TableState) -> list[str]:
    """Name files of a table that are not as they were committed; one that is gone is missed where it is read."""
    return [
        f"{path / name} is damaged or edited: its SHA-256 is not that of {COMMIT_FILE}"
        for name, expected in state.stored.items()
        if sha256_at(path / name) not in (None, expected)
    ]


def _findings_of(batch: pa.RecordBatch, mask: AtlasMask) -> list[str]:
    metadata = {name: strings_of(batch, name) for name in METADATA}
    keys, targets = metadata["key"], vectors_of(batch, "target")
    embeddings, features = embeddings_and_features(batch)
    found = {
        "metadata_checksum": metadata_checksums(metadata),
        "embedding_checksum": vector_checksums(keys, np.concatenate([embeddings, features], axis=1)),
        "target_checksum": vector_checksums(keys, targets),
    }
    stored = {name: batch[name].to_pylist() for name in CHECKSUMS}
    norms = np.linalg.norm(embeddings, axis=1)
    outside = ~np.isnan(targets[:, ~mask.ravel()]).all(axis=1)
    findings = []
    for row, key in enumerate(keys.tolist()):
        if damaged := [name for name in CHECKSUMS if found[name][row] != stored[name][row]]:
            findings.append(f"entry {key!r}: its {damaged[0].replace('_', ' ')} does not match: the file was damaged")
        elif not abs(norms[row] - 1) < NORM_TOLERANCE:
            findings.append(f"entry {key!r}: the norm of its embedding is {norms[row]:.4g}, not 1")
        elif outside[row]:
            findings.append(f"entry {key!r}: its target has values outside the atlas mask")
    return findings
