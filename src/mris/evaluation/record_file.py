"""Frozen records of numbers as JSON files: a number that does not exist is null, a damaged file costs one line."""

from collections.abc import Collection
from dataclasses import asdict
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from mris.errors import CohortError
from mris.images.write import write_json
from mris.reading import LARGEST_LIST, read_json
from mris.records import broken_rule

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)
else:
    Record = TypeVar("Record")


def write_record(path: Path, record: "DataclassInstance") -> None:
    """Write a dataclass as JSON, atomically; NaN and None become null.

    Raises:
        OutputError: The file cannot be written.
    """
    write_json(path, _to_plain(asdict(record)))


def read_record(path: Path, kind: type[Record], what: str, version: int, optional: Collection[str] = ()) -> Record:
    """Read what `write_record` wrote.

    Args:
        path: The file.
        kind: The dataclass.
        what: Name of such a file in messages, "results" for a results file.
        version: The ``format_version`` that is read.
        optional: Fields whose null is None; any other null is NaN.

    Returns:
        The record.

    Raises:
        CohortError: The file is missing, no such file, damaged, or of another format version.
    """
    name = f"{what} file {str(path)!r}"
    try:
        plain = read_json(path, LARGEST_LIST)
    except (OSError, ValueError) as error:
        raise CohortError(f"{name} cannot be read ({error}); run the evaluation again") from error
    found = plain.get("format_version")
    if found != version:
        raise CohortError(
            f"{name} has format version {found!r}; this program reads {version}: run the evaluation again"
        )
    try:
        return TypeAdapter(kind).validate_python(_from_plain(plain, frozenset(optional)))
    except ValidationError as error:
        raise CohortError(f"{name} is damaged ({broken_rule(error)}); run the evaluation again") from error


def _to_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _to_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(part) for part in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def _from_plain(value: Any, optional: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {
            name: None if part is None and name in optional else _from_plain(part, optional)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_from_plain(part, optional) for part in value]
    return nan if value is None else value
