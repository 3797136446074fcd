"""A radiograph plate: from a file of any kind to pixels with a spacing, and from a plate to the region of one knee.

How large the region is, `mris.knee.crop.REGION_MM` says.
"""

import os
from dataclasses import dataclass, replace
from typing import Literal

from mris.errors import ImageError
from mris.images.header import Header, Side
from mris.images.image import Image, Spacing
from mris.images.read import read_image
from mris.images.transforms import crop_region_mm, mirror
from mris.knee.crop import REGION_MM

Center = tuple[float, float]
"""Row and column in pixels of the plate, 0 = center of the first pixel."""


@dataclass(frozen=True)
class KneeLocation:
    """One knee on a plate.

    Attributes:
        side: Of the patient.
        center: Row and column of the joint's center, in pixels of the plate.
        side_source: What names the side: "given", "sheet", "header", or "position" (a frontal plate of two knees shows
            the right one at its left).
        center_source: What names the center: "given", "sheet" or "detector".
        confidence: The detector's, 0 to 1; None for other sources.
    """

    side: Side
    center: Center
    side_source: Literal["given", "sheet", "header", "position"]
    center_source: Literal["given", "sheet", "detector"]
    confidence: float | None = None


def read_plate(path: str | os.PathLike[str], *, spacing: Spacing | None = None) -> Image:
    """Read a radiograph: DICOM of any transfer syntax that is decoded here, or any other file `read_image` reads.

    The modality transform is applied and MONOCHROME1 inverted; the display transform that a file suggests (window,
    VOI table) is not, since it is a choice of viewers: `Header` says which of them there were.

    Args:
        path: One file.
        spacing: Row and column spacing in mm, taken where the file states none.

    Returns:
        The plate, whose spacing is None only if neither file nor caller gives one.

    Raises:
        ImageError: If the file cannot be read as an image of one gray channel, or `spacing` is not two positive
            numbers.

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from mris.images.write import write_png
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_png(Path(folder, "plate.png"), np.eye(6, 8, dtype=np.uint16))
        ...     plate = read_plate(Path(folder, "plate.png"), spacing=(0.2, 0.2))
        >>> plate.size, plate.spacing, plate.header.spacing_source
        ((6, 8), (0.2, 0.2), 'given')
    """
    plate = read_image(path, spacing=spacing)
    check_plate(plate)
    return plate


def check_plate(image: Image) -> None:
    """Refuse an image of several channels.

    Raises:
        ImageError: It has several.
    """
    if image.n_channels != 1:
        raise ImageError(f"image {image.origin}: holds {image.n_channels} channels; a radiograph has one")


def knee_region(plate: Image, location: KneeLocation, size_mm: float = REGION_MM) -> Image:
    """Cut the square round one knee out of a plate; beyond the plate's border it holds the plate's minimum.

    Left and right knees keep their look. Only a plate whose header says that it is mirrored is mirrored back, so that
    every region looks as if the patient faced the reader.

    Args:
        plate: Needs a spacing.
        location: Where the knee is.
        size_mm: Edge in mm.

    Returns:
        ``round(size_mm / spacing)`` rows and columns with the plate's spacing and the knee's laterality.

    Raises:
        ImageError: If the spacing is unknown, or the center is outside the plate.

    Example:
        >>> import numpy as np
        >>> image = Image(np.ones((1, 300, 400), np.float32), spacing=(1.0, 1.0))
        >>> location = KneeLocation("left", (10.0, 300.0), "given", "given")
        >>> knee_region(image, location)
        Image(1 x 140 x 140, spacing 1 x 1 mm, left, array)
    """
    image, (row, column) = plate, location.center
    if plate.header.mirrored:
        image, column = replace(image, pixels=mirror(image.pixels)), image.size[1] - 1 - column
    region = crop_region_mm(image, size_mm, (row, column))
    source = plate.header.spacing_source
    header = Header(spacing=region.spacing, spacing_source=source, sides=(location.side,))  # one knee's
    return replace(region, laterality=location.side, header=header)
