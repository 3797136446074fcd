"""A network of a fixed patch over a whole volume: overlapping windows, each weighed by a Gaussian round its middle."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32

from mris.errors import ImageError

OVERLAP = 0.25
"""Least share of its edge that a window has in common with the next one."""
MOST_BYTES = 2 << 30
"""Memory that the sums over all windows may take."""

_WIDTH = 0.22
_LEAST_WEIGHT = 1e-3


def window_starts(n: int, edge: int) -> tuple[int, ...]:
    """First voxels of windows that cover an axis evenly, the first and the last at its ends.

    Args:
        n: Voxels of the axis, at least `edge`.
        edge: Of a window.

    Example:
        >>> window_starts(175, 80)
        (0, 48, 95)
    """
    room = n - edge
    steps = math.ceil(room / (edge * (1 - OVERLAP)))
    return tuple(round(room * step / steps) for step in range(steps + 1)) if steps else (0,)


def windows(shape: tuple[int, int, int], patch: tuple[int, int, int]) -> Iterator[tuple[slice, slice, slice]]:
    """Windows that cover a volume no smaller than one of them."""
    first, second, third = (window_starts(n, edge) for n, edge in zip(shape, patch, strict=True))
    for i in first:
        for j in second:
            for k in third:
                yield slice(i, i + patch[0]), slice(j, j + patch[1]), slice(k, k + patch[2])


def require_room(shape: tuple[int, int, int], patch: tuple[int, int, int], n_classes: int, origin: str) -> None:
    """Refuse a volume, before it is resampled, over which the sums of `slide` would need too much memory.

    They need ``4 (n_classes + 1)`` bytes a voxel, of which a volume of one knee at 0.8 mm has some four million.

    Args:
        shape: Of the volume, in voxels of the network.
        patch: Edges of a window.
        n_classes: Of the answer.
        origin: Of the volume, for messages.

    Raises:
        ImageError: They would need more than `MOST_BYTES`.
    """
    needed = 4 * (n_classes + 1) * math.prod(max(n, edge) for n, edge in zip(shape, patch, strict=True))
    if needed > MOST_BYTES:
        raise ImageError(
            f"scan {origin}: {' x '.join(map(str, shape))} voxels of the network would need {needed / 2**30:.1f} GiB, "
            f"more than the {MOST_BYTES / 2**30:g} GiB that are taken; cut it to one knee"
        )


def slide(
    channels: Float32[np.ndarray, "channels i j k"],
    patch: tuple[int, int, int],
    n_classes: int,
    network: Callable[[np.ndarray], np.ndarray],
) -> Float32[np.ndarray, "classes i j k"]:
    """Average a network's answers over the windows that cover a volume.

    Args:
        channels: The volume; it is continued by its border where it is smaller than a patch.
        patch: Edges of a window.
        n_classes: Of the answer.
        network: From ``(channels, *patch)`` to ``(classes, *patch)``.
    """
    shape = channels.shape[1:]
    missing = [max(edge - n, 0) for n, edge in zip(shape, patch, strict=True)]
    padded = np.pad(channels, [(0, 0), *((m // 2, m - m // 2) for m in missing)], mode="edge")
    sums, weights = np.zeros((n_classes, *padded.shape[1:]), np.float32), np.zeros(padded.shape[1:], np.float32)
    weight = _weight(patch)
    for window in windows(padded.shape[1:], patch):
        sums[(slice(None), *window)] += weight * network(np.ascontiguousarray(padded[(slice(None), *window)]))
        weights[window] += weight
    sums /= weights
    inner = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, shape, strict=True))
    return sums[(slice(None), *inner)]


def _weight(patch: tuple[int, int, int]) -> Float32[np.ndarray, "i j k"]:
    lines = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (_WIDTH * n)) ** 2) for n in patch]
    weight = lines[0][:, None, None] * lines[1][None, :, None] * lines[2][None, None, :]
    return np.asarray(np.maximum(weight, _LEAST_WEIGHT), np.float32)
