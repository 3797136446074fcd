"""Addresses of folders in a storage: ``s3://BUCKET/FOLDER``, ``gs://BUCKET/FOLDER``, ``az://CONTAINER/FOLDER``."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mris.errors import SettingsError

SCHEMES = ("s3", "gs", "az")

# Of more than one letter: C:/ is a disk.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_OTHERS = ("file", "http", "https", "ftp", "s3a", "gcs", "azure", "abfs", "abfss", "hdfs")
_FLATTENED = re.compile(rf"({'|'.join([*SCHEMES, *_OTHERS])}):/", re.IGNORECASE)
_SOUND = re.compile(r"[A-Za-z0-9._=+-]+")


@dataclass(frozen=True)
class Address:
    """A folder in a storage.

    Attributes:
        scheme: "s3", "gs" or "az".
        bucket: The bucket, or Azure's container.
        key: The folder in it; "" is the bucket itself.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{'/'.join(part for part in (self.bucket, self.key) if part)}"

    @property
    def name(self) -> str:
        """Its last part."""
        return self.key.rpartition("/")[2] or self.bucket


def place_of(given: str | os.PathLike[str] | Address) -> Path | Address:
    """Tell what somebody names: a folder of this machine, also as ``file://``, or one in a storage.

    Raises:
        SettingsError: It is the address of something else, or it holds more than an address: credentials, which
            stand in the environment alone and are not repeated here.

    Example:
        >>> str(place_of("s3://hospital/hands.bundle")), str(place_of("file:///data/hands"))
        ('s3://hospital/hands.bundle', '/data/hands')
        >>> place_of("hands:2024.bundle").name
        'hands:2024.bundle'
    """
    if isinstance(given, Address):
        return given
    text = os.fspath(given)
    found = _URL.match(text)
    if not found:
        if _FLATTENED.match(text):
            raise SettingsError(f"{text!r} is an address that has lost a slash, as in a Path; give it as text")
        return Path(text)
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme not in (*SCHEMES, "file"):
        raise SettingsError(f"{scheme}:// is no storage that is known; give a folder, s3://, gs://, az:// or file://")
    if scheme == "file":
        path = unquote(rest.removeprefix("localhost"))
        if not path.startswith("/"):
            raise SettingsError("an address file:// names an absolute path of this machine, such as file:///data/hands")
        return Path(path)
    bucket, *folders = rest.rstrip("/").split("/")
    if not all(_SOUND.fullmatch(part) and part.strip(".") for part in (bucket, *folders)):
        raise SettingsError(
            f"an address {scheme}:// breaks a rule; give {scheme}://BUCKET/FOLDER of letters, digits and ._=+- alone: "
            "credentials stand in the environment"
        )
    return Address(scheme, bucket, "/".join(folders))


def local_folder(given: str | os.PathLike[str], what: str) -> Path:
    """Refuse the address of a storage where only a file or folder of this machine can be.

    Args:
        given: What somebody names.
        what: What it is, for the message.

    Raises:
        SettingsError: It lies in a storage.

    Example:
        >>> local_folder("s3://hospital/run", "RUN")
        Traceback (most recent call last):
        ...
        mris.errors.SettingsError: RUN is s3://hospital/run, and only cohorts, databases and bundles can be in a ...
    """
    text = os.fspath(given)
    found = _FLATTENED.match(text) if isinstance(given, Path) else None
    if found and found[1].lower() == "file":
        raise SettingsError(f"{what} is an address file://; give the path alone")
    place = place_of(f"{found[1]}://{text[found.end() :]}" if found else text)
    if isinstance(place, Address):
        raise SettingsError(
            f"{what} is {place}, and only cohorts, databases and bundles can be in a storage; give a place of this "
            "machine"
        )
    return place


def is_sound(name: str) -> bool:
    """Whether a relative path can be a name in a storage, the same for every library, and leads nowhere else."""
    return all(_SOUND.fullmatch(part) and part.strip(".") for part in name.split("/"))
