"""Reading what somebody else may have written: regular files alone, of a bounded size and depth (JSON, TOML).

Faults are an `OSError` (there is no such file to read) or a `ValueError` (what it holds breaks a rule); who reads knows
what the file is for, and makes one `mris.errors.MrisError` of them.
"""

import hashlib
import json
import math
import stat
import tomllib
from pathlib import Path
from typing import Any

LARGEST_JSON = 4 << 20
"""Bytes of a JSON file that is read, unless its reader says otherwise; the headers of ours have some thousand."""

LARGEST_LIST = 256 << 20
"""The same of a file that has an entry for each pair: reports, results, tables."""

DEEPEST_JSON = 64
"""Lists and objects within each other that are read; those of ours are below ten."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_size(path: Path) -> int:
    """Return the bytes of a regular file; it is not opened, since a pipe or a device may make one wait for ever.

    Raises:
        OSError: There is none, or it is a folder, a pipe, a socket or a device.

    Example:
        >>> regular_size(Path("/dev/null"))
        Traceback (most recent call last):
        ...
        OSError: it is a device; a regular file is read
    """
    try:
        found = path.stat()
    except ValueError as error:  # a null character in the path
        raise OSError(str(error)) from error
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"it is {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}; a regular file is read")
    return found.st_size


def read_bytes(path: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises:
        OSError: As `regular_size`, or the file cannot be opened.
        ValueError: It is larger.
    """
    size = regular_size(path)
    if size <= most:
        with path.open("rb") as file:
            data = file.read(most + 1)  # it may have grown
        if len(data) <= most:
            return data
        size = len(data)
    raise ValueError(f"it has {size:,} bytes; at most {most:,} are read")


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path, most: int, encoding: str = "utf-8") -> str:
    """Read a regular file of text.

    Raises:
        OSError: As `read_bytes`.
        ValueError: As `read_bytes`, or the bytes are no text in that encoding.
    """
    return read_bytes(path, most).decode(encoding)


def read_json(path: Path, most: int = LARGEST_JSON) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        OSError: As `read_bytes`.
        ValueError: It is larger than `most` bytes, no UTF-8, no object, or as `parse_json`.
    """
    values = parse_json(read_text(path, most))
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}, not a JSON object")
    return values


def parse_json(text: str) -> Any:
    """Parse JSON as the standard has it: without NaN and infinity, and no deeper than `DEEPEST_JSON`.

    Raises:
        ValueError: The text is anything else.

    Example:
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ...
        ValueError: it nests lists and objects more than 64 deep
    """
    try:
        values = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    # What Python parses may still be too deep for what is done with it next, such as writing it into a message.
    level = [values]
    for _ in range(DEEPEST_JSON):
        level = [part for value in level for part in _parts(value) if isinstance(part, _NESTING)]
    if level:
        raise ValueError(_TOO_DEEP)
    return values


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: The text is anything else, or nests too deep.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it nests lists and tables too deep") from None


_NESTING = (dict, list)
_TOO_DEEP = f"it nests lists and objects more than {DEEPEST_JSON} deep"


def _parts(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no number of JSON")
    return value
