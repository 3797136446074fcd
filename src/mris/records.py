"""`Record`: what every header, card and JSON file of ours is, and the one way to read one.

A record becomes a file by `mris.images.write.write_json`, which writes it whole or not at all.
"""

import os
import reprlib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mris.errors import MrisError
from mris.reading import LARGEST_JSON, read_json

_R = TypeVar("_R", bound="Record")
_LONGEST = 80


class Record(BaseModel):
    """A frozen record of plain values without NaN and infinity.

    Fields that it does not know, since a later version added them, are passed over when it is read. A record that is a
    file of its own has a field ``format_version``; its default is the version that this software writes and reads.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """Give the record as plain JSON values."""
        return self.model_dump(mode="json")


def read_record(
    path: str | os.PathLike[str],
    kind: type[_R],
    error: type[MrisError],
    anew: str,
    *,
    missing: str | None = None,
    most: int = LARGEST_JSON,
) -> _R:
    """Read a file that holds one record.

    Args:
        path: The file.
        kind: What it holds.
        error: What is raised.
        anew: What makes such a file anew, such as "index again".
        missing: Message where there is no such file; it is told as one that cannot be read if None.
        most: Bytes that are read.

    Raises:
        MrisError: `error`: there is no such file, it is no JSON object of at most `most` bytes, its ``format_version``
            is another, or a field is absent or breaks a rule.
    """
    way_out = f"restore a copy, or {anew}"
    try:
        values = read_json(Path(path), most)
    except OSError as cause:
        if missing is not None and isinstance(cause, FileNotFoundError):
            raise error(missing) from cause
        raise error(f"{path} cannot be read ({cause.strerror or cause}); {way_out}") from cause
    except ValueError as cause:
        raise error(f"{path} is damaged ({cause}); {way_out}") from cause
    return parse_record(values, kind, error, anew, name=str(path))


def parse_record(values: Any, kind: type[_R], error: type[MrisError], anew: str, *, name: str) -> _R:
    """Make a record of plain JSON values.

    Args:
        values: What `Record.to_json` gave.
        kind: What they hold.
        error: What is raised.
        anew: What makes such values anew, such as "index again".
        name: What messages call them, such as the path of their file.

    Raises:
        MrisError: `error`: their ``format_version`` is another, or a field is absent or breaks a rule.
    """
    version = kind.model_fields.get("format_version")
    found = values.get("format_version") if isinstance(values, dict) else None
    if version is not None and found != version.default:
        raise error(
            f"{name} has format_version {_short(found)}; this software reads {version.default}; "
            f"use the version of mris that wrote it, or {anew}"
        )
    try:
        return kind.model_validate(values)
    except ValidationError as cause:
        raise error(f"{name} is damaged ({broken_rule(cause)}); restore a copy, or {anew}") from cause
    except MrisError as cause:  # of a part that states its own rules
        raise error(f"{name} is damaged ({cause}); restore a copy, or {anew}") from cause


def broken_rule(error: ValidationError) -> str:
    """Tell the first thing that values break: the field, the value found, and the rule.

    Example:
        >>> class Card(Record):
        ...     sizes: tuple[int, int]
        >>> for values in ({"sizes": [1, "two"]}, {}):
        ...     try:
        ...         Card.model_validate(values)
        ...     except ValidationError as error:
        ...         print(broken_rule(error))
        sizes.1 is 'two': input should be a valid integer, unable to parse string as an integer
        sizes is missing
    """
    first = error.errors(include_url=False)[0]
    where = ".".join(_short(str(part))[1:-1] for part in first["loc"])  # a name in a file may be anything
    rule = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where} is not known"
    if first["type"] == "value_error" and not where:  # a rule on several fields, which names them
        return rule
    return f"{where or 'it'} is {_short(first['input'])}: {rule[:1].lower()}{rule[1:]}"


def _short(value: Any) -> str:
    text = reprlib.repr(value)  # which is quick for a value of any size
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
