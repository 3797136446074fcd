"""`commit.json`: which state of a folder's tables is the one that counts.

A folder, a database by itself or a bundle of several, has one such file. What it names was written before it, under
names and versions of its own; to replace the file is to commit all of that at once. Readers follow it and nothing else.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict

from mris.errors import DatabaseError, OutputError
from mris.images.write import write_json
from mris.reading import LARGEST_LIST, file_sha256
from mris.records import Record, parse_record, read_record
from mris.storage.folder import Folder

COMMIT_FILE = "commit.json"
_ANEW = "index again"
_T = TypeVar("_T")


class IndexState(Record):
    """The index of a database as it was committed.

    Attributes:
        file: Name of its file.
        sha256: SHA-256 (hex) of that.
        n_entries: How many entries it holds; those who were removed and not purged are among them.
        n_probes: Lists that a query looks into.
        recall: Share of the 20 nearest that it found when it was made.
    """

    model_config = ConfigDict(extra="forbid")

    file: str
    sha256: str
    n_entries: int
    n_probes: int
    recall: float


class TableState(Record):
    """One database as it was committed.

    Attributes:
        version: Version of its Lance table.
        n_entries: How many entries that has.
        entries: SHA-256 (hex) over the checksums of all entries, in the table's order.
        metadata: SHA-256 (hex) over their metadata; without it, these are compared entry by entry.
        mask: Name of the file of the atlas mask.
        index: Its index, None without one.
        stored: SHA-256 (hex) of the table's files, by their path relative to the table's folder, for a verification.
    """

    model_config = ConfigDict(extra="forbid")

    version: int
    n_entries: int
    entries: str
    mask: str
    metadata: str | None = None
    index: IndexState | None = None
    stored: Mapping[str, str] = {}


class Commit(Record):
    """What ``commit.json`` says.

    Attributes:
        number: It grows with every commit.
        tables: State of each database, by its folder relative to the file's; "." for the folder itself.
        files: SHA-256 (hex) of the small files that readers need, by their path relative to the file's folder.
        removed: Subjects who were removed and whose bytes are still on the disk; a purge empties the list.
    """

    model_config = ConfigDict(extra="forbid")

    number: int
    tables: Mapping[str, TableState]
    files: Mapping[str, str]
    removed: tuple[str, ...] = ()


class _Sealed(Record):
    """What the file holds: a state, and the SHA-256 (hex) of it as it was written."""

    sha256: str
    commit: Mapping[str, Any]
    format_version: Literal[1] = 1


def read_commit(root: Folder) -> Commit:
    """Read the state that counts.

    Raises:
        DatabaseError: The file is absent, damaged, edited, or of another version.
    """
    path = root / COMMIT_FILE
    missing = f"{str(root)!r} is no database or bundle (no {COMMIT_FILE}); make one with `mris index`"
    # It may be long: it names all who were removed and not purged.
    sealed = read_record(path, _Sealed, DatabaseError, _ANEW, missing=missing, most=LARGEST_LIST)
    if sealed.sha256 != _sha256_of(sealed.commit):
        raise DatabaseError(f"{path} is not as it was written (its SHA-256 differs); restore a copy, or {_ANEW}")
    return parse_record(sealed.commit, Commit, DatabaseError, _ANEW, name=str(path))


def write_commit(root: Path, commit: Commit) -> Commit:
    """Make a state the one that counts.

    Raises:
        OutputError: The disk refuses.
    """
    values = commit.to_json()
    write_json(root / COMMIT_FILE, _Sealed(sha256=_sha256_of(values), commit=values))
    return commit


def at_newest(root: Folder, read: Callable[[Commit], _T]) -> _T:
    """Read from the newest state; again from the next one, if a writer has meanwhile deleted what was to be read.

    Args:
        root: Folder of ``commit.json``.
        read: Reads from the state it is given, and from no other.

    Raises:
        DatabaseError: As `read` does, of a state that still is the newest.
    """
    while True:
        commit = read_commit(root)
        try:
            return read(commit)
        except DatabaseError:
            if read_commit(root) == commit:
                raise


def check_files(root: Folder, commit: Commit) -> None:
    """Compare all small files of a state with their checksums.

    Raises:
        DatabaseError: One is absent, damaged or edited.
    """
    for finding in file_findings(root, commit):
        raise DatabaseError(f"{finding}; restore a copy, or index again")


def file_findings(root: Folder, commit: Commit) -> list[str]:
    """Name the small files of a state that are not as they were committed."""
    findings = []
    for name, expected in commit.files.items():
        try:
            found = file_sha256(Path(root / name))
        except OSError as error:
            findings.append(f"{root / name} is missing or cannot be read ({error.strerror})")
            continue
        if found != expected:
            findings.append(f"{root / name} is damaged or edited: its SHA-256 is not that of {COMMIT_FILE}")
    return findings


def told_state(root: Path, before: Commit) -> str:
    """Say, after a change failed, what the folder holds: found by looking.

    Args:
        root: Folder of ``commit.json``.
        before: The state before the change.
    """
    try:
        now = read_commit(root)
    except (DatabaseError, OutputError) as error:
        return f"and its state cannot be told: {error}"
    if now.removed:
        names = ", ".join(map(repr, now.removed[:5])) + (" ..." if len(now.removed) > 5 else "")
        return f"{names}: removed, but still on the disk: repeat the command, or purge, to finish"
    if now.tables == before.tables:
        return "what was there before is unchanged: repeat the command to finish"
    return "the change itself is complete: repeat the command to clear up"


def _sha256_of(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
