"""The weighted average of images, pixel by pixel, and how far few of them are apart; and linear combinations.

At pixel p, over the images that have a value there:

    mean(p) = sum_i w_i y_i(p) / sum_i w_i
    spread(p) = sqrt(sum_i w_i (y_i(p) - mean(p))^2 / sum_i w_i)

A pixel at which no image of positive weight has a value is NaN in both.
"""

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np
from jaxtyping import Float32, Int64

from mris.types import Pixels

_CHUNK = 8192
"""Pixels worked on at a time: 20 rows of them (640 kB) stay in the second-level cache through all passes."""

_PIECE = (256, 1024)
"""Images and pixels worked on at a time where all images take part: 1 MB stays in that cache."""


def average_rows(
    store: Float32[np.ndarray, "N p"], rows: Int64[np.ndarray, " k"], weights: Float32[np.ndarray, " k"]
) -> tuple[Float32[np.ndarray, " p"], Float32[np.ndarray, " p"]]:
    """Average some rows of a store of flattened images without copying whole rows.

    Args:
        store: (N, p) images, one a row, NaN where an image has no value.
        rows: (k,) rows to average; -1 is skipped, and so is a row of weight 0.
        weights: (k,) non-negative weights.

    Returns:
        Mean and spread (weighted standard deviation), (p,) each.

    Example:
        >>> store = np.array([[1.0, 2.0], [3.0, np.nan]], dtype=np.float32)
        >>> mean, spread = average_rows(store, np.array([0, 1]), np.array([0.5, 0.5]))
        >>> mean.tolist(), spread.tolist()
        ([2.0, 2.0], [1.0, 0.0])
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


Blocks = Iterable[tuple[slice, Pixels]]
"""All N images in turn: which ones, and their pixels."""


def average_blocks(blocks: Blocks, weights: Float32[np.ndarray, "n N"], n_pixels: int) -> Pixels:
    """Average all images for each of n queries, by matrix products.

    Args:
        blocks: The images, NaN where one has no value.
        weights: (n, N) non-negative weights.
        n_pixels: p.

    Returns:
        (n, p) means.
    """
    known, total = (np.zeros((len(weights), n_pixels), dtype=np.float32) for _ in range(2))
    for shares, columns, found, holes in _products(blocks, weights, n_pixels):
        # Never by taking away what is missing: where nothing is known, the sum must be 0 and not a rounding error.
        known[:, columns] += shares.sum(axis=1, keepdims=True) if holes is None else shares @ (1 - holes)
        total[:, columns] += found
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is known
        total /= known
    return total


def sum_blocks(blocks: Blocks, weights: Float32[np.ndarray, "n N"], n_pixels: int) -> tuple[Pixels, Pixels]:
    """Add up all images for each of n queries: w_i y_i where there is a value, and w_i where there is none.

    Args:
        blocks: The images, NaN where one has no value.
        weights: (n, N) weights of any sign.
        n_pixels: p.

    Returns:
        The sums of what is known and the weights of what is missing, (n, p) each.
    """
    missing, total = (np.zeros((len(weights), n_pixels), dtype=np.float32) for _ in range(2))
    for shares, columns, found, holes in _products(blocks, weights, n_pixels):
        if holes is not None:
            missing[:, columns] += shares @ holes
        total[:, columns] += found
    return total, missing


def combine_blocks(blocks: Blocks, weights: Float32[np.ndarray, "n N"], n_pixels: int) -> Pixels:
    """Combine all images linearly for each of n queries; a missing value counts as the mean image's at its pixel.

    Args:
        blocks: The images, NaN where one has no value.
        weights: (n, N) weights of any sign.
        n_pixels: p.

    Returns:
        (n, p), NaN where no image has a value.
    """
    # A last line of ones gives the mean image by the same products, in the same pass.
    weights = np.concatenate([weights, np.ones((1, weights.shape[1]), dtype=np.float32)])
    total, missing = sum_blocks(blocks, weights, n_pixels)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is known
        mean = total[-1] / (weights.shape[1] - missing[-1])
    combined: Pixels = total[:-1] + missing[:-1] * mean
    return combined


def _products(
    blocks: Blocks, weights: Float32[np.ndarray, "n N"], n_pixels: int
) -> Iterator[tuple[Float32[np.ndarray, "n m"], slice, Pixels, Pixels | None]]:
    """Multiply piece by piece: the weights of some images, some columns, their product, and 1 where a value is missing.

    A missing value counts as 0. Where none is missing there are no holes, but None.
    """
    for part, values in blocks:
        for start, column in product(range(0, len(values), _PIECE[0]), range(0, n_pixels, _PIECE[1])):
            columns = slice(column, min(column + _PIECE[1], n_pixels))
            piece = values[start : start + _PIECE[0], columns]
            shares = weights[:, part.start + start : part.start + start + len(piece)]
            found, holes = shares @ piece, None
            if np.isnan(found.sum()):
                # A NaN in any image shows in the product, so the common case pays nothing for the rare one.
                missing = np.isnan(piece)
                found, holes = shares @ np.where(missing, np.float32(0), piece), missing.astype(np.float32)
            yield shares, columns, found, holes
