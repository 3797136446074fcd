"""DICOM: one monochrome frame, in the order of transforms that the standard lays down.

1. Decode the transfer syntax (native, deflated, RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K).
2. Take BitsStored bits and the sign of PixelRepresentation, whatever the decoder made of the bits above them.
3. Pixel padding (PixelPaddingValue, PixelPaddingRangeLimit) becomes NaN: it is no signal.
4. Modality transform: ModalityLUTSequence, else RescaleSlope and RescaleIntercept.
5. MONOCHROME1 (smallest is white) is inverted within the range that stored values can take, so that larger is
   brighter in every image.

Windows and other display transforms (VOI, presentation) are not applied: they are choices of a viewer.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, RLELossless

from mris.errors import ImageError
from mris.images.codestream import StatedSize, is_cut, stated_size
from mris.images.dicom_facts import facts_of, is_upside_down, named_sides, number, rescale
from mris.images.faults import library_faults_as_image_error
from mris.images.header import Header
from mris.images.image import Image, check_pixel_count

_BITS_OF_FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
_LARGE = 1 << 22
_MOST_PIXELS_A_BYTE = 256
"""Of a compressed picture beyond `_LARGE` pixels: decoders allocate what is announced, and real ones have about 10."""
_LARGEST_INFLATED, _SMALL_INFLATED, _MOST_INFLATED = 1 << 29, 1 << 26, 64
_LARGEST_OVERHEAD = 16 << 20
"""Bytes of a file beside its pixels: icons, overlays and notes of makers have at most some million."""
_MOST_BYTES_A_PIXEL = 16
_SPARE = 1 << 20
_PREAMBLE = 128 + len("DICM")


def read_dicom(path: Path) -> Image:
    """Read a DICOM file of one monochrome frame.

    Spacing and laterality are those of `mris.images.header.Header`; the laterality of a picture of both
    sides is None. See the module for the order of pixel transforms. A file without the 128-byte preamble is read if
    it ends in ``.dcm``.

    Raises:
        ImageError: If the file is damaged, truncated, colored, upside down by its header, has several frames or no
            pixels, or cannot be decoded.
    """
    with library_faults_as_image_error(path, "DICOM", InvalidDicomError, BytesLengthException):
        elements = read_elements(path)
        _check_header(elements, path)
        _check_file_size(elements, path)
        dataset = pydicom.dcmread(path, force=not _has_preamble(path))
        _check_body(dataset, path)
        pixels = _pixels(dataset, path)
        header = facts_of(dataset)
    laterality = header.sides[0] if len(header.sides) == 1 else None
    return Image(pixels, spacing=header.spacing, origin=str(path), laterality=laterality, header=header)


def read_dicom_facts(path: Path) -> Header | None:
    """Read what the header of a DICOM image says, without its pixels; None if the file is none.

    A file without the 128-byte preamble counts as DICOM if it ends in ``.dcm`` or ``.dicom`` and states rows and
    columns.

    Raises:
        ImageError: If the header is damaged, or not that of an image that `read_dicom` reads.

    Example:
        >>> from pydicom import data
        >>> facts = read_dicom_facts(Path(data.get_testdata_file("MR_small.dcm", download=False)))
        >>> facts.spacing_source, facts.photometric, facts.bits_stored, facts.display
        ('PixelSpacing', 'MONOCHROME2', 16, 'window')
    """
    bare = not _has_preamble(path)
    if bare and path.suffix.lower() not in (".dcm", ".dicom"):
        return None
    with library_faults_as_image_error(path, "DICOM", InvalidDicomError, BytesLengthException):
        header = read_elements(path)
        if bare and not (header.get("Rows") and header.get("Columns")):
            return None
        _check_header(header, path)
        return facts_of(header)


def read_elements(path: Path) -> Dataset:
    """Read what is before the pixels of a DICOM file, of whatever kind; a damaged one raises what pydicom raises.

    Raises:
        ImageError: It is deflated and inflates beyond any image.
    """
    bare = not _has_preamble(path)
    if not bare:
        _check_deflated(path)
    return pydicom.dcmread(path, stop_before_pixels=True, force=bare, defer_size=_LARGEST_OVERHEAD)


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_PREAMBLE).endswith(b"DICM")


def _check_deflated(path: Path) -> None:
    """Refuse a deflated file that inflates beyond any image: pydicom inflates it whole."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total, most = 0, min(_LARGEST_INFLATED, max(_SMALL_INFLATED, _MOST_INFLATED * path.stat().st_size))
    with path.open("rb") as file:
        # The body follows the group length (12 bytes) and the group of that length.
        file.seek(_PREAMBLE + 12 + int(meta.FileMetaInformationGroupLength))
        while piece := file.read(1 << 20):
            while piece:
                total += len(inflater.decompress(piece, 1 << 24))
                piece = inflater.unconsumed_tail
                if total > most:
                    raise ImageError(f"image {path}: inflates beyond {most:,} bytes; export it again")


