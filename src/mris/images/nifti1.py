"""NIfTI-1 as it is written: a header that never changes but in sizes, type and spacing, then the voxels.

To the byte what nibabel writes, whose import (with pydicom, SciPy and an HTTP client) takes longer than a synthesis.
"""

import gzip
import io

import numpy as np
from jaxtyping import Shaped

from mris.images.image import Spacing

LARGEST_EDGE = 32767
"""Sizes are signed numbers of 16 bit."""

_TYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
"""The standard's number of each type, by NumPy's name; in files they are little-endian."""

_HEADER = np.dtype(
    {
        "names": [
            *("sizeof_hdr", "dim", "datatype", "bitpix", "pixdim", "vox_offset", "scl_slope", "xyzt_units"),
            *("sform_code", "quatern_d", "srow", "magic"),
        ],
        "formats": ["<i4", "<8i2", "<i2", "<i2", "<8f4", "<f4", "<f4", "u1", "<i2", "<f4", "<(3,4)f4", "S4"],
        "offsets": [0, 40, 70, 72, 76, 108, 112, 123, 254, 264, 280, 344],
        "itemsize": 352,  # with four bytes that say that nothing stands between the header and the voxels
    }
)
_MM, _ALIGNED = 2, 2


def nifti1_bytes(array: Shaped[np.ndarray, "r h w"], spacing: Spacing | None) -> bytes:
    """Lay an image out as a file of shape ``(w, h, 1, r)``, or ``(w, h, 1)`` for one region.

    Args:
        array: Integers or floats of at most 64 bit, no edge longer than `LARGEST_EDGE`.
        spacing: Row and column spacing in mm; None if unknown.
    """
    regions, height, width = array.shape
    row, column = spacing or (1.0, 1.0)
    stored = array.astype(array.dtype.newbyteorder("<"), copy=False)
    header = np.zeros((), _HEADER)
    header["sizeof_hdr"] = 348
    header["dim"] = 4 if regions > 1 else 3, width, height, 1, regions, 1, 1, 1
    header["datatype"] = _TYPES[stored.dtype.str[1:]]
    header["bitpix"] = 8 * stored.dtype.itemsize
    header["pixdim"] = 1, column, row, 1, 1, 1, 1, 1
    header["vox_offset"] = _HEADER.itemsize
    header["scl_slope"] = 1
    if spacing is not None:
        header["xyzt_units"], header["sform_code"] = _MM, _ALIGNED
    # Left and posterior are the directions of growing column and row, as ITK writes an image without orientation.
    header["quatern_d"] = 1
    header["srow"] = np.diag([-column, -row, 1, 0])[:3]
    header["magic"] = b"n+1"
    return header.tobytes() + stored.tobytes()


def packed(content: bytes) -> bytes:
    """Compress a file as `gzip` does, without its name and the time, so that equal images give equal bytes."""
    file = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as archive:
        archive.write(content)
    return file.getvalue()
