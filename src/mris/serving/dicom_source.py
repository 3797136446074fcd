"""Patient and study of a DICOM source: what the objects that are derived from it take over."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from mris.errors import ImageError
from mris.images.admission import ANY
from mris.images.anatomy import Anatomy
from mris.images.faults import library_faults_as_image_error
from mris.serving.dicom_values import allowed_texts, texts_of

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
_TRIAL_SUBJECT = (
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
_EMPTY_IN_A_TRIAL = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_REFERENCE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_IDENTIFYING = (
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)
_VALUES = (*(key for key in PATIENT_AND_STUDY if key not in _REFERENCE), "BodyPartExamined", "BurnedInAnnotation")
_READ = (*_VALUES, *_REFERENCE, "SpecificCharacterSet")


@dataclass(frozen=True, eq=False)
class SourceHeader:
    """What a derived object needs of its source.

    Attributes:
        path: Its file.
        patient_and_study: The elements of `PATIENT_AND_STUDY` that the source has with a value that DICOM allows,
            those that every object needs added empty; text in UTF-8.
        sop_class_uid: Kind of the source.
        sop_instance_uid: The source itself.
        series_instance_uid: Its series.
        body_part: BodyPartExamined, "" where absent.
        burned_in: BurnedInAnnotation: "YES" where its pixels identify the patient, "NO", or "" where it does not say.
        identifiers: By keyword what tells whom and what the source is of, allowed or not; of a name its words.
        notes: What had to be left out, without the values.
    """

    path: Path
    patient_and_study: Dataset
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    body_part: str
    burned_in: str
    identifiers: Mapping[str, tuple[str, ...]]
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
        anatomy: The part of the body that the source may show.
        created: When the objects are made.
    """

    source: SourceHeader
    side: str | None = None
    mirrored: bool = False
    anatomy: Anatomy = ANY
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))


def read_source_header(path: Path) -> SourceHeader:
    """Read patient, study and identity of a DICOM image; pixels are not read.

    A value that the standard does not allow (a date that is none, an unknown sex, a number that is too long) is left
    empty and noted. So is a UID of a wrong form, but it is kept: without it the objects could not refer to the source.

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
            uids, wrong_uids = _uids(found, path)
            allowed, wrong = _values(found)
            values, halves = _without_halves(allowed, path)
            notes = [
                *(_note(keyword, path, "kept, since the results must refer to it") for keyword in wrong_uids),
                *(_note(key, path, "left empty" if key in _EMPTY_IF_ABSENT else "left out") for key in wrong),
                *halves,
            ]
            identifiers = _identifiers(found)
            patient_and_study = _patient_and_study(values | {"StudyInstanceUID": (uids["StudyInstanceUID"],)})
    except InvalidDicomError as error:
        raise ImageError(
            f"image {path}: is no DICOM file, so DICOM results have no patient and study; leave out --dicom, or give "
            "the DICOM original"
        ) from error
    return SourceHeader(
        path=path,
        patient_and_study=patient_and_study,
        sop_class_uid=uids["SOPClassUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        body_part=values.get("BodyPartExamined", ("",))[0],
        burned_in=values.get("BurnedInAnnotation", ("",))[0],
        identifiers=identifiers,
        notes=tuple(notes),
    )


def identifiers_in(name: str, header: SourceHeader) -> tuple[str, ...]:
    """Keywords of those identifiers of a source that a file's name holds; shorter ones than three signs are no sign.

    Args:
        name: Of a file, or its beginning.
        header: Of the source.
    """
    found = name.casefold()
    return tuple(
        keyword
        for keyword, texts in header.identifiers.items()
        if any(len(text) > 2 and text.casefold() in found for text in texts)
    )


def _note(keyword: str, path: Path, done: str) -> str:
    return f"{keyword} of {path.name} is no value that DICOM allows; it is {done}"


def _uids(found: Dataset, path: Path) -> tuple[dict[str, str], list[str]]:
    """What the objects refer to, and which of these UIDs have a wrong form.

    Raises:
        ImageError: One is missing, or there are several for one.
    """
    uids, missing, wrong = {}, [], []
    for keyword in _REFERENCE:
        try:
            (uids[keyword],) = texts_of(found, keyword)
        except ValueError:
            missing.append(keyword)
            continue
        try:
            allowed_texts(found, keyword)
        except ValueError:
            wrong.append(keyword)
    if missing:
        raise ImageError(
            f"image {path}: its header lacks {', '.join(missing)}, or has several, so DICOM results cannot refer to "
            "it; export it again from the archive, or leave out --dicom"
        )
    return uids, wrong


def _values(found: Dataset) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The allowed values by keyword, and the keywords of elements whose values are not."""
    values, wrong = {}, []
    for keyword in _VALUES:
        try:
            texts = allowed_texts(found, keyword)
        except ValueError:
            wrong.append(keyword)
        else:
            if texts:
                values[keyword] = texts
    return values, wrong


def _identifiers(found: Dataset) -> dict[str, tuple[str, ...]]:
    identifiers: dict[str, tuple[str, ...]] = {}
    for keyword in _IDENTIFYING:
        try:
            texts = texts_of(found, keyword)
        except ValueError:
            continue
        words = (word for text in texts for word in re.split(r"[\^=\s]+", text))
        identifiers[keyword] = tuple(words) if keyword == "PatientName" else texts
    return identifiers


def _without_halves(values: Mapping[str, tuple[str, ...]], path: Path) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The values without those that DICOM does not allow where another is not there, and notes on these."""
    halves: set[str] = set()
    notes = []
    subject = {keyword for keyword in _TRIAL_SUBJECT if keyword in values}
    needed = [key for key in ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID") if key not in values]
    if not {"ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"} & subject:
        needed.append("ClinicalTrialSubjectID")
    if subject and needed:
        notes.append(f"the clinical trial of {path.name} lacks {', '.join(needed)}; it is left out")
        halves |= subject
    if values.get("PatientIdentityRemoved") == ("YES",) and "DeidentificationMethod" not in values:
        notes.append(f"PatientIdentityRemoved of {path.name} has no DeidentificationMethod beside it; it is left out")
        halves.add("PatientIdentityRemoved")
    return {keyword: texts for keyword, texts in values.items() if keyword not in halves}, notes


def _patient_and_study(values: Mapping[str, tuple[str, ...]]) -> Dataset:
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    required = {*_EMPTY_IF_ABSENT}
    if "ClinicalTrialSponsorName" in values:
        required |= {*_EMPTY_IN_A_TRIAL}
    if "ClinicalTrialTimePointDescription" in values:
        required.add("ClinicalTrialTimePointID")
    for keyword in PATIENT_AND_STUDY:
        texts = values.get(keyword, ("",) if keyword in required else ())
        if texts:
            setattr(made, keyword, texts[0] if len(texts) == 1 else list(texts))
    return made