def _check_header(header: Dataset, path: Path) -> None:
    rows, columns = header.get("Rows"), header.get("Columns")
    if rows is None and columns is None:
        raise ImageError(
            f"image {path}: this DICOM file holds no image (no Rows, no Columns), or is cut off before them; name an "
            "image file, or copy it again"
        )
    if not rows or not columns:
        raise ImageError(f"image {path}: Rows is {_shown(rows)} and Columns {_shown(columns)}; both must be positive")
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        value = header.get(keyword)
        if value is not None and not isinstance(value, int):
            raise ImageError(f"image {path}: {keyword} is {_shown(value)}, but must be one whole number; export it")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(f"image {path}: holds {frames} frames; one is read: export the one you want")
    bits, high = header.get("BitsStored"), header.get("HighBit")
    if bits and high is not None and high != bits - 1:
        raise ImageError(
            f"image {path}: HighBit is {high} and BitsStored {bits}, but the pixels are in the lowest bits, HighBit "
            f"{bits - 1}; export it again"
        )
    photometric = str(header.get("PhotometricInterpretation") or "missing")
    samples = int(header.get("SamplesPerPixel") or 1)
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1:
        raise ImageError(
            f"image {path}: PhotometricInterpretation is {_shown(photometric)} with {samples} sample(s) a pixel, but "
            "MONOCHROME1 and MONOCHROME2 with one sample are read; export it as gray"
        )
    _check_side(header, path)
    if is_upside_down(header):
        raise ImageError(
            f"image {path}: its header (PatientOrientation) says that the picture is upside down, its columns running "
            "towards the head; turn the picture and export it again, or mend the header"
        )
    check_pixel_count(int(rows) * int(columns), str(path))


def _check_file_size(header: Dataset, path: Path) -> None:
    """Refuse a file much larger than its picture, before the rest of it is read into memory."""
    most = _MOST_BYTES_A_PIXEL * int(header.Rows) * int(header.Columns) + _LARGEST_OVERHEAD
    found = path.stat().st_size
    if found > most:
        raise ImageError(
            f"image {path}: has {found:,} bytes for {header.Rows} x {header.Columns} pixels; at most {most:,} are "
            "read: export it again"
        )


def _check_side(header: Dataset, path: Path) -> None:
    """Refuse a header of which one element says right and another left: neither is believed."""
    elements = {sides[0]: keyword for keyword, sides in named_sides(header) if len(sides) == 1}
    if len(elements) == 2:
        raise ImageError(
            f"image {path}: {elements['right']} says right, and {elements['left']} says left; mend the header"
        )


def _shown(value: Any) -> str:
    """Show a value of a header on one line: what a file says must not steer a terminal."""
    text = str(value)
    clean = "".join(sign if sign.isprintable() else "?" for sign in text)
    return clean if len(clean) <= 40 else f"{clean[:40]}..."


def _check_body(dataset: Dataset, path: Path) -> None:
    """Check what is there against what the header says, before anything is decoded."""
    keyword = next((word for word in ("PixelData", *_BITS_OF_FLOATS) if dataset.get(word)), None)
    if keyword is None:
        raise ImageError(
            f"image {path}: this DICOM file has no pixel data, or is cut off before their end; name an image file, or "
            "copy it again"
        )
    data: bytes = dataset[keyword].value
    size = int(dataset.Rows), int(dataset.Columns)
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    if isinstance(syntax, UID) and syntax.is_encapsulated:
        most = 2 * size[0] * size[1] * max(int(dataset.get("BitsAllocated") or 0), 8) // 8 + _SPARE
        if len(data) > most:  # a decoder goes through all of it, and makes several times as much
            raise ImageError(
                f"image {path}: {size[0]} x {size[1]} pixels in a compressed stream of {len(data):,} bytes, but it "
                f"needs at most {most:,}; export it again"
            )
        _check_stream(next(iter(generate_frames(data, number_of_frames=1)), b""), size, dataset, path)
        return
    bits = _BITS_OF_FLOATS.get(keyword) or int(dataset.get("BitsAllocated") or 0)
    expected = (size[0] * size[1] * bits + 7) // 8
    if len(data) < expected:
        raise ImageError(
            f"image {path}: {size[0]} x {size[1]} pixels of {bits} bit need {expected:,} bytes, but only "
            f"{len(data):,} are there; the file is truncated: copy or export it again"
        )


