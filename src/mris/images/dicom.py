"""DICOM: one monochrome frame, in the order of transforms that the standard lays down.

1. Decode the transfer syntax (native, deflated, RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K).
2. Take BitsStored bits and the sign of PixelRepresentation.
3. Pixel padding (PixelPaddingValue, PixelPaddingRangeLimit) becomes NaN: it is no signal.
4. Modality transform: ModalityLUTSequence, else RescaleSlope and RescaleIntercept.
5. MONOCHROME1 (smallest is white) is inverted within the range that stored values can take, so that larger is
   brighter in every image.

Windows and other display transforms (VOI, presentation) are not applied: they are choices of a viewer.
"""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.errors
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_modality_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mris.errors import ImageError
from mris.images.codestream import stated_size
from mris.images.image import Image, Spacing, check_pixel_count, side_name, usable_spacing

_FAULTS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    AssertionError,
    LookupError,
    StopIteration,
    struct.error,
    zlib.error,
    pydicom.errors.InvalidDicomError,
    pydicom.errors.BytesLengthException,
)
"""What pydicom and its decoders raise on damaged files."""

_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_LARGEST_INFLATED = 1 << 30


def read_dicom(path: Path) -> Image:
    """Read a DICOM file of one monochrome frame.

    Spacing: PixelSpacing; else ImagerPixelSpacing, divided by EstimatedRadiographicMagnificationFactor where that is
    given (the spacing at the patient, not at the detector); else NominalScannedPixelSpacing. Laterality:
    ImageLaterality, else Laterality. See the module for the order of pixel transforms.

    Raises:
        ImageError: If the file is damaged, truncated, colored, has several frames or no pixels, or cannot be decoded.
    """
    try:
        header = _read(path, stop_before_pixels=True)
        _check_header(header, path)
        dataset = _read(path, stop_before_pixels=False)
        _check_body(dataset, path)
        pixels = _pixels(dataset, path)
        spacing, laterality = _spacing(dataset), _laterality(dataset)
    except _FAULTS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"image {path}: cannot be read as DICOM: {reason}; export it again") from error
    return Image(pixels, spacing=spacing, origin=str(path), laterality=laterality)


def _read(path: Path, *, stop_before_pixels: bool) -> Dataset:
    _check_deflated(path)
    with path.open("rb") as file:
        has_preamble = file.read(132)[128:] == b"DICM"
    return pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, force=not has_preamble)


