"""Reads label volumes: NIfTI by their own bytes, NRRD and MHA through SimpleITK; headers are not trusted.

Two probability maps, as OAI_analysis writes them (``FC_probmap.nii.gz``, ``TC_probmap.nii.gz``), are one label volume.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel.orientations
import numpy as np
from jaxtyping import Float, Shaped, UInt16

from mris.errors import ImageError
from mris.images.faults import library_faults_as_image_error
from mris.images.nifti_file import MM, NIFTI_FAULTS, open_nifti, read_header, read_voxels, unit_of
from mris.images.stream import truncated

MAX_VOXELS = 300_000_000
"""Largest volume that is read; a knee at 0.36 x 0.36 x 0.7 mm has 24 million voxels."""

FEMORAL_MAP, TIBIAL_MAP = "FC_prob", "TC_prob"
"""In the names of two files that hold the probability of femoral and of tibial cartilage."""
MAP_NUMBERS = (2, 4)
"""Numbers that femoral and tibial cartilage get of their probability maps."""

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
_ORIENTATIONS: Any = nibabel.orientations  # nibabel does not annotate these


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """The numbers of a label volume and where they are.

    Attributes:
        voxels: Shape ``(i, j, k)``, the axes as in the file.
        affine: Voxel index to world (right, anterior, superior), in mm.
        origin: The file, for messages.
    """

    voxels: UInt16[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]
    origin: str


def read_label_volume(path: Path) -> LabelVolume:
    """Read a label volume: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.

    A file with `FEMORAL_MAP` in its name holds the probability of femoral cartilage, its neighbor with `TIBIAL_MAP`
    that of the tibial; where one of them is a half or more, the likelier has its number, `MAP_NUMBERS`.

    Raises:
        ImageError: The file is absent, damaged, truncated, no volume, holds other values than whole numbers from 0 to
            65535, has no orientation, or two that disagree, or announces more voxels than `MAX_VOXELS`; or two
            probability maps do not belong together.
    """
    if len(source_files(path)) == 2:
        return _read_probabilities(*source_files(path))
    voxels, affine = _read(path)
    if voxels.dtype.kind == "f" and not (np.isfinite(voxels).all() and (voxels == np.round(voxels)).all()):
        raise ImageError(f"segmentation {path}: holds fractions or NaN, but labels are whole numbers; is it a scan?")
    lowest, highest = float(voxels.min()), float(voxels.max())
    if lowest < 0 or highest > 65535:
        raise ImageError(f"segmentation {path}: holds {lowest:g} to {highest:g}; labels are whole numbers, 0 to 65535")
    return LabelVolume(voxels.astype(np.uint16, copy=False), affine, str(path))


def source_files(path: Path) -> tuple[Path, ...]:
    """Name the files that a label volume is read from: itself or, of a femoral probability map, it and the tibial one.

    Example:
        >>> [file.name for file in source_files(Path("FC_probmap.nii.gz"))]
        ['FC_probmap.nii.gz', 'TC_probmap.nii.gz']
    """
    if FEMORAL_MAP not in path.name:
        return (path,)
    return path, path.with_name(path.name.replace(FEMORAL_MAP, TIBIAL_MAP))


def canonical(volume: LabelVolume) -> LabelVolume:
    """Permute and flip whole axes to right, anterior, superior, as nibabel's ``as_closest_canonical`` does."""
    turn = _ORIENTATIONS.io_orientation(volume.affine)
    turned = np.asarray(_ORIENTATIONS.apply_orientation(volume.voxels, turn))
    affine = np.asarray(volume.affine @ _ORIENTATIONS.inv_ornt_aff(turn, volume.voxels.shape))
    return LabelVolume(turned, affine, volume.origin)


def _read_probabilities(femoral: Path, tibial: Path) -> LabelVolume:
    (upper, affine), (lower, other) = _read(femoral), _read(tibial)
    if upper.shape != lower.shape or not np.allclose(affine, other, atol=1e-3):
        raise ImageError(f"segmentation {femoral}: its grid is not that of {tibial.name}; export both from one scan")
    for path, values in ((femoral, upper), (tibial, lower)):
        lowest, highest = float(values.min()), float(values.max())
        if not (lowest >= -0.001 and highest <= 1.001):  # NaN is neither
            raise ImageError(f"segmentation {path}: holds {lowest:g} to {highest:g}; probabilities are 0 to 1")
    numbers = np.where(upper >= lower, *(np.uint16(number) for number in MAP_NUMBERS))
    return LabelVolume(np.where(np.maximum(upper, lower) >= 0.5, numbers, np.uint16(0)), affine, str(femoral))


def _read(path: Path) -> tuple[Voxels, Float[np.ndarray, "4 4"]]:
    name = path.name.lower()
    if not path.is_file():
        raise ImageError(f"segmentation {path}: there is no such file")
    if name.endswith((".nrrd", ".mha")):
        with library_faults_as_image_error(path, "NRRD or MHA"):
            return _read_itk(path)
    if not name.endswith((".nii", ".nii.gz")):
        raise ImageError(f"segmentation {path}: is no .nii, .nii.gz, .nrrd or .mha; save it as one of those")
    with library_faults_as_image_error(path, "NIfTI", *NIFTI_FAULTS):
        return _read_nifti(path)


