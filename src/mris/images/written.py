"""Names that can be written down, and files that were."""

import os
from collections.abc import Iterable
from pathlib import Path

from mris.errors import ImageError, OutputError


def is_text(path: str | os.PathLike[str]) -> bool:
    r"""Whether a path is UTF-8: Python carries other bytes along as lone surrogates, which no JSON or CSV can hold.

    Example:
        >>> is_text("Kn\u00f6del.png"), is_text("Kn\udcf6del.png")
        (True, False)
    """
    return not any("\ud800" <= sign <= "\udfff" for sign in os.fspath(path))


def as_text(name: str) -> str:
    r"""Write a name so that every file can hold it: bytes that are not UTF-8 as codes.

    Example:
        >>> as_text("Kn\udcf6del.png")
        'Kn\\xf6del.png'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def require_text_name(path: Path) -> None:
    """Refuse a file whose name could not be written into the records of its results.

    Raises:
        ImageError: The path is not UTF-8.
    """
    if not is_text(path):
        raise ImageError(f"image {os.fsencode(path)!r}: its path is not UTF-8, and no record can name it; rename it")


def require_written(files: Iterable[Path]) -> None:
    """Look at files before a success is told.

    Raises:
        OutputError: One is absent or empty.
    """
    for file in files:
        try:
            size = file.stat().st_size
        except OSError as error:
            raise OutputError(f"{file} was written and is not there ({error.strerror}); look at the disk") from error
        if not size:
            raise OutputError(f"{file} was written and is empty; look at the disk, and run the command again")
