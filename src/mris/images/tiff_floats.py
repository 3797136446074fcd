"""TIFF of 16 and 64 bit floats, as scientific libraries write them and Pillow does not read."""

import math
from pathlib import Path

import numpy as np
import PIL.TiffImagePlugin

from mris.errors import ImageError
from mris.images.image import check_pixel_count
from mris.images.stream import read_promised

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _SAMPLES = 256, 257, 258, 259, 262, 273, 277
_STRIP_BYTES, _SAMPLE_FORMAT = 279, 339
_FLOAT, _UNCOMPRESSED = 3, 1


def read_tiff_floats(path: Path) -> np.ndarray | None:
    """Read an uncompressed gray TIFF of one page of 16 or 64 bit floats; None if the file is something else.

    Raises:
        ImageError: It is one, but has several pages, is compressed or tiled, truncated or too large.
    """
    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] not in (b"II*\0", b"MM\0*"):
            return None
        tags = PIL.TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
        bits = tags.get(_BITS, (1,))
        if tags.get(_SAMPLE_FORMAT, (1,))[0] != _FLOAT or tuple(bits) not in ((16,), (64,)):
            return None
        if tags.next or tags.get(_SAMPLES, 1) != 1 or tags.get(_COMPRESSION, 1) != _UNCOMPRESSED or _STRIPS not in tags:
            raise ImageError(
                f"image {path}: holds {bits[0]}-bit floats in several pages, tiles or samples, or compressed; save one "
                "page as 32-bit float"
            )
        shape = int(tags[_LENGTH]), int(tags[_WIDTH])
        check_pixel_count(math.prod(shape), str(path))
        data = b""
        for offset, n_bytes in zip(tags[_STRIPS], tags[_STRIP_BYTES], strict=True):
            file.seek(offset)
            data += read_promised(file, n_bytes)
    dtype = np.dtype(f"{'<' if head[:1] == b'I' else '>'}f{bits[0] // 8}")
    expected = math.prod(shape) * dtype.itemsize
    if len(data) < expected:
        raise ImageError(
            f"image {path}: {shape[0]} x {shape[1]} pixels of {bits[0]} bit need {expected:,} bytes, but only "
            f"{len(data):,} are there; the file is truncated: copy or export it again"
        )
    values = np.frombuffer(data[:expected], dtype).reshape(shape)
    # "White is zero": larger must be brighter.
    return values if tags.get(_PHOTOMETRIC) != 0 else np.asarray(values.max() + values.min() - values)
