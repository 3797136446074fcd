"""Types of label columns, found from their values."""

import math
import re
from collections.abc import Sequence
from typing import Literal

from mris.cohort.manifest_file import ManifestCells

Label = int | float | str | None
LabelKind = Literal["int", "float", "text"]

MISSING_NUMBERS = frozenset({"", "na", "n/a", "nan", "null", "none", "."})
"""How a missing number is written (in any case of letters); a missing text is an empty cell alone."""

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_CODE = re.compile(r"[+-]?0\d+")


def label_kind(cells: Sequence[str]) -> LabelKind:
    """Find the type that all values of a column have.

    Args:
        cells: The column's cells.

    Returns:
        "int" or "float" where every present cell is such a number (a column without any is "float"), else "text".
        A number with leading zeros, such as a site's code 007, makes a column of text.

    Example:
        >>> label_kind(["3", "NA", "4"]), label_kind(["3", "0.5"]), label_kind(["01", "02"])
        ('int', 'float', 'text')
    """
    present = [cell for cell in cells if cell.lower() not in MISSING_NUMBERS]
    if present and all(_INTEGER.fullmatch(cell) for cell in present):
        return "int"
    if all(_is_float(cell) and not _CODE.fullmatch(cell) for cell in present):
        return "float"
    return "text"


def typed_labels(cells: ManifestCells, names: Sequence[str]) -> tuple[dict[str, LabelKind], list[tuple[Label, ...]]]:
    """Read the label columns of a manifest.

    Args:
        cells: The manifest's cells.
        names: The label columns.

    Returns:
        The type of each column, and for each row its values, None where missing.
    """
    kinds = {name: label_kind(cells.text(name)) for name in names}
    columns = [[_value(cell, kinds[name]) for cell in cells.text(name)] for name in names]
    return kinds, [tuple(column[index] for column in columns) for index in range(len(cells))]


def number_with_comma(texts: Sequence[str]) -> str | None:
    """Give the first number that is written with a comma, if all texts are numbers once commas are points.

    Example:
        >>> number_with_comma(["42", "42,5"]), number_with_comma(["A, B", "42,5"])
        ('42,5', None)
    """
    present = [text for text in texts if text.lower() not in MISSING_NUMBERS]
    if not all(_is_float(text.replace(",", ".", 1)) for text in present):
        return None
    return next((text for text in present if "," in text), None)


def _value(cell: str, kind: LabelKind) -> Label:
    if kind == "text":
        return cell or None
    if cell.lower() in MISSING_NUMBERS:
        return None
    return int(cell) if kind == "int" else float(cell)


def _is_float(cell: str) -> bool:
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False
