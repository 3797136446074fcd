"""Settings from ``--set name=value`` and from a file, laid over a preset and checked once, with errors that teach."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mris.errors import SettingsError
from mris.reading import parse_toml

Settings = TypeVar("Settings", bound=BaseModel)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Parse ``name=value``; a value is TOML (``64``, ``1e-4``, ``true``, ``"text"``), else plain text.

    Example:
        >>> parse_assignments(["epochs=3", "schedule=cosine"])
        {'epochs': 3, 'schedule': 'cosine'}
    """
    parsed: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise SettingsError(f"--set {assignment!r} is not name=value")
        try:
            parsed[name.strip()] = parse_toml(f"value = {text}")["value"]
        except ValueError:
            parsed[name.strip()] = None if text.strip() in ("none", "") else text.strip()
    return parsed


def resolve(base: Settings, *layers: Mapping[str, Any]) -> Settings:
    """Lay settings over `base`, later layers over earlier ones, and check the result.

    Raises:
        SettingsError: an unknown name (with the nearest known one) or a value out of range.
    """
    model = type(base)
    merged = base.model_dump()
    for layer in layers:
        for name, value in layer.items():
            if name not in model.model_fields:
                close = difflib.get_close_matches(name, model.model_fields, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(model.model_fields)}"
                raise SettingsError(f"unknown setting {name!r}; {hint}")
            merged[name] = value
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][:1])
        about = model.model_fields[name].description if name in model.model_fields else None
        meaning = f" ({about})" if about else ""
        raise SettingsError(f"setting {name!r}{meaning} is {first['input']!r}: {first['msg'].lower()}") from error


def describe_settings(settings: BaseModel) -> str:
    """One line a setting: name, value, meaning."""
    return "\n".join(
        f"  {name} = {getattr(settings, name)!r}  # {field.description}"
        for name, field in type(settings).model_fields.items()
    )
