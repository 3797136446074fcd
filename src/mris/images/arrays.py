"""NPY and NPZ: one real array ``(h, w)`` or ``(c, h, w)``; the header is checked before the body is read."""

import math
import tokenize
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Bool

from mris.errors import ImageError
from mris.images.faults import library_faults_as_image_error
from mris.images.image import Image, check_array_shape, check_pixel_count
from mris.images.stream import read_promised, truncated
from mris.reading import regular_size

_LARGEST_HEADER = 4096
_LARGEST_DIRECTORY = 1 << 20
_END, _END_OF_LARGE = b"PK\x05\x06", b"PK\x06\x07"


def read_npy(path: Path) -> Image:
    """Read an NPY file; it has no spacing.

    Raises:
        ImageError: If the file is damaged, holds objects (pickle is never loaded), or has another shape than
            ``(h, w)`` or ``(c, h, w)``.
    """
    with library_faults_as_image_error(path, "NPY", tokenize.TokenError), path.open("rb") as file:
        array = _read_array(file, str(path))
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
    with library_faults_as_image_error(path, "NPZ", zipfile.BadZipFile, tokenize.TokenError), _opened(path) as archive:
        key, entry = _chosen(archive, key, path)
        origin = f"{path}::{key}"
        with archive.open(entry) as file:
            array = _read_array(file, origin)
    return Image.from_array(array, origin=origin)


def read_mask(path: Path, shape: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
    """Read the array ``mask`` of an NPZ file, whose shape is known; another one is refused before it is unpacked.

    Args:
        path: The file.
        shape: Of the mask.

    Returns:
        The mask.

    Raises:
        ImageError: There is no such file, it is damaged, or holds a mask of another shape or type.
    """
    try:
        regular_size(path)
    except OSError as error:
        raise ImageError(f"mask {path}: cannot be read: {error.strerror or error}") from error
    check_pixel_count(math.prod(shape), str(path))
    with library_faults_as_image_error(path, "NPZ", zipfile.BadZipFile, tokenize.TokenError), _opened(path) as archive:
        key, entry = _chosen(archive, "mask", path)
        with archive.open(entry) as file:
            found, fortran_order, dtype = _read_header(file, str(path))
            if found != shape or dtype != np.bool_:
                raise ImageError(f"mask {path}: holds {dtype} {found}, but bool {shape} is asked for")
            return _read_body(file, found, fortran_order, dtype, f"{path}::{key}")


def _opened(path: Path) -> zipfile.ZipFile:
    """Open an archive whose directory is small: each entry costs some hundred times its bytes."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(-min(size, 22 + 65535 + 20), 2)
        tail = file.read()
    end = tail.rfind(_END)
    directory = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    if directory > _LARGEST_DIRECTORY or tail[max(end - 20, 0) : end].startswith(_END_OF_LARGE):
        raise ImageError(f"image {path}: the archive holds too many or too large files; save one array alone")
    return zipfile.ZipFile(path)


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


def _read_array(file: IO[bytes], origin: str) -> np.ndarray:
    shape, fortran_order, dtype = _read_header(file, origin)
    if dtype.hasobject:
        raise ImageError(f"image {origin}: holds Python objects, which are never loaded; save an array of numbers")
    if dtype.kind not in "biuf":
        raise ImageError(f"image {origin}: its type is {dtype}, but pixels are boolean, integer or float numbers")
    check_array_shape(shape, origin)
    return _read_body(file, shape, fortran_order, dtype, origin)


def _read_header(file: IO[bytes], origin: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file, max_header_size=_LARGEST_HEADER)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file, max_header_size=_LARGEST_HEADER)
    raise ImageError(f"image {origin}: NPY version {version} is not read; save it with numpy.save")


def _read_body(
    file: IO[bytes], shape: tuple[int, ...], fortran_order: bool, dtype: np.dtype[Any], origin: str
) -> np.ndarray:
    expected = math.prod(shape) * dtype.itemsize
    data = read_promised(file, expected)
    if len(data) < expected:
        raise truncated(f"image {origin}", shape, dtype, expected, len(data))
    array = np.frombuffer(data, dtype)
    return array.reshape(shape[::-1]).T if fortran_order else array.reshape(shape)
