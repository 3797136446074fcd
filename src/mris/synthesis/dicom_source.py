"""Patient and study of a DICOM source: what the objects that are derived from it take over."""

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.valuerep import DA, TM

from mris.errors import ImageError
from mris.images.faults import library_faults_as_image_error

PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)
"""Elements of the modules Patient, General Study, Patient Study, Clinical Trial Subject and Study that are copied."""

_EMPTY_IF_ABSENT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_EMPTY_IN_A_TRIAL = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_REFERENCE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_READ = (*PATIENT_AND_STUDY, *_REFERENCE, "BodyPartExamined", "BurnedInAnnotation", "SpecificCharacterSet")


@dataclass(frozen=True, eq=False)
class SourceHeader:
    """What a derived object needs of its source.

    Attributes:
        patient_and_study: The elements of `PATIENT_AND_STUDY` that the source has, those that every object needs
            added empty; text in UTF-8.
        sop_class_uid: Kind of the source.
        sop_instance_uid: The source itself.
        series_instance_uid: Its series.
        body_part: BodyPartExamined, "" where absent.
        burned_in: BurnedInAnnotation: "YES" where its pixels identify the patient, "NO", or "" where it does not say.
        notes: What had to be left out, without the values.
    """

    patient_and_study: Dataset
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    body_part: str
    burned_in: str
    notes: tuple[str, ...]

    @property
    def study_instance_uid(self) -> str:
        """The study that source and derived objects share."""
        return str(self.patient_and_study.StudyInstanceUID)


@dataclass(frozen=True, eq=False)
class DerivedFrom:
    """Whom and what an object is of.

    Attributes:
        source: Header of the source.
        side: Side of the body, or None.
        mirrored: Whether the prepared source, and so the source's picture, is mirrored left to right.
        created: When the objects are made.
    """

    source: SourceHeader
    side: str | None = None
    mirrored: bool = False
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))


def read_source_header(path: Path) -> SourceHeader:
    """Read patient, study and identity of a DICOM image; pixels are not read.

    A value that the standard does not allow (a date that is none, an unknown sex) is left empty and noted.

    Args:
        path: The DICOM file of the source.

    Raises:
        ImageError: The file is no DICOM, or does not say which study, series and instance it is.
    """
    try:
        with library_faults_as_image_error(path, "DICOM", BytesLengthException):
            found = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=list(_READ), force=path.suffix.lower() == ".dcm"
            )
            found.decode()
    except InvalidDicomError as error:
        raise ImageError(
            f"image {path}: is no DICOM file, so DICOM results have no patient and study; leave out --dicom, or give "
            "the DICOM original"
        ) from error
    missing = [keyword for keyword in _REFERENCE if not str(found.get(keyword) or "").strip()]
    if missing:
        raise ImageError(
            f"image {path}: its header lacks {', '.join(missing)}, so DICOM results cannot refer to it; export it "
            "again from the archive, or leave out --dicom"
        )
    kept, notes = Dataset(), []
    required = _EMPTY_IF_ABSENT + (_EMPTY_IN_A_TRIAL if "ClinicalTrialSponsorName" in found else ())
    kept.SpecificCharacterSet = "ISO_IR 192"
    for keyword in PATIENT_AND_STUDY:
        value = found.get(keyword)
        if value is None or not _is_allowed(keyword, value):
            if value is not None:
                notes.append(f"{keyword} of {path.name} is no value that DICOM allows; it is left empty")
            value = "" if keyword in required else None
        if value is not None:
            setattr(kept, keyword, value)
    return SourceHeader(
        patient_and_study=kept,
        sop_class_uid=str(found.SOPClassUID),
        sop_instance_uid=str(found.SOPInstanceUID),
        series_instance_uid=str(found.SeriesInstanceUID),
        body_part=str(found.get("BodyPartExamined") or ""),
        burned_in=_yes_or_no(found.get("BurnedInAnnotation")),
        notes=tuple(notes),
    )


def identifiers_in(name: str, header: SourceHeader) -> tuple[str, ...]:
    """Keywords of those identifiers of a source that a file's name holds; shorter ones than three signs are no sign.

    Args:
        name: Of a file, or its beginning.
        header: Of the source.
    """
    of = header.patient_and_study
    values = {
        "PatientName": re.split(r"[\^=\s]+", str(of.PatientName)),
        "PatientID": [str(of.PatientID)],
        "AccessionNumber": [str(of.AccessionNumber)],
        "StudyInstanceUID": [header.study_instance_uid],
        "SeriesInstanceUID": [header.series_instance_uid],
        "SOPInstanceUID": [header.sop_instance_uid],
    }
    found = name.casefold()
    return tuple(
        keyword for keyword, texts in values.items() if any(len(t) > 2 and t.casefold() in found for t in texts)
    )


def dicom_names(stem: str) -> tuple[str, str]:
    """Names of the Secondary Capture and the Parametric Map of a query.

    Example:
        >>> dicom_names("knee")
        ('knee_capture.dcm', 'knee_map.dcm')
    """
    return f"{stem}_capture.dcm", f"{stem}_map.dcm"


def _yes_or_no(value: Any) -> str:
    text = str(value or "").strip().upper()
    return text if text in ("YES", "NO") else ""


def _is_allowed(keyword: str, value: Any) -> bool:
    if keyword == "PatientSex":
        return str(value) in ("", "M", "F", "O")
    if keyword in ("PatientBirthDate", "StudyDate"):
        return _parses(DA, value)
    if keyword == "StudyTime":
        return _parses(TM, value)
    if keyword in ("PatientSize", "PatientWeight"):
        return isinstance(value, float | int)
    return isinstance(value, str) or keyword.endswith("Name") or keyword == "PatientID"


def _parses(kind: Callable[[str], datetime.date | datetime.time | None], value: Any) -> bool:
    try:
        kind(str(value))
    except ValueError:
        return False
    return True
