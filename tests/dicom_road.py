"""From a DICOM file to both objects, as ``mris synthesize --knees detect --dicom`` goes, with a map that is given.

The picture of the capture is left out: nothing of a header is in it, and drawing takes longer than all the rest.
"""

import warnings
import zlib
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pydicom
from pydicom.uid import UID
from tests.tiny_synthesis import tiny_synthesis
from tests.validators import dciodvfy_errors

from mris.errors import ImageError
from mris.images.image import Image
from mris.images.read import read_image
from mris.knee.anatomy import KNEE
from mris.knee.joint_detector import JointDetection
from mris.knee.knee_finder import KneeFinder
from mris.serving.dicom_files import encoded_dicom_objects, write_dicom_objects
from mris.serving.dicom_source import DerivedFrom, SourceHeader, read_source_header
from mris.serving.queries import FileQuery, queries_of

SALT = b"a salt of 16 bytes or more"


def objects_of(path: Path, folder: Path) -> str:
    """Make and check the objects of a file, of every other one de-identified; "made of ...", or the reason why not.

    Raises:
        AssertionError: A reason is not one clear line, a library warned, or an object is not what it must be.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        try:
            query, header = _query(path), read_source_header(path)
            salt = SALT if zlib.crc32(path.read_bytes()) % 2 else None
            encoded = _made(query, header, salt)
        except ImageError as error:
            assert str(path) in str(error) and str(error).isprintable(), f"an unclear line: {error}"
            return str(error)
    assert not warned, f"a warning of a library: {warned[0].message}"
    assert all(note.isprintable() for note in header.notes), f"an unclear note: {header.notes}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for written in write_dicom_objects(folder, encoded):
            _check(pydicom.dcmread(written), header, salt)
            errors = dciodvfy_errors(written)
            assert not errors or any("it is kept" in note for note in header.notes), f"dciodvfy: {errors}"
    return "made of the whole picture" if query.facts.center is None else f"made of a {query.facts.side} knee"


def _query(path: Path) -> FileQuery:
    """The last knee of a plate, else the whole file."""
    image = read_image(path)
    try:
        return queries_of(image, path, "knee", finder=KneeFinder(detector=_two_where_there_is_room))[-1]
    except ImageError as error:
        assert str(path) in str(error) and str(error).isprintable(), f"an unclear line: {error}"
        return queries_of(image, path, "knee")[0]


def _two_where_there_is_room(plate: Image) -> list[JointDetection]:
    (rows, columns), spacing = plate.size, plate.spacing
    places = (1 / 4, 3 / 4) if spacing is not None and columns * spacing[1] > 180 else (1 / 2,)
    return [JointDetection((rows / 2, columns * place), 1.0) for place in places]


def _made(query: FileQuery, header: SourceHeader, salt: bytes | None) -> dict[str, bytes]:
    synthesis = tiny_synthesis()
    picture = np.zeros((8, 8, 3), np.uint8)
    with patch("mris.serving.dicom_objects.capture_pixels", return_value=picture):
        derived = DerivedFrom(header, query.facts.side, anatomy=KNEE)
        source = np.zeros((1, 8, 8), np.float32)
        return encoded_dicom_objects("knee", synthesis, derived, (synthesis.image[None],), source, salt=salt)


def _check(read: pydicom.Dataset, header: SourceHeader, salt: bytes | None) -> None:
    of = header.patient_and_study
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber", "StudyDescription"):
        assert salt or str(read.get(keyword) or "") == str(of.get(keyword) or ""), f"{keyword} is not the source's"
    if salt is not None:
        known = UID(header.study_instance_uid).name != header.study_instance_uid  # of DICOM itself: nobody's
        assert read.StudyInstanceUID != header.study_instance_uid or known, "the study is not replaced"
