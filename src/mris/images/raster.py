"""PNG and TIFF: gray values as they are stored; color only where it is gray in disguise."""

import math
import re
import struct
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import PIL.TiffImagePlugin
from PIL import UnidentifiedImageError
from PIL.Image import DecompressionBombError, DecompressionBombWarning

from mris.errors import ImageError
from mris.images.faults import library_faults_as_image_error
from mris.images.image import Image, check_pixel_count
from mris.images.tiff_floats import read_tiff_floats
from mris.images.tiff_tags import tags_size
from mris.reading import parse_json

_BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _SAMPLE_FORMAT = 258, 259, 262, 277, 339
_DESCRIPTION, _DEPTH = 270, 32997
_SIGNED = 2
_UNCOMPRESSED = 1
_LARGEST_COMPRESSION = 2000  # deflate reaches 1032, LZW somewhat more
_MOST_BYTES_A_PIXEL = 8
_LARGEST_OVERHEAD = 4 << 20
"""Bytes of a file that are not of its pixels: profiles and notes have some thousand."""
_GRAY = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def read_raster(path: Path) -> Image:
    """Read a PNG or TIFF: 1, 8 or 16 bit gray, 32 bit integer TIFF, uncompressed or 32 bit float TIFF.

    A palette or color image is read if its channels are equal (gray in disguise), an alpha channel if it is opaque.
    TIFF's "white is zero" is inverted, so that larger is brighter. Resolution tags (made for printing) are no spacing:
    the spacing is unknown.

    Raises:
        ImageError: If the file is damaged, truncated, colored, transparent, has several pages, or is color of 16 bit
            (which Pillow would cut to 8).
    """
    _check_overhead(path)
    with library_faults_as_image_error(path, "PNG or TIFF", DecompressionBombError, DecompressionBombWarning):
        try:
            pixels = _read(path)
        except UnidentifiedImageError:
            floats = read_tiff_floats(path)
            if floats is None:
                raise
            pixels = floats
    return Image.from_array(pixels, origin=str(path))


def _read(path: Path) -> np.ndarray:
    with PIL.Image.open(path, formats=("PNG", "TIFF")) as picture:
        check_pixel_count(picture.width * picture.height, str(path))
        if _has_more_pages(picture) or _planes(picture) > 1:
            raise ImageError(f"image {path}: holds several pages or frames; one is read: save one of them")
        _check_depth(picture, path)
        _check_length(picture, path)
        picture.load()
        return _gray(picture, path)


def _planes(picture: PIL.Image.Image) -> int:
    """Planes that a TIFF tells of in other ways than by its pages: those of ImageJ and of volumes stand behind one."""
    if not isinstance(picture, PIL.TiffImagePlugin.TiffImageFile):
        return 1
    tags = picture.tag_v2
    told = str(tags.get(_DESCRIPTION, ""))
    planes = re.match(r"ImageJ=.*?^images=(\d+)\s*$", told, re.DOTALL | re.MULTILINE)
    if planes:
        return int(planes[1])
    if re.fullmatch(r'\{"shape": \[[\d, ]+\].*\}', told):  # as tifffile describes what it wrote
        samples = int(tags.get(_SAMPLES, 1))
        shape: list[int] = parse_json(told)["shape"]
        return math.prod(shape) // (picture.width * picture.height * samples)
    return int(tags.get(_DEPTH, 1))


def _has_more_pages(picture: PIL.Image.Image) -> bool:
    """Look for a second page only: to count them, Pillow visits all."""
    if not isinstance(picture, PIL.TiffImagePlugin.TiffImageFile):
        return getattr(picture, "n_frames", 1) > 1
    try:
        picture.seek(1)
    except EOFError:
        return False
    return True


