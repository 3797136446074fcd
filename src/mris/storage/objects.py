"""Objects of one folder in a storage: read, written all or nothing, listed, deleted. The one way in for obstore.

Credentials come from the environment alone (see docs/how-to/keep-data-in-object-storage.md). What the library says of a
failure is never repeated: it may quote a request. Its kind is told, in words of ours.
"""

import contextlib
import hashlib
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from mris.errors import OutputError, StorageError, reason_of
from mris.storage.address import Address
from mris.storage.mirror import Mirror

_TRIES = 4
_PATIENCE = timedelta(seconds=30)
_PART = 16 << 20
"""Bytes that are sent at once: what is larger goes in parts."""
_COPIED = 1 << 30
"""Bytes up to which a storage is asked to copy by itself; more may take it longer than an answer is waited for."""

_HTTP = "AWS_ALLOW_HTTP"
_STATUS = re.compile(r"(?:status code:? |\()(\d{3})\b")
_REASONS = (
    (re.compile("NoSuchBucket|bucket does not exist|ContainerNotFound", re.I), "there is no such bucket"),
    (
        re.compile("InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|AuthenticationFailed", re.I),
        "the credentials of the environment are not accepted",
    ),
    (re.compile("AccessDenied|permission|forbidden", re.I), "the credentials of the environment have no right to this"),
    (
        re.compile("instance metadata|169.254|credential|metadata.google|Account must be specified", re.I),
        "no credentials are in the environment",
    ),
    (re.compile("BadScheme|URL scheme is not allowed", re.I), f"plain http is not allowed; set {_HTTP}=true if meant"),
    (re.compile("SlowDown|Too Many Requests", re.I), "it asks to go slower, again and again"),
)
_SILENT = re.compile("error sending request|timed out|dns error|connection|error decoding response", re.I)
_STATUSES = {
    401: "the credentials of the environment are not accepted",
    403: "the credentials of the environment have no right to this",
    404: "it is not there",
    429: "it asks to go slower, again and again",
    503: "it asks to go slower, again and again",
}


@dataclass(frozen=True)
class Tag:
    """Which writing of an object is meant."""

    e_tag: str | None
    version: str | None


