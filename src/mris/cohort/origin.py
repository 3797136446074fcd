"""Whether images show people or were simulated: what a cohort knows, and all that is made of it goes on saying."""

from collections.abc import Iterable
from typing import Literal

Origin = Literal["real", "simulated", "unknown"]
"""Of the images behind a result: "real" of people, "simulated" by a model in part or whole, or nobody has said."""

ORIGIN_COLUMN = "image_origin"
"""Column of a manifest that tells it: real or simulated."""

SIMULATED_NOTE = "made from simulated images"
"""What a result says of itself."""


def common_origin(parts: Iterable[Origin]) -> Origin:
    """Tell what is made of several parts: simulated if any is, real if all are.

    Example:
        >>> common_origin(["real", "simulated", "unknown"]), common_origin(["real", "unknown"])
        ('simulated', 'unknown')
    """
    found: set[Origin] = set(parts)
    if "simulated" in found:
        return "simulated"
    return "real" if found == {"real"} else "unknown"
