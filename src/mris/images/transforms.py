"""From an `Image` to what the encoders see: region, size, intensities, mirroring; and targets to their grid."""

import functools
import math
from collections.abc import Callable
from dataclasses import field, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import PIL.Image
from jaxtyping import Float, Float32, Float64
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass

from mris.errors import ImageError, SettingsError
from mris.images.extent import alike
from mris.images.image import MAX_PIXELS, Image, Spacing, side_name
from mris.records import broken_rule

if TYPE_CHECKING:
    import scipy.sparse

MUCH_OUTSIDE = 0.25
"""Share of a region outside its image beyond which that is noted, as where center or spacing are wrong."""

_LEAST_VALID_WEIGHT = 0.5
_ROUNDING = 1e-6  # sums of weights that are exactly one half in exact arithmetic count as one half


_Length = Annotated[int, Field(strict=True, ge=1, le=8192)]
_Percentile = Annotated[float, Field(strict=True, gt=0, le=100)]
_Millimeters = Annotated[float, Field(strict=True, gt=0)]
_SideName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(side_name)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class SourcePreparation:
    """How a source becomes the network's input; stored with every cohort, encoder and bundle.

    Attributes:
        size: Rows and columns of the prepared source.
        percentile: In (0, 100]; this percentile of each channel maps to ``percentile / 100``.
        mirror_sides: Sides that are mirrored left to right, such as ``("right",)``, so that all sides look alike.
        region_mm: Edge of the square region, in mm, that is cut out round the center; None keeps the whole image.
        extent_mm: Height and width in mm of the whole images of a cohort, where all are alike; None if they are not, or
            their spacing is unknown. It is found, not chosen, and so takes no part in a comparison: see `alike`.

    Raises:
        SettingsError: If a value cannot work.

    Example:
        >>> settings = SourcePreparation(size=(256, 256), mirror_sides=("right",), region_mm=140.0)
        >>> settings.shows_one_side, settings.edge_mm
        (True, 140.0)
    """

    size: tuple[_Length, _Length]
    percentile: _Percentile = 99.0
    mirror_sides: tuple[_SideName, ...] = ()
    region_mm: _Millimeters | None = None
    extent_mm: tuple[_Millimeters, _Millimeters] | None = field(default=None, compare=False)

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, values: Any, handler: Callable[[Any], "SourcePreparation"]) -> "SourcePreparation":
        try:
            return handler(values)
        except ValidationError as error:
            raise SettingsError(f"preparation of sources: {broken_rule(error)}") from error

    @model_serializer(mode="wrap")
    def _plain(self, handler: Callable[["SourcePreparation"], dict[str, Any]]) -> dict[str, Any]:
        """Leave out an unknown extent, so that earlier cohorts and encoders stay what they were."""
        values = handler(self)
        return {name: value for name, value in values.items() if (name, value) != ("extent_mm", None)}

    @property
    def shows_one_side(self) -> bool:
        """Whether a source shows one side of the body: a region is cut, or sources of one side are mirrored."""
        return self.region_mm is not None or bool(self.mirror_sides)

    @property
    def edge_mm(self) -> float | None:
        """Edge in mm of the square that the encoders see: the region's, or that of square whole images."""
        if self.region_mm is not None or self.extent_mm is None:
            return self.region_mm
        height, width = self.extent_mm
        return height if alike((height, height), (height, width)) else None


