"""The order of timepoints, whose names are free text: "2" before "12", "V00" before "V10"."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_DIGITS = re.compile(r"(\d+)")
_DAY_FIRST = re.compile(r"\d{1,2}([-. ])(\d{1,2}\1\d{4}|[^\W\d]{3,}\1\d{2,4})")

_Part = tuple[int, float, str]
TimepointOrder = tuple[bool, tuple[_Part, ...], str]


def timepoint_order(name: str) -> TimepointOrder:
    """Give the sorting key of one timepoint name.

    Names without a digit ("baseline", "ENROLLMENT") come first, since they name the visit before the counted
    ones; then numbers compare as numbers, also inside a name, and before letters.

    Args:
        name: A timepoint as it stands in the manifest.

    Returns:
        A key for `sorted`. Different names never have equal keys, so that an order is always complete.

    Example:
        >>> sorted(["12", "V10", "2", "V00", "24_MONTH", "ENROLLMENT", "0.5"], key=timepoint_order)
        ['ENROLLMENT', '0.5', '2', '12', '24_MONTH', 'V00', 'V10']
    """
    text = name.strip()
    if _NUMBER.fullmatch(text):
        return True, ((0, float(text), ""),), name
    pieces = [piece for piece in _DIGITS.split(text) if piece]
    parts = tuple((0, float(piece), "") if piece.isdecimal() else (1, 0.0, piece.casefold()) for piece in pieces)
    return any(part[0] == 0 for part in parts), parts, name


def begins_with_day(name: str) -> bool:
    """Whether a timepoint is a date as spreadsheets write it, "24.03.2019" or "24-Mar-19", whose order is not time's.

    Example:
        >>> [begins_with_day(name) for name in ("24.03.2019", "24-Mar-19", "2019-03-24", "V00", "0.5")]
        [True, True, False, False, False]
    """
    return _DAY_FIRST.fullmatch(name) is not None


def first_visits(groups: Sequence[tuple[str, ...]], timepoints: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Mark each row that has the earliest timepoint of its group (a subject, or a subject's side).

    Args:
        groups: What each row belongs to.
        timepoints: The timepoint of each row.

    Returns:
        True where the row's timepoint is the earliest of its group; shape (n,).
    """
    order = {name: timepoint_order(name) for name in set(timepoints)}
    earliest: dict[tuple[str, ...], TimepointOrder] = {}
    for group, name in zip(groups, timepoints, strict=True):
        key = order[name]
        if group not in earliest or key < earliest[group]:
            earliest[group] = key
    marks = [earliest[group] == order[name] for group, name in zip(groups, timepoints, strict=True)]
    return np.array(marks, dtype=np.bool_)