def _check_overhead(path: Path) -> None:
    """Refuse a file whose bytes are not those of its picture, before Pillow visits each of its parts."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(24)
        if start.startswith(b"\x89PNG"):
            columns, rows = struct.unpack(">2L", start[16:24].ljust(8, b"\0"))
            overhead = size - _MOST_BYTES_A_PIXEL * rows * columns
        else:
            overhead = tags_size(file, start)
    if overhead > _LARGEST_OVERHEAD:
        raise ImageError(
            f"image {path}: has {overhead:,} bytes beside its pixels; at most {_LARGEST_OVERHEAD:,} are read: save it "
            "again without them"
        )


def _check_depth(picture: PIL.Image.Image, path: Path) -> None:
    """Refuse color of more than 8 bit, which Pillow would silently cut to 8."""
    deep = False
    if isinstance(picture, PIL.PngImagePlugin.PngImageFile):
        with path.open("rb") as file:
            start = file.read(26)
        deep = start[24] == 16 and start[25] != 0  # bit depth; color type (0 is gray)
    elif isinstance(picture, PIL.TiffImagePlugin.TiffImageFile):
        bits = picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))
        deep = len(bits) > 1 and max(bits) > 8
    if deep:
        raise ImageError(f"image {path}: has several channels of 16 bit; save it as 16-bit gray")


def _check_length(picture: PIL.Image.Image, path: Path) -> None:
    """Refuse a size that the file's bytes cannot fill: Pillow allocates what the header says."""
    n_bits, largest = 1, _LARGEST_COMPRESSION
    if isinstance(picture, PIL.TiffImagePlugin.TiffImageFile):
        tags = picture.tag_v2
        if tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED and tags.get(_SAMPLES, 1) == 1:
            n_bits, largest = tags.get(_BITS_PER_SAMPLE, (1,))[0], 1
    expected = picture.width * picture.height * n_bits // 8
    found = path.stat().st_size
    if expected > found * largest:
        raise ImageError(
            f"image {path}: {picture.height} x {picture.width} pixels need more than its {found:,} bytes; "
            "the file is truncated: copy or export it again"
        )


def _gray(picture: PIL.Image.Image, path: Path) -> np.ndarray:
    if picture.mode in _GRAY:
        array = np.asarray(picture)
        _check_transparent_value(picture, array, path)
        return _tiff_values(picture, array)
    if picture.mode not in ("P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX"):
        raise ImageError(f"image {path}: its colors are {picture.mode}; save it as gray")
    has_alpha = picture.mode not in ("P", "RGB", "RGBX") or "transparency" in picture.info
    colors = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
    if has_alpha and (colors[..., 3] != 255).any():
        raise ImageError(f"image {path}: has transparent pixels, whose value is not defined; save it without alpha")
    red = colors[..., 0]
    if not (np.array_equal(red, colors[..., 1]) and np.array_equal(red, colors[..., 2])):
        raise ImageError(f"image {path}: is colored; an image of one gray channel is read: save it as gray")
    return red


def _check_transparent_value(picture: PIL.Image.Image, array: np.ndarray, path: Path) -> None:
    value = picture.info.get("transparency")
    if isinstance(value, int) and bool((array == value).any()):
        raise ImageError(f"image {path}: gray value {value} is declared transparent; save it without transparency")


def _tiff_values(picture: PIL.Image.Image, array: np.ndarray) -> np.ndarray:
    """Undo what Pillow leaves undone in TIFF: signed 8 bit, unsigned 32 bit, and "white is zero" beyond 8 bit."""
    if not isinstance(picture, PIL.TiffImagePlugin.TiffImageFile):
        return array
    sample_format = picture.tag_v2.get(_SAMPLE_FORMAT, (1,))[0]
    unsigned = sample_format == 1
    if picture.mode == "L" and sample_format == _SIGNED:
        return array.view(np.int8)
    if picture.mode == "I" and unsigned and picture.tag_v2.get(_BITS_PER_SAMPLE, (0,))[0] == 32:
        array = array.view(np.uint32)
    if picture.tag_v2.get(_PHOTOMETRIC) == 0 and picture.mode not in ("1", "L"):
        if array.dtype == np.uint16:
            return np.asarray(np.bitwise_not(array))
        values = array.astype(np.float64)
        return np.asarray(values.max() + values.min() - values)
    return array
