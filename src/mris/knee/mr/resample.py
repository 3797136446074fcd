"""Turning a volume to right, anterior, superior by whole axes, and resampling it along them."""

from dataclasses import dataclass
from typing import Any

import nibabel.orientations
import numpy as np
from jaxtyping import Float, Float32, Shaped

from mris.errors import ImageError
from mris.knee.separable import along_axes

MOST_TILTED = 30.0
"""Degrees between an axis of a scan and the nearest of the body's."""

_ORIENTATIONS: Any = nibabel.orientations  # nibabel does not annotate these
Matrix = Float32[np.ndarray, "m n"]


@dataclass(frozen=True, eq=False)
class Turn:
    """How the axes of a volume become right, anterior, superior, and back; no voxel is resampled.

    Attributes:
        affine: Of the volume before the turn.
        shape: Of the volume before the turn.
    """

    affine: Float[np.ndarray, "4 4"]
    shape: tuple[int, ...]

    @property
    def turned_affine(self) -> Float[np.ndarray, "4 4"]:
        """The affine after the turn."""
        return np.asarray(self.affine @ _ORIENTATIONS.inv_ornt_aff(self._orientation, self.shape))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxels (mm) along right, anterior and superior."""
        i, j, k = np.linalg.norm(self.turned_affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    def there(self, voxels: Shaped[np.ndarray, "i j k"]) -> Shaped[np.ndarray, "a b c"]:
        """Turn voxels."""
        return np.asarray(_ORIENTATIONS.apply_orientation(voxels, self._orientation))

    def back(self, turned: Shaped[np.ndarray, "a b c"]) -> Shaped[np.ndarray, "i j k"]:
        """Turn them back."""
        upright = _ORIENTATIONS.axcodes2ornt(("R", "A", "S"))
        inverse = _ORIENTATIONS.ornt_transform(upright, self._orientation)
        return np.ascontiguousarray(_ORIENTATIONS.apply_orientation(turned, inverse))

    @property
    def _orientation(self) -> np.ndarray:
        return np.asarray(_ORIENTATIONS.io_orientation(self.affine))


def require_upright(affine: Float[np.ndarray, "4 4"], origin: str) -> None:
    """Refuse a volume that lies too askew in the body for its axes to stand for right, anterior and superior.

    Raises:
        ImageError: One of its axes is more than `MOST_TILTED` degrees off.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    off = float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0), 0, 1))).max())
    if off > MOST_TILTED:
        raise ImageError(
            f"scan {origin}: one of its axes is {off:.0f} degrees off those of the body, and up to {MOST_TILTED:g} are "
            "read; reformat it to sagittal, coronal or axial slices"
        )


def tents(n_from: int, step_from: float, n_to: int, step_to: float) -> Matrix:
    """Weights that resample one axis: linear interpolation to finer voxels, an average over the nearest to coarser.

    Both grids have the same middle; beyond the ends the last voxel goes on.

    Args:
        n_from: Voxels that are there.
        step_from: Distance of these, mm.
        n_to: Voxels that are wanted.
        step_to: Distance of these, mm.

    Example:
        >>> tents(3, 1.0, 5, 0.5).round(2)[:2]
        array([[1. , 0. , 0. ],
               [0.5, 0.5, 0. ]], dtype=float32)
    """
    places = ((np.arange(n_to) - (n_to - 1) / 2) * step_to) / step_from + (n_from - 1) / 2
    reach = max(1.0, step_to / step_from)
    away = np.abs(np.clip(places, 0, n_from - 1)[:, None] - np.arange(n_from)[None, :]) / reach
    weights = np.clip(1 - away, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def wanted_shape(shape: tuple[int, ...], spacing: tuple[float, ...], step: tuple[float, ...]) -> tuple[int, int, int]:
    """Voxels of another size that fill the same box."""
    i, j, k = (max(round(n * s / t), 1) for n, s, t in zip(shape, spacing, step, strict=True))
    return i, j, k


def resampled(
    voxels: Float32[np.ndarray, "i j k"], spacing: tuple[float, float, float], step: tuple[float, float, float]
) -> Float32[np.ndarray, "a b c"]:
    """Resample a volume to voxels of another size, see `tents`."""
    shape = wanted_shape(voxels.shape, spacing, step)
    matrices = [tents(n, s, m, t) for n, s, m, t in zip(voxels.shape, spacing, shape, step, strict=True)]
    return np.asarray(along_axes(np.ascontiguousarray(voxels, np.float32)[np.newaxis], matrices)[0])
