"""A lock on a file that ends with its process, whatever ends that, and that tells who holds it."""

import contextlib
import errno
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mris.errors import OutputError
from mris.reading import parse_json

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no such locks: there, two writers of one folder are the user's care
    fcntl = None

_LOG = logging.getLogger(__name__)
_HELD = (errno.EAGAIN, errno.EACCES)


class WriterLock:
    """A lock that is held; see `writer_lock`.

    Attributes:
        left_behind: Whether the holder before this one ended without `finish`: it was killed, or failed.
    """

    def __init__(self, descriptor: int, left_behind: bool) -> None:
        self._descriptor = descriptor
        self.left_behind = left_behind

    def finish(self) -> None:
        """Say that nothing is left to clear up for the next holder."""
        with contextlib.suppress(OSError):  # then the next holder clears up what is clear already
            os.ftruncate(self._descriptor, 0)


@contextlib.contextmanager
def writer_lock(path: Path, action: str, *, wait: bool = True) -> Iterator[WriterLock]:
    """Hold a lock file that all writers of a folder share, on this machine or on others that share the folder.

    The file stays; it says who holds the lock, and is empty where the last holder finished.

    Args:
        path: The lock file; it is made.
        action: What the holder does, for those who wait: no names of people.
        wait: Wait for another holder, with a warning in the log that says for whom; False raises at once.

    Yields:
        The held lock.

    Raises:
        OutputError: Another process holds it and `wait` is False, or the file system has no locks.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, writer_lock(Path(folder, ".lock"), "a test") as lock:
        ...     lock.left_behind
        False
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise OutputError(f"cannot write to {path.parent}: {error.strerror}; mend the rights or make room") from error
    try:
        if not _taken(descriptor, path, blocking=False):
            holder = _holder(descriptor)
            if not wait:
                raise OutputError(f"{path.parent} is being changed by {holder}; try again when it has finished")
            _LOG.warning("waiting for %s", holder)
            _taken(descriptor, path, blocking=True)
        left_behind = os.fstat(descriptor).st_size > 0
        try:
            _write_holder(descriptor, action)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}; make room or mend the rights") from error
        yield WriterLock(descriptor, left_behind)
    finally:
        os.close(descriptor)


def lock_descriptor(descriptor: int, *, blocking: bool) -> bool:
    """Lock an open file or folder until it is closed; tell whether this succeeded.

    Where the system or its file system has no locks, it "succeeds".
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
    except OSError as error:
        return error.errno not in _HELD
    return True


def _taken(descriptor: int, path: Path, *, blocking: bool) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise OutputError(
            f"the file system of {path.parent} has no locks ({error.strerror}), and two writers could destroy each "
            "other's work; change a copy on another disk, and put it back"
        ) from error
    return True


def _write_holder(descriptor: int, action: str) -> None:
    holder = {
        "action": action,
        "process": os.getpid(),
        "machine": socket.gethostname(),
        "since": time.strftime("%FT%T"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        known = parse_json(os.pread(descriptor, 4096, 0).decode())
        return "{action} (process {process} on {machine}, since {since})".format(**known)
    except (ValueError, KeyError, TypeError):
        return "another process"
