"""What lies at the edges of a map, and maps turned so that they face the same way."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Edges:
    """What lies at each edge of a map, in words for its pictures, such as "medial" or "anterior"."""

    top: str
    bottom: str
    left: str
    right: str


def turned_as(values: np.ndarray, edges: Edges, other: Edges) -> tuple[np.ndarray, Edges]:
    """Flip a map where it has at its top what another has at its bottom, and likewise left and right.

    Args:
        values: (..., h, w).
        edges: Its edges.
        other: Those of the map that it shall face alike.

    Returns:
        The map, flipped or as it was, and what lies at its edges now.

    Example:
        >>> turned_as(np.array([[1], [2]]), Edges("lateral", "medial", "", ""), Edges("medial", "lateral", "", ""))[0]
        array([[2],
               [1]])
    """
    top, bottom, left, right = edges.top, edges.bottom, edges.left, edges.right
    if top != bottom and (top, bottom) == (other.bottom, other.top):
        values, top, bottom = values[..., ::-1, :], bottom, top
    if left != right and (left, right) == (other.right, other.left):
        values, left, right = values[..., ::-1], right, left
    return values, Edges(top, bottom, left, right)
