"""Small image files in real formats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian


@pytest.fixture(scope="session")
def pydicom_file() -> Callable[[str], Path]:
    """Path of a file that pydicom ships (nothing is downloaded)."""
    return lambda name: Path(pydicom.__file__).parent / "data" / "test_files" / name


@pytest.fixture
def make_dicom(tmp_path: Path) -> Callable[..., Path]:
    """Write an uncompressed monochrome DICOM file; keywords set elements, None removes one."""

    def make(stored: np.ndarray, *, name: str = "image.dcm", **elements: Any) -> Path:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        defaults = {
            "SOPClassUID": meta.MediaStorageSOPClassUID,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "Rows": stored.shape[0],
            "Columns": stored.shape[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": stored.dtype.itemsize * 8,
            "BitsStored": stored.dtype.itemsize * 8,
            "HighBit": stored.dtype.itemsize * 8 - 1,
            "PixelRepresentation": int(stored.dtype.kind == "i"),
            "PixelData": stored.astype(stored.dtype.newbyteorder("<")).tobytes(),
        }
        for keyword, value in (defaults | elements).items():
            if value is not None:
                setattr(dataset, keyword, value)
        if "PixelData" in dataset:
            dataset["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return make
