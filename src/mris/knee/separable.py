"""Products of volumes with one matrix along each axis, of which only the band that is not zero is multiplied."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32

Matrix = Float32[np.ndarray, "m n"]

_ROWS = 32


def along_axes(volumes: Float32[np.ndarray, "v i j k"], matrices: Sequence[Matrix]) -> Float32[np.ndarray, "v a b c"]:
    """Multiply volumes by a matrix along each of their axes.

    Args:
        volumes: Volumes of one shape.
        matrices: One each axis, with as many columns as the axis has voxels; no row is all zero.

    Example:
        >>> twice, same = 2 * np.eye(3, dtype=np.float32), np.eye(2, dtype=np.float32)
        >>> along_axes(np.ones((1, 3, 2, 2), np.float32), (twice, same, same)).max()
        np.float32(2.0)
    """
    first, second, third = matrices
    n, i, j, k = volumes.shape
    a, b, c = (len(matrix) for matrix in matrices)
    lines, thirds = volumes.reshape(-1, k), np.empty((n * i * j, c), np.float32)
    for rows, columns, part in _band(third):
        np.matmul(lines[:, columns], part.T, out=thirds[:, rows])
    planes, seconds = thirds.reshape(n * i, j, c), np.empty((n * i, b, c), np.float32)
    for rows, columns, part in _band(second):
        np.matmul(part, planes[:, columns], out=seconds[:, rows])
    slabs, firsts = seconds.reshape(n, i, b * c), np.empty((n, a, b * c), np.float32)
    for rows, columns, part in _band(first):
        np.matmul(part, slabs[:, columns], out=firsts[:, rows])
    return firsts.reshape(n, a, b, c)


def _band(matrix: Matrix) -> Iterator[tuple[slice, slice, Matrix]]:
    """Blocks of rows, the columns that hold all that is not zero in them, and what is there."""
    for start in range(0, len(matrix), _ROWS):
        rows = slice(start, min(start + _ROWS, len(matrix)))
        filled = np.flatnonzero(matrix[rows].any(axis=0))
        columns = slice(int(filled[0]), int(filled[-1]) + 1)
        yield rows, columns, matrix[rows, columns]
