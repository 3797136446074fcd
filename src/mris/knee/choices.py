"""A value that must be one of some names."""

from typing import Any, get_args

from mris.errors import SettingsError


def check_choice(name: str, value: str, choices: Any) -> None:
    """Refuse an unknown name of a choice.

    Args:
        name: What is chosen.
        value: Its name.
        choices: A `typing.Literal` of all names.

    Raises:
        SettingsError: The value is none of them.
    """
    if value not in get_args(choices):
        raise SettingsError(f"{name} is {value!r}; choose one of {', '.join(get_args(choices))}")
