"""Signed distance to the surface of a mask, up to a few millimeters, for voxels of any size.

A squared distance is the lower envelope of parabolas, along one axis after the other. A parabola is built of steps that
cost 1, 3, 5, ... to the next voxel (Huang and Mitchell, "A Euclidean distance transform using grayscale morphology
decomposition", PAMI 16, 1994): as many steps as the farthest distance has voxels, each for a whole plane at once.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt16

from mris.knee.neighbors import dilated

_LARGEST = int(np.iinfo(np.uint16).max) - 2  # costs are rounded
_BLOCK = 1 << 16
"""Voxels that stay in the processor's cache."""


def signed_distance(
    mask: Bool[np.ndarray, "i j k"], affine: Float[np.ndarray, "4 4"], farthest_mm: float
) -> Float32[np.ndarray, "i j k"]:
    """Signed distance (mm, negative inside) from the center of each voxel to the surface of a mask.

    Measured to the outermost voxels' centers, and taken to lie half a voxel outside of them. Beyond the volume the mask
    goes on as it ends.

    Args:
        mask: What has a surface.
        affine: From voxel indices to the world, mm; axes at right angles.
        farthest_mm: Distances, and what is linear between two of them, are true to 0.001 mm up to this one at least;
            farther ones are larger than it.

    Example:
        >>> signed_distance(np.arange(6).reshape(6, 1, 1) > 2, np.eye(4), 5.0).ravel().round(2)
        array([ 2.5,  1.5,  0.5, -0.5, -1.5, -2.5], dtype=float32)
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    reach = farthest_mm + 2 * float(np.linalg.norm(spacing))
    unit = _LARGEST / (reach + float(spacing.max())) ** 2  # of squared distances: a step beyond the reach is a number
    squared = np.where(mask & dilated(~mask), np.uint16(0), np.uint16(unit * reach**2))
    for axis, turned in ((1, squared), (2, squared.swapaxes(1, 2)), (0, squared.swapaxes(0, 1))):
        costs = _costs(float(spacing[axis]), reach, unit)
        n = max(_BLOCK // turned[0].size, 1)
        for start in range(0, len(turned), n):
            block = turned[start : start + n].copy()
            _spread(block, costs)
            turned[start : start + n] = block
    distance = np.sqrt(np.arange(squared.max() + 1.0) / unit).astype(np.float32)[squared]
    np.negative(distance, out=distance, where=mask)
    distance -= np.float32(spacing.mean() / 2)
    return distance


def _costs(size: float, reach: float, unit: float) -> UInt16[np.ndarray, " n"]:
    """What the first, second, third ... step to the next voxel adds to a squared distance."""
    away = np.arange(np.ceil(reach / size) + 1) * size
    return np.diff(np.round(unit * away**2)).astype(np.uint16)


def _spread(block: UInt16[np.ndarray, "b n m"], costs: UInt16[np.ndarray, " c"]) -> None:
    """Lower each value to the lowest of those along the second axis and the cost of the way there."""
    farther = np.empty_like(block)
    for cost in costs:
        np.add(block, cost, out=farther)
        np.minimum(block[:, 1:], farther[:, :-1], out=block[:, 1:])
        np.minimum(block[:, :-1], farther[:, 1:], out=block[:, :-1])
