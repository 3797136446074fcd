"""Settings from TOML, and one clear error for whatever is wrong with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mris.errors import SettingsError
from mris.reading import parse_toml, read_text

LARGEST_SETTINGS = 1 << 20
"""Bytes of a file of settings."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings.

    Raises:
        SettingsError: It is missing, no regular file, too large or no TOML.
    """
    try:
        return parse_toml(read_text(path, LARGEST_SETTINGS))
    except (OSError, ValueError) as error:
        raise SettingsError(f"settings {path} cannot be read: {error}") from error


@contextmanager
def settings_faults(what: str) -> Iterator[None]:
    """Raise a `SettingsError` that names the settings and the one among them for what checking them raises.

    Args:
        what: Which settings, such as "settings small.toml".
    """
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{what}: {where} is {first['input']!r}: {first['msg'].lower()}") from error
