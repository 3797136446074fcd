"""Thickness maps as a pipeline extracts them from MR: the truth, and what scan, segmentation and registration add."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

from mris.knee.choices import check_choice
from mris.knee.phantom.fields import EXTENT_MM, Thickness
from mris.knee.phantom.texture import smooth_noise

Extraction = Literal["smooth", "measured"]
"""How noisy extracted maps are: little, or (everywhere the default) as between two visits of real knees."""

SMOOTH_SD_MM = 0.06
PIXEL_SD_MM = 0.04


@dataclass(frozen=True)
class NoisePart:
    """Gaussian noise of one size.

    Attributes:
        sd_mm: Standard deviation of the thickness, mm.
        across_mm: Width (SD of the kernel) along a column of the map, medial to lateral.
        along_mm: Width along a row, posterior to anterior.
    """

    sd_mm: float
    across_mm: float
    along_mm: float


MEASURED = (NoisePart(0.16, 2.5, 2.5), NoisePart(0.19, 0.6, 3.0), NoisePart(0.10, 0.7, 0.7))
"""Fitted to half the variance between two visits of 19 real knees in bands of 2.5 to 50 mm (mean of both cartilages; of
the coarsest band two fifths, since real change lies there). Streaks run front to back, as slices do.

`experiments/real_knees/phantom_comparison.py` prints both."""


def extract_maps(thickness: Thickness, rng: np.random.Generator, extraction: Extraction = "measured") -> Thickness:
    """Maps as an MR pipeline would measure them: noise where there is cartilage, never below 0 mm, none on bare bone.

    Args:
        thickness: True maps (femoral, tibial), mm, NaN outside the mask.
        rng: The visit's generator; both kinds of extraction begin with the same draws.
        extraction: "smooth": a smooth field of 0.06 mm and pixels of 0.04 mm; "measured": `MEASURED`, about 0.27 mm.

    Raises:
        SettingsError: The kind is unknown.

    Example:
        >>> maps = extract_maps(np.full((2, 32, 32), 2.0, np.float32), np.random.default_rng(0))
        >>> bool(0.1 < maps.std() < 0.3)
        True
    """
    check_choice("extraction", extraction, Extraction)
    size = thickness.shape[-1]
    smooth = SMOOTH_SD_MM * np.stack([smooth_noise(rng, size, 12) for _ in range(2)])
    noise = smooth + PIXEL_SD_MM * rng.standard_normal(thickness.shape, dtype=np.float32)
    if extraction == "measured":
        noise = np.stack([sum(_noise(part, size, extent, rng) for part in MEASURED) for extent in EXTENT_MM])
    measured = np.maximum(thickness + noise, 0.0)
    return np.where(thickness == 0.0, 0.0, measured).astype(np.float32)


def _noise(
    part: NoisePart, size: int, extent_mm: tuple[float, float], rng: np.random.Generator
) -> Float[np.ndarray, "h w"]:
    """One part on a map of that extent; a pixel is a mean, so that structures below its size fade.

    A pixel of p mm widens a kernel of s mm to sqrt(s^2 + p^2 / 12), and the SD falls by the root of the ratio.
    """
    white: Float32[np.ndarray, "h w"] = rng.standard_normal((size, size), dtype=np.float32)
    widths, fading = [], 1.0
    for width_mm, length_mm in zip((part.across_mm, part.along_mm), extent_mm, strict=True):
        pixel = length_mm / size
        widened = np.hypot(width_mm, pixel / np.sqrt(12.0))
        widths.append(widened / pixel)
        fading *= np.sqrt(width_mm / widened)
    blurred = ndimage.gaussian_filter(white, widths, mode="wrap", truncate=4.0)
    return np.asarray(part.sd_mm * fading * blurred / _gain(size, widths))


def _gain(size: int, widths: list[float]) -> float:
    """Standard deviation that the filter leaves of white noise."""
    gain = 1.0
    for width in widths:
        impulse = np.zeros(size)
        impulse[size // 2] = 1.0
        gain *= float(np.sqrt((ndimage.gaussian_filter1d(impulse, width, mode="wrap", truncate=4.0) ** 2).sum()))
    return gain
