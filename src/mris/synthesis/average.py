"""The weighted average of neighbor images, pixel by pixel, and how far the neighbors are apart.

At pixel p, over the neighbors that have a value there:

    mean(p) = sum_i w_i y_i(p) / sum_i w_i
    spread(p) = sqrt(sum_i w_i (y_i(p) - mean(p))^2 / sum_i w_i)

A pixel at which no neighbor of positive weight has a value is NaN in both.
"""

import numpy as np
from jaxtyping import Float32, Int64

from mris.types import TargetMap

_CHUNK = 8192
"""Pixels worked on at a time: 20 rows of them (640 kB) stay in the second-level cache through all passes."""


def weighted_average(
    targets: Float32[np.ndarray, "k r h w"], weights: Float32[np.ndarray, " k"]
) -> tuple[TargetMap, TargetMap]:
    """Average k target images, weights renormalized at each pixel over the images that are valid there.

    Args:
        targets: (k, r, h, w) images, NaN where an image has no value.
        weights: (k,) non-negative weights.

    Returns:
        The mean and the spread (weighted standard deviation), each (r, h, w) in the targets' unit, NaN where
        no image of positive weight is valid.

    Example:
        >>> import numpy as np
        >>> targets = np.array([1.0, 3.0], dtype=np.float32).reshape(2, 1, 1, 1)
        >>> mean, spread = weighted_average(targets, np.array([0.5, 0.5], dtype=np.float32))
        >>> float(mean.item()), float(spread.item())
        (2.0, 1.0)
    """
    shape = targets.shape[1:]
    mean, spread = average_rows(targets.reshape(len(targets), -1), np.arange(len(targets)), weights)
    return mean.reshape(shape), spread.reshape(shape)


def average_rows(
    store: Float32[np.ndarray, "N p"], rows: Int64[np.ndarray, " k"], weights: Float32[np.ndarray, " k"]
) -> tuple[Float32[np.ndarray, " p"], Float32[np.ndarray, " p"]]:
    """Average some rows of a store of flattened images without copying whole rows.

    Args:
        store: (N, p) images, one a row, NaN where an image has no value.
        rows: (k,) rows to average; -1 is skipped, and so is a row of weight 0.
        weights: (k,) non-negative weights.

    Returns:
        Mean and spread, (p,) each.
    """
    counted = (rows >= 0) & (weights > 0)
    rows, weights = rows[counted], weights[counted].astype(np.float32)
    n_pixels = store.shape[1]
    if not len(rows):
        return np.full(n_pixels, np.nan, dtype=np.float32), np.full(n_pixels, np.nan, dtype=np.float32)
    mean, spread = np.empty(n_pixels, dtype=np.float32), np.empty(n_pixels, dtype=np.float32)
    weights = weights / weights.sum()
    # One buffer for all chunks: fresh memory costs a page fault every 4 kB, more than the arithmetic on it.
    buffer = np.empty((len(rows), min(_CHUNK, n_pixels)), dtype=np.float32)
    images = [store[row] for row in rows]
    for start in range(0, n_pixels, _CHUNK):
        part = slice(start, min(start + _CHUNK, n_pixels))
        values = buffer[:, : part.stop - start]
        for line, image in zip(values, images, strict=True):
            line[...] = image[part]
        values -= np.matmul(weights, values, out=mean[part])
        np.multiply(values, values, out=values)
        np.matmul(weights, values, out=spread[part])
    if np.isnan(mean.sum()):
        # A NaN in any image shows in the mean, so the common case pays nothing for the rare one.
        holed = np.flatnonzero(np.isnan(mean))
        for start in range(0, len(holed), _CHUNK):
            pixels = holed[start : start + _CHUNK]
            mean[pixels], spread[pixels] = _average_valid(store[np.ix_(rows, pixels)], weights)
    return mean, np.sqrt(spread, out=spread)


def _average_valid(
    values: Float32[np.ndarray, "k p"], weights: Float32[np.ndarray, " k"]
) -> tuple[Float32[np.ndarray, " p"], Float32[np.ndarray, " p"]]:
    """Mean and variance over the values that are not NaN, weights renormalized pixel by pixel; NaN where none is."""
    valid = ~np.isnan(values)
    share = np.where(valid, weights[:, None], np.float32(0))
    total = share.sum(axis=0)
    known = total > 0
    share /= np.where(known, total, np.float32(1))
    mean = np.einsum("kp,kp->p", share, np.where(valid, values, np.float32(0)))
    deviation = np.where(valid, values - mean, np.float32(0))
    variance = np.einsum("kp,kp,kp->p", share, deviation, deviation)
    mean[~known] = variance[~known] = np.nan
    return mean, variance
