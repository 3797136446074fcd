"""Settings of an experiment: TOML, and one clear error for whatever is wrong with it."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mris.errors import SettingsError
from mris.reading import read_text

LARGEST_SETTINGS = 1 << 20
"""Bytes of a file of settings."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file; what fails is told by `settings_faults`.

    Raises:
        OSError: There is no regular file.
        ValueError: It is too large, or no TOML.
    """
    try:
        return tomllib.loads(read_text(path, LARGEST_SETTINGS))
    except RecursionError:
        raise ValueError("it nests lists and tables too deep") from None


@contextmanager
def settings_faults(what: str) -> Iterator[None]:
    """Raise a `SettingsError` that names the settings and the one among them for what reading or checking raises.

    Args:
        what: Which settings, such as "settings small.toml".
    """
    try:
        yield
    except ValidationError as error:  # a ValueError, too
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{what}: {where} is {first['input']!r}: {first['msg'].lower()}") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{what} cannot be read: {error}") from error
