"""Settings of an experiment: TOML, and one clear error for whatever is wrong with it."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mris.errors import SettingsError


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file; what fails is told by `settings_faults`."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


@contextmanager
def settings_faults(path: Path) -> Iterator[None]:
    """Raise a `SettingsError` that names the file and the setting for what reading or checking it raises."""
    try:
        yield
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"settings {path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"settings {path}: {where} is {first['input']!r}: {first['msg'].lower()}") from error
