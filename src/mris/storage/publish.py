"""`published.json`: which state of a folder in a storage is the one that counts, and how another one takes its place.

    s3://BUCKET/FOLDER/
      published.json    names the state that counts, and its files
      <id>/...          a folder of ours as it is on a disk; never changed once it is named

A state is written under a new name first, and counts when ``published.json`` names it: that file alone is ever written
anew, on the condition that it still is what the change began with. Of two who change a folder at once, one wins. A
writer that was killed leaves objects that nobody reads. The next one deletes them: what was there before it committed,
and is not the state that counts, belongs to nobody who could still win.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import Field, field_validator

from mris.errors import MrisError, OutputError, StorageError
from mris.images.write import clear_temporaries
from mris.reading import LARGEST_LIST, file_sha256, parse_json
from mris.records import Record, parse_record
from mris.storage.address import Address, is_sound
from mris.storage.objects import Objects, Tag
from mris.wording import counted

POINTER = "published.json"
LOCK_FILE = ".lock"
_AT_ONCE = 8
_ID = r"[0-9a-f]{32}"


class StoredFile(Record):
    """A file of a state: its bytes, and their SHA-256 (hex)."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern="[0-9a-f]{64}")


class Published(Record):
    """What ``published.json`` says.

    Attributes:
        number: It grows with every writing of the file, so that no two are alike.
        id: Name of the folder of the state that counts.
        files: All files of that state, by their path relative to its folder.
        software: Name and version that wrote it.
        format_version: Version of this layout.
    """

    number: int
    id: str = Field(pattern=f"^{_ID}$")
    files: Mapping[str, StoredFile]
    software: str
    format_version: Literal[1] = 1

    @field_validator("files")
    @classmethod
    def _lead_nowhere_else(cls, files: Mapping[str, StoredFile]) -> Mapping[str, StoredFile]:
        for name in files:
            if not is_sound(name):
                raise ValueError(f"{name[:80]!r} is no name of a file of ours")
        return files


@dataclass(frozen=True)
class Standing:
    """The state that counts, and which writing of ``published.json`` says so."""

    published: Published
    tag: Tag


def standing_at(address: Address) -> Standing | None:
    """Find the state that counts; None where nothing was published.

    Raises:
        StorageError: The storage refuses, or ``published.json`` is damaged.
    """
    found = Objects(address).read(POINTER, LARGEST_LIST)
    if found is None:
        return None
    data, tag = found
    name = f"{address}/{POINTER}"
    try:
        values = parse_json(data.decode())
    except ValueError as error:
        raise StorageError(f"{name} is damaged ({error}); write the folder again elsewhere") from error
    return Standing(parse_record(values, Published, StorageError, "write the folder again elsewhere", name=name), tag)


def publish(folder: Path, address: Address, before: Standing | None) -> None:
    """Make a folder of this machine the state that counts in a storage; all of it, or (on any failure) nothing.

    Args:
        folder: The folder; its lock and half-written files are left out.
        address: Where it is to be.
        before: The state that it takes the place of; None where there must be none.

    Raises:
        OutputError: Somebody else has published there meanwhile, or the place holds other objects.
        StorageError: The storage refuses.
    """
    objects = Objects(address)
    folders, loose = objects.folders()
    if before is None:
        strange = [*(name for name in folders if not _is_state(name)), *(name for name in loose if name != POINTER)]
        if strange:
            raise OutputError(f"{address} holds other objects, such as {strange[0]!r}; choose another place")
    clear_temporaries(folder)
    files = files_of(folder)
    unchanged = before is not None and files == before.published.files
    old = [name for name in folders if _is_state(name)]
    if before is not None and unchanged and old == [before.published.id]:
        return
    name = before.published.id if before is not None and unchanged else secrets.token_hex(16)
    try:
        if not unchanged:
            _send(objects, folder, name, files, before)
    except MrisError:
        with suppress(MrisError):
            objects.delete(name)
        if standing_at(address) != before:  # what it was copied from is gone
            raise _lost(address) from None
        raise
    number = 1 if before is None else before.published.number + 1
    _commit(objects, Published(number=number, id=name, files=files, software=f"mris {version('mris')}"), before)
    _clear(objects, [left for left in old if left != name])


