"""How a table is opened: on this machine, or in a storage."""

import os
from pathlib import Path
from typing import Any

from mris.cohort.lance_library import lance
from mris.errors import OutputError
from mris.images.written import is_text
from mris.storage.mirror import Mirror
from mris.storage.objects import lance_options


def lance_path(path: str | os.PathLike[str]) -> str:
    """Write a path so that Lance takes it for a file: absolute, since it takes ``hands:2024`` for an address.

    That of a table in a storage becomes its address.

    Raises:
        OutputError: The path is not UTF-8, and so no name that Lance can open.

    Example:
        >>> lance_path("/data/hands:2024.bundle")
        '/data/hands:2024.bundle'
    """
    if isinstance(path, Mirror):
        return path.stored
    if not is_text(path):
        raise OutputError(f"the path {os.fsencode(path)!r} is not UTF-8, and a table cannot lie there; rename it")
    return str(Path(path).absolute())


def open_lance(path: str | os.PathLike[str], version: int | None = None) -> Any:
    """Open a table as it was at a version, or as it is now; raises what Lance raises."""
    return lance.dataset(lance_path(path), version=version, storage_options=lance_options(path))
