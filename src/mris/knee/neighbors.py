"""Neighbors of the voxels of a mask, by whole planes: many times as fast as with a structuring element."""

import numpy as np
from jaxtyping import Bool

Mask = Bool[np.ndarray, "i j k"]


def dilated(mask: Mask) -> Mask:
    """A mask with the 26 neighbors of each of its voxels.

    Example:
        >>> dilated(np.arange(60).reshape(3, 4, 5) == 0)[0].astype(int).tolist()
        [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    """
    wide = mask.copy()
    for axis in range(3):
        along, of = np.moveaxis(wide, axis, 0), np.moveaxis(wide.copy(), axis, 0)
        along[1:] |= of[:-1]
        along[:-1] |= of[1:]
    return wide


def border(mask: Mask) -> Mask:
    """The voxels of a mask that touch another by a face, or the end of the volume.

    Example:
        >>> border(np.ones((3, 3, 3), bool)).sum()
        np.int64(26)
    """
    inner = mask.copy()
    for axis in range(3):
        along, of = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        along[1:] &= of[:-1]
        along[:-1] &= of[1:]
        along[0], along[-1] = False, False
    return np.asarray(mask & ~inner)
