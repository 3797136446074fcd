"""DICOM files as those of the images."""

from tests.images.conftest import make_dicom, pydicom_file

__all__ = ["make_dicom", "pydicom_file"]