def prepare_source(
    image: Image, settings: SourcePreparation, *, side: str | None = None, center: tuple[float, float] | None = None
) -> Float32[np.ndarray, "c h w"]:
    """Prepare a source: region, then size, then intensities, then mirroring.

    Pixels without a value (NaN) are first given their channel's minimum, that is "no signal".

    Args:
        image: The source; needs a spacing where ``settings.region_mm`` is set.
        settings: What to do.
        side: Side of the body; the image's own laterality if None.
        center: Row and column (in pixels of `image`, 0 = center of the first pixel) the region lies round; the middle
            of the image if None. Used only where ``settings.region_mm`` is set.

    Returns:
        Shape ``(c, *settings.size)``, float32 in [0, 1].

    Raises:
        ImageError: If a spacing or a side is needed and unknown, the center is outside, or a channel is constant.

    Example:
        >>> image = Image.from_array(np.arange(48.0).reshape(6, 8))
        >>> prepare_source(image, SourcePreparation(size=(3, 4))).shape
        (1, 3, 4)
    """
    side = side_name(side) or image.laterality
    if settings.mirror_sides and side is None:
        raise ImageError(
            f"image {image.origin}: its side is unknown, but sides {list(settings.mirror_sides)} are to be mirrored; "
            "give the side"
        )
    whole = image
    if settings.region_mm is not None:
        image = crop_region_mm(image, settings.region_mm, center)
    pixels = resize_source(_filled(image), settings.size)
    try:
        pixels = scale_intensity(pixels, settings.percentile, origin=image.origin)
    except ImageError as error:
        outside = 0.0 if settings.region_mm is None else share_outside(whole, settings.region_mm, center)
        if outside <= MUCH_OUTSIDE:
            raise
        raise ImageError(
            f"{error}; {outside:.2%} of the {settings.region_mm:g} mm that are cut out lie outside: check its spacing"
        ) from error
    if side in settings.mirror_sides:
        pixels = mirror(pixels)
    return pixels


def mirror(pixels: Float32[np.ndarray, "*axes h w"]) -> Float32[np.ndarray, "*axes h w"]:
    """Mirror left to right (the last axis); a new array."""
    return pixels[..., ::-1].copy()


def resize_source(pixels: Float32[np.ndarray, "c h w"], size: tuple[int, int]) -> Float32[np.ndarray, "c h w"]:
    """Resize with a triangle filter as wide as the larger of the two pixels (antialiased bilinear).

    Pixel areas are aligned (the outer edges of the image stay where they are). A constant stays that constant, no
    value leaves the range of the input, and an equal size returns an equal copy. NaN would spread: fill it before.

    Args:
        pixels: Shape ``(c, h, w)``.
        size: Rows and columns wanted.
    """
    if pixels.shape[1:] == tuple(size):
        return pixels.copy()
    rows, columns = size
    resized = np.empty((pixels.shape[0], rows, columns), np.float32)
    for channel, out in zip(pixels, resized, strict=True):
        picture = PIL.Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32))
        out[...] = np.asarray(picture.resize((columns, rows), PIL.Image.Resampling.BILINEAR))
        np.clip(out, channel.min(), channel.max(), out=out)  # rounding may step over the range by one unit
    return resized


def resize_target(target: Float[np.ndarray, "*r h w"], size: tuple[int, int]) -> Float32[np.ndarray, "*r h2 w2"]:
    """Resize a target that has NaN where it has no value.

    An output pixel is the weighted mean of the *valid* input pixels it covers (by area where the image shrinks,
    linear between pixel centers where it grows):

        out = sum_i w_i v_i x_i / sum_i w_i v_i,  v_i = 1 where x_i is valid, else 0

    and NaN where less than half of its weight is valid. So 0 mm stays 0, and the border of
    a map is neither thinned by the outside nor shifted. A constant stays constant; an equal size changes nothing.

    Args:
        target: Shape ``(h, w)`` or ``(r, h, w)``, finite or NaN.
        size: Rows and columns wanted.

    Returns:
        float32, with the leading axis of `target` if it has one.
    """
    if target.shape[-2:] == tuple(size):
        return np.array(target, dtype=np.float32)
    valid = ~np.isnan(target)
    both = np.stack([valid, np.where(valid, target, 0)]).astype(np.float64)
    weight, total = _weighted_sums(_weighted_sums(both, -2, size[0]), -1, size[1])
    enough = weight >= _LEAST_VALID_WEIGHT - _ROUNDING
    resized = np.full(total.shape, np.nan, np.float32)
    resized[enough] = total[enough] / weight[enough]
    return resized


