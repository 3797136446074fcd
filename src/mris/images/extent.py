"""Whether images show as much in mm as each other."""

from collections.abc import Sequence

import numpy as np

Extent = tuple[float, float]
"""Height and width in mm of what an image shows."""

EXTENT_TOLERANCE = 0.05
"""Extents that differ by less than this share are alike: rounding to pixels, and magnification that no file states."""


def alike(one: Extent | None, other: Extent | None) -> bool:
    """Whether two extents differ by no more than `EXTENT_TOLERANCE`, or one of them is unknown.

    Example:
        >>> alike((140.0, 140.0), (139.9, 140.2)), alike((100.0, 100.0), (140.0, 140.0)), alike(None, (9.0, 9.0))
        (True, False, True)
    """
    if one is None or other is None:
        return True
    return all(abs(a - b) <= EXTENT_TOLERANCE * max(a, b) for a, b in zip(one, other, strict=True))


def common_extent(extents: Sequence[Extent | None]) -> Extent | None:
    """Return the median of extents, to 0.1 mm; None unless all are known and alike.

    Example:
        >>> common_extent([(99.92, 99.92), (100.04, 100.04), (99.96, 99.96)])
        (100.0, 100.0)
    """
    known = [extent for extent in extents if extent is not None]
    if not known or len(known) < len(extents):
        return None
    height, width = (round(float(length), 1) for length in np.median(known, axis=0))
    return (height, width) if all(alike(extent, (height, width)) for extent in known) else None
