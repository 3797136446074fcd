"""What planes and volumes of NIfTI share: the header, where the voxels are, their unit."""

import gzip
import math
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from jaxtyping import Shaped
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from mris.errors import ImageError
from mris.images.stream import read_promised, truncated

NIFTI_FAULTS = (HeaderDataError, ImageFileError, WrapStructError)

MM = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
"""Millimeters of each unit of a header."""

_FARTHEST_BODY = 64 << 20
"""Header extensions end before this byte; they are skipped, not read."""

_NIFTI1: Any = nib.Nifti1Header  # nibabel does not annotate these
_NIFTI2: Any = nib.Nifti2Header


def open_nifti(path: Path) -> IO[bytes]:
    """Open a file for its bytes, unpacked where they are packed, whatever its name says."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


def read_header(file: IO[bytes], what: str) -> Any:
    """Read the header that a file begins with.

    Args:
        file: At its beginning.
        what: The file, for messages: ``image a.nii``.

    Raises:
        ImageError: It is none of NIfTI-1 or NIfTI-2 in one file.
    """
    start = file.read(348)
    if len(start) < 348:
        raise ImageError(f"{what}: ends inside its header ({len(start)} bytes); copy or export it again")
    if start[4:8] == b"n+2\0":
        return _NIFTI2(start + file.read(540 - 348), check=False)
    if start[344:348] == b"ni1\0":
        raise ImageError(f"{what}: is one half of a pair .hdr/.img; save it as one .nii file")
    if start[344:348] != b"n+1\0":
        raise ImageError(f"{what}: is not NIfTI (no 'n+1' in its header); export it again")
    return _NIFTI1(start, check=False)


def read_voxels(
    file: IO[bytes], header: Any, shape: tuple[int, ...], dtype: np.dtype[Any], what: str
) -> Shaped[np.ndarray, " n"]:
    """Read the voxels behind a header, as many as a shape has, in the file's order.

    Raises:
        ImageError: They cannot be where the header says, or the file ends before they do.
    """
    offset = int(header["vox_offset"])
    if not 0 <= offset <= _FARTHEST_BODY:
        raise ImageError(f"{what}: its header puts the voxels at byte {offset:,}, which cannot be; export it again")
    file.seek(max(offset, int(header["sizeof_hdr"])))
    expected = math.prod(shape) * dtype.itemsize
    data = read_promised(file, expected)
    if len(data) < expected:
        raise truncated(what, shape, dtype, expected, len(data))
    return np.frombuffer(data, dtype)


def unit_of(header: Any) -> str:
    """Name the unit of a spacing; one that the standard does not name is "unknown"."""
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:
        return "unknown"