def share_outside(image: Image, size_mm: float, center: tuple[float, float] | None = None) -> float:
    """Give the share of a square region's area that lies beyond an image, 0 to 1; see `crop_region_mm`.

    Pixels are taken for 1 x 1 mm where the spacing is unknown.

    Example:
        >>> image = Image(np.ones((1, 60, 120), np.float32), spacing=(1.0, 1.0))
        >>> share_outside(image, 80.0), share_outside(image, 80.0, (0.0, 59.5))
        (0.25, 0.49375)
    """
    inside = 1.0
    middle = [(length - 1) / 2 for length in image.size]
    for place, length, mm in zip(center or middle, image.size, image.spacing or (1.0, 1.0), strict=True):
        half = size_mm / mm / 2
        inside *= max(0.0, min(place + half, length - 0.5) - max(place - half, -0.5)) / (2 * half)
    return max(0.0, 1.0 - inside)  # not -1e-16


def crop_region_mm(image: Image, size_mm: float, center: tuple[float, float] | None = None) -> Image:
    """Cut a square region of `size_mm` out of an image; beyond the border it holds the image's minimum.

    The region is whole pixels: ``round(size_mm / spacing)`` rows and columns, placed to the nearest pixel.

    Args:
        image: Needs a spacing.
        size_mm: Edge in mm.
        center: Row and column in pixels, 0 = center of the first pixel; the middle of the image if None.

    Returns:
        A new image of the same spacing, laterality and origin.

    Raises:
        ImageError: If the spacing is unknown, the center outside the image, or the region smaller than a pixel or
            beyond any image's size.
    """
    if image.spacing is None:
        raise ImageError(
            f"image {image.origin}: a region of {size_mm:g} mm is asked for, but the pixel spacing is unknown; "
            "give a spacing (row, column, in mm), or prepare without a region"
        )
    rows, columns = (round(size_mm / spacing) for spacing in image.spacing)
    if min(rows, columns) < 1:
        raise ImageError(
            f"image {image.origin}: {size_mm:g} mm is less than one pixel of {image.spacing} mm; check its spacing"
        )
    if rows * columns * image.n_channels > MAX_PIXELS:
        raise ImageError(
            f"image {image.origin}: {size_mm:g} mm would be {rows:,} x {columns:,} pixels of {image.spacing} mm; check "
            "its spacing"
        )
    height, width = image.size
    row, column = ((height - 1) / 2, (width - 1) / 2) if center is None else center
    if not (-0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5):
        raise ImageError(
            f"image {image.origin}: center (row {row:g}, column {column:g}) is outside its {height} x {width} pixels; "
            "give the center in pixels of the original file"
        )
    top, left = _start(row, rows), _start(column, columns)
    inside = image.pixels[:, max(top, 0) : top + rows, max(left, 0) : left + columns]
    if inside.shape[1:] == (rows, columns):
        return replace(image, pixels=inside.copy())
    pixels = np.empty((image.n_channels, rows, columns), np.float32)
    pixels[...] = _minima(image.pixels)
    down, right = max(-top, 0), max(-left, 0)
    pixels[:, down : down + inside.shape[1], right : right + inside.shape[2]] = inside
    return replace(image, pixels=pixels)


