"""DESS-like scans of digital knees as files: a DICOM series, a NIfTI and the labels behind them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

import mris
from mris.cohort.workers import shown
from mris.errors import OutputError
from mris.images.header import Side
from mris.images.write import atomic_directory, check_writable_folder
from mris.knee.mr.appearance import draw_dess, rendered
from mris.knee.mr.dress import draw_dress, dressed
from mris.knee.mr.knee_shape import draw_shape
from mris.knee.mr.segment import NUMBERS, middle_of
from mris.knee.mr.shapes import LOWEST_MM, knee_labels
from mris.knee.mr.tissues import Tissue
from mris.knee.mr.volume_files import write_volume

STEP_MM = 0.7
_KNEE_APART_MM = 90.0
_BRIGHTEST = 1000.0


@dataclass(frozen=True, eq=False)
class PhantomScan:
    """A scan of a digital knee.

    Attributes:
        name: Subject and side, as ``mris segment`` reads them from a file's name.
        subject: Whose knee it is: nobody's.
        side: Which one.
        voxels: Gray values; the axes run right, anterior, superior.
        labels: Numbers of the preset ``nnunet_knee``.
        affine: Of both.
    """

    name: str
    subject: str
    side: Side
    voxels: UInt16[np.ndarray, "i j k"]
    labels: UInt8[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]


def phantom_scan(seed: int, number: int, step_mm: float = STEP_MM) -> PhantomScan:
    """Make one scan: even numbers are left knees, odd ones right. No two people of two seeds have one name.

    Args:
        seed: Of the set.
        number: Of the knee in it.
        step_mm: Edge of its cubic voxels.
    """
    rng = np.random.default_rng([seed, number, 3])
    tissues = dressed(knee_labels(draw_shape(rng), step_mm), step_mm, draw_dress(rng))
    voxels = rendered(tissues, (step_mm,) * 3, draw_dess(rng), rng)
    labels = numbered(tissues)
    subject, side = _who(seed, number)
    affine = np.diag([step_mm, step_mm, step_mm, 1.0])
    affine[:3, 3] = np.array(LOWEST_MM) + step_mm / 2
    affine[0, 3] -= _KNEE_APART_MM
    if side == "right":
        voxels, labels = voxels[::-1], labels[::-1]
        affine[0, 3] = -(affine[0, 3] + step_mm * (len(voxels) - 1))
    stored = np.round(np.clip(voxels * (_BRIGHTEST / 1.4), 0, 4095)).astype(np.uint16)
    return PhantomScan(_name(subject, side), subject, side, stored, np.ascontiguousarray(labels), affine)


def _who(seed: int, number: int) -> tuple[str, Side]:
    return f"D{seed}S{number:05d}" if seed else f"D{number:05d}", "right" if number % 2 else "left"


def _name(subject: str, side: Side) -> str:
    return f"{subject}_{side[0].upper()}"


def numbered(tissues: UInt8[np.ndarray, "i j k"]) -> UInt8[np.ndarray, "i j k"]:
    """Turn tissues of a left knee into `NUMBERS`; its medial plate is where the first axis is larger."""
    table = np.zeros(len(Tissue), np.uint8)
    for tissue in Tissue:
        table[tissue] = NUMBERS.get(tissue.name.lower(), 0)
    numbers = table[tissues]
    medial = np.arange(len(tissues)) > middle_of(tissues == Tissue.TIBIAL_CARTILAGE)
    for tissue, inner, outer in (
        (Tissue.TIBIAL_CARTILAGE, "medial_tibial_cartilage", "lateral_tibial_cartilage"),
        (Tissue.MENISCUS, "medial_meniscus", "lateral_meniscus"),
    ):
        side = np.where(medial, NUMBERS[inner], NUMBERS[outer]).astype(np.uint8)
        numbers = np.where(tissues == tissue, side[:, None, None], numbers)
    return np.asarray(numbers)


def write_phantom_scans(
    out: Path, n: int, seed: int, *, step_mm: float = STEP_MM, progress: bool = False
) -> Sequence[str]:
    """Write scans of digital knees.

    ``OUT/NAME`` holds ``dicom/*.dcm``, sagittal slices of one series, ``NAME.nii.gz``, the same, and
    ``NAME_labels.nii.gz``, what is behind it. A knee that is there is kept.

    Args:
        out: The folder.
        n: How many.
        seed: Knee 3 of a seed is the same in every set.
        step_mm: Edge of a voxel.
        progress: Show a bar on stderr.

    Returns:
        Names of the knees.

    Raises:
        OutputError: The folder cannot be written.
    """
    check_writable_folder(out)
    names = []
    for number in shown(range(n), "Making scans", n, progress):
        name = _name(*_who(seed, number))
        names.append(name)
        if (out / name).is_dir() and any((out / name).iterdir()):
            continue
        scan = phantom_scan(seed, number, step_mm)
        with atomic_directory(out / name) as folder:
            write_volume(folder / f"{name}.nii.gz", scan.voxels, scan.affine)
            write_volume(folder / f"{name}_labels.nii.gz", scan.labels, scan.affine)
            write_series(folder / "dicom", scan, seed)
    return names


def write_series(folder: Path, scan: PhantomScan, seed: int) -> None:
    """Write a scan as sagittal DICOM slices, head up and front to the left; equal arguments give equal bytes.

    Raises:
        OutputError: The folder cannot be written.
    """
    step = float(scan.affine[0, 0])
    first = scan.affine[:3, 3] + step * np.array([0, scan.voxels.shape[1] - 1, scan.voxels.shape[2] - 1])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, plane in enumerate(scan.voxels):
            dataset = _described(scan, seed, number, len(scan.voxels))
            dataset.PixelSpacing, dataset.SliceThickness = [f"{step:g}", f"{step:g}"], f"{step:g}"
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
            x, y, z = first + np.array([step * number, 0, 0])
            dataset.ImagePositionPatient = [f"{value:.4f}" for value in (-x, -y, z)]
            pixels = np.ascontiguousarray(plane[::-1, ::-1].T)
            dataset.Rows, dataset.Columns = pixels.shape
            dataset.PixelData = pixels.astype("<u2").tobytes()
            dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror}; free space, rights or another place help"
        ) from error


def _described(scan: PhantomScan, seed: int, number: int, n_slices: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    dataset.SyntheticData = "YES"
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = _uid(scan, seed, f"slice {number}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid(scan, seed, "study"), _uid(scan, seed, "series")
    dataset.FrameOfReferenceUID = _uid(scan, seed, "frame")
    dataset.StudyDate = dataset.SeriesDate = "20260101"
    dataset.StudyTime = "120000"
    dataset.ReferringPhysicianName = dataset.PatientName = dataset.PatientBirthDate = dataset.AccessionNumber = ""
    dataset.PatientID, dataset.PatientSex, dataset.PatientIdentityRemoved = scan.subject, "O", "YES"
    dataset.DeidentificationMethod = "digital phantom: there is no patient"
    dataset.Modality, dataset.Manufacturer, dataset.ManufacturerModelName = "MR", "mris", "digital knee phantom"
    dataset.SoftwareVersions = mris.__version__
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number + 1
    dataset.SeriesDescription = f"digital phantom, DESS-like, {scan.side}"
    dataset.BodyPartExamined, dataset.Laterality = "KNEE", scan.side[0].upper()
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "GR", "SS", ""
    dataset.MRAcquisitionType, dataset.EchoTime, dataset.EchoTrainLength = "3D", "5", 1
    dataset.ImagesInAcquisition = n_slices
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    return dataset


def _uid(scan: PhantomScan, seed: int, kind: str) -> UID:
    """UID of the form 2.25.<UUID>, the UUID made of a name (RFC 9562, version 5)."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'mris phantom MR {seed} {scan.name} {kind}').int}")
