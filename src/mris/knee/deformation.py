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
from jaxtyping import Float, Float32, Int
from scipy import ndimage

from mris.knee.interpolation import Cells, strides

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
        channels = [
            _Channel.of(*channel, coarse) for channel in zip(fixed[thin], weights[thin], moving[thin], strict=True)
        ]
        fluid, elastic = (_Gaussian.of(coarse.shape[1:], width / mm) for width in (level.fluid_mm, level.elastic_mm))
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
class _Channel:
    """One surface, and what does not change from step to step.

    Elsewhere than at its voxels the channel counts nothing, or both distances are clipped and so the same.

    Attributes:
        fixed: Signed distance, on the whole grid.
        moving: Signed distance of the other, on the whole grid.
        at: Flat indices of the voxels that lie near either surface and count, and of their neighbors.
        places: Where these voxels are in the grid.
        slope: Gradient of `fixed` there.
        weight: How much the channel counts there: far from the surface less.
    """

    fixed: Float32[np.ndarray, "i j k"]
    moving: Float32[np.ndarray, "i j k"]
    at: Int[np.ndarray, " n"]
    places: Float32[np.ndarray, "3 n"]
    slope: Float32[np.ndarray, "3 n"]
    weight: Float32[np.ndarray, " n"]

    @classmethod
    def of(cls, fixed: np.ndarray, weight: np.ndarray, moving: np.ndarray, u: Displacement) -> "_Channel":
        fixed, moving = np.ascontiguousarray(fixed), np.ascontiguousarray(moving)
        farthest = max(np.abs(fixed).max(), np.abs(moving).max())
        cells = Cells.of((np.indices(fixed.shape, dtype=np.float32) + u).reshape(3, -1), fixed.shape)
        warped = cells.sample(moving).reshape(fixed.shape)
        near = np.minimum(np.abs(fixed), np.abs(warped)) < farthest
        near, counts = (ndimage.maximum_filter(mask, 3) for mask in (near, weight > 0))
        at = np.flatnonzero(near & counts)
        places = np.stack(np.unravel_index(at, fixed.shape)).astype(np.float32)
        slope = np.stack([part.ravel()[at] for part in np.gradient(fixed)])
        return cls(fixed, moving, at, places, slope, weight.ravel()[at] / (1.0 + (fixed.ravel()[at] / 2.0) ** 2))


@dataclass(frozen=True, eq=False)
class _Gaussian:
    """Smoothing of volumes of one shape, as a matrix for each axis: faster than a filter of scipy's, and the same."""

    along: tuple[Square, Square, Square]

    @classmethod
    def of(cls, shape: tuple[int, ...], sigma: float) -> "_Gaussian":
        first, second, third = (
            ndimage.gaussian_filter1d(np.eye(n), sigma, axis=0, truncate=3.0).astype(np.float32) for n in shape
        )
        return cls((first, second, third))

    def smooth(self, volumes: Channels) -> Channels:
        first, second, third = self.along
        smoothed = second @ (volumes @ third.T)
        return np.asarray((first @ smoothed.reshape(len(volumes), len(first), -1)).reshape(volumes.shape))


def _step(
    u: Displacement, channels: Sequence[_Channel], mm: float, tolerance_mm: float, fluid: _Gaussian, elastic: _Gaussian
) -> Displacement:
    shape, flat = u.shape[1:], u.reshape(3, -1)
    pull = np.zeros((4, flat.shape[1]), np.float32)  # along each axis, and the weight of all channels
    for channel in channels:
        warped = channel.fixed.ravel().copy()
        places = channel.places + flat.take(channel.at, axis=1)
        here = Cells.of(places, shape).sample(channel.moving)
        apart = here - warped.take(channel.at)
        warped[channel.at] = here
        differs = np.flatnonzero((apart != 0) & (channel.weight > 0))
        at, apart = channel.at[differs], apart[differs]
        slope = (channel.slope.take(differs, axis=1) + _gradient_at(warped, at, shape)) * np.float32(0.5 / mm)
        weight = channel.weight[differs] / (1.0 + (apart / tolerance_mm) ** 2) ** 2
        pull[:3, at] -= weight * apart * slope
        pull[3, at] += weight * (slope**2).sum(axis=0)
    smoothed = fluid.smooth(pull.reshape(4, *shape))
    step, total = smoothed[:3], smoothed[3]
    step /= (total + 0.02 * total.max() + 1e-12) * np.float32(mm)
    length = np.sqrt(np.einsum("cijk,cijk->ijk", step, step))
    step *= 0.4 / np.maximum(length, 0.4)  # below half a voxel a step does not fold
    return elastic.smooth(_composed(u, step))


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


def _gradient_at(
    flat: Float32[np.ndarray, " v"], at: Int[np.ndarray, " n"], shape: tuple[int, ...]
) -> Float32[np.ndarray, "3 n"]:
    """The gradient that ``np.gradient`` gives, at a few voxels."""
    parts = []
    for index, size, stride in zip(np.unravel_index(at, shape), shape, strides(shape), strict=True):
        after, before = index < size - 1, index > 0
        rise = flat[at + after * stride] - flat[at - before * stride]
        parts.append(rise / np.maximum(after.astype(np.float32) + before, 1))
    return np.stack(parts)
