"""From the developed picture to the file: what processing, collimators, markers and compression do to it."""

import io

import numpy as np
import PIL.Image
from jaxtyping import Float, UInt16
from scipy import ndimage
from skimage import exposure

from mris.knee.phantom.varied import Finish


def finish_picture(
    picture: UInt16[np.ndarray, "h w"], finish: Finish, pitch_mm: float, rng: np.random.Generator
) -> UInt16[np.ndarray, "h w"]:
    """Sharpen, equalize, add grain, collimate, mark and compress, in this order.

    Args:
        picture: Bone bright, 16 bits.
        finish: What to do.
        pitch_mm: Size of a pixel.
        rng: Of the grain.
    """
    shown = picture.astype(np.float32) / np.float32(65535.0)
    if finish.sharpening:
        local = ndimage.gaussian_filter(shown, finish.sharpening_mm / pitch_mm, truncate=2.0)
        shown = np.clip(shown + finish.sharpening * (shown - local), 0.0, 1.0)
    if finish.clip:
        tile = max(shown.shape[0] // finish.tiles, 4)
        shown = exposure.equalize_adapthist(shown, kernel_size=tile, clip_limit=finish.clip)
    if finish.grain:
        shown = shown + _grain(shown.shape, finish, rng)
    _collimate(shown, finish.collimated)
    if finish.marker is not None:
        _mark(shown, finish.marker)
    shown = np.clip(shown, 0.0, 1.0)
    return np.asarray(
        np.round(65535.0 * (shown if finish.quality is None else _compressed(shown, finish.quality))), dtype=np.uint16
    )


def _grain(shape: tuple[int, ...], finish: Finish, rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), finish.grain_px, truncate=2.0)
    return np.asarray(finish.grain * noise / noise.std())


def _collimate(shown: Float[np.ndarray, "h w"], shares: tuple[float, float, float, float]) -> None:
    rows, columns = shown.shape
    left, right, top, bottom = (
        round(share * side) for share, side in zip(shares, (columns, columns, rows, rows), strict=True)
    )
    for edge in (np.s_[:, :left], np.s_[:, columns - right :], np.s_[:top], np.s_[rows - bottom :]):
        shown[edge] *= 0.05


def _mark(shown: Float[np.ndarray, "h w"], at: tuple[float, float]) -> None:
    """A lead letter L."""
    size = shown.shape[0]
    height, stroke = max(size // 14, 4), max(size // 60, 1)
    row, column = (round(share * size) for share in at)
    shown[row : row + height, column : column + stroke] = 1.0
    shown[row + height - stroke : row + height, column : column + height // 2] = 1.0


def _compressed(shown: Float[np.ndarray, "h w"], quality: int) -> Float[np.ndarray, "h w"]:
    file = io.BytesIO()
    PIL.Image.fromarray(np.round(255.0 * shown).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file), dtype=np.float32) / np.float32(255.0)
