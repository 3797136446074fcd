"""Reading as many bytes as a header promises, without trusting it."""

from typing import IO, Any

import numpy as np

from mris.errors import ImageError

_PIECE = 1 << 22


def read_promised(file: IO[bytes], n_bytes: int) -> bytearray:
    """Read `n_bytes`, or what there is; memory grows with what is really there, not with the promise.

    (One plain ``read(n_bytes)`` of a compressed stream allocates `n_bytes` first.)
    """
    data = bytearray()
    while len(data) < n_bytes and (piece := file.read(min(n_bytes - len(data), _PIECE))):
        data += piece
    return data


def truncated(what: str, shape: tuple[int, ...], dtype: np.dtype[Any], expected: int, found: int) -> ImageError:
    """Say that a file, ``image a.nii``, ends before its values do."""
    return ImageError(
        f"{what}: shape {shape} of {dtype} needs {expected:,} bytes, but only {found:,} are there; "
        "the file is truncated: copy or export it again"
    )
