"""Reads the grid of a volume file: NIfTI by its own bytes, NRRD and MHA through SimpleITK; headers are not trusted.

What the voxels mean, labels or gray values, is up to who reads; `what` names that in messages ("segmentation", "scan").
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from mris.errors import ImageError
from mris.images.faults import library_faults_as_image_error
from mris.images.nifti_file import MM, NIFTI_FAULTS, open_nifti, read_header, read_voxels, unit_of
from mris.images.stream import truncated

MAX_VOXELS = 300_000_000
"""Largest volume that is read; a knee at 0.36 x 0.36 x 0.7 mm has 24 million voxels."""

Voxels = Shaped[np.ndarray, "i j k"]

_DETACHED = re.compile(rb"^(data ?file\s*:|ElementDataFile\s*=(?!\s*LOCAL\s*$))", re.IGNORECASE | re.MULTILINE)
_LONGEST_HEADER = 1 << 16
_MOST_COMPRESSED = 1100
"""No gzip or deflate stream holds more than 1,032 times its own bytes."""
_VOXEL_MM = (0.02, 10.0)
_LONGEST_TEXT = 1 << 16
"""Bytes in which the header of an NRRD or MHA ends."""
_SPACES = ("left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las")
"""Spaces of NRRD whose axes have names in a body; ITK turns all of them to left, posterior, superior."""
_DIRECTIONS_OF_MHA = ("transformmatrix", "rotation", "orientation")


def read_grid(path: Path, what: str) -> tuple[Voxels, Float[np.ndarray, "4 4"]]:
    """Read a volume: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.

    Args:
        path: The file.
        what: What it is, for messages.

    Returns:
        The voxels, the axes as in the file, scaled as its header says; and the affine to the world (right, anterior,
        superior), in mm.

    Raises:
        ImageError: The file is absent, damaged, truncated, no volume, has no orientation, or two that disagree, or
            announces more voxels than `MAX_VOXELS`.
    """
    name = path.name.lower()
    if not path.is_file():
        raise ImageError(f"{what} {path}: there is no such file")
    if name.endswith((".nrrd", ".mha")):
        with library_faults_as_image_error(path, "NRRD or MHA"):
            return _read_itk(path, what)
    if not name.endswith((".nii", ".nii.gz")):
        raise ImageError(f"{what} {path}: is no .nii, .nii.gz, .nrrd or .mha; save it as one of those")
    with library_faults_as_image_error(path, "NIfTI", *NIFTI_FAULTS):
        return _read_nifti(path, what)


def _read_nifti(path: Path, what: str) -> tuple[Voxels, Float[np.ndarray, "4 4"]]:
    with open_nifti(path) as file:
        header = read_header(file, f"{what} {path}")
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype: np.dtype[Any] = header.get_data_dtype()
        _check_promise(path, what, shape, dtype)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        voxels = read_voxels(file, header, shape, dtype, f"{what} {path}").reshape(shape, order="F")
    slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept) != (1.0, 0.0):
        voxels = voxels * float(slope) + float(intercept)
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise ImageError(
            f"{what} {path}: has no orientation (sform and qform codes are 0), so left and front are unknown; "
            "write the affine of the MR volume into it"
        )
    _check_agreement(path, what, header)
    unit = MM.get(unit_of(header), 1.0)
    return voxels, _checked(path, what, np.diag([unit, unit, unit, 1.0]) @ header.get_best_affine())


def _check_attached(path: Path, what: str) -> None:
    """Refuse a header whose voxels are in another file, which could be any file of this machine, or a device."""
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER).replace(b"\r\n", b"\n")
    header, ended, _ = start.partition(b"\n\n" if start.startswith(b"NRRD") else b"ElementDataFile = LOCAL\n")
    if _DETACHED.search(header) or (not ended and len(start) > _LONGEST_HEADER // 2):
        raise ImageError(f"{what} {path}: its voxels are in another file; save header and voxels as one file")


def _check_agreement(path: Path, what: str, header: Any) -> None:
    """Refuse a NIfTI whose two orientations disagree about which way left, front or up is.

    They may be turned against each other a little, as where one of them is of an atlas; no knee lies 90 degrees off.
    """
    if int(header["sform_code"]) <= 0 or int(header["qform_code"]) <= 0:
        return
    sform, qform = header.get_sform()[:3, :3], header.get_qform()[:3, :3]
    between = sform @ np.linalg.inv(qform)
    if np.linalg.det(between) <= 0 or np.diag(between).min() <= 0:
        raise ImageError(
            f"{what} {path}: its two orientations (sform, qform) disagree about which way left, front or up is; "
            "write the affine of the MR volume into both"
        )


def _stated(path: Path) -> dict[str, str]:
    """What the header of an NRRD or MHA says, all in small letters."""
    with path.open("rb") as file:
        lines = file.read(_LONGEST_TEXT).split(b"\n")
    stated: dict[str, str] = {}
    for line in lines:
        key, sign, value = line.decode("latin-1").partition(":" if path.name.lower().endswith(".nrrd") else "=")
        key = key.strip().lower()
        if not line.strip() or key == "elementdatafile":  # the last line before the voxels
            break
        if sign and not value.startswith("="):  # "key:=value" is a remark
            stated[key] = value.strip().lower()
    return stated


def _check_axes(path: Path, what: str, stated: dict[str, str]) -> None:
    """Refuse an MHA of a strange number of axes before ITK reads it: of some, ITK dies and this process with it."""
    axes = stated.get("ndims", "3")
    if axes not in ("2", "3", "4"):
        raise ImageError(f"{what} {path}: has {axes[:20]!r} axes (NDims); save a volume of three")


def _check_orientation_is_stated(path: Path, what: str, stated: dict[str, str]) -> None:
    """Refuse an NRRD or MHA that says nothing of left and front: ITK takes such axes for left, posterior, superior."""
    if any(key in stated for key in _DIRECTIONS_OF_MHA):
        return
    if stated.get("space") in _SPACES and "space directions" in stated:
        return
    raise ImageError(
        f"{what} {path}: has no orientation (no space of a body with its directions, no transform matrix), so "
        "left and front are unknown; write those of the MR volume into it"
    )


def _read_itk(path: Path, what: str) -> tuple[Voxels, Float[np.ndarray, "4 4"]]:
    import SimpleITK

    _check_attached(path, what)
    stated = _stated(path)
    _check_axes(path, what, stated)

    sitk: Any = SimpleITK  # its annotations are not usable

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    shape = tuple(int(n) for n in reader.GetSize())
    if reader.GetNumberOfComponents() != 1:
        raise ImageError(f"{what} {path}: has {reader.GetNumberOfComponents()} values a voxel; save one")
    _check_promise(path, what, shape, np.dtype(np.uint8))
    _check_orientation_is_stated(path, what, stated)
    image = reader.Execute()
    to_ras = np.diag([-1.0, -1.0, 1.0])  # ITK counts to the left and to the back
    affine = np.eye(4)
    affine[:3, :3] = to_ras @ np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = to_ras @ np.asarray(image.GetOrigin())
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), _checked(path, what, affine)


def _check_promise(path: Path, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) < 3 or min(shape) < 1 or any(n > 1 for n in shape[3:]) or min(shape[:3]) < 2:
        raise ImageError(f"{what} {path}: shape {shape} is no volume; three axes of at least 2 voxels are read")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ImageError(f"{what} {path}: its voxels are {dtype}, but one real number a voxel is read; save it so")
    n_voxels, n_bytes = math.prod(shape), path.stat().st_size
    if n_voxels > MAX_VOXELS:
        raise ImageError(
            f"{what} {path}: {n_voxels:,} voxels are announced, more than the {MAX_VOXELS:,} that are read; "
            "cut it to one knee, or mend its header"
        )
    if n_voxels * dtype.itemsize > _MOST_COMPRESSED * n_bytes:
        raise truncated(f"{what} {path}", shape, dtype, n_voxels * dtype.itemsize, n_bytes)


def _checked(path: Path, what: str, affine: np.ndarray) -> Float[np.ndarray, "4 4"]:
    sizes = np.linalg.norm(affine[:3, :3], axis=0) if np.isfinite(affine).all() else np.zeros(3)
    low, high = _VOXEL_MM
    if not ((sizes >= low) & (sizes <= high)).all() or abs(np.linalg.det(affine[:3, :3])) < 0.05 * np.prod(sizes):
        raise ImageError(
            f"{what} {path}: its affine gives voxels of {' x '.join(f'{size:.3g}' for size in sizes)} mm, but "
            f"each must be {low:g} to {high:g} mm along three directions; write the MR volume's affine into it"
        )
    return np.asarray(affine, float)
