"""`Mirror`: a folder of ours in a storage, as it is read: small files on this machine, tables where they lie."""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mris.storage.address import Address


@dataclass(frozen=True)
class Mirror:
    """A folder in a storage, or something in it, in one committed state.

    As a path it is that of the copy on this machine, which holds all but tables; as text it is the address.

    Attributes:
        address: Of the whole folder.
        id: Name of the state that is read.
        copy: Folder of the copy, on this machine.
        inside: Path of this part, relative to the whole; "" for the whole.
    """

    address: Address
    id: str
    copy: Path
    inside: str = ""

    def __str__(self) -> str:
        return posixpath.join(str(self.address), self.inside).rstrip("/")

    def __fspath__(self) -> str:
        return str(self.copy / self.inside)

    def __truediv__(self, name: str) -> "Mirror":
        inside = posixpath.normpath(posixpath.join(self.inside, name))
        return replace(self, inside="" if inside == "." else inside)

    def __reduce__(self) -> tuple[Callable[..., "Mirror"], tuple[Any, ...]]:
        """Let it be sent to another process, which makes a copy of its own where it does not see this one."""
        from mris.storage.folder import received

        return received, (self.address, self.id, self.copy, self.inside)

    @property
    def name(self) -> str:
        """Its last part."""
        return posixpath.basename(self.inside) or self.address.name

    @property
    def stored(self) -> str:
        """Where it really lies, such as a table for Lance."""
        return posixpath.join(str(self.address), self.id, self.inside)
