"""`Folder`: a folder of ours that is open for reading, on this machine or in a storage; and how it is changed."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from mris.errors import MrisError, OutputError, StorageError
from mris.images.write import folder_beside
from mris.reading import file_sha256
from mris.storage.address import Address, place_of
from mris.storage.mirror import Mirror
from mris.storage.objects import GoneError, Objects
from mris.storage.publish import POINTER, Published, Standing, publish, standing_at, states_at

Folder: TypeAlias = Path | Mirror
"""Both are paths of what may be read at once, and text for people; `mris.cohort.lance_path` finds the tables."""

_AT_ONCE = 8


def folder_at(given: str | os.PathLike[str] | Address | Mirror) -> Folder:
    """Find a folder; of one in a storage, all files but tables are copied to this machine, for this process alone.

    The copy is its owner's alone, and vanishes with the process.

    Raises:
        SettingsError: An address breaks a rule.
        StorageError: The storage refuses, or holds nothing of ours there.
    """
    if isinstance(given, Mirror):
        return given
    place = place_of(given)
    return place if isinstance(place, Path) else _newest_at(place)


def newest(folder: Folder) -> Folder:
    """Find the state of a folder that counts now; the folder itself, where that is the same.

    Raises:
        StorageError: The storage refuses, or there is nothing any more.
    """
    return folder if isinstance(folder, Path) else _newest_at(folder.address)


def received(address: Address, state: str, copy: Path, inside: str) -> Mirror:
    """Make a mirror in another process; where that does not see the copy, it makes its own of what counts now."""
    if copy.is_dir():
        return Mirror(address, state, copy, inside)
    return _newest_at(address) / inside


def require_free(address: Address) -> None:
    """Refuse an address where something was published.

    Raises:
        OutputError: Something was.
        StorageError: The storage refuses.
    """
    if standing_at(address) is not None:
        raise OutputError(f"{address} exists; choose another place")


def sha256_at(file: Folder) -> str | None:
    """SHA-256 (hex) of a file as it lies on this machine or in a storage; None where it is not there.

    Raises:
        StorageError: The storage refuses.
    """
    if isinstance(file, Path):
        return file_sha256(file) if file.is_file() else None
    try:
        return Objects(file.address).receive(f"{file.id}/{file.inside}")
    except GoneError:
        return None


def n_left_behind(folder: Folder) -> int:
    """Count the states in a storage that do not count; there are none on this machine.

    Raises:
        StorageError: The storage refuses.
    """
    return 0 if isinstance(folder, Path) else len(set(states_at(folder.address)) - {folder.id})


@contextmanager
def work_beside(place: Path | Address) -> Iterator[Path]:
    """Give an empty folder, its owner's alone, for what it takes to make something; it vanishes afterwards.

    Raises:
        OutputError: Another process is making it, or the system refuses.
    """
    with folder_beside(place) if isinstance(place, Path) else TemporaryDirectory(prefix="mris-") as work:
        yield Path(work)


@contextmanager
def changed(folder: Folder, *, erase: bool = False) -> Iterator[Path]:
    """Give a folder of this machine to change: the folder itself, or a copy that then takes its place in the storage.

    Args:
        folder: What is to be changed, in whatever state counts now.
        erase: Something is to be taken away for good: a storage that keeps earlier versions is an error afterwards.

    Raises:
        OutputError: Another process has changed it meanwhile.
        StorageError: The storage refuses.
    """
    if isinstance(folder, Path):
        yield folder
        return
    with TemporaryDirectory(prefix="mris-") as work:
        copy = Path(work) / folder.address.name
        standing = _received_whole(folder.address, copy)
        try:
            yield copy
        except MrisError as error:  # it speaks of the copy, which nobody knows
            raise type(error)(str(error).replace(str(copy), str(folder.address))) from error
        publish(copy, folder.address, standing)
    if erase and Objects(folder.address).keeps_versions(POINTER):
        raise StorageError(
            f"the change of {folder.address} is complete, but its bucket keeps earlier versions of objects, and in "
            "them all that was removed; delete those versions, and let the bucket keep none"
        )


def _newest_at(address: Address) -> Mirror:
    while True:
        standing = _standing(address)
        state = standing.published.id
        copy = _copies() / state / address.name
        if copy.is_dir():
            return Mirror(address, state, copy)
        with TemporaryDirectory(dir=_copies()) as work:
            try:
                _receive(address, standing.published, Path(work) / address.name, tables=False)
            except GoneError:
                if _standing(address).published.id == state:
                    raise
                continue  # it was replaced meanwhile
            copy.parent.mkdir(exist_ok=True)
            (Path(work) / address.name).rename(copy)
        return Mirror(address, state, copy)


def _received_whole(address: Address, copy: Path) -> Standing:
    while True:
        standing = _standing(address)
        try:
            _receive(address, standing.published, copy, tables=True)
            return standing
        except GoneError:
            if _standing(address).published.id == standing.published.id:
                raise


def _standing(address: Address) -> Standing:
    standing = standing_at(address)
    if standing is None:
        raise StorageError(
            f"{address} holds nothing that this software has put there (no published.json); make it with "
            "`mris prepare` or `mris index`"
        )
    return standing


def _receive(address: Address, published: Published, copy: Path, *, tables: bool) -> None:
    objects = Objects(address)

    def receive(name: str) -> None:
        file = copy / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if objects.receive(f"{published.id}/{name}", file) != published.files[name].sha256:
            raise StorageError(f"{address}: {name} is damaged or replaced (its SHA-256 differs); restore a copy")

    copy.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in published.files if tables or not _is_of_table(name)]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(receive, wanted))


def _is_of_table(name: str) -> bool:
    return any(part.endswith(".lance") for part in name.split("/")[:-1])


@cache
def _copies() -> Path:
    """The folder of this process's copies; it is deleted with the process."""
    folder = TemporaryDirectory(prefix="mris-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[TemporaryDirectory[str]] = []
