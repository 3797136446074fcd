"""A cohort for a storage: prepared on this machine, where it can be resumed, and published when it is finished."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mris.cohort.header import HEADER_FILE
from mris.cohort.work_folder import locked
from mris.errors import OutputError
from mris.storage.address import Address
from mris.storage.folder import Folder, folder_at
from mris.storage.publish import publish, standing_at


def finished_at(address: Address) -> Folder | None:
    """Open what is at an address; None where nothing is.

    Raises:
        OutputError: It is no cohort, and so is never replaced.
        StorageError: The storage refuses.
    """
    standing = standing_at(address)
    if standing is None:
        return None
    if HEADER_FILE not in standing.published.files:
        raise OutputError(f"{address} holds something else than a cohort; choose another place for OUT")
    return folder_at(address)


@contextlib.contextmanager
def published_folder(address: Address) -> Iterator[Path]:
    """Give the folder of this machine in which a cohort is prepared; it is published if the block succeeds.

    Otherwise it stays, so that the same preparation resumes: it is its owner's alone, in the folder that the system
    has for such (`XDG_CACHE_HOME`, by default ``~/.cache``).

    Raises:
        OutputError: Another process prepares the same cohort, or has published one meanwhile; or the disk refuses.
        StorageError: The storage refuses.
    """
    before = standing_at(address)
    digest = hashlib.blake2b(str(address).encode(), digest_size=8).hexdigest()
    work = _caches() / "mris" / "prepare" / f"{address.name}.{digest}"
    with locked(work):
        yield work / "cohort"
        publish(work / "cohort", address, before)
        shutil.rmtree(work)


def _caches() -> Path:
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(named) if named else Path.home() / ".cache"
    except RuntimeError as error:  # as in a container for any user
        raise OutputError("this user has no home folder to prepare in; name another one by XDG_CACHE_HOME") from error
