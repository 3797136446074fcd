"""The people of a database: found, sorted, shown as thumbnails, and removed as ``bundle remove --purge`` does it."""

from io import BytesIO
from typing import Any
from urllib.parse import quote

import numpy as np
import PIL.Image
from jaxtyping import Float32

from mris.cohort.names import normal_form
from mris.database.changes import Removal
from mris.digital.packaged import FOLDER
from mris.errors import DatabaseError
from mris.records import Record
from mris.web.card import colors
from mris.web.errors import NotFoundError, RequestError
from mris.web.served import Entry, ServedBundle

Sort = str
"""Of people: "subject", "n_entries", or the name of a label."""


class EntryRecord(Record):
    """One visit and side of a person."""

    key: str
    timepoint: str
    side: str
    split: str
    labels: dict[str, Any]
    thumbnail: str


class SubjectRecord(Record):
    """A person of the database."""

    subject: str
    n_entries: int
    entries: tuple[EntryRecord, ...]


class PeopleFound(Record):
    """Some of the people: those that were found, from `offset` on."""

    n_subjects: int
    n_found: int
    offset: int
    subjects: tuple[SubjectRecord, ...]


class RemovalRequest(Record):
    """Whom to remove; `confirmation` is typed by the person who wants it, and is the same."""

    subject: str
    confirmation: str
    bundle: str | None = None


class RemovalRecord(Record):
    """Who was removed; see `mris.database.changes.Removal`."""

    subjects: tuple[str, ...]
    n_entries: int
    earlier: tuple[str, ...]


def find_people(
    served: ServedBundle,
    *,
    search: str = "",
    sort: Sort = "subject",
    descending: bool = False,
    offset: int = 0,
    limit: int = 50,
) -> PeopleFound:
    """Find people.

    Args:
        served: The bundle.
        search: Words; each must stand in a person's name, keys or labels (as ``klg=2``), in any case.
        sort: "subject", "n_entries", or a label: its largest value of each person.
        descending: The largest first.
        offset: Of so many who were found the first is left out.
        limit: So many are given at most.
    """
    state = served.use()
    people: dict[str, list[Entry]] = {}
    for entry in state.entries.values():
        people.setdefault(entry.subject, []).append(entry)
    words = normal_form(search).casefold().split()
    found = [item for item in people.items() if all(word in _text(*item) for word in words)]
    found.sort(key=lambda item: _place(sort, *item), reverse=descending)
    first = max(0, offset)
    return PeopleFound(
        n_subjects=len(people),
        n_found=len(found),
        offset=first,
        subjects=tuple(_record(served, *item) for item in found[first : first + max(1, min(limit, 500))]),
    )


def remove_person(served: ServedBundle, subject: str, confirmation: str) -> RemovalRecord:
    """Remove a person and take every byte of theirs off the disk, as ``mris bundle remove --purge`` does.

    Raises:
        RequestError: The name was not typed a second time, or the bundle is the package's own.
        DatabaseError: Nobody of that name is in the bundle.
        OutputError: The disk refuses, or another process is changing the bundle.
    """
    if not subject or normal_form(confirmation) != normal_form(subject):
        raise RequestError(f"to remove {subject!r}, type that name; {confirmation!r} was typed, and nobody is removed")
    if served.path == FOLDER:
        raise RequestError("the bundle of the package stays as it is; copy its folder, and serve the copy")
    bundle = served.use().bundle
    try:
        removal: Removal = bundle.remove([subject], purge=True, wait=False)
    except DatabaseError as error:
        served.use()  # where the database itself is damaged, that is what is told
        raise NotFoundError(str(error)) from error
    served.use()
    return RemovalRecord(subjects=removal.subjects, n_entries=removal.n_entries, earlier=removal.earlier)


def maps_of(served: ServedBundle, key: str) -> Float32[np.ndarray, "r h w"]:
    """The maps of an entry, of all regions of the bundle.

    Raises:
        NotFoundError: There is no such entry.
    """
    state = served.use()
    if key not in state.entries:
        raise NotFoundError(f"the bundle has no entry {key[:80]!r}; the person may have been removed")
    databases = [member.database for member in state.bundle.members]
    return np.concatenate([database.read_targets(database.rows_of([key]))[0] for database in databases])


def thumbnail(served: ServedBundle, key: str) -> bytes:
    """A small picture of an entry's maps, side by side, in the colors of values; clear where there is none.

    Raises:
        NotFoundError: There is no such entry.
    """
    maps = maps_of(served, key)
    row = np.concatenate(list(maps), axis=1)
    step = -(-row.shape[0] // 96)
    row = row[::step, ::step]
    least, largest = served.use().value_limits
    shades = np.clip(np.nan_to_num((row - least) / (largest - least)) * 255, 0, 255).astype(int)
    clear = np.where(np.isnan(row), 0, 255).astype(np.uint8)
    pixels = np.dstack([np.array(colors().value, np.uint8)[shades], clear])
    with BytesIO() as file:
        PIL.Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def _record(served: ServedBundle, subject: str, entries: list[Entry]) -> SubjectRecord:
    records = [
        EntryRecord(
            key=entry.key,
            timepoint=entry.timepoint,
            side=entry.side,
            split=entry.split,
            labels=dict(entry.labels),
            thumbnail=f"/api/v1/entries/thumbnail.png?bundle={quote(served.name)}&key={quote(entry.key, safe='')}",
        )
        for entry in entries
    ]
    return SubjectRecord(subject=subject, n_entries=len(entries), entries=tuple(records))


def _text(subject: str, entries: list[Entry]) -> str:
    words = [subject]
    for entry in entries:
        words += [entry.key, entry.split, *(f"{name}={value}" for name, value in entry.labels.items())]
    return normal_form(" ".join(words)).casefold()


def _place(sort: str, subject: str, entries: list[Entry]) -> tuple[Any, ...]:
    """Where a person stands; who has no value stands first."""
    if sort == "n_entries":
        return len(entries), subject
    if sort == "subject":
        return (subject,)
    values = [entry.labels.get(sort) for entry in entries]
    numbers = [value for value in values if isinstance(value, int | float) and np.isfinite(value)]
    texts = [value for value in values if isinstance(value, str)]
    return bool(numbers), max(numbers, default=0.0), max(texts, default=""), subject
