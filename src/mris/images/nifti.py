"""NIfTI: one plane, with its spacing.

Orientation. The voxel order of the file is kept as it is, with the convention of ITK: the first voxel axis that is not
singleton runs along a row of the picture (columns), the second down a column (rows). nibabel's array of shape
``(w, h)`` or ``(w, h, 1)`` therefore becomes pixels ``(1, h, w)``. The affine is not used to turn or mirror the
plane. `mris.images.write.write_nifti` writes the same convention, so that writing and reading is the identity.
"""

from pathlib import Path
from typing import IO, Any

import numpy as np

from mris.errors import ImageError
from mris.images.faults import library_faults_as_image_error
from mris.images.image import MAX_CHANNELS, Image, Spacing, check_array_shape, usable_spacing
from mris.images.nifti_file import MM, NIFTI_FAULTS, open_nifti, read_header, read_voxels, unit_of


def read_nifti(path: Path) -> Image:
    """Read a single-file NIfTI-1 or NIfTI-2 (``.nii``, ``.nii.gz``) that holds one plane.

    Shapes ``(w, h)`` and ``(w, h, 1)`` (the singleton may be any of the three axes) give one channel;
    ``(w, h, 1, c)``, as `write_nifti` writes several regions, gives `c`. Scale factors of the header are applied.
    A spacing in meters or micrometers is converted; a spacing of 0, or of 1 in an unknown unit without any
    orientation, means "unknown".

    Raises:
        ImageError: If the file is damaged, truncated, a volume, a series, complex or colored.
    """
    with library_faults_as_image_error(path, "NIfTI", *NIFTI_FAULTS), open_nifti(path) as file:
        return _read(file, str(path))


def _read(file: IO[bytes], origin: str) -> Image:
    header = read_header(file, f"image {origin}")
    shape = tuple(int(n) for n in header.get_data_shape())
    first, second, channel_axis = _plane(shape, origin)
    n_channels = 1 if channel_axis is None else shape[channel_axis]
    check_array_shape((n_channels, shape[second], shape[first]), origin)
    dtype = _checked_dtype(header, origin)
    voxels = read_voxels(file, header, shape, dtype, f"image {origin}")
    planes = voxels.reshape((n_channels, shape[second], shape[first]))
    return Image.from_array(_scaled(planes, header), spacing=_spacing(header, first, second), origin=origin)


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
    unit = unit_of(header)
    spacing = usable_spacing((zooms[second], zooms[first]))
    if spacing is None:
        return None
    unoriented = int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0
    if unit == "unknown" and unoriented and spacing == (1.0, 1.0):
        return None
    factor = MM.get(unit, 1.0)
    return spacing[0] * factor, spacing[1] * factor
