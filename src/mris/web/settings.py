"""`ServeSettings`: what is served, to whom, and how much a request may cost."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mris.archive.connection import ArchiveSettings
from mris.errors import SettingsError
from mris.images.edges import Edges
from mris.reading import read_text

LEAST_TOKEN = 16
"""Characters of the shortest token."""

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """How much a request, and all of them together, may cost.

    Attributes:
        file_bytes: Of one upload, all its files together.
        files: Of one upload.
        body_seconds: Time for a body; each byte that has arrived buys more, at `least_rate`.
        least_rate: Bytes a second that an upload must reach.
        head_seconds: Time for the head of a request, and idle time of a connection.
        decode_bytes: Memory of a process that decodes.
        decode_seconds: Computing time for decoding one file, and half of the time by the clock.
        decoders: Processes that decode.
        readers: Files that are worked on at a time, from their decoding to their results.
        waiting: Files that may wait for their turn; beyond, a request is sent away.
        held_bytes: Memory for pictures and results that a page may come back to.
    """

    file_bytes: int = 256 << 20
    files: int = 64
    body_seconds: float = 20.0
    least_rate: float = 64 << 10
    head_seconds: float = 15.0
    decode_bytes: int = 3 << 30
    decode_seconds: float = 20.0
    decoders: int = 3
    readers: int = 8
    waiting: int = 64
    held_bytes: int = 512 << 20


@dataclass(frozen=True)
class ServeSettings:
    """What is served, and to whom.

    Attributes:
        bundles: Folders of bundles; the first is used where a request names none.
        host: Address to listen at.
        port: Its port; 0 for any that is free.
        token: What a browser or a program must know; None only on loopback.
        names: Further names by which the server may be called, such as that of a proxy.
        archive: A DICOMweb archive that the page may use, or None.
        edges: By region what lies at the edges of its maps.
        limits: See `Limits`.

    Raises:
        SettingsError: A setting cannot work, or would let others in.
    """

    bundles: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()
    archive: ArchiveSettings | None = None
    edges: Mapping[str, Edges] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.bundles:
            raise SettingsError("no bundle is given; name one that mris index made")
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port is {self.port}; give 1 to 65535, or 0 for any that is free")
        if self.token is not None and not (len(self.token) >= LEAST_TOKEN and self.token.isascii()):
            raise SettingsError(
                f"the token has {len(self.token)} characters; give at least {LEAST_TOKEN}, of ASCII alone"
            )
        if self.token is None and not is_loopback(self.host):
            raise SettingsError(
                f"host is {self.host!r}, where other machines could read what people's images show; give a token "
                f"(--token-file, or MRIS_TOKEN) of at least {LEAST_TOKEN} characters, or serve on 127.0.0.1"
            )

    @property
    def bundle_names(self) -> tuple[str, ...]:
        """A short name for each bundle, all different."""
        names: list[str] = []
        for path in self.bundles:
            name = base = path.resolve().name.removesuffix(".bundle") or "bundle"
            while name in names:
                name = f"{base}-{names.count(name) + len(names) + 1}"
            names.append(name)
        return tuple(names)


def is_loopback(host: str) -> bool:
    """Whether an address to listen at can be reached from this machine alone.

    Example:
        >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path) -> str:
    """Read a token from a file of one line.

    Raises:
        SettingsError: The file cannot be read.
    """
    try:
        return read_text(path, 4096).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"token file {path}: cannot be read ({reason}); give a file of one line") from error
