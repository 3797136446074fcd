"""`Image`: the pixels of one file, their spacing, and where they came from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from mris.errors import ImageError
from mris.images.header import Header, Side

MAX_PIXELS = 80_000_000
"""Largest number of pixels (over all channels) that is decoded; a full radiograph plate has 15 million."""

MAX_CHANNELS = 16
"""Largest first axis of a three-dimensional array that is taken for channels."""

Spacing = tuple[float, float]
"""Distance of pixel centers in mm: along a column (from row to row), then along a row."""


@dataclass(frozen=True, eq=False)
class Image:
    """One image in memory.

    Attributes:
        pixels: Shape ``(c, h, w)``, float32, C order; finite or NaN ("no value here"), never infinite, never empty.
            Row 0 is the top, column 0 the left of the picture.
        spacing: Row spacing and column spacing in mm, both positive; None where the file does not say.
        origin: File path, or a description, for messages.
        laterality: ``"left"`` or ``"right"`` where the file says so.
        header: What else the file says.

    Raises:
        ImageError: If a value breaks one of these rules.

    Example:
        >>> Image(np.ones((1, 4, 6), np.float32), spacing=(0.5, 0.25), origin="example").extent_mm
        (2.0, 1.5)
    """

    pixels: Float32[np.ndarray, "c h w"]
    spacing: Spacing | None = None
    origin: str = "array"
    laterality: Side | None = None
    header: Header = field(default_factory=Header)

    def __post_init__(self) -> None:
        pixels = self.pixels
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.dtype != np.float32:
            found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise ImageError(
                f"image {self.origin}: pixels are {found}, but must be a float32 array (channels, rows, columns); "
                "Image.from_array converts"
            )
        if pixels.size == 0:
            raise ImageError(f"image {self.origin}: shape {pixels.shape} holds no pixel")
        if np.isinf(pixels).any():
            raise ImageError(
                f"image {self.origin}: {int(np.isinf(pixels).sum())} pixels are infinite (or exceed float32); "
                "replace them by numbers, or by NaN where there is no value"
            )
        if self.spacing is not None:
            object.__setattr__(self, "spacing", checked_spacing(self.spacing, self.origin))
        if self.laterality not in (None, "left", "right"):
            raise ImageError(
                f"image {self.origin}: laterality is {self.laterality!r}, but must be 'left', 'right' or None"
            )

    @classmethod
    def from_array(
        cls, array: np.ndarray, *, spacing: Spacing | None = None, origin: str = "array", laterality: Side | None = None
    ) -> "Image":
        """Make an image from a real array ``(h, w)`` or ``(c, h, w)`` of any boolean, integer or float type.

        Args:
            array: At most 16 channels, which come first.
            spacing: See `Image`.
            origin: See `Image`.
            laterality: See `Image`.

        Raises:
            ImageError: If shape, type or values cannot be those of an image.
        """
        pixels = pixels_from_array(array, origin)
        return cls(pixels, spacing=spacing, origin=origin, laterality=laterality)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        c, h, w = self.pixels.shape
        return c, h, w

    @property
    def size(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.shape[1:]

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.shape[0]

    @property
    def extent_mm(self) -> tuple[float, float] | None:
        """Height and width in mm; None without a spacing."""
        if self.spacing is None:
            return None
        return self.size[0] * self.spacing[0], self.size[1] * self.spacing[1]

    def with_spacing(self, spacing: Spacing | None) -> "Image":
        """Take a spacing that somebody gives, where the file states none.

        Raises:
            ImageError: It is not two positive numbers.
        """
        if spacing is None:
            return self
        given = checked_spacing(spacing, self.origin)
        return self if self.spacing is not None else self.corrected(spacing=given)

    def corrected(self, *, spacing: Spacing | None = None, side: Side | None = None) -> "Image":
        """Believe a spacing or a side that somebody gives, whatever the file says.

        Raises:
            ImageError: The spacing is not two positive numbers.
        """
        header, image = self.header, self
        if spacing is not None:
            header = replace(header, spacing_source="given")
            image = replace(image, spacing=checked_spacing(spacing, self.origin))
        if side is not None:
            header = replace(header, sides=(side,), sides_source="given")
            image = replace(image, laterality=side)
        return replace(image, header=header)

    def __repr__(self) -> str:
        c, h, w = self.shape
        spacing = "unknown" if self.spacing is None else f"{self.spacing[0]:g} x {self.spacing[1]:g} mm"
        side = f", {self.laterality}" if self.laterality else ""
        return f"Image({c} x {h} x {w}, spacing {spacing}{side}, {self.origin})"


def check_array_shape(shape: Sequence[int], origin: str) -> None:
    """Check that a shape can be ``(h, w)`` or ``(c, h, w)`` of bounded size, before anything of that size is made.

    Raises:
        ImageError: If it cannot.
    """
    shape = tuple(int(n) for n in shape)
    if len(shape) not in (2, 3):
        raise ImageError(
            f"image {origin}: shape {shape} has {len(shape)} axes; an image has 2 (rows, columns) or 3 (channels first)"
        )
    if min(shape) < 1:
        raise ImageError(f"image {origin}: shape {shape} holds no pixel")
    if len(shape) == 3 and shape[0] > MAX_CHANNELS:
        hint = (
            "move the channels to the front (np.moveaxis(array, -1, 0))"
            if shape[-1] <= MAX_CHANNELS
            else "cut one plane out of a volume or a stack first"
        )
        raise ImageError(
            f"image {origin}: shape {shape} would have {shape[0]} channels; at most {MAX_CHANNELS} are read: {hint}"
        )
    check_pixel_count(math.prod(shape), origin)


def check_pixel_count(n_pixels: int, origin: str) -> None:
    """Check a pixel count against `MAX_PIXELS`.

    Raises:
        ImageError: If it is larger.
    """
    if n_pixels > MAX_PIXELS:
        raise ImageError(
            f"image {origin}: {n_pixels:,} pixels are announced, more than the {MAX_PIXELS:,} that are read; "
            "reduce the image first, or mend its header"
        )


def pixels_from_array(array: np.ndarray, origin: str) -> Float32[np.ndarray, "c h w"]:
    """Copy a real array ``(h, w)`` or ``(c, h, w)`` to C-ordered float32 pixels ``(c, h, w)``.

    Raises:
        ImageError: If shape or type cannot be those of an image.
    """
    if array.dtype.kind not in "biuf":
        raise ImageError(
            f"image {origin}: its type is {array.dtype}, but pixels are read from boolean, integer or float numbers; "
            "save it as one of those"
        )
    check_array_shape(array.shape, origin)
    if array.ndim == 2:
        array = array[np.newaxis]
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which `Image` refuses by name
        return np.array(array, dtype=np.float32, order="C")


def checked_spacing(spacing: Any, origin: str) -> Spacing:
    """Return a spacing as two positive finite floats.

    Raises:
        ImageError: If it is anything else.
    """
    found = usable_spacing(spacing)
    if found is None:
        raise ImageError(
            f"image {origin}: spacing is {spacing!r}, but must be two positive numbers of mm (of rows, of columns), "
            "1e-9 to 1e9"
        )
    return found


def usable_spacing(spacing: Any) -> Spacing | None:
    """Return a spacing as two positive floats, or None if it is not that (files say 0 for "unknown").

    Beyond 1e-9 to 1e9 mm no pixel is measured, and lengths in pixels would leave the range of numbers.
    """
    try:
        values = tuple(float(value) for value in spacing)
    except (TypeError, ValueError, OverflowError):
        return None
    if len(values) != 2 or not all(1e-9 <= value <= 1e9 for value in values):
        return None
    return values[0], values[1]


def side_name(text: str | None) -> str | None:
    """Return ``"left"`` or ``"right"`` for the usual spellings (any case, L, R); other names pass in lower case.

    Example:
        >>> side_name("R"), side_name("Left"), side_name(None)
        ('right', 'left', None)
    """
    if text is None or not text.strip():
        return None
    name = text.strip().casefold()
    return {"l": "left", "r": "right"}.get(name, name)
