"""The folder of a cohort while it is being prepared: what was asked, which findings were found, who is writing."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from mris.cohort.file_sizes import FileSizes
from mris.cohort.header import ATLAS_MASK_FILE, HEADER_FILE, PROGRESS_FILE, REPORT_FILE, TABLE_FILE
from mris.cohort.prepare_settings import PrepareSettings
from mris.cohort.report import RowFinding
from mris.errors import CohortError, OutputError
from mris.images.lock import lock_descriptor
from mris.images.write import OWNER_ONLY, atomic_write, temporary_sibling, write_json
from mris.reading import LARGEST_LIST, parse_json, read_bytes
from mris.records import Record, read_record
from mris.storage.folder import Folder

FINDINGS_FILE = "findings.jsonl"
SIZES_FILE = "file_sizes.jsonl"
LOCK_FILE = ".lock"
_LINES_FILES = (FINDINGS_FILE, SIZES_FILE)
_OURS = frozenset({HEADER_FILE, PROGRESS_FILE, REPORT_FILE, *_LINES_FILES, ATLAS_MASK_FILE, TABLE_FILE, LOCK_FILE})
_HALF_WRITTEN = frozenset(temporary_sibling(Path(name)).name for name in _OURS)
_Line = TypeVar("_Line", RowFinding, FileSizes)


class Assignment(Record):
    """What a folder is prepared from; work may be resumed only by the same assignment.

    Attributes:
        manifest_sha256: SHA-256 (hex) of the manifest's bytes.
        manifest_folder: Where its relative paths start.
        settings: `PrepareSettings.to_dict()`.
    """

    manifest_sha256: str
    manifest_folder: str
    settings: dict[str, Any]

    def differences(self, earlier: "Assignment") -> list[str]:
        """Name what differs from an earlier assignment, with both values."""
        found = []
        if self.manifest_sha256 != earlier.manifest_sha256:
            found.append("the manifest has changed")
        elif self.manifest_folder != earlier.manifest_folder:
            found.append(f"the manifest was in {earlier.manifest_folder} and is in {self.manifest_folder}")
        names = sorted({*self.settings, *earlier.settings})
        found += [
            f"{name} was {earlier.settings.get(name)!r} and is {self.settings.get(name)!r}"
            for name in names
            if self.settings.get(name) != earlier.settings.get(name)
        ]
        return found


def assignment_of(manifest_path: Path, settings: PrepareSettings) -> Assignment:
    """Describe the work on a manifest; an unreadable one is left to `read_manifest` to complain about."""
    digest = hashlib.sha256()
    if manifest_path.is_file():
        with manifest_path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    where = str(manifest_path.resolve().parent)
    return Assignment(manifest_sha256=digest.hexdigest(), manifest_folder=where, settings=settings.to_dict())


class _Begun(Record):
    """What is written before the first pair: the assignment, and the findings of the manifest."""

    assignment: Assignment
    manifest_findings: tuple[RowFinding, ...]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and hold it: a second preparation into it is refused. A killed holder lets go at once.

    Raises:
        OutputError: Another process is preparing this cohort, or the folder cannot be made.
    """
    try:
        folder.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}; choose another OUT") from error
    try:
        if not lock_descriptor(descriptor, blocking=False):
            raise OutputError(f"another process is preparing {folder} right now; wait for it, or choose another OUT")
        yield
    finally:
        os.close(descriptor)


def check_folder(folder: Path) -> None:
    """Make sure that a folder holds nothing but a cohort's files.

    Raises:
        OutputError: It holds other files.
    """
    strange = sorted({entry.name for entry in folder.iterdir()} - _OURS - _HALF_WRITTEN)
    if strange:
        raise OutputError(
            f"{folder} is not empty and not a cohort (it holds {strange[0]!r}); choose a new folder for OUT"
        )


def claim(folder: Path, overwrite: bool) -> None:
    """Make sure that the folder holds nothing but a cohort's files, and clear it if asked to.

    Raises:
        OutputError: The folder holds other files, which are never touched.
    """
    check_folder(folder)
    for entry in folder.iterdir():
        if entry.name in _HALF_WRITTEN:
            entry.unlink(missing_ok=True)
    if overwrite or not ((folder / PROGRESS_FILE).is_file() or (folder / HEADER_FILE).is_file()):
        _clear(folder)


def start(folder: Path, assignment: Assignment, findings: Sequence[RowFinding]) -> None:
    """Write down the assignment and the findings of the manifest, before the first pair.

    Raises:
        OutputError: The disk is full or refuses.
    """
    write_json(folder / PROGRESS_FILE, _Begun(assignment=assignment, manifest_findings=tuple(findings)))


def earlier_work(folder: Folder) -> tuple[Assignment, tuple[RowFinding, ...]] | None:
    """Read what `start` wrote; None in a fresh folder.

    Raises:
        CohortError: The file is damaged.
    """
    path = folder / PROGRESS_FILE
    if not Path(path).is_file():
        return None
    begun = read_record(path, _Begun, CohortError, "choose another OUT or use --overwrite", most=LARGEST_LIST)
    return begun.assignment, begun.manifest_findings


def tidy(folder: Path) -> None:
    """Remove what only a resumed preparation would have needed; the report tells of it."""
    for name in _LINES_FILES:
        (folder / name).unlink(missing_ok=True)


def add_lines(path: Path, records: Sequence[RowFinding | FileSizes]) -> None:
    """Append records of rows to `FINDINGS_FILE` or `SIZES_FILE`, and wait until they are on the disk.

    Raises:
        OutputError: The disk is full or refuses.
    """
    if not records:
        return
    text = "".join(json.dumps(asdict(record)) + "\n" for record in records)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; what was written before is intact: "
            "free some space and run the same command again, it resumes"
        ) from error


def keep_lines(path: Path, last_row: int, kind: type[_Line]) -> list[_Line]:
    """Give the records of rows up to `last_row`, and leave only them in the file: later rows will be read again.

    A torn last line is none of those: records reach the disk before the rows that they are of.
    """
    kept: list[_Line] = []
    adapter = TypeAdapter(kind)
    if path.is_file():
        for line in read_bytes(path, LARGEST_LIST).decode(errors="replace").splitlines():
            try:
                record = adapter.validate_python(parse_json(line))
            except ValueError:
                continue
            if record.row <= last_row:
                kept.append(record)
    with atomic_write(path) as temporary:
        temporary.write_text("".join(json.dumps(asdict(record)) + "\n" for record in kept), encoding="utf-8")
    return kept


def _clear(folder: Path) -> None:
    # The order matters: killed at any point, what remains is a whole cohort, or a folder that counts as fresh.
    try:
        for name in (PROGRESS_FILE, HEADER_FILE, REPORT_FILE, *_LINES_FILES, ATLAS_MASK_FILE):
            (folder / name).unlink(missing_ok=True)
        if (folder / TABLE_FILE).exists():
            shutil.rmtree(folder / TABLE_FILE)
    except OSError as error:
        raise OutputError(f"cannot clear {folder}: {error}; choose another OUT") from error