def _check_stream(stream: bytes, size: tuple[int, int], dataset: Dataset, path: Path) -> None:
    """Refuse a compressed frame that states another size than the header, or is too short for it."""
    n_pixels, most = size[0] * size[1], _MOST_PIXELS_A_BYTE
    if dataset.file_meta.TransferSyntaxUID == RLELossless:  # states no size; two bytes repeat a byte 128 times
        n_pixels, most = n_pixels * int(dataset.get("BitsAllocated") or 0) // 8, 64
    else:
        stated = stated_size(stream)
        if stated != StatedSize(*size, samples=1):
            found = "states no size" if stated is None else f"is {stated}"
            raise ImageError(
                f"image {path}: the header says {size[0]} x {size[1]} pixels, but the compressed stream {found}; "
                "copy or export it again"
            )
        if is_cut(stream):
            raise ImageError(
                f"image {path}: its compressed stream of {len(stream):,} bytes has no end; the file is truncated: copy "
                "or export it again"
            )
    if n_pixels > max(_LARGE, most * len(stream)):
        raise ImageError(
            f"image {path}: {size[0]} x {size[1]} pixels are announced, but the compressed stream has only "
            f"{len(stream):,} bytes; the file is truncated, or holds no radiograph: copy or export it again"
        )


def _pixels(dataset: Dataset, path: Path) -> np.ndarray:
    """Take pixels through the transforms listed in the module's head."""
    dataset.pixel_array_options(correct_unused_bits=False)  # done below, for every syntax alike
    decoded = dataset.pixel_array
    if decoded.ndim != 2:
        raise ImageError(f"image {path}: decodes to shape {decoded.shape}, but one gray frame is read; export it again")
    stored = _stored_bits(decoded, dataset)
    padding = _padding(dataset, decoded, stored)
    low, high = _stored_range(dataset, stored)
    with np.errstate(over="ignore", invalid="ignore"):  # overflow becomes inf, which `Image` refuses by name
        if dataset.get("ModalityLUTSequence"):
            pixels = np.asarray(apply_modality_lut(stored, dataset)).astype(np.float32)
            ends = apply_modality_lut(np.array([low, high], dtype=stored.dtype), dataset).astype(np.float64)
            sum_of_ends = float(ends.sum())
        else:
            slope, intercept = rescale(dataset)
            pixels = stored.astype(np.float32)
            if (slope, intercept) != (1.0, 0.0):
                pixels *= np.float32(slope)
                pixels += np.float32(intercept)
            sum_of_ends = slope * (float(low) + float(high)) + 2 * intercept
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            np.subtract(np.float32(sum_of_ends), pixels, out=pixels)
    if padding is not None:
        pixels[padding] = np.nan
    return pixels[np.newaxis]


def _stored_bits(decoded: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Cut decoded values to BitsStored, and extend their sign.

    Bits above HighBit mean nothing (PS3.5, 8.1.1; old files keep overlays there), and compressed streams carry them
    along; streams of signed values may not know of the sign.
    """
    if decoded.dtype.kind == "f":
        return decoded
    n_bytes = decoded.dtype.itemsize
    dtype = np.dtype(f"{'i' if dataset.get('PixelRepresentation') else 'u'}{n_bytes}")
    values = decoded.view(dtype.newbyteorder(decoded.dtype.byteorder))
    unused = 8 * n_bytes - int(dataset.BitsStored)
    return values if unused <= 0 else np.asarray((values << unused) >> unused)


def _stored_range(dataset: Dataset, stored: np.ndarray) -> tuple[float, float]:
    """Return the ends of the range that stored values can take; for float pixels, that they do take."""
    if stored.dtype.kind == "f":
        return float(np.nanmin(stored)), float(np.nanmax(stored))
    bits = int(dataset.BitsStored)
    if dataset.get("PixelRepresentation"):
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _padding(dataset: Dataset, *pixels: np.ndarray) -> np.ndarray | None:
    """Where pixels are padding: as decoded, or as stored, since some padding values need bits above BitsStored."""
    ends = [_padding_value(dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    low, high = sorted((ends[0], ends[0] if ends[1] is None else ends[1]))
    masks = [np.asarray((values >= low) & (values <= high)) for values in pixels]
    mask = np.logical_or.reduce(masks)
    return mask if mask.any() else None


def _padding_value(dataset: Dataset, keyword: str) -> float | None:
    value = number(dataset.get(keyword))
    bits = int(dataset.get("BitsAllocated") or 0)
    # Scanners write the padding of signed pixels as unsigned (63536 for -2000).
    if value is not None and dataset.get("PixelRepresentation") and value >= 1 << (bits - 1):
        value -= 1 << bits
    return value
