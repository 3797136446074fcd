"""A picture to look at: the file's, made small enough to send, and the window to begin with."""

from dataclasses import dataclass

import numpy as np
import PIL.Image
from jaxtyping import UInt16

from mris.images.image import Image

LONGEST_EDGE = 1280
"""Pixels of the longer edge of a picture that is sent, at most."""

_WINDOW = (1.0, 99.5)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of 16 bits: value = least + u / 65535 * (largest - least).

    Attributes:
        pixels: (rows, columns).
        step: Pixels of the file, along each axis, that one of it stands for.
        least: The value of 0.
        largest: The value of 65535.
        window: Values that are shown as black and as white to begin with.
    """

    pixels: UInt16[np.ndarray, "h w"]
    step: int
    least: float
    largest: float
    window: tuple[float, float]


def picture_of(image: Image) -> Picture:
    """Make the picture of an image's first channel.

    Example:
        >>> picture_of(Image.from_array(np.arange(6.0).reshape(2, 3))).pixels[0].tolist()
        [0, 13107, 26214]
    """
    step = -(-max(image.size) // LONGEST_EDGE)
    small = image.pixels[0]
    if step > 1:
        small = np.asarray(PIL.Image.fromarray(small).reduce(step))
    known = small[np.isfinite(small)]
    if not known.size:
        known = np.zeros(1, np.float32)
    least, largest = float(known.min()), float(known.max())
    low, high = (float(value) for value in np.percentile(known, _WINDOW))
    scaled = (np.nan_to_num(small, nan=least) - least) * (65535 / max(largest - least, 1e-30))
    return Picture(np.round(scaled).astype("<u2"), step, least, largest, (low, high if high > low else low + 1.0))
