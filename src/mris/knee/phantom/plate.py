"""A whole plate from phantom radiographs: one or two legs, seen from behind, as a clinic exposes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse
from jaxtyping import Float32, UInt16
from scipy import ndimage

from mris.errors import SettingsError
from mris.images.image import Spacing
from mris.knee.crop import REGION_MM

Side = Literal["right", "left"]
"""Of the body; in a view from the back the right knee stands at the left of the picture."""

Center = tuple[float, float]
"""Row and column in pixels of the plate; 0 is the center of the first pixel."""

DETECTORS = (((2010, 2446), 0.175), ((3520, 4280), 0.1))
"""Rows, columns and spacing (mm) of the two usual plates of a large study."""

_FIRST_DETECTOR_SHARE = 0.81
_LEAST_GAP_MM = 8.0
_BONE_MM = 24.0
_GRAIN_MM = (1.4, 0.45)


@dataclass(frozen=True, eq=False)
class PhantomPlate:
    """One exposure of one or two phantom knees.

    Attributes:
        pixels: Bone bright.
        spacing: Row and column spacing in mm.
        centers: Center of each knee's region, by side.
    """

    pixels: UInt16[np.ndarray, "h w"]
    spacing: Spacing
    centers: Mapping[Side, Center]


@dataclass(frozen=True)
class PlateLayout:
    """Size of a plate and where the knees stand on it.

    Attributes:
        shape: Rows and columns.
        spacing_mm: Size of a pixel.
        centers: Whole pixels, by side.
    """

    shape: tuple[int, int]
    spacing_mm: float
    centers: Mapping[Side, Center]


def sample_plate_layout(rng: np.random.Generator, sides: tuple[Side, ...] = ("right", "left")) -> PlateLayout:
    """Draw a plate as a study takes them: detector, distance of the knees, height of the joint.

    Detectors, the distance of the knees (about 200 mm, 5 to 95 %: 160 to 245 mm) and the rows follow the public sheet
    of joint centers of the Osteoarthritis Initiative. Each region of `REGION_MM` lies inside the plate.

    Args:
        rng: Source of randomness.
        sides: The knees on the plate; a single knee stands near the middle.

    Raises:
        SettingsError: If `sides` is empty or names a side twice.

    Example:
        >>> layout = sample_plate_layout(np.random.default_rng(0))
        >>> layout.centers["right"][1] < layout.centers["left"][1]
        True
    """
    if not sides or len(set(sides)) != len(sides):
        raise SettingsError(f"sides are {sides!r}, but a plate shows 'right', 'left' or both, each once")
    (rows, columns), spacing = DETECTORS[int(rng.random() >= _FIRST_DETECTOR_SHARE)]
    margin = 0.5 * REGION_MM / spacing + 1.0
    distance = np.clip(rng.normal(200.0, 26.0), 152.0, 270.0) / spacing if len(sides) == 2 else 0.0
    middle = columns / 2 + rng.normal(0.0, 12.0 if len(sides) == 2 else 30.0) / spacing
    row = rows * np.clip(rng.normal(0.52, 0.11), 0.25, 0.75)
    apart = rng.normal(0.0, 4.0) / spacing
    centers: dict[Side, Center] = {}
    for side in sides:
        sign = -0.5 if side == "right" else 0.5
        center_row = np.clip(row + sign * apart, margin, rows - 1 - margin)
        center_column = np.clip(middle + sign * distance, margin, columns - 1 - margin)
        centers[side] = (float(round(center_row)), float(round(center_column)))
    return PlateLayout((rows, columns), spacing, centers)


def compose_plate(
    right: UInt16[np.ndarray, "h w"] | None,
    left: UInt16[np.ndarray, "h w"] | None,
    *,
    spacing_mm: float,
    shape: tuple[int, int],
    centers: Mapping[Side, Center],
    rng: np.random.Generator,
    region_mm: float = REGION_MM,
) -> PhantomPlate:
    """Place phantom radiographs on a plate and let the legs go on beyond them.

    A picture is resampled (linear between its pixels; a triangle filter where the plate is coarser) so that its middle
    lies on its center: the square of `region_mm` round the center, resized to the picture's size, is the picture.
    Outside, shafts, soft tissue and noise continue from the picture's border and fade to air at the sides. Where two
    regions overlap, a pixel belongs to the nearer center.

    Args:
        right: 16-bit square picture of the right knee, bone bright, as `mris.knee.phantom.simulate` makes it; None
            for a plate without it.
        left: The same for the left knee.
        spacing_mm: Size of the plate's pixels.
        shape: Rows and columns of the plate.
        centers: Row and column of the center of each given picture's region; may lie near or beyond the border.
        rng: Of the noise and the legs' outlines.
        region_mm: Edge of the square that the pictures show.

    Raises:
        SettingsError: If there is no picture, one is not square, centers and pictures do not match, or a size is not
            positive.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> knee = np.full((32, 32), 30000, np.uint16)
        >>> plate = compose_plate(knee, None, spacing_mm=2.0, shape=(150, 120), centers={"right": (70, 60)}, rng=rng)
        >>> int(plate.pixels[70, 60]), bool(plate.pixels[70, 0] < 5000)
        (30000, True)
    """
    pictures = _checked_pictures(right, left, centers)
    if min(shape) < 1 or not spacing_mm > 0 or not region_mm > 0:
        raise SettingsError(f"plate of {shape} pixels of {spacing_mm} mm, region {region_mm} mm: all must be positive")
    shown = {side: picture.astype(np.float32) / np.float32(65535.0) for side, picture in pictures.items()}
    air = float(np.clip(min(picture.min() for picture in shown.values()), 0.012, 0.06))
    legs = {
        side: _extended_leg(picture, side, centers, spacing_mm, shape, region_mm, air, rng)
        for side, picture in shown.items()
    }
    pixels = legs.popitem()[1]
    if legs:
        pixels = _both(legs.popitem()[1], pixels, centers, 0.5 * region_mm / spacing_mm)
    np.clip(pixels, 0.0, 1.0, out=pixels)
    pixels *= np.float32(65535.0)
    whole = np.rint(pixels, out=pixels).astype(np.uint16)
    return PhantomPlate(whole, (spacing_mm, spacing_mm), {side: centers[side] for side in pictures})


def _both(
    right: Float32[np.ndarray, "h w"], left: Float32[np.ndarray, "h w"], centers: Mapping[Side, Center], half: float
) -> Float32[np.ndarray, "h w"]:
    """Two legs on one plate: the brighter one, but each alone in its own region (half an edge: `half` pixels)."""
    both = np.maximum(right, left)
    order: tuple[tuple[Side, Side, Float32[np.ndarray, "h w"]], ...] = (
        ("right", "left", right),
        ("left", "right", left),
    )
    for own, other, leg in order:
        box = tuple(slice(max(int(np.ceil(c - half)), 0), max(int(np.floor(c + half)) + 1, 0)) for c in centers[own])
        near, far = (_distance_to(centers[side], both.shape, box) for side in (own, other))
        both[box] = np.where(near <= far, leg[box], both[box])
    return np.asarray(both)


def _checked_pictures(
    right: UInt16[np.ndarray, "h w"] | None, left: UInt16[np.ndarray, "h w"] | None, centers: Mapping[Side, Center]
) -> dict[Side, UInt16[np.ndarray, "h w"]]:
    given: dict[Side, UInt16[np.ndarray, "h w"] | None] = {"right": right, "left": left}
    pictures = {side: picture for side, picture in given.items() if picture is not None}
    if not pictures or set(pictures) != set(centers):
        raise SettingsError(
            f"pictures of {sorted(pictures)} and centers of {sorted(centers)}: a plate needs one knee or two, and a "
            "center for each picture"
        )
    for side, picture in pictures.items():
        if picture.dtype != np.uint16 or picture.ndim != 2 or picture.shape[0] != picture.shape[1]:
            raise SettingsError(
                f"the {side} picture is {picture.dtype} {picture.shape}, but must be square with 16 bits (uint16)"
            )
    return pictures


def _extended_leg(
    picture: Float32[np.ndarray, "h w"],
    side: Side,
    centers: Mapping[Side, Center],
    spacing_mm: float,
    shape: tuple[int, int],
    region_mm: float,
    air: float,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "rows columns"]:
    """One leg on the whole plate: extended on the picture's own grid, so that grain is alike everywhere."""
    size = picture.shape[0]
    pitch = region_mm / size
    middle = [(c * spacing_mm, (n - 1 - c) * spacing_mm) for c, n in zip(centers[side], shape, strict=True)]
    # Pixels that are wanted beyond the region: above, below, left, right; two more for the filter.
    reach = [max(int(np.ceil((mm - region_mm / 2 + spacing_mm) / pitch)) + 2, 2) for pair in middle for mm in pair]
    fade = rng.uniform(12.0, 45.0, 2)
    if len(centers) == 2:
        gap = max(abs(centers["left"][1] - centers["right"][1]) * spacing_mm - region_mm, _LEAST_GAP_MM)
        inner = 1 if side == "right" else 0
        fade[inner] = min(fade[inner], gap)
    lateral = 1.0 if side == "left" else -1.0
    wide = _with_sides(picture, (reach[2], reach[3]), (float(fade[0]), float(fade[1])), pitch, air, rng)
    leg = _with_shafts(wide, (reach[0], reach[1]), reach[2] + size / 2, lateral, pitch, air, rng)
    matrices = [
        _triangle_weights(
            ((np.arange(n) - c) * spacing_mm + region_mm / 2) / pitch - 0.5 + before, spacing_mm / pitch, extent
        )
        for n, c, before, extent in zip(shape, centers[side], (reach[0], reach[2]), leg.shape, strict=True)
    ]
    across = np.ascontiguousarray((matrices[1] @ leg.T).T)
    return np.asarray(matrices[0] @ across, dtype=np.float32)