def _clear(objects: Objects, old: list[str]) -> None:
    """Delete states that no longer count, and look that they are gone.

    Raises:
        StorageError: The storage refuses; the change itself is complete.
    """
    try:
        for folder in old:
            objects.delete(folder)
        left = [folder for folder in old if objects.sizes(folder)]
    except StorageError as error:
        raise StorageError(f"{error}; the change itself is complete: repeat the command to clear up") from error
    if left:
        raise StorageError(
            f"{objects.address} still holds {counted(len(left), 'earlier state')} after deleting; the change itself is "
            "complete: repeat the command to clear up"
        )


def states_at(address: Address) -> list[str]:
    """Name the folders of states at an address: the one that counts, and others of writers killed or at work now."""
    return [name for name in Objects(address).folders()[0] if _is_state(name)]


@contextmanager
def new_folder(address: Address) -> Iterator[Path]:
    """Give an empty folder of this machine, its owner's alone, that is published if the block succeeds.

    Raises:
        OutputError: There is something already, or another process publishes there meanwhile.
        StorageError: The storage refuses.
    """
    if standing_at(address) is not None:
        raise OutputError(f"{address} exists; choose another place")
    with TemporaryDirectory(prefix="mris-") as work:
        folder = Path(work) / address.name
        folder.mkdir()
        yield folder
        publish(folder, address, None)


def files_of(folder: Path) -> dict[str, StoredFile]:
    """Describe the files of a folder.

    Raises:
        OutputError: One has a name that not every storage can hold.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.name != LOCK_FILE:
            if not is_sound(name):
                raise OutputError(f"{path} has a name that a storage cannot hold; letters, digits and ._=+- alone")
            found[name] = StoredFile(size=path.stat().st_size, sha256=file_sha256(path))
    return found


def _send(objects: Objects, folder: Path, state: str, files: Mapping[str, StoredFile], before: Standing | None) -> None:
    earlier = None if before is None else before.published

    def send(name: str) -> None:
        there = earlier is not None and earlier.files.get(name) == files[name]
        if not (earlier and there and objects.copy(f"{earlier.id}/{name}", f"{state}/{name}", files[name].size)):
            objects.send(folder / name, f"{state}/{name}")

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(send, files))
    there = objects.sizes(state)
    wrong = [name for name, file in files.items() if there.get(name) != file.size]
    if wrong:
        raise StorageError(f"{objects.address} does not hold {wrong[0]!r} as it was sent; try again")


def _commit(objects: Objects, published: Published, before: Standing | None) -> None:
    data = (json.dumps(published.to_json(), indent=1, ensure_ascii=False) + "\n").encode()
    try:
        won = objects.write(POINTER, data, None if before is None else before.tag)
    except StorageError as error:
        # Whether it was written is not known until it is read; and then nothing may be deleted.
        if not _counts(objects.address, published):
            raise StorageError(
                f"{error}; whether the change counts cannot be told: look at it when the storage answers"
            ) from None
        return
    if won or _counts(objects.address, published):  # a first try may have succeeded without an answer
        return
    with suppress(MrisError):
        if before is None or published.id != before.published.id:
            objects.delete(published.id)
    raise _lost(objects.address)


def _lost(address: Address) -> OutputError:
    return OutputError(
        f"{address} was changed by another process meanwhile, and nothing of this change counts; run it again"
    )


def _counts(address: Address, published: Published) -> bool:
    with suppress(StorageError):
        standing = standing_at(address)
        return standing is not None and standing.published == published
    return False


def _is_state(name: str) -> bool:
    return len(name) == 32 and set(name) <= set("0123456789abcdef")
