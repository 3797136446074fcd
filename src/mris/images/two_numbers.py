"""Sizes and spacings as people write them: one number for both axes, or two."""

import math
import re

_BETWEEN = re.compile(r"\s*[xX×*;\\ ]\s*")


def two_numbers(text: str) -> tuple[float, float] | None:
    """Read rows and columns from "0.15", "0.15x0.2", "0.15 X 0.2", "0.15 × 0.2" and the like; None if it is neither.

    Example:
        >>> two_numbers("256"), two_numbers("0.15X0.2"), two_numbers("0x1"), two_numbers("1x2x3")
        ((256.0, 256.0), (0.15, 0.2), None, None)
    """
    try:
        values = [float(part) for part in _BETWEEN.split(text.strip())]
    except ValueError:
        return None
    sound = len(values) in (1, 2) and all(math.isfinite(value) and value > 0 for value in values)
    return (values[0], values[-1]) if sound else None
