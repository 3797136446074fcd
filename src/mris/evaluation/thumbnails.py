"""Sources so small that no anatomy is left but their brightness and outline: the yardstick of what an encoder sees."""

import numpy as np
from jaxtyping import Float32, Int64
from skimage.transform import resize_local_mean

from mris.cohort.cohort import Cohort

SIDE = 28
"""Rows and columns of a thumbnail."""


_BATCH = 64


def thumbnails(cohort: Cohort, positions: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m pixels"]:
    """Average the sources at some positions down to `SIDE` rows and columns; smaller ones stay as they are."""
    shrunk = []
    for start in range(0, len(positions), _BATCH):
        for source in cohort.read_sources(positions[start : start + _BATCH]):
            size = tuple(min(SIDE, side) for side in source.shape[1:])
            small = resize_local_mean(source, size, channel_axis=0)  # type: ignore[no-untyped-call]
            shrunk.append(np.asarray(small, dtype=np.float32).ravel())
    return np.stack(shrunk)
