"""`Region`: a part of a picture that shows several, such as both sides of a plate."""

from dataclasses import dataclass

from mris.images.header import Side
from mris.images.image import Image


@dataclass(frozen=True, eq=False)
class Region:
    """One region that was found in a picture and cut out.

    Attributes:
        image: Its pixels.
        side: Of the patient.
        side_source: What names the side, such as "given", "header" or "position".
        center: Row and column of its center, in pixels of the picture.
        center_source: What names the center, such as "given", "sheet" or "detector".
        edge_mm: Edge of the square in mm.
        outside: Share of it that lies beyond the picture, 0 to 1.
        confidence: The detector's, 0 to 1; None for other sources.
        notes: What of the picture deserves a look.
    """

    image: Image
    side: Side
    side_source: str
    center: tuple[float, float]
    center_source: str
    edge_mm: float
    outside: float
    confidence: float | None = None
    notes: tuple[str, ...] = ()