def scale_intensity(
    pixels: Float32[np.ndarray, "c h w"], percentile: float = 99.0, *, origin: str = "array"
) -> Float32[np.ndarray, "c h w"]:
    """Scale each channel so that its minimum is 0 and its percentile is ``percentile / 100``; clip to [0, 1].

        out = clip((x - min) / (P - min) * percentile / 100, 0, 1),  P = the percentile of x

    Args:
        pixels: Finite, ``(c, h, w)``.
        percentile: In (0, 100].
        origin: For the message.

    Raises:
        ImageError: If a channel is constant up to the percentile, so that no scale exists.
        SettingsError: If the percentile is outside its range.
    """
    if not 0 < percentile <= 100:
        raise SettingsError(f"percentile is {percentile!r}, but must be above 0 and at most 100")
    scaled = np.empty(pixels.shape, np.float32)
    for index, (channel, out) in enumerate(zip(pixels, scaled, strict=True)):
        low, anchor, high = (float(value) for value in np.percentile(channel.astype(np.float64), (0, percentile, 100)))
        if not anchor > low:
            where = f"image {origin}" + (f", channel {index}" if len(pixels) > 1 else "")
            if high == low:
                raise ImageError(f"{where}: every pixel is {low:g}; a constant image holds nothing to scale")
            raise ImageError(
                f"{where}: {percentile:g} % of its pixels are {low:g}, its minimum; "
                "give a region round the object, or a higher percentile"
            )
        np.clip((channel.astype(np.float64) - low) * (percentile / 100 / (anchor - low)), 0.0, 1.0, out=out)
    return scaled


def resized_spacing(spacing: Spacing, from_shape: tuple[int, ...], to_shape: tuple[int, ...]) -> Spacing:
    """Return the spacing after a resize that keeps the outer edges; of shapes the last two numbers count.

    Example:
        >>> resized_spacing((0.5, 0.25), (1, 100, 100), (50, 25))
        (1.0, 1.0)
    """
    return spacing[0] * from_shape[-2] / to_shape[-2], spacing[1] * from_shape[-1] / to_shape[-1]


def _weighted_sums(values: Float64[np.ndarray, "..."], axis: int, n_out: int) -> Float64[np.ndarray, "..."]:
    """Apply `_axis_weights` along one axis."""
    first = np.moveaxis(values, axis, 0)
    sums = np.asarray(_axis_weights(len(first), n_out) @ first.reshape(len(first), -1))
    return np.moveaxis(sums.reshape(n_out, *first.shape[1:]), 0, axis)


@functools.lru_cache(maxsize=16)
def _axis_weights(n_in: int, n_out: int) -> "scipy.sparse.csr_array":
    """Weights (n_out, n_in), rows summing to 1, of input pixels in each output pixel along one axis."""
    import scipy.sparse  # here: sources, which are all that a query has, need none

    scale = n_in / n_out
    inputs = np.arange(n_in)
    if scale >= 1:  # overlap of the output pixel [j s, (j + 1) s] with the input pixel [i, i + 1]
        edges = np.arange(n_out + 1) * scale
        overlap = np.minimum(edges[1:, None], inputs + 1) - np.maximum(edges[:-1, None], inputs)
        weights = np.maximum(overlap, 0.0)
    else:  # linear between centers; beyond the outermost centers the outermost pixel alone
        centers = np.clip((np.arange(n_out) + 0.5) * scale - 0.5, 0, n_in - 1)
        weights = np.maximum(1 - np.abs(centers[:, None] - inputs), 0.0)
    weights[weights < _ROUNDING] = 0.0  # a pixel that is only touched must not leave a trace: 0 mm stays 0
    return scipy.sparse.csr_array(weights / weights.sum(axis=1, keepdims=True))


def _start(center: float, length: int) -> int:
    # floor(x + 1/2), not round(): halves must always go one way, or the region jitters between neighbouring images.
    return math.floor(center - (length - 1) / 2 + 0.5)


def _minima(pixels: Float32[np.ndarray, "c h w"]) -> Float32[np.ndarray, "c 1 1"]:
    """Minimum of each channel over its valid pixels (NaN for a channel without any)."""
    return np.asarray(np.fmin.reduce(pixels, axis=(1, 2), keepdims=True))


def _filled(image: Image) -> Float32[np.ndarray, "c h w"]:
    missing = np.isnan(image.pixels)
    if not missing.any():
        return image.pixels
    if missing.all(axis=(1, 2)).any():
        raise ImageError(f"image {image.origin}: a channel is NaN everywhere in the region; nothing is left to read")
    return np.where(missing, _minima(image.pixels), image.pixels)
