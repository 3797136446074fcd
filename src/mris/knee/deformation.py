"""Deformable registration of signed distance maps: demons with several channels.

Thirion, "Image matching as a diffusion process", Medical Image Analysis 2 (1998); steps are composed, as in Vercauteren
et al., "Diffeomorphic demons", NeuroImage 45 (2009). Each channel is the signed distance (mm) to one surface, so that a
step is the way to that surface itself, and thin cartilage counts as much as thick. Two things differ from the usual:
steps are averaged by weight (normalized convolution), so that a surface moves also where the channels are silent; and a
far difference counts little (Geman-McClure), so that the atlas' cartilage does not flee from denuded bone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import ndimage

from mris.knee.interpolation import Cells, strides
from mris.knee.neighbors import dilated
from mris.knee.separable import along_axes

Channels = Float32[np.ndarray, "c i j k"]
Displacement = Float32[np.ndarray, "3 i j k"]
Square = Float32[np.ndarray, "n n"]


@dataclass(frozen=True)
class Level:
    """One stage of the registration.

    Attributes:
        step: Every so many voxels of the grid are used.
        n_iterations: Steps.
        fluid_mm: Standard deviation of the smoothing of each step.
        elastic_mm: Standard deviation of the smoothing of the whole displacement after each step.
        tolerance_mm: A difference of this size counts half.
    """

    step: int
    n_iterations: int
    fluid_mm: float
    elastic_mm: float
    tolerance_mm: float


LEVELS = (
    Level(step=2, n_iterations=20, fluid_mm=8.0, elastic_mm=1.0, tolerance_mm=2.5),
    Level(step=2, n_iterations=20, fluid_mm=4.0, elastic_mm=0.7, tolerance_mm=2.0),
    Level(step=1, n_iterations=9, fluid_mm=2.5, elastic_mm=0.5, tolerance_mm=1.2),
)


def deform(
    fixed: Channels, weights: Channels, moving: Channels, spacing_mm: float, levels: Sequence[Level] = LEVELS
) -> Displacement:
    """Find the displacement ``u`` with ``moving(x + u(x))`` like ``fixed(x)``.

    Args:
        fixed: Signed distances in mm, clipped, on a grid of cubic voxels.
        weights: How much each channel counts at each voxel, 0 and more.
        moving: The same surfaces of the other, on the same grid.
        spacing_mm: Edge of a voxel.
        levels: Coarse to fine.

    Returns:
        Displacement in mm along the axes of the grid.
    """
    displacement = np.zeros((3, *fixed.shape[1:]), np.float32)
    for level in levels:
        thin = (slice(None), *[slice(None, None, level.step)] * 3)
        mm = spacing_mm * level.step
        coarse = displacement[thin] / np.float32(mm)
        cells = Cells.of((np.indices(coarse.shape[1:], dtype=np.float32) + coarse).reshape(3, -1), coarse.shape[1:])
        parts = zip(fixed[thin], weights[thin], moving[thin], strict=True)
        channels = [_Channel.of(*part, cells) for part in parts]
        fluid, elastic = (_gaussian(coarse.shape[1:], width / mm) for width in (level.fluid_mm, level.elastic_mm))
        for _ in range(level.n_iterations):
            coarse = _step(coarse, channels, mm, level.tolerance_mm, fluid, elastic)
        displacement = _refined(coarse, fixed.shape[1:], level.step) * np.float32(mm)
    return displacement


def jacobian(displacement: Displacement, spacing_mm: float) -> Float[np.ndarray, "i j k"]:
    """Determinant of the derivative of ``x + u(x)``: the local change of volume, positive where nothing folds.

    Example:
        >>> grid = np.indices((4, 5, 6), dtype=np.float32)
        >>> round(float(jacobian(0.1 * grid, 1.0).mean()), 3)
        1.331
    """
    first, second, third = (np.stack(np.gradient(part, spacing_mm)) for part in displacement)
    for axis, row in enumerate((first, second, third)):
        row[axis] += 1.0
    return np.asarray((first * np.cross(second, third, axis=0)).sum(axis=0))


@dataclass(frozen=True, eq=False)
class _Voxels:
    """Some voxels of a grid and their neighbors along each axis; at the grid's faces a voxel is its own neighbor.

    Attributes:
        at: Flat indices.
        places: Places in the grid.
        before: Flat indices of the neighbors before each.
        after: Flat indices of the neighbors after each.
        shape: Of the grid.
    """

    at: Int[np.ndarray, " n"]
    places: Float32[np.ndarray, "3 n"]
    before: Int[np.ndarray, "3 n"]
    after: Int[np.ndarray, "3 n"]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "i j k"]) -> "_Voxels":
        at = np.flatnonzero(mask)
        places = np.stack(np.unravel_index(at, mask.shape))
        size, stride = (np.array(along)[:, None] for along in (mask.shape, strides(mask.shape)))
        before, after = at - (places > 0) * stride, at + (places < size - 1) * stride
        return cls(at, places.astype(np.float32), before, after, mask.shape)

    def gradient(self, flat: Float32[np.ndarray, " v"]) -> Float32[np.ndarray, "3 n"]:
        """The gradient that ``np.gradient`` gives of a volume, per voxel."""
        apart = (self.after - self.before) // np.array(strides(self.shape))[:, None]
        rise = flat.take(self.after) - flat.take(self.before)
        return np.asarray(rise / np.maximum(apart, 1).astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Channel:
    """One surface, and what does not change from step to step.

    Elsewhere than at its voxels the channel counts nothing, or both distances are clipped and so the same.

    Attributes:
        fixed: Signed distance, on the whole grid.
        moving: Signed distance of the other, on the whole grid.
        voxels: Those that lie near either surface and count, and their neighbors.
        slope: Gradient of `fixed` there.
        weight: How much the channel counts there: far from the surface less.
    """

    fixed: Float32[np.ndarray, "i j k"]
    moving: Float32[np.ndarray, "i j k"]
    voxels: _Voxels
    slope: Float32[np.ndarray, "3 n"]
    weight: Float32[np.ndarray, " n"]

    @classmethod
    def of(cls, fixed: np.ndarray, weight: np.ndarray, moving: np.ndarray, cells: Cells) -> "_Channel":
        """Prepare a channel for steps that begin where voxels lie in `cells`."""
        fixed, moving = np.ascontiguousarray(fixed), np.ascontiguousarray(moving)
        farthest = max(np.abs(fixed).max(), np.abs(moving).max())
        warped = moving.ravel().take(cells.lowest).reshape(fixed.shape)
        near = np.minimum(np.abs(fixed), np.abs(warped)) < farthest
        voxels = _Voxels.of(dilated(near) & dilated(weight > 0))
        distance = fixed.ravel().take(voxels.at)
        counts = weight.ravel()[voxels.at] / (1.0 + (distance / 2.0) ** 2)
        return cls(fixed, moving, voxels, voxels.gradient(fixed.ravel()), counts)

    def add_pull(self, pull: Float32[np.ndarray, "4 v"], u: Displacement, mm: float, tolerance_mm: float) -> None:
        """Add the pull along each axis, and its weight."""
        at, warped = self.voxels.at, self.fixed.ravel().copy()
        places = self.voxels.places + u.reshape(3, -1).take(at, axis=1)
        here = Cells.of(places, self.fixed.shape).sample(self.moving)
        apart = here - warped.take(at)
        warped[at] = here
        slope = (self.slope + self.voxels.gradient(warped)) * np.float32(0.5 / mm)
        weight = np.where(apart == 0, 0, self.weight / (1.0 + (apart / tolerance_mm) ** 2) ** 2)
        for total, part in zip(pull, (*(-weight * apart * slope), weight * (slope**2).sum(axis=0)), strict=True):
            total[at] += part


def _gaussian(shape: tuple[int, ...], sigma: float) -> list[Square]:
    """Smoothing of volumes of one shape, as a matrix for each axis: faster than a filter of scipy's, and the same."""
    return [ndimage.gaussian_filter1d(np.eye(n), sigma, axis=0, truncate=3.0).astype(np.float32) for n in shape]


