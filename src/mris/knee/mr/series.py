"""Reads the MR scan of one knee: a folder of DICOM slices, an enhanced DICOM file, NIfTI, NRRD or MHA.

Slices are sorted by where they lie, not by number or name. Two echoes of one series become one picture, the root of the
mean of their squares, which keeps the bright of both as the combined picture of DESS does.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pydicom
from jaxtyping import Float, Float32
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from mris.errors import ImageError
from mris.images.dicom import read_dicom, read_elements
from mris.images.dicom_facts import find, named_sides, number
from mris.images.faults import library_faults_as_image_error
from mris.images.header import Side
from mris.images.image import usable_spacing
from mris.knee.mr.slices import Slice, Stack, Vector, require_knee_size, stack_of
from mris.knee.segmentation_files import SUFFIXES
from mris.knee.volume_file import MAX_VOXELS, read_grid
from mris.wording import counted

MOST_FILES = 5000
"""Files of a series; one with an image for each slice has some hundred."""

_LOCALIZERS = ("LOCALIZER", "SCOUT")
_MAP = re.compile(r"[TR][12][\W_]*(STAR|RHO)?[\W_]*MAP|(?<![A-Z])ADC(?![A-Z])")  # a HEAD COIL is no ADC
_WORDS = re.compile(r"[A-Z]+")
_SIDES: dict[str, Side] = {"RIGHT": "right", "RT": "right", "LEFT": "left", "LT": "left"}


@dataclass(frozen=True, eq=False)
class Scan:
    """The picture of one knee.

    Attributes:
        voxels: Gray values, finite; the axes as in the file.
        affine: Voxel index to world (right, anterior, superior), mm.
        origin: File or folder, for messages.
        side: Which knee it is, where the file says so.
        subject: Whose it is, where the file says so; else "".
        timepoint: Day of the scan, where the file says so; else "".
        notes: What was done that a reader should know.
    """

    voxels: Float32[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]
    origin: str
    side: Side | None = None
    subject: str = ""
    timepoint: str = ""
    notes: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxel centers along each axis, mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)


def read_scan(path: Path) -> Scan:
    """Read the MR scan of one knee.

    Args:
        path: A folder that holds the DICOM files of one series (and nothing of another), an enhanced DICOM file, or a
            ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.

    Raises:
        ImageError: There is none, it is damaged or truncated, no MR picture in gray, a localizer, a map of T2, a series
            over time, or no volume: slices missing, doubled or in several directions; or not a knee by its size.
    """
    if path.is_file() and path.name.lower().endswith(SUFFIXES):
        return _read_volume(path)
    return _read_series(dicom_files(path), str(path))


def dicom_files(path: Path) -> tuple[Path, ...]:
    """The DICOM files that a scan is read from: those of a folder, hidden ones left out, or itself.

    Raises:
        ImageError: There is none, it holds no file or more than `MOST_FILES`, or one cannot be read.
    """
    if not path.exists():
        raise ImageError(f"scan {path}: there is no such file or folder")
    inside = (one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
    files = [path] if path.is_file() else list(islice(inside, MOST_FILES + 1))
    if not files or len(files) > MOST_FILES:
        found = f"more than {MOST_FILES:,}" if files else "0"
        raise ImageError(f"scan {path}: holds {found} files; give the folder of one series")
    return tuple(sorted(one for one in files if _is_dicom(one)))


def _is_dicom(path: Path) -> bool:
    with _faults_of(path), path.open("rb") as file:
        return file.read(132).endswith(b"DICM") or path.suffix.lower() == ".dcm"


def _faults_of(path: Path) -> AbstractContextManager[None]:
    return library_faults_as_image_error(path, "DICOM", InvalidDicomError, BytesLengthException)


def _read_volume(path: Path) -> Scan:
    voxels, affine = read_grid(path, "scan")
    if voxels.dtype.kind == "b" or (voxels.dtype.kind in "iu" and int(voxels.max()) - int(voxels.min()) < 16):
        raise ImageError(
            f"scan {path}: holds {len(np.unique(voxels))} values, as labels do; give the MR picture itself"
        )
    require_knee_size(np.array(voxels.shape) * np.linalg.norm(affine[:3, :3], axis=0), str(path))
    return Scan(_finite(voxels.astype(np.float32), str(path)), affine, str(path))


def _finite(voxels: Float32[np.ndarray, "i j k"], origin: str) -> Float32[np.ndarray, "i j k"]:
    known = np.isfinite(voxels)
    if not known.all():
        voxels = np.where(known, voxels, voxels[known].min() if known.any() else np.float32(0))
    if float(voxels.max()) == float(voxels.min()):
        raise ImageError(f"scan {origin}: all of its voxels are {float(voxels.max()):g}; copy or export it again")
    return voxels


def _read_series(files: tuple[Path, ...], origin: str) -> Scan:
    series: dict[str, list[Dataset]] = defaultdict(list)
    paths: dict[int, Path] = {}
    for path in files:
        with _faults_of(path):
            found = read_elements(path)
            if found.get("Rows") is not None:
                series[str(found.get("SeriesInstanceUID") or "")].append(found)
                paths[id(found)] = path
    if not series:
        raise ImageError(f"scan {origin}: holds no DICOM image; give the folder of one series, or a .nii.gz or .nrrd")
    if len(series) > 1:
        told = "; ".join(
            f"{counted(len(of), 'file')} {_shown(of[0].get('SeriesDescription'))}" for of in series.values()
        )
        raise ImageError(f"scan {origin}: holds {len(series)} series ({told[:160]}); give the folder of one of them")
    headers = next(iter(series.values()))
    slices: list[Slice] = []
    for header in headers:
        path = paths[id(header)]
        with _faults_of(path):  # values are decoded when they are asked for
            _require_mr(header, path)
            slices += _slices(header, path)
    stack = stack_of(slices, origin)
    scan = _pixels(stack, origin)
    with _faults_of(paths[id(headers[0])]):
        scan = _with_identity(scan, headers[0])
        expected = int(number(headers[0].get("ImagesInAcquisition")) or 0)
    n_slices = len(slices) - stack.n_copies
    if n_slices < expected:
        short = f"{n_slices} of the {expected} images that its header announces are there: slices may be missing"
        scan = replace(scan, notes=(*scan.notes, short))
    return scan


def _require_mr(header: Dataset, path: Path) -> None:
    modality = str(header.get("Modality") or "")
    if modality != "MR":
        raise ImageError(f"scan {path}: its Modality is {_shown(modality)}, but MR is read; give the MR series")
    samples, photometric = int(header.get("SamplesPerPixel") or 1), str(header.get("PhotometricInterpretation") or "")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageError(f"scan {path}: is in color ({_shown(photometric)}), a picture of a result; give the MR series")
    kinds = [str(one).upper() for one in header.get("ImageType") or ()]
    if any(word in kind for kind in kinds for word in _LOCALIZERS):
        raise ImageError(f"scan {path}: is a localizer; give the series of a volume, such as DESS")
    told = [*kinds, str(header.get("SeriesDescription") or "").upper()]
    if any(map(_MAP.search, told)):
        raise ImageError(f"scan {path}: is a map of relaxation ({_shown(told[-1])}); give a series for anatomy")


def _shown(value: Any) -> str:
    text = "".join(sign if sign.isprintable() else "?" for sign in str(value or "without a name"))
    return repr(text[:40])


def _slices(header: Dataset, path: Path) -> Iterator[Slice]:
    n_frames = int(number(header.get("NumberOfFrames")) or 1)
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if n_frames > 1 and (per_frame is None or len(per_frame) != n_frames):
        raise ImageError(
            f"scan {path}: has {n_frames} frames, and does not say of each where it lies; export it as enhanced MR, or "
            "as one file a slice"
        )
    if n_frames > 1 and header.PhotometricInterpretation != "MONOCHROME2":
        raise ImageError(f"scan {path}: its frames are inverted (MONOCHROME1); export it as MONOCHROME2")
    for frame, groups in enumerate(islice(per_frame or (None,), n_frames)):
        yield replace(_slice(header, groups, path), frame=frame, n_frames=n_frames)


def _told(header: Dataset, groups: Dataset | None, keyword: str) -> Any:
    """What a header says of one frame, in the functional groups of that or for all."""
    for item in groups or ():
        if item.VR == "SQ" and item.value and keyword in item.value[0]:
            return item.value[0][keyword].value
    return find(header, keyword)


def _slice(header: Dataset, groups: Dataset | None, path: Path) -> Slice:
    told = partial(_told, header, groups)
    position, axes = _numbers(told("ImagePositionPatient"), 3), _numbers(told("ImageOrientationPatient"), 6)
    spacing = usable_spacing(told("PixelSpacing"))
    if position is None or axes is None or spacing is None:
        raise ImageError(
            f"scan {path}: its header does not say where its slices lie (position, orientation and pixel spacing); "
            "export the series as it left the scanner"
        )
    echo = number(told("EffectiveEchoTime")) or number(told("EchoTime")) or 0.0
    uid = str(header.get("SOPInstanceUID") or "")
    return Slice(
        file=path,
        position=cast(Vector, tuple(position)),
        row=cast(Vector, tuple(axes[:3])),
        column=cast(Vector, tuple(axes[3:])),
        spacing=spacing,
        size=(int(number(header.get("Rows")) or 0), int(number(header.get("Columns")) or 0)),
        echo=(round(echo, 2), number(told("EchoNumbers")) or 0.0),
        identity=uid,
    )


def _numbers(value: Any, n: int) -> list[float] | None:
    try:
        numbers = [float(one) for one in value]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == n and np.isfinite(numbers).all() else None


def _pixels(stack: Stack, origin: str) -> Scan:
    pictures = []
    for echo in stack.echoes:
        voxels = np.empty(stack.shape, np.float32)
        files: dict[Path, list[int]] = defaultdict(list)
        for k, one in enumerate(echo):
            files[one.file].append(k)
        for path, places in files.items():
            planes = _frames(path) if echo[places[0]].n_frames > 1 else read_dicom(path).pixels
            for k in places:
                voxels[:, :, k] = planes[echo[k].frame].T
        pictures.append(voxels)
    voxels, notes = pictures[0], []
    if len(pictures) == 2:
        voxels = np.sqrt((voxels**2 + pictures[1] ** 2) / 2)
        notes.append("two echoes were combined: the root of the mean of their squares")
    if stack.n_copies:
        notes.append(f"{counted(stack.n_copies, 'file')} of a slice that was there already, left out")
    return Scan(_finite(voxels, origin), stack.affine, origin, notes=tuple(notes))


def _frames(path: Path) -> Float32[np.ndarray, "frames rows columns"]:
    """All frames of an enhanced file, in gray values."""
    with _faults_of(path):
        dataset = pydicom.dcmread(path, force=True)
        n_frames, shape = int(number(dataset.get("NumberOfFrames")) or 1), (int(dataset.Rows), int(dataset.Columns))
        n_pixels = n_frames * shape[0] * shape[1]
        found, bits = len(dataset.get("PixelData") or b""), int(dataset.get("BitsAllocated") or 16)
        if n_pixels > MAX_VOXELS:
            raise ImageError(f"scan {path}: {n_pixels:,} pixels, more than the {MAX_VOXELS:,} that are read")
        if not dataset.file_meta.TransferSyntaxUID.is_encapsulated and found < n_pixels * bits // 8:
            raise ImageError(
                f"scan {path}: {n_frames} frames need {n_pixels * bits // 8:,} bytes, but {found:,} are there; it "
                "is truncated: copy or export it again"
            )
        decoded = dataset.pixel_array.reshape(n_frames, *shape).astype(np.float32)
        for frame, groups in zip(decoded, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            frame *= np.float32(number(_told(dataset, groups, "RescaleSlope")) or 1.0)
            frame += np.float32(number(_told(dataset, groups, "RescaleIntercept")) or 0.0)
    return np.asarray(decoded)


def _with_identity(scan: Scan, header: Dataset) -> Scan:
    sides = {one for _, named in named_sides(header) for one in named}
    for keyword in ("SeriesDescription", "ProtocolName", "BodyPartExamined", "StudyDescription"):
        words = _WORDS.findall(str(header.get(keyword) or "").upper())
        sides |= {_SIDES[word] for word in words if word in _SIDES}
    side = sides.pop() if len(sides) == 1 else None
    day = str(header.get("StudyDate") or header.get("SeriesDate") or "")
    subject = "".join(sign for sign in str(header.get("PatientID") or "") if sign.isprintable()).strip()
    return replace(scan, side=side, subject=subject, timepoint=_day(day))


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat() if re.fullmatch(r"\d{8}", text) else ""
    except ValueError:
        return ""