def _with_sides(
    picture: Float32[np.ndarray, "h w"],
    reach: tuple[int, int],
    fade_mm: tuple[float, float],
    pitch: float,
    air: float,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "h w2"]:
    """Soft tissue at both sides, thinning out to air."""
    parts = [picture]
    for at, (n, length) in enumerate(zip(reach, fade_mm, strict=True)):
        edge = picture if at else picture[:, ::-1]
        d = (np.arange(1, n + 1) * pitch)[None, :]
        smooth = ndimage.gaussian_filter1d(edge[:, -2:].mean(axis=1), 3.0 / pitch, mode="nearest")
        inner = ndimage.gaussian_filter1d(edge[:, -_band(pitch) :].mean(axis=1), 6.0 / pitch, mode="nearest")
        slope = np.maximum(inner - smooth, 1e-4) / 5.0
        decay = np.clip((smooth - air) / slope, 2.0, 10.0)  # the profile leaves the picture with the slope it had
        thin = np.exp(-d / ndimage.gaussian_filter1d(decay, 8.0 / pitch)[:, None])
        thin = thin * np.clip(1.0 - (d / length) ** 2, 0.0, None)
        leftover = (edge[:, -1] - smooth)[:, None] * np.exp(-d / 2.0)
        grain = _residual(edge[:, -_band(pitch) :], pitch).std(axis=1, keepdims=True)
        grain = ndimage.gaussian_filter1d(grain, 6.0 / pitch, axis=0)
        noise = _grain(rng, (len(picture), n), pitch) * grain * (0.25 + 0.75 * thin)
        beyond = air + (smooth[:, None] - air) * thin + leftover + noise
        parts = [*parts, beyond] if at else [beyond[:, ::-1], *parts]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _with_shafts(
    wide: Float32[np.ndarray, "h w"],
    reach: tuple[int, int],
    axis: float,
    lateral: float,
    pitch: float,
    air: float,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "h2 w"]:
    """Thigh above and calf below: the border row goes on, bones straight, soft tissue wider or narrower."""
    parts = [wide]
    x = (np.arange(wide.shape[1]) + 0.5 - axis) * pitch
    for at, n in enumerate(reach):
        edge = wide if at else wide[::-1]
        d = np.arange(1, n + 1) * pitch
        lean = lateral * (rng.normal(0.015, 0.02) if at else rng.normal(0.05, 0.03)) * d**2 / (d + 60.0)
        girth = (
            0.94 + 0.06 * np.exp(-d / 45.0) + 0.08 * np.exp(-(((d - 110.0) / 45.0) ** 2)) if at else 1.0 + 0.0015 * d
        )
        u = x[None, :] - lean[:, None]
        beyond_bone = np.maximum(np.abs(u) - _BONE_MM, 0.0)
        u = np.sign(u) * (np.minimum(np.abs(u), _BONE_MM) + beyond_bone / girth[:, None])
        columns = u / pitch + axis - 0.5
        smooth = ndimage.gaussian_filter1d(edge[-max(2, round(4.0 / pitch)) :].mean(axis=0), 0.6 / pitch)
        grain = ndimage.gaussian_filter1d(_residual(edge[-_band(pitch) :], pitch).std(axis=0), 3.0 / pitch)
        values = np.interp(columns, np.arange(len(smooth)), smooth)
        level = (1.0 + (-0.0005 if at else 0.0008) * d) * (1.0 + 0.02 * _smooth_line(rng, n, 30.0 / pitch))
        coarse = _grain(rng, columns.shape, pitch, 5.0) * np.exp(-d / 40.0)[:, None]
        noise = _grain(rng, columns.shape, pitch) + 1.2 * coarse
        noise = noise * np.interp(columns, np.arange(len(grain)), grain)
        leftover = (edge[-1] - smooth)[None, :] * np.exp(-d / 4.0)[:, None]
        beyond = air + (values - air) * np.maximum(level, 0.3)[:, None] + leftover
        beyond = beyond + noise * (1.0 - np.exp(-d / 3.0))[:, None]
        parts = [*parts, beyond] if at else [beyond[::-1], *parts]
    return np.concatenate(parts, axis=0).astype(np.float32)


