"""Radiograph plates as files, for tests of every room."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from tests.dicom_sources import radiograph


def write_plate(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    """Write a 16-bit radiograph of 0.5 mm pixels as DICOM; keywords set elements, None removes one."""
    plain = {
        "SOPInstanceUID": generate_uid(entropy_srcs=[path.name]),
        "PatientID": "P-17",
        "PatientName": "Doe^Jane",
        "ViewPosition": "PA",
        "ImagerPixelSpacing": [0.5, 0.5],
    }
    radiograph(pixels.astype(np.uint16), **(plain | elements)).save_as(path, enforce_file_format=True)
    return path


def item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def region_with(*modifiers: str) -> Sequence:
    """An AnatomicRegionSequence of a knee whose modifiers have these codes."""
    items = [item(CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning="a side") for code in modifiers]
    return Sequence([item(CodeValue="72696002", AnatomicRegionModifierSequence=Sequence(items))])


def pixels_of(shape: tuple[int, int] = (400, 600), seed: int = 0) -> np.ndarray:
    """Noise in which every pixel has its place."""
    return np.random.default_rng(seed).integers(100, 60_000, shape, dtype=np.uint16)