def _check_deflated(path: Path) -> None:
    """pydicom inflates a deflated file whole; refuse one that inflates beyond any image."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return
        file.seek(0)
        meta = pydicom.filereader.read_preamble(file, force=False)
        meta = pydicom.filereader._read_file_meta_info(file)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        total = 0
        while piece := file.read(1 << 20):
            while piece:
                total += len(inflater.decompress(piece, 1 << 24))
                piece = inflater.unconsumed_tail
                if total > _LARGEST_INFLATED:
                    raise ImageError(
                        f"image {path}: inflates to more than {_LARGEST_INFLATED:,} bytes; export it again"
                    )


def _check_header(header: Dataset, path: Path) -> None:
    rows, columns = (header.get(keyword) for keyword in ("Rows", "Columns"))
    if rows is None and columns is None:
        raise ImageError(f"image {path}: this DICOM file holds no image (no Rows, Columns); name an image file")
    if not rows or not columns:
        raise ImageError(f"image {path}: Rows is {rows!r} and Columns {columns!r}; both must be positive")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(f"image {path}: holds {frames} frames; one is read: export the one you want")
    photometric = str(header.get("PhotometricInterpretation", ""))
    samples = int(header.get("SamplesPerPixel") or 1)
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1:
        raise ImageError(
            f"image {path}: PhotometricInterpretation is {photometric or 'missing'!r} with {samples} sample(s) a pixel; "
            "MONOCHROME1 and MONOCHROME2 with one are read: export it as gray"
        )
    check_pixel_count(int(rows) * int(columns), str(path))


def _check_body(dataset: Dataset, path: Path) -> None:
    keyword = next((keyword for keyword in _PIXEL_KEYWORDS if dataset.get(keyword)), None)
    if keyword is None:
        raise ImageError(f"image {path}: this DICOM file has no pixel data; name an image file")
    data = dataset[keyword].value
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    meta = getattr(dataset, "file_meta", None)
    syntax = None if meta is None else meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_compressed and not syntax.is_deflated:
        size = stated_size(next(iter(generate_frames(data, number_of_frames=1)), b""))
        if size is not None and size != (rows, columns):
            raise ImageError(
                f"image {path}: the compressed stream is {size[0]} x {size[1]} pixels, but the header says "
                f"{rows} x {columns}; export it again"
            )
        return
    bits = {"PixelData": dataset.get("BitsAllocated"), "FloatPixelData": 32, "DoubleFloatPixelData": 64}[keyword]
    expected = (rows * columns * int(bits or 0) + 7) // 8
    if len(data) < expected:
        raise ImageError(
            f"image {path}: {rows} x {columns} pixels of {bits} bit need {expected:,} bytes, but only {len(data):,} are "
            "there; the file is truncated: copy or export it again"
        )


def _pixels(dataset: Dataset, path: Path) -> np.ndarray:
    stored = dataset.pixel_array
    if stored.ndim != 2:
        raise ImageError(f"image {path}: decodes to shape {stored.shape}, but one gray frame is read; export it again")
    padding = _padding(dataset, stored)
    low, high = _stored_range(dataset, stored)
    if dataset.get("ModalityLUTSequence"):
        table = np.asarray(apply_modality_lut(np.array([low, high]), dataset))
        pixels = np.asarray(apply_modality_lut(stored, dataset)).astype(np.float32)
        ends = float(table.min()) + float(table.max())
    else:
        slope, intercept = _rescale(dataset)
        pixels = stored.astype(np.float32)
        pixels *= np.float32(slope)
        pixels += np.float32(intercept)
        ends = slope * (low + high) + 2 * intercept
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        np.subtract(np.float32(ends), pixels, out=pixels)
    if padding is not None:
        pixels[padding] = np.nan
    return pixels[np.newaxis]


def _stored_range(dataset: Dataset, stored: np.ndarray) -> tuple[float, float]:
    """Ends of the range that stored values can take; for float pixels, that they do take."""
    if stored.dtype.kind == "f":
        return float(stored.min()), float(stored.max())
    bits = int(dataset.BitsStored)
    if dataset.get("PixelRepresentation"):
        return float(-(1 << (bits - 1))), float((1 << (bits - 1)) - 1)
    return 0.0, float((1 << bits) - 1)


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray | None:
    value = _number(dataset.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = _number(dataset.get("PixelPaddingRangeLimit"))
    low, high = sorted((value, value if limit is None else limit))
    mask = np.asarray((stored >= low) & (stored <= high))
    return mask if mask.any() else None


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = _number(_find(dataset, "RescaleSlope")), _number(_find(dataset, "RescaleIntercept"))
    # A slope of 0 would erase the image; it is a known fault of exporters and means "none".
    return slope or 1.0, intercept or 0.0


def _spacing(dataset: Dataset) -> Spacing | None:
    spacing = usable_spacing(_find(dataset, "PixelSpacing"))
    if spacing is not None:
        return spacing
    spacing = usable_spacing(dataset.get("ImagerPixelSpacing"))
    if spacing is not None:
        magnification = _number(dataset.get("EstimatedRadiographicMagnificationFactor"))
        factor = magnification if magnification is not None and magnification > 0 else 1.0
        return spacing[0] / factor, spacing[1] / factor
    return usable_spacing(dataset.get("NominalScannedPixelSpacing"))


def _laterality(dataset: Dataset) -> str | None:
    for keyword in ("ImageLaterality", "Laterality"):
        side = side_name(str(dataset.get(keyword) or ""))
        if side in ("left", "right"):
            return side
    return None


def _find(dataset: Dataset, keyword: str) -> Any:
    """Look an element up in the data set, then in the functional groups of an enhanced image's only frame."""
    if keyword in dataset:
        return dataset[keyword].value
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for item in dataset.get(groups) or ():
            for element in item:
                if element.VR == "SQ" and element.value and keyword in element.value[0]:
                    return element.value[0][keyword].value
    return None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