def _read_nifti(path: Path) -> tuple[Voxels, Float[np.ndarray, "4 4"]]:
    with open_nifti(path) as file:
        header = read_header(file, f"segmentation {path}")
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype: np.dtype[Any] = header.get_data_dtype()
        _check_promise(path, shape, dtype)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        voxels = read_voxels(file, header, shape, dtype, f"segmentation {path}").reshape(shape, order="F")
    slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept) != (1.0, 0.0):
        voxels = voxels * float(slope) + float(intercept)
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise ImageError(
            f"segmentation {path}: has no orientation (sform and qform codes are 0), so left and front are unknown; "
            "write the affine of the MR volume into it"
        )
    _check_agreement(path, header)
    unit = MM.get(unit_of(header), 1.0)
    return voxels, _checked(path, np.diag([unit, unit, unit, 1.0]) @ header.get_best_affine())


def _check_attached(path: Path) -> None:
    """Refuse a header whose voxels are in another file, which could be any file of this machine, or a device."""
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER).replace(b"\r\n", b"\n")
    header, ended, _ = start.partition(b"\n\n" if start.startswith(b"NRRD") else b"ElementDataFile = LOCAL\n")
    if _DETACHED.search(header) or (not ended and len(start) > _LONGEST_HEADER // 2):
        raise ImageError(f"segmentation {path}: its voxels are in another file; save header and voxels as one file")


def _check_agreement(path: Path, header: Any) -> None:
    """Refuse a NIfTI whose two orientations disagree about which way left, front or up is.

    They may be turned against each other a little, as where one of them is of an atlas; no knee lies 90 degrees off.
    """
    if int(header["sform_code"]) <= 0 or int(header["qform_code"]) <= 0:
        return
    sform, qform = header.get_sform()[:3, :3], header.get_qform()[:3, :3]
    between = sform @ np.linalg.inv(qform)
    if np.linalg.det(between) <= 0 or np.diag(between).min() <= 0:
        raise ImageError(
            f"segmentation {path}: its two orientations (sform, qform) disagree about which way left, front or up is; "
            "write the affine of the MR volume into both"
        )


def _check_orientation_is_stated(path: Path) -> None:
    """Refuse an NRRD or MHA that says nothing of left and front: ITK takes such axes for left, posterior, superior."""
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
    if any(key in stated for key in _DIRECTIONS_OF_MHA):
        return
    if stated.get("space") in _SPACES and "space directions" in stated:
        return
    raise ImageError(
        f"segmentation {path}: has no orientation (no space of a body with its directions, no transform matrix), so "
        "left and front are unknown; write those of the MR volume into it"
    )


def _read_itk(path: Path) -> tuple[Voxels, Float[np.ndarray, "4 4"]]:
    import SimpleITK

    _check_attached(path)

    sitk: Any = SimpleITK  # its annotations are not usable

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    shape = tuple(int(n) for n in reader.GetSize())
    if reader.GetNumberOfComponents() != 1:
        raise ImageError(f"segmentation {path}: has {reader.GetNumberOfComponents()} values a voxel; save one label")
    _check_promise(path, shape, np.dtype(np.uint8))
    _check_orientation_is_stated(path)
    image = reader.Execute()
    to_ras = np.diag([-1.0, -1.0, 1.0])  # ITK counts to the left and to the back
    affine = np.eye(4)
    affine[:3, :3] = to_ras @ np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = to_ras @ np.asarray(image.GetOrigin())
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), _checked(path, affine)


def _check_promise(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) < 3 or min(shape) < 1 or any(n > 1 for n in shape[3:]) or min(shape[:3]) < 2:
        raise ImageError(f"segmentation {path}: shape {shape} is no volume; three axes of at least 2 voxels are read")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ImageError(f"segmentation {path}: its voxels are {dtype}; labels are whole numbers: save them as such")
    n_voxels, n_bytes = math.prod(shape), path.stat().st_size
    if n_voxels > MAX_VOXELS:
        raise ImageError(
            f"segmentation {path}: {n_voxels:,} voxels are announced, more than the {MAX_VOXELS:,} that are read; "
            "cut it to one knee, or mend its header"
        )
    if n_voxels * dtype.itemsize > _MOST_COMPRESSED * n_bytes:
        raise truncated(f"segmentation {path}", shape, dtype, n_voxels * dtype.itemsize, n_bytes)


def _checked(path: Path, affine: np.ndarray) -> Float[np.ndarray, "4 4"]:
    sizes = np.linalg.norm(affine[:3, :3], axis=0) if np.isfinite(affine).all() else np.zeros(3)
    low, high = _VOXEL_MM
    if not ((sizes >= low) & (sizes <= high)).all() or abs(np.linalg.det(affine[:3, :3])) < 0.05 * np.prod(sizes):
        raise ImageError(
            f"segmentation {path}: its affine gives voxels of {' x '.join(f'{size:.3g}' for size in sizes)} mm, but "
            f"each must be {low:g} to {high:g} mm along three directions; write the MR volume's affine into it"
        )
    return np.asarray(affine, float)
