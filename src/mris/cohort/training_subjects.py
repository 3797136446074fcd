"""The people a network was trained on, kept beside it so that an evaluation can refuse them as queries.

Names do not stand in the record, only a keyed hash of each: whoever asks about a name learns whether it is there, so
that the guard goes on working after a person's images and name were taken off the disk. The record still belongs to
people: with a list of candidates, anybody can ask.
"""

import hashlib
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import field_serializer

from mris.cohort.names import normal_form
from mris.errors import BundleError
from mris.images.write import write_json
from mris.reading import LARGEST_LIST
from mris.records import Record, read_record
from mris.storage.folder import Folder

RECORD_FILE = "training_subjects.json"
_BYTES = 16


class TrainingSubjects(Record):
    """Whom a network was trained on.

    Attributes:
        salt: Key of the hashes, hex; drawn for each record.
        subjects: Hash of each.
        before: Records of the trained networks that it was made from.

    Example:
        >>> record = TrainingSubjects.of(["S01", "S02"])
        >>> record.among(["S02", "S03"]), len(record)
        (['S02'], 2)
    """

    salt: str
    subjects: frozenset[str]
    before: tuple["TrainingSubjects", ...] = ()

    @classmethod
    def of(cls, subjects: Iterable[str], *, before: Iterable["TrainingSubjects"] = ()) -> "TrainingSubjects":
        """Record subjects; a name may occur several times."""
        salt = secrets.token_hex(_BYTES)
        hashes = frozenset(_hash(salt, str(name)) for name in subjects)
        return cls(salt=salt, subjects=hashes, before=tuple(before))

    def __len__(self) -> int:
        return len(self.subjects)

    def among(self, subjects: Iterable[str]) -> list[str]:
        """Name those of some subjects who are in the record, sorted."""
        asked = {str(name) for name in subjects}
        here = {name for name in asked if _hash(self.salt, name) in self.subjects}
        return sorted(here.union(*(record.among(asked) for record in self.before)))

    def without(self, subjects: Sequence[str]) -> "TrainingSubjects":
        """Take subjects out: they are no longer recognized."""
        left = self.subjects - {_hash(self.salt, str(name)) for name in subjects}
        before = tuple(record.without(subjects) for record in self.before)
        return TrainingSubjects(salt=self.salt, subjects=left, before=before)

    @field_serializer("subjects")
    def _sorted(self, subjects: frozenset[str]) -> list[str]:
        return sorted(subjects)


class _File(TrainingSubjects):
    """The record of a network, as a file."""

    format_version: Literal[2] = 2


def write_training_subjects(folder: Path, record: TrainingSubjects) -> None:
    """Write a record into the folder of a network; it replaces an earlier one.

    Raises:
        OutputError: The disk refuses.
    """
    write_json(folder / RECORD_FILE, _File(**dict(record)))


def read_training_subjects(folder: Folder) -> TrainingSubjects | None:
    """Read the record in the folder of a network.

    Returns:
        The record; None where there is none: the people are unknown then.

    Raises:
        BundleError: The record is damaged or of another version.
    """
    path = folder / RECORD_FILE
    if not os.path.lexists(path):
        return None
    return read_record(path, _File, BundleError, "train again", most=LARGEST_LIST)


def _hash(salt: str, name: str) -> str:
    return hashlib.blake2b(normal_form(name).encode(), key=salt.encode(), digest_size=_BYTES).hexdigest()
