"""Small MR scans as files: any volume and affine as a DICOM series, as an enhanced file, or as NIfTI."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def small_scan(seed: int = 0) -> np.ndarray:
    """Gray values of which no two planes are alike."""
    return np.random.default_rng(seed).integers(1, 2000, (26, 30, 28)).astype(np.uint16)


def affine_of(
    spacing: tuple[float, float, float] = (2.5, 2.2, 2.4), tilt: float = 0.0, order: str = "RAS"
) -> np.ndarray:
    """Affine of axes that run along the letters of `order`, turned by `tilt` degrees round the body's second axis."""
    directions = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    matrix = np.zeros((3, 3))
    for column, letter in enumerate(order):
        axis, sign = directions[letter]
        matrix[axis, column] = sign * spacing[column]
    a = np.radians(tilt)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ matrix
    affine[:3, 3] = (-80.0, 31.0, 12.0)
    return affine


def described(number: int, series: str = "1.2.3", **changes: Any) -> Dataset:
    """What a slice says beside its place and its pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, generate_uid(entropy_srcs=[series, str(number)])
    dataset.SeriesInstanceUID, dataset.PatientID, dataset.StudyDate = series, "S001", "20240315"
    dataset.Modality, dataset.SeriesDescription, dataset.Laterality = "MR", "SAG 3D DESS", "L"
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def place(dataset: Dataset, affine: np.ndarray, k: int) -> None:
    """Say where a slice lies."""
    in_dicom = LPS @ affine
    columns, rows = (np.linalg.norm(in_dicom[:3, axis]) for axis in (0, 1))
    dataset.PixelSpacing = [f"{rows:.6f}", f"{columns:.6f}"]
    directions = np.concatenate([in_dicom[:3, 0] / columns, in_dicom[:3, 1] / rows])
    dataset.ImageOrientationPatient = [f"{value:.8f}" for value in directions]
    dataset.ImagePositionPatient = [f"{value:.5f}" for value in in_dicom[:3, 3] + k * in_dicom[:3, 2]]


def write_series(folder: Path, voxels: np.ndarray, affine: np.ndarray, first: int = 0, **changes: Any) -> list[Path]:
    """Write each plane of the last axis as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(voxels.shape[2]):
        dataset = described(first + k, **changes)
        place(dataset, affine, k)
        pixels = np.ascontiguousarray(voxels[:, :, k].T)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelData = pixels.astype("<u2").tobytes()
        paths.append(folder / f"{first + k:04d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_enhanced(
    path: Path, voxels: np.ndarray, affine: np.ndarray, part: slice = slice(None), slopes: bool = False, **changes: Any
) -> None:
    """Write planes as frames of one file, the last plane first; with slopes, every other one stores half values."""
    dataset = described(0, SOPClassUID=EnhancedMRImageStorage, **changes)
    frames, planes = [], []
    for k in reversed(range(voxels.shape[2])[part]):
        whole, groups = Dataset(), Dataset()
        place(whole, affine, k)
        for name, keyword in (
            ("PlanePositionSequence", "ImagePositionPatient"),
            ("PlaneOrientationSequence", "ImageOrientationPatient"),
            ("PixelMeasuresSequence", "PixelSpacing"),
        ):
            item = Dataset()
            setattr(item, keyword, whole[keyword].value)
            setattr(groups, name, [item])
        slope = 1 + k % 2 if slopes else 1
        if slopes:
            groups.PixelValueTransformationSequence = [Dataset()]
            groups.PixelValueTransformationSequence[0].RescaleSlope = slope
        frames.append(groups)
        planes.append((np.ascontiguousarray(voxels[:, :, k].T) // slope).astype("<u2"))
    dataset.NumberOfFrames, dataset.PerFrameFunctionalGroupsSequence = len(frames), frames
    dataset.Rows, dataset.Columns = planes[0].shape
    dataset.PixelData = np.stack(planes).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write a NIfTI."""
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