def _step(
    u: Displacement,
    channels: Sequence[_Channel],
    mm: float,
    tolerance_mm: float,
    fluid: list[Square],
    elastic: list[Square],
) -> Displacement:
    pull = np.zeros((4, u[0].size), np.float32)  # along each axis, and the weight of all channels
    for channel in channels:
        channel.add_pull(pull, u, mm, tolerance_mm)
    smoothed = along_axes(pull.reshape(4, *u.shape[1:]), fluid)
    step, total = smoothed[:3], smoothed[3]
    step /= (total + 0.02 * total.max() + 1e-12) * np.float32(mm)
    length = np.sqrt(np.einsum("cijk,cijk->ijk", step, step))
    step *= 0.4 / np.maximum(length, 0.4)  # below half a voxel a step does not fold
    return along_axes(_composed(u, step), elastic)


def _composed(u: Displacement, step: Displacement) -> Displacement:
    """``u(x + step(x)) + step(x)`` for steps below a voxel, by the slopes of ``u`` to the neighbors that lie ahead."""
    composed = u + step
    for axis in range(3):
        along = np.moveaxis(step[axis], axis, 0)
        ahead, behind = np.maximum(along[:-1], 0), np.minimum(along[1:], 0)
        for part, moved in zip(np.moveaxis(u, axis + 1, 1), np.moveaxis(composed, axis + 1, 1), strict=True):
            rise = np.diff(part, axis=0)
            moved[:-1] += ahead * rise
            moved[1:] += behind * rise
    return np.asarray(composed)


def _refined(u: Displacement, shape: tuple[int, ...], step: int) -> Displacement:
    if step == 1:
        return u
    places = np.indices(shape, dtype=np.float32).reshape(3, -1) / np.float32(step)
    cells = Cells.of(places, u.shape[1:])
    return np.stack([cells.sample(part).reshape(shape) for part in u])
