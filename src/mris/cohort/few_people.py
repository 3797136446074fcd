"""What may be told of a few people: a value of a label that fewer share is not named in cards, results and tables."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import TypeVar

FEWEST_SUBJECTS = 10
"""A value that fewer subjects share is counted with others: with what else is known, it would point at them."""

OTHERS = "others"
"""Name of the values together that few subjects share."""

Value = TypeVar("Value", bound=Hashable)


def values_of_few(values: Sequence[Value], subjects: Sequence[object]) -> frozenset[Value]:
    """Find the values that fewer than `FEWEST_SUBJECTS` subjects share.

    Args:
        values: (n,) value of each image.
        subjects: (n,) subject of each image.

    Example:
        >>> sorted(values_of_few(["2"] * 10 + ["4"] * 3, [*range(10), 1, 2, 3]))
        ['4']
    """
    people: dict[Value, set[object]] = defaultdict(set)
    for value, subject in zip(values, subjects, strict=True):
        people[value].add(subject)
    return frozenset(value for value, own in people.items() if len(own) < FEWEST_SUBJECTS)