def _distance_to(center: Center, shape: tuple[int, ...], box: tuple[slice, ...]) -> Float32[np.ndarray, "h w"]:
    """Larger of row and column distance of the pixels in a box: its level lines are squares."""
    rows, columns = (
        np.abs(np.arange(n, dtype=np.float32)[part] - np.float32(c))
        for n, c, part in zip(shape, center, box, strict=True)
    )
    return np.asarray(np.maximum(rows[:, None], columns[None, :]))


def _band(pitch: float) -> int:
    return max(4, round(10.0 / pitch))


def _residual(values: Float32[np.ndarray, "h w"], pitch: float) -> Float32[np.ndarray, "h w"]:
    return np.asarray(values - ndimage.gaussian_filter(values, 2.0 / pitch, mode="nearest"))


def _grain(
    rng: np.random.Generator, shape: tuple[int, ...], pitch: float, coarser: float = 1.0
) -> Float32[np.ndarray, "h w"]:
    """Noise of standard deviation 1 with the grain of a phantom's bone, or one that many times coarser."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if noise.size == 0:
        return np.asarray(noise)
    noise = ndimage.gaussian_filter(
        noise, [0.5 * coarser * length / pitch for length in _GRAIN_MM], mode="wrap", truncate=2.0
    )
    return np.asarray(noise / max(float(noise.std()), 1e-6))


def _smooth_line(rng: np.random.Generator, n: int, length: float) -> np.ndarray:
    """Smooth random line of mean 0 and standard deviation of about 1, starting at 0."""
    knots = np.concatenate([[0.0], rng.normal(size=max(2, int(np.ceil(n / length)) + 1))])
    line = np.interp(np.arange(n), np.arange(len(knots)) * length, knots)
    return np.asarray(ndimage.gaussian_filter1d(line, 0.4 * length, mode="nearest") if n else line)


def _triangle_weights(positions: np.ndarray, step: float, n_in: int) -> scipy.sparse.csr_array:
    """Weights (n_out, n_in), rows summing to 1, of a triangle as wide as the coarser of the two grids.

    Args:
        positions: Of the outputs, in input pixels.
        step: Distance of outputs, in input pixels.
        n_in: Number of inputs.
    """
    width = max(step, 1.0)
    first = np.floor(positions - width).astype(np.intp) + 1
    offsets = np.arange(int(np.ceil(2.0 * width)) + 1)
    at = first[:, None] + offsets[None, :]
    weights = np.maximum(1.0 - np.abs(at - positions[:, None]) / width, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.broadcast_to(np.arange(len(positions))[:, None], at.shape)
    entries = (weights.ravel(), (rows.ravel(), np.clip(at, 0, n_in - 1).ravel()))
    return scipy.sparse.csr_array(scipy.sparse.coo_array(entries, shape=(len(positions), n_in)), dtype=np.float32)
