"""Is a database whole? Every checksum, norm, dimension and count."""

from dataclasses import dataclass
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from mris.database.header import TABLE_FOLDER, DatabaseHeader
from mris.database.table import Entries, entry_checksums, entry_schema, numpy_entries, scan
from mris.errors import DatabaseError
from mris.types import AtlasMask
from mris.wording import counted

_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        path: Folder of the database.
        n_entries: Entries that could be read.
        n_subjects: Their subjects.
        problems: One line each; empty if the database is whole.
    """

    path: Path
    n_entries: int
    n_subjects: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems

    def summary(self) -> str:
        """The report in a few lines."""
        verdict = "whole" if self.ok else f"{len(self.problems)} problem(s)"
        lines = [f"{self.path}: {counted(self.n_entries, 'entry')} of {counted(self.n_subjects, 'subject')}: {verdict}"]
        return "\n".join(lines + [f"  {problem}" for problem in self.problems])


def verify_entries(folder: Path, header: DatabaseHeader, table: lance.LanceDataset, mask: AtlasMask) -> VerifyReport:
    """Read every entry and check it against its checksum and the header.

    Returns:
        The report; damage that keeps Lance from reading on is its last problem.
    """
    problems: list[str] = []
    n_entries = 0
    keys: list[str] = []
    subjects: set[str] = set()
    expected = entry_schema(header.embedding_dim, int(np.prod(header.target_shape)))
    if not _same_columns(table.schema, expected):
        problems.append(f"columns are {table.schema.to_string()!r}; the header asks for {expected.to_string()!r}")
        return VerifyReport(folder, 0, 0, tuple(problems))
    path = folder / TABLE_FOLDER
    try:
        for batch in scan(table, expected.names, path, batch_size=64):
            entries = numpy_entries(batch)
            problems += _problems_of(entries, mask)
            keys += entries.metadata["key"].tolist()
            subjects |= set(entries.metadata["subject"].tolist())
            n_entries += len(batch)
    except DatabaseError as error:
        problems.append(f"after {n_entries} entries: {error}")
    else:
        if n_entries != table.count_rows():
            problems.append(f"{n_entries} entries were read; the table counts {table.count_rows()}")
    names, counts = np.unique(np.array(keys, dtype=np.str_), return_counts=True)
    problems += [f"key {name!r} occurs {count} times" for name, count in zip(names, counts, strict=True) if count > 1]
    return VerifyReport(folder, n_entries, len(subjects), tuple(problems))


def _same_columns(found: pa.Schema, expected: pa.Schema) -> bool:
    return list(found.names) == list(expected.names) and list(found.types) == list(expected.types)


def _problems_of(entries: Entries, mask: AtlasMask) -> list[str]:
    keys = entries.metadata["key"]
    problems = []
    checksums = entry_checksums(entries.metadata, entries.embeddings, entries.targets)
    norms = np.linalg.norm(entries.embeddings, axis=1)
    outside = ~np.isnan(entries.targets[:, ~mask.ravel()]).all(axis=1)
    for row, key in enumerate(keys):
        if checksums[row] != entries.checksums[row]:
            problems.append(f"entry {str(key)!r}: its checksum does not match its content: the file was damaged")
        elif not abs(norms[row] - 1) < _NORM_TOLERANCE:
            problems.append(f"entry {str(key)!r}: the norm of its embedding is {norms[row]:.4g}, not 1")
        elif outside[row]:
            problems.append(f"entry {str(key)!r}: its target has values outside the atlas mask")
    return problems
