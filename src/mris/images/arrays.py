"""NPY and NPZ: one real array ``(h, w)`` or ``(c, h, w)``; the header is checked before the body is read."""

import math
import tokenize
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from mris.errors import ImageError
from mris.images.faults import library_faults_as_image_error
from mris.images.image import Image, check_array_shape
from mris.images.stream import read_promised

_LARGEST_HEADER = 4096


def read_npy(path: Path) -> Image:
    """Read an NPY file; it has no spacing.

    Raises:
        ImageError: If the file is damaged, holds objects (pickle is never loaded), or has another shape than
            ``(h, w)`` or ``(c, h, w)``.
    """
    with library_faults_as_image_error(path, "NPY", tokenize.TokenError), path.open("rb") as file:
        array = _read_array(file, path.stat().st_size, str(path))
    return Image.from_array(array, origin=str(path))


def read_npz(path: Path, key: str | None = None) -> Image:
    """Read one array of an NPZ file; it has no spacing.

    The size that the archive's directory states is checked before anything is unpacked.

    Args:
        path: The file.
        key: Name of the array; needed only if there are several.

    Raises:
        ImageError: If the file is damaged, the key unknown or needed, or the array as in `read_npy`.
    """
    with (
        library_faults_as_image_error(path, "NPZ", zipfile.BadZipFile, tokenize.TokenError),
        zipfile.ZipFile(path) as archive,
    ):
        key, entry = _chosen(archive, key, path)
        origin = f"{path}::{key}"
        with archive.open(entry) as file:
            array = _read_array(file, entry.file_size, origin)
    return Image.from_array(array, origin=origin)


def _chosen(archive: zipfile.ZipFile, key: str | None, path: Path) -> tuple[str, zipfile.ZipInfo]:
    entries = {
        entry.filename.removesuffix(".npy"): entry for entry in archive.infolist() if entry.filename.endswith(".npy")
    }
    if not entries:
        raise ImageError(f"image {path}: the archive holds no array")
    names = sorted(entries)
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    if key is None:
        if len(names) > 1:
            raise ImageError(f"image {path}: holds {len(names)} arrays ({shown}); name one as {path.name}::{names[0]}")
        key = names[0]
    if key not in entries:
        raise ImageError(f"image {path}: holds no array {key!r}; it holds {shown}")
    return key, entries[key]


def _read_array(file: IO[bytes], n_bytes: int, origin: str) -> np.ndarray:
    """Read an array of a stream that is said to hold `n_bytes`; nothing larger than that is ever allocated."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_LARGEST_HEADER)
    elif version == (2, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file, max_header_size=_LARGEST_HEADER)
    else:
        raise ImageError(f"image {origin}: NPY version {version} is not read; save it with numpy.save")
    if dtype.hasobject:
        raise ImageError(f"image {origin}: holds Python objects, which are never loaded; save an array of numbers")
    if dtype.kind not in "biuf":
        raise ImageError(f"image {origin}: its type is {dtype}, but pixels are boolean, integer or float numbers")
    check_array_shape(shape, origin)
    expected = math.prod(shape) * dtype.itemsize
    if n_bytes < expected:
        raise ImageError(
            f"image {origin}: shape {shape} of {dtype} needs {expected:,} bytes, but only {n_bytes:,} are there; "
            "the file is truncated: copy or save it again"
        )
    data = read_promised(file, expected)
    if len(data) < expected:
        raise ImageError(
            f"image {origin}: shape {shape} of {dtype} needs {expected:,} bytes, but only {len(data):,} are there; "
            "the file is truncated: copy or save it again"
        )
    array = np.frombuffer(data, dtype)
    return array.reshape(shape[::-1]).T if fortran_order else array.reshape(shape)
