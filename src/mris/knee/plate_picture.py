"""A picture of a plate for review: the square round each knee, its center and its side."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from jaxtyping import UInt8

from mris.errors import ImageError
from mris.images.image import Image
from mris.images.transforms import resize_source, scale_intensity
from mris.knee.radiograph import KneeLocation

LONGEST_EDGE = 1200
"""Pixels of a picture's longer edge; larger plates are reduced."""

_COLORS = {"right": (255, 176, 0), "left": (64, 196, 255)}


def draw_locations(
    plate: Image, locations: Sequence[KneeLocation], size_mm: float, *, longest_edge: int = LONGEST_EDGE
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a plate as its file has it, with the region, the center and the side of each knee.

    Args:
        plate: Needs a spacing.
        locations: Its knees.
        size_mm: Edge of the regions in mm.
        longest_edge: Of the picture, in pixels.

    Returns:
        A color picture; regions that leave the plate are cut at its border.

    Raises:
        ImageError: If the plate is constant or has no spacing.
    """
    spacing = plate.spacing
    if spacing is None:
        raise ImageError(f"image {plate.origin}: regions in mm are to be drawn, but its pixel spacing is unknown")
    rows, columns = plate.size
    # Pixels need not be square; the picture's are.
    scale = min(1.0 / min(spacing), longest_edge / max(rows * spacing[0], columns * spacing[1]))  # pixels a mm
    size = max(1, round(rows * spacing[0] * scale)), max(1, round(columns * spacing[1] * scale))
    pixels = np.where(np.isnan(plate.pixels), np.nanmin(plate.pixels), plate.pixels)
    gray = scale_intensity(resize_source(pixels, size), 99.5, origin=plate.origin)[0]
    picture = PIL.Image.fromarray(np.rint(gray * 255).astype(np.uint8)).convert("RGB")
    draw = PIL.ImageDraw.Draw(picture)
    line = max(2, max(size) // 400)
    font = PIL.ImageFont.load_default(max(14, max(size) // 40))
    half = size_mm * scale / 2
    for knee in locations:
        color = _COLORS[knee.side]
        y, x = ((center + 0.5) * mm * scale for center, mm in zip(knee.center, spacing, strict=True))
        draw.rectangle((x - half, y - half, x + half, y + half), outline=color, width=line)
        draw.line((x - 4 * line, y, x + 4 * line, y), fill=color, width=line)
        draw.line((x, y - 4 * line, x, y + 4 * line), fill=color, width=line)
        sure = "" if knee.confidence is None else f" {knee.confidence:.2f}"
        place = max(0.0, x - half) + 2 * line, max(0.0, y - half) + 2 * line
        draw.text(place, f"{knee.side} ({knee.center_source}{sure})", fill=color, font=font)
    return np.asarray(picture)