class Objects:
    """The objects of one folder in a storage, by their path relative to it."""

    def __init__(self, address: Address) -> None:
        """Raise ModuleNotFoundError if the extra ``storage`` is not installed."""
        self.address = address
        with self._told():
            self._store = _store_of(address)

    def read(self, name: str, most: int) -> tuple[bytes, Tag] | None:
        """Read a small object; None where there is none.

        Raises:
            StorageError: The storage refuses, or the object has more than `most` bytes.
        """
        import obstore

        with self._told():
            try:
                found = obstore.get(self._store, name)
                size = found.meta["size"]
                if size > most:
                    raise StorageError(f"{self.address}/{name} has {size:,} bytes; at most {most:,} are read")
                data = bytes(found.bytes())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None
            return data, Tag(found.meta["e_tag"], found.meta["version"])

    def write(self, name: str, data: bytes, over: Tag | None) -> bool:
        """Write a small object, if it still is what it was; this is what commits.

        Args:
            name: The object.
            data: All of it.
            over: The writing that is replaced; None where there must be none.

        Returns:
            False if somebody else has written it meanwhile.

        Raises:
            StorageError: The storage refuses, or it cannot be told whether it wrote.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create"
        if over is not None:
            mode = {name: value for name, value in asdict(over).items() if value is not None}
        with self._told():
            try:
                obstore.put(self._store, name, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    def send(self, file: Path, name: str) -> None:
        """Write a file."""
        import obstore

        large = file.stat().st_size > _PART
        with self._told():
            obstore.put(self._store, name, file, use_multipart=large, chunk_size=_PART, max_concurrency=4)

    def copy(self, earlier: str, name: str, size: int) -> bool:
        """Copy an object inside the storage; False where it is too large for that."""
        import obstore

        if size > _COPIED:
            return False
        with self._told():
            obstore.copy(self._store, earlier, name)
        return True

    def receive(self, name: str, file: Path | None = None) -> str:
        """Read an object into a file, if one is named; returns its SHA-256 (hex).

        Raises:
            StorageError: The storage refuses.
            GoneError: There is no such object.
            OutputError: The disk refuses.
        """
        import obstore

        digest = hashlib.sha256()
        with self._told(), contextlib.ExitStack() as stack:
            try:
                chunks = iter(obstore.get(self._store, name).stream(min_chunk_size=1 << 20))
            except FileNotFoundError as error:
                raise GoneError(f"{self.address}/{name} is not there") from error
            out = None if file is None else stack.enter_context(file.open("wb"))
            for chunk in chunks:
                digest.update(chunk)
                if out is not None:
                    out.write(chunk)
        return digest.hexdigest()

    def folders(self) -> tuple[list[str], list[str]]:
        """Name the folders and the objects at the top."""
        import obstore

        with self._told():
            found = obstore.list_with_delimiter(self._store)
        folders, objects = found["common_prefixes"], found["objects"]
        return [posixpath.basename(name) for name in folders], [one["path"] for one in objects]

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each object of a folder, by its path relative to that."""
        import obstore

        with self._told():
            listed = [one for part in obstore.list(self._store, f"{folder}/") for one in part]
        return {one["path"].removeprefix(f"{folder}/"): one["size"] for one in listed}

    def delete(self, folder: str) -> None:
        """Delete all objects of a folder."""
        import obstore

        names = [f"{folder}/{name}" for name in self.sizes(folder)]
        with self._told():
            if names:
                obstore.delete(self._store, names)

    def keeps_versions(self, name: str) -> bool:
        """Whether the storage keeps what was overwritten or deleted, as one that numbers the writings of an object."""
        import obstore

        with self._told():
            version = obstore.head(self._store, name)["version"]
        return self.address.scheme != "gs" and version not in (None, "null")  # Google's numbers stand for no history

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except OSError as error:
            if error.errno is not None:  # of this machine's disk
                raise OutputError(f"cannot write a copy of {self.address} ({error.strerror}); make room") from error
            raise StorageError(_sentence(self.address, error)) from None
        except (BaseError, ValueError) as error:
            raise StorageError(_sentence(self.address, error)) from None


class GoneError(StorageError):
    """An object is not there."""


def lance_options(path: object) -> dict[str, str] | None:
    """What Lance is told of a table's place, so that it gives up in time; None for one of this machine."""
    if not isinstance(path, Mirror):
        return None
    patience = str(int(_PATIENCE.total_seconds()))
    options = {"client_max_retries": str(_TRIES), "client_retry_timeout": patience, "connect_timeout": "10s"}
    return options | ({"allow_http": "true"} if _plain_http() else {})


def reason_at(path: object, error: BaseException) -> str:
    """What a library says of a table that cannot be read; of one in a storage its kind alone, in words of ours."""
    return _kind(error) if isinstance(path, Mirror) else reason_of(error)


def _store_of(address: Address) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    makers: Mapping[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    options = {
        "connect_timeout": timedelta(seconds=10),
        "read_timeout": timedelta(seconds=60),
        "timeout": timedelta(hours=2),
        "allow_http": _plain_http(),
    }
    return makers[address.scheme](
        address.bucket,
        prefix=address.key or None,
        client_options=options,
        retry_config={"max_retries": _TRIES, "retry_timeout": _PATIENCE},
    )


def _plain_http() -> bool:
    return os.environ.get(_HTTP, "").lower() in ("1", "true", "yes")


def _sentence(address: Address, error: BaseException) -> str:
    return f"the storage of {address} cannot be used: {_kind(error)}; see the how-to about object storage"


def _kind(error: BaseException) -> str:
    text = str(error)
    for pattern, reason in _REASONS:
        if pattern.search(text):
            return reason
    status = _STATUS.search(text)
    if status is None:
        return "it does not answer" if _SILENT.search(text) else type(error).__name__
    number = int(status[1])
    return _STATUSES.get(number, "it fails" if number >= 500 else "it refuses") + f" ({number})"
