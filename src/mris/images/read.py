"""`read_image`: any supported file becomes an `Image` or one clear `ImageError`."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mris.errors import ImageError
from mris.images.arrays import read_npy, read_npz
from mris.images.image import Image, Spacing
from mris.images.raster import read_raster
from mris.reading import regular_size

_SUFFIXES = {
    ".npy": "npy",
    ".npz": "npz",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".png": "raster",
    ".tif": "raster",
    ".tiff": "raster",
}
_SUPPORTED = "DICOM, NIfTI (.nii, .nii.gz), NPY, NPZ, PNG and TIFF"


def read_image(path: str | os.PathLike[str], *, array_key: str | None = None, spacing: Spacing | None = None) -> Image:
    """Read one two-dimensional image from a file.

    The content decides the format (a DICOM file needs no suffix), the suffix only where the content does not say.
    Headers are read and sizes checked before pixels are. Supported: DICOM, NIfTI (``.nii``, ``.nii.gz``), NPY, NPZ,
    PNG and TIFF; see the readers of this package for what each keeps and refuses.

    Args:
        path: A file; ``file.npz::key`` names an array of an NPZ.
        array_key: The array of an NPZ; needed only if it holds several.
        spacing: Row and column spacing in mm, taken where the file states none; so it is wherever a spacing is given.

    Returns:
        Pixels ``(c, h, w)`` as float32, in the file's own values (DICOM: after the modality transform).

    Raises:
        ImageError: If the file is missing, empty, damaged, not supported, not two-dimensional, too large, colored,
            or holds infinite values or NaN alone.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "map.npy"), np.ones((3, 4)))
        ...     read_image(Path(folder, "map.npy"), spacing=(0.5, 0.5)).shape
        (1, 3, 4)
    """
    file, array_key = _file_and_key(path, array_key)
    kind = _kind(file)
    if kind == "npz":
        image = read_npz(file, array_key)
    elif array_key is not None:
        raise ImageError(
            f"image {file}: an array key ({array_key!r}) is given, but only NPZ files have keys; leave it out"
        )
    else:
        image = _reader(kind)(file)
    if np.isnan(image.pixels).all():
        raise ImageError(f"image {image.origin}: every pixel is NaN; nothing is left to read")
    if kind != "dicom" and image.spacing is not None:
        image = replace(image, header=replace(image.header, spacing=image.spacing, spacing_source="file"))
    return image.with_spacing(spacing)


def file_of(path: Path) -> Path:
    """Return the file that a path names, without the array of an NPZ that it may name, too.

    Example:
        >>> file_of(Path("maps/scan.npz::left")).name
        'scan.npz'
    """
    return _file_and_key(path, None)[0]


def _reader(kind: str) -> Callable[[Path], Image]:
    # The libraries of DICOM and NIfTI take as long to load as all else that one PNG needs.
    match kind:
        case "dicom":
            from mris.images.dicom import read_dicom

            return read_dicom
        case "nifti":
            from mris.images.nifti import read_nifti

            return read_nifti
        case "npy":
            return read_npy
        case _:
            return read_raster


def _file_and_key(path: str | os.PathLike[str], array_key: str | None) -> tuple[Path, str | None]:
    text = os.fspath(path)
    if "::" in text and not Path(text).exists():
        text, _, key = text.rpartition("::")
        if array_key is not None and array_key != key:
            raise ImageError(
                f"image {path}: its path names the array {key!r}, but {array_key!r} is asked for; name one"
            )
        array_key = key
    return Path(text), array_key


def _kind(path: Path) -> str:
    """Name the format by content, else by suffix."""
    suffix = path.suffix.lower()
    if path.name.lower().endswith(".nii.gz"):
        suffix = ".nii.gz"
    kind = _kind_of_content(path, _first_bytes(path)) or _SUFFIXES.get(suffix)
    if kind is None:
        raise ImageError(
            f"image {path}: neither content nor suffix is of a format that is read; convert it to one of {_SUPPORTED}"
        )
    return kind


def _first_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ImageError(f"image {path}: is a folder; name one file in it")
        if not path.exists():
            raise ImageError(f"image {path}: no such file; check the path and the folder it is relative to")
        regular_size(path)
        with path.open("rb") as file:
            start = file.read(352)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(f"image {path}: cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if not start:
        raise ImageError(f"image {path}: the file is empty; copy or export it again")
    return start


def _kind_of_content(path: Path, start: bytes) -> str | None:
    if start[128:132] == b"DICM":
        return "dicom"
    if start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] == b"n+2\0":
        return "nifti"
    beginnings = {
        b"\x93NUMPY": "npy",
        b"PK\x03\x04": "npz",
        b"PK\x05\x06": "npz",
        b"\x1f\x8b": "nifti",
        b"\x89PNG\r\n\x1a\n": "raster",
        b"II*\0": "raster",
        b"MM\0*": "raster",
        b"II+\0": "raster",
        b"MM\0+": "raster",
    }
    for beginning, kind in beginnings.items():
        if start.startswith(beginning):
            return kind
    if start.startswith(b"\xff\xd8\xff"):
        raise ImageError(
            f"image {path}: is a JPEG, which is lossy and not read; export the original as PNG, TIFF or DICOM"
        )
    return None
