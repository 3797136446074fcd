"""Radiograph plates as files, for tests of every room."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian


def write_plate(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    """Write a 16-bit radiograph of 0.5 mm pixels as DICOM; keywords set elements, None removes one."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.name])
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    defaults = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientID": "P-17",
        "PatientName": "Doe^Jane",
        "ViewPosition": "PA",
        "ImagerPixelSpacing": [0.5, 0.5],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": pixels.astype("<u2").tobytes(),
    }
    for keyword, value in (defaults | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def region_with(code: str) -> Sequence:
    """An AnatomicRegionSequence of a knee whose modifier has a code."""
    modifier = item(CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning="a side")
    return Sequence([item(CodeValue="72696002", AnatomicRegionModifierSequence=Sequence([modifier]))])


def pixels_of(shape: tuple[int, int] = (400, 600), seed: int = 0) -> np.ndarray:
    """Noise in which every pixel has its place."""
    return np.random.default_rng(seed).integers(100, 60_000, shape, dtype=np.uint16)
