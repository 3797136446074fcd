"""Where a file is that a cell of a manifest names: thousands a second, whether it is there or not."""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_UNUSUAL = re.compile(r"(?:^|/)\.?(?:/|$)|^~/")
"""Empty and dot parts of a path, which `Path` takes out, and the home folder."""


class Located(NamedTuple):
    """An absolute path, "" for an empty cell, and whether there is a file."""

    path: str
    found: bool


def locate(folder: str, text: str) -> Located:
    """Find the file that a cell names, in whatever spelling it is there.

    Args:
        folder: Where relative paths start, absolute.
        text: The cell, perhaps with "::key" for an array of an NPZ.

    Returns:
        The first spelling under which there is a file; where there is none, the cell's own.

    Example:
        >>> locate("/data", "maps/./S1.npy")
        Located(path='/data/maps/S1.npy', found=False)
    """
    if not text:
        return Located("", False)
    paths = [_joined(folder, spelling) for spelling in _spellings(text)]
    for path in paths:
        if _is_file(path):
            return Located(path, True)
    return Located(paths[0], False)


def _spellings(text: str) -> Sequence[str]:
    """Write a path in all ways: Windows parts folders by a backslash, and macOS parts "ö" into "o" and its dots."""
    slashed = text.replace("\\", "/")
    if text.isascii():
        return (text,) if slashed == text else (text, slashed)
    forms = (unicodedata.normalize(form, spelling) for spelling in (text, slashed) for form in ("NFC", "NFD"))
    return tuple(dict.fromkeys((text, *forms)))


def _joined(folder: str, text: str) -> str:
    """Write a path as `Path` does, which takes several times as long."""
    if os.sep != "/" or _UNUSUAL.search(text.removeprefix("/")):
        return str(Path(folder, Path(text).expanduser() if text.startswith("~/") else text))
    return text if text.startswith("/") else f"{folder.rstrip('/')}/{text}"


def _is_file(path: str) -> bool:
    if os.path.isfile(path):  # noqa: PTH113 - as in `_joined`
        return True
    file, _, _ = path.rpartition("::")
    return file != "" and os.path.isfile(file)  # noqa: PTH113
