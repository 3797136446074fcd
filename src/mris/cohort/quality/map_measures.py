"""What is kept of one target map to judge it by: a few numbers, and a small copy to compare with others."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

GRID = 32
"""Most rows and columns of the small copy."""

_MOST_SORTED = 8192

OWN_NUMBERS = ("roughness", "edges", "lowest", "low", "middle", "high", "highest", "negative", "zero")
"""Names of the numbers that a map has by itself, in the order of `MapMeasures.numbers`."""


@dataclass(frozen=True)
class MapMeasures:
    """One target, measured.

    Attributes:
        numbers: One row a region, one column each of `OWN_NUMBERS`; NaN where there is none.
        values: Mean over the valid pixels of each cell of the small copy, 0 where there is none; shape (r, cells).
        shares: Share of each cell's pixels that are valid, in [0, 1]; shape (r, cells).
    """

    numbers: Float64[np.ndarray, "r s"]
    values: Float32[np.ndarray, "r p"]
    shares: Float32[np.ndarray, "r p"]


def measure_map(target: Float[np.ndarray, "r h w"]) -> MapMeasures:
    """Measure one target.

    Args:
        target: Shape (r, h, w), in the target's unit, NaN where there is no value.

    Returns:
        For each region: the roughness and the edges, that is the mean and the 99th percentile of the absolute Laplacian
        over the pixels whose four neighbors are valid too; the least value, the 5th, 50th and 95th percentile and the
        largest value; the shares of valid pixels that are negative and that are 0. And the map on a grid of at most
        `GRID` x `GRID` cells.

    Example:
        >>> plane = np.add.outer(np.arange(64.0), np.arange(64.0))[None]
        >>> measures = measure_map(plane)
        >>> measures.numbers[0, :2].tolist(), measures.values.shape
        ([0.0, 0.0], (1, 1024))
    """
    pixels = np.asarray(target, dtype=np.float32)
    valid = np.isfinite(pixels)
    filled = np.where(valid, pixels, np.float32(0))
    counts, sums = _cell_sums(valid.astype(np.float32)), _cell_sums(filled)
    heights, widths = (np.diff(_cell_starts(length), append=length) for length in pixels.shape[1:])
    return MapMeasures(
        numbers=np.array([_numbers(region, inside) for region, inside in zip(pixels, valid, strict=True)]),
        values=(sums / np.maximum(counts, 1)).reshape(len(pixels), -1),
        shares=(counts / np.outer(heights, widths).astype(np.float32)).reshape(len(pixels), -1),
    )


def _numbers(region: Float32[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"]) -> list[float]:
    values = region[inside]
    if values.size == 0:
        return [float("nan")] * len(OWN_NUMBERS)
    return [
        *_bends(region),
        float(values.min()),
        *_quantiles(values, 0.05, 0.5, 0.95),
        float(values.max()),
        float(np.count_nonzero(values < 0) / values.size),
        float(np.count_nonzero(values == 0) / values.size),
    ]


def _bends(region: Float32[np.ndarray, "h w"]) -> tuple[float, ...]:
    """Mean and 99th percentile of the absolute Laplacian; beside an invalid pixel it is NaN and does not count."""
    around = region[:-2, 1:-1] + region[2:, 1:-1] + region[1:-1, :-2] + region[1:-1, 2:]
    bends = np.abs(around - 4 * region[1:-1, 1:-1])
    known = bends[np.isfinite(bends)]
    return (float(known.mean(dtype=np.float64)), *_quantiles(known, 0.99)) if known.size else (np.nan, np.nan)


def _quantiles(values: Float32[np.ndarray, " n"], *shares: float) -> tuple[float, ...]:
    """Quantiles of an evenly spaced sample: to sort all pixels of a large map would take most of the time."""
    ordered = np.sort(values[:: max(1, values.size // _MOST_SORTED)])
    return tuple(float(ordered[round(share * (ordered.size - 1))]) for share in shares)


def _cell_sums(pixels: Float32[np.ndarray, "r h w"]) -> Float32[np.ndarray, "r gh gw"]:
    rows, columns = map(_cell_starts, pixels.shape[1:])
    return np.asarray(np.add.reduceat(np.add.reduceat(pixels, rows, axis=1), columns, axis=2))


def _cell_starts(length: int) -> Int64[np.ndarray, " cells"]:
    cells = min(GRID, length)
    return np.arange(cells, dtype=np.int64) * length // cells
