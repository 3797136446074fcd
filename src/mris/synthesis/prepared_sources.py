"""Arrays that users give as prepared sources, checked."""

import numpy as np
from jaxtyping import Float32

from mris.errors import ImageError
from mris.types import Sources


def checked_source(source: np.ndarray) -> Float32[np.ndarray, "c h w"]:
    """Give a prepared source as float32.

    Raises:
        ImageError: It is no numeric array (c, h, w), or has pixels that are not finite.
    """
    if source.ndim != 3 or source.dtype.kind not in "fiu" or not source.size:
        raise ImageError(
            f"a prepared source is a numeric array (channels, rows, columns); this is {source.dtype} {source.shape}"
        )
    if not np.isfinite(source).all():
        raise ImageError("a prepared source has NaN or infinite pixels; give an `Image`, whose preparation fills them")
    return source.astype(np.float32, copy=False)


def stacked(batch: list[Float32[np.ndarray, "c h w"]]) -> Sources:
    """Stack prepared sources, (n, c, h, w).

    Raises:
        ImageError: One is no prepared source, or they differ in shape.
    """
    sources = [checked_source(np.asarray(source)) for source in batch]
    shapes = sorted({source.shape for source in sources})
    if len(shapes) > 1:
        raise ImageError(f"sources of one stream have shapes {shapes}; prepare all of them alike")
    return np.stack(sources)
