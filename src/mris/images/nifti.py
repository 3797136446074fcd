"""NIfTI: one plane, with its spacing.

Orientation. The voxel order of the file is kept as it is, with the convention of ITK: the first voxel axis that is not
singleton runs along a row of the picture (columns), the second down a column (rows). nibabel's array of shape
``(w, h)`` or ``(w, h, 1)`` therefore becomes pixels ``(1, h, w)``. The affine is not used to turn or mirror the
plane. `mris.images.write.write_nifti` writes the same convention, so that writing and reading is the identity.
"""

import gzip
import math
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from mris.errors import ImageError
from mris.images.faults import library_faults_as_image_error
from mris.images.image import MAX_CHANNELS, Image, Spacing, check_array_shape, usable_spacing
from mris.images.stream import read_promised

_NIBABEL_FAULTS = (HeaderDataError, ImageFileError, WrapStructError)

_FARTHEST_BODY = 64 << 20
"""Header extensions end before this byte; they are skipped, not read."""

_NIFTI1: Any = nib.Nifti1Header  # nibabel does not annotate these
_NIFTI2: Any = nib.Nifti2Header

_MM = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}


def read_nifti(path: Path) -> Image:
    """Read a single-file NIfTI-1 or NIfTI-2 (``.nii``, ``.nii.gz``) that holds one plane.

    Shapes ``(w, h)`` and ``(w, h, 1)`` (the singleton may be any of the three axes) give one channel;
    ``(w, h, 1, c)``, as `write_nifti` writes several regions, gives `c`. Scale factors of the header are applied.
    A spacing in meters or micrometers is converted; a spacing of 0, or of 1 in an unknown unit without any
    orientation, means "unknown".

    Raises:
        ImageError: If the file is damaged, truncated, a volume, a series, complex or colored.
    """
    with library_faults_as_image_error(path, "NIfTI", *_NIBABEL_FAULTS):
        compressed = _starts_as_gzip(path)
        with cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb") as file:
            return _read(file, None if compressed else path.stat().st_size, str(path))


def _read(file: IO[bytes], n_bytes: int | None, origin: str) -> Image:
    header = _read_header(file, origin)
    shape = tuple(int(n) for n in header.get_data_shape())
    first, second, channel_axis = _plane(shape, origin)
    n_channels = 1 if channel_axis is None else shape[channel_axis]
    check_array_shape((n_channels, shape[second], shape[first]), origin)
    dtype = _checked_dtype(header, origin)
    offset = int(header["vox_offset"])
    if not 0 <= offset <= _FARTHEST_BODY:
        raise ImageError(
            f"image {origin}: its header puts the pixels at byte {offset:,}, which cannot be; export it again"
        )
    offset = max(offset, int(header["sizeof_hdr"]))
    expected = math.prod(shape) * dtype.itemsize
    if n_bytes is not None and n_bytes < offset + expected:
        raise truncated(f"image {origin}", shape, dtype, expected, max(n_bytes - offset, 0))
    file.seek(offset)
    data = read_promised(file, expected)
    if len(data) < expected:
        raise truncated(f"image {origin}", shape, dtype, expected, len(data))
    voxels = np.frombuffer(data, dtype).reshape((n_channels, shape[second], shape[first]))
    return Image.from_array(_scaled(voxels, header), spacing=_spacing(header, first, second), origin=origin)


def _starts_as_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _read_header(file: IO[bytes], origin: str) -> Any:
    start = file.read(348)
    if len(start) < 348:
        raise ImageError(f"image {origin}: ends inside its header ({len(start)} bytes); copy or export it again")
    if start[4:8] == b"n+2\0":
        return _NIFTI2(start + file.read(540 - 348), check=False)
    if start[344:348] == b"ni1\0":
        raise ImageError(f"image {origin}: is one half of a pair .hdr/.img; save it as one .nii file")
    if start[344:348] != b"n+1\0":
        raise ImageError(f"image {origin}: is not NIfTI (no 'n+1' in its header); export it again")
    return _NIFTI1(start, check=False)


def _plane(shape: tuple[int, ...], origin: str) -> tuple[int, int, int | None]:
    """Return the axes along a row, along a column, and of the channels (None for one channel)."""
    if len(shape) < 2 or min(shape) < 1:
        raise ImageError(f"image {origin}: shape {shape} is no image; export it again")
    if len(shape) == 4 and shape[2] == 1 and 1 < shape[3] <= MAX_CHANNELS:
        return 0, 1, 3
    if len(shape) == 2:
        return 0, 1, None
    if any(n > 1 for n in shape[3:]):
        raise ImageError(f"image {origin}: shape {shape} is a series; one plane is read: save one of them")
    wide = [axis for axis in range(3) if shape[axis] > 1]
    if len(wide) == 3:
        raise ImageError(
            f"image {origin}: shape {shape} is a volume; one plane is read: save a slice or a projection of it"
        )
    # A plane of one row or column: keep as many leading axes as a plane needs, in the file's order.
    axes = sorted((wide + [axis for axis in range(3) if axis not in wide])[:2])
    return axes[0], axes[1], None


def _checked_dtype(header: Any, origin: str) -> np.dtype:
    dtype: np.dtype[Any] = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ImageError(
            f"image {origin}: its voxels are {dtype}, but real numbers of at most 64 bit are read; "
            "save magnitude or gray values"
        )
    return dtype


def _scaled(voxels: np.ndarray, header: Any) -> np.ndarray:
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope == 1 and intercept == 0):
        return voxels
    with np.errstate(over="ignore", invalid="ignore"):  # overflow becomes inf, which `Image` refuses by name
        return voxels * float(slope) + float(intercept)


def _spacing(header: Any, first: int, second: int) -> Spacing | None:
    zooms = header.get_zooms()
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:  # a code that the standard does not name
        unit = "unknown"
    spacing = usable_spacing((zooms[second], zooms[first]))
    if spacing is None:
        return None
    unoriented = int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0
    if unit == "unknown" and unoriented and spacing == (1.0, 1.0):
        return None
    factor = _MM.get(unit, 1.0)
    return spacing[0] * factor, spacing[1] * factor


def truncated(what: str, shape: tuple[int, ...], dtype: np.dtype[Any], expected: int, found: int) -> ImageError:
    """Say that a file, ``image a.nii``, ends before its voxels do."""
    return ImageError(
        f"{what}: shape {shape} of {dtype} needs {expected:,} bytes, but only {found:,} are there; "
        "the file is truncated: copy or export it again"
    )
