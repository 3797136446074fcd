"""The people a network was trained on, kept beside it so that an evaluation can refuse them as queries.

Names do not stand in the record, only a keyed hash of each: whoever asks about a name learns whether it is there, so
that the guard goes on working after a person's images and name were taken off the disk. The record still belongs to
people: with a list of candidates, anybody can ask.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mris.cohort.names import normal_form
from mris.errors import BundleError
from mris.images.write import write_json
from mris.reading import LARGEST_LIST, read_json

RECORD_FILE = "training_subjects.json"
FORMAT_VERSION = 2
_BYTES = 16


@dataclass(frozen=True)
class TrainingSubjects:
    """Whom a network was trained on.

    Attributes:
        salt: Key of the hashes, hex; drawn for each record.
        hashes: Of the subjects.
        before: Records of the trained networks that it was made from.

    Example:
        >>> record = TrainingSubjects.of(["S01", "S02"])
        >>> record.among(["S02", "S03"]), len(record)
        (['S02'], 2)
    """

    salt: str
    hashes: frozenset[str]
    before: tuple["TrainingSubjects", ...] = ()

    @classmethod
    def of(cls, subjects: Iterable[str], *, before: Iterable["TrainingSubjects"] = ()) -> "TrainingSubjects":
        """Record subjects; a name may occur several times."""
        salt = secrets.token_hex(_BYTES)
        return cls(salt, frozenset(_hash(salt, str(name)) for name in subjects), tuple(before))

    def __len__(self) -> int:
        return len(self.hashes)

    def among(self, subjects: Iterable[str]) -> list[str]:
        """Name those of some subjects who are in the record, sorted."""
        asked = {str(name) for name in subjects}
        here = {name for name in asked if _hash(self.salt, name) in self.hashes}
        return sorted(here.union(*(record.among(asked) for record in self.before)))

    def without(self, subjects: Sequence[str]) -> "TrainingSubjects":
        """Take subjects out: they are no longer recognized."""
        left = self.hashes - {_hash(self.salt, str(name)) for name in subjects}
        return TrainingSubjects(self.salt, left, tuple(record.without(subjects) for record in self.before))


def write_training_subjects(folder: Path, record: TrainingSubjects) -> None:
    """Write a record into the folder of a network; it replaces an earlier one.

    Raises:
        OutputError: The disk refuses.
    """
    write_json(folder / RECORD_FILE, {"format_version": FORMAT_VERSION, **_to_json(record)})


def read_training_subjects(folder: Path) -> TrainingSubjects | None:
    """Read the record in the folder of a network.

    Returns:
        The record; None where there is none: the people are unknown then.

    Raises:
        BundleError: The record is damaged or of another version.
    """
    path = folder / RECORD_FILE
    try:
        values = read_json(path, LARGEST_LIST)
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{path} has format_version {version!r}; this software reads {FORMAT_VERSION}; train again"
            )
        return _from_json(values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} is damaged ({type(error).__name__}: {error}); train again") from error


def _to_json(record: TrainingSubjects) -> dict[str, Any]:
    before = [_to_json(one) for one in record.before]
    return {"salt": record.salt, "subjects": sorted(record.hashes), "before": before}


def _from_json(values: Any) -> TrainingSubjects:
    salt, hashes = values["salt"], values["subjects"]
    if not isinstance(salt, str) or not isinstance(hashes, list) or not all(isinstance(one, str) for one in hashes):
        raise ValueError("its subjects are no list of hashes")
    return TrainingSubjects(salt, frozenset(hashes), tuple(map(_from_json, values["before"])))


def _hash(salt: str, name: str) -> str:
    return hashlib.blake2b(normal_form(name).encode(), key=salt.encode(), digest_size=_BYTES).hexdigest()
