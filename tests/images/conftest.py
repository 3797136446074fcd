"""Small image files in real formats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from tests.dicom_sources import radiograph


@pytest.fixture(scope="session")
def pydicom_file() -> Callable[[str], Path]:
    """Path of a file that pydicom ships (nothing is downloaded)."""
    return lambda name: Path(pydicom.__file__).parent / "data" / "test_files" / name


@pytest.fixture
def make_dicom(tmp_path: Path) -> Callable[..., Path]:
    """Write an uncompressed monochrome DICOM file; keywords set elements, None removes one."""

    def make(stored: np.ndarray, *, name: str = "image.dcm", **elements: Any) -> Path:
        path = tmp_path / name
        radiograph(stored, **elements).save_as(path, enforce_file_format=True)
        return path

    return make
