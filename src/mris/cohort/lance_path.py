"""How a path is handed to Lance."""

import os
from pathlib import Path

from mris.errors import OutputError
from mris.images.written import is_text


def lance_path(path: str | os.PathLike[str]) -> str:
    """Write a path so that Lance takes it for a file: absolute, since it takes ``hands:2024`` for an address.

    Raises:
        OutputError: The path is not UTF-8, and so no name that Lance can open.

    Example:
        >>> lance_path("/data/hands:2024.bundle")
        '/data/hands:2024.bundle'
    """
    if not is_text(path):
        raise OutputError(f"the path {os.fsencode(path)!r} is not UTF-8, and a table cannot lie there; rename it")
    return str(Path(path).absolute())
