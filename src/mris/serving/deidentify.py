"""De-identify the objects that are written: a stated subset of the Basic Application Level Confidentiality Profile.

The profile (PS3.15, table E.1-1) names several hundred elements. The objects of `mris.serving.dicom_objects` can hold
few of them, and what they hold is known: each element of theirs is kept, emptied, replaced or removed by the lists
here, and an element on no list is removed. Texts that remain are our own ("Clean Descriptors Option").

Identifiers are replaced by a keyed hash (HMAC-SHA-256). Whoever has the key gets the same replacements again and can
tell that two objects are of one person or study; without the key nobody can, not even by trying all identifiers.
"""

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from mris.errors import SettingsError

LEAST_SALT = 16
"""Fewest bytes of a salt; a shorter one could be found by trying."""

METHOD = "mris: PS3.15 Basic Profile, Clean Descriptors, keyed hashes"
_CODES = (("113100", "Basic Application Confidentiality Profile"), ("113105", "Clean Descriptors Option"))

EMPTIED = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
"""Action Z: these must be there, and are empty."""

REPLACED = ("PatientID", "PatientName")
"""Action Z with a replacement that is the same for the same person: the hash of the identifier."""

DUMMIES = {
    "ContentDate": "19000101",
    "ContentTime": "000000",
    "DeviceSerialNumber": "none",
    "InstanceCreationDate": "19000101",
    "InstanceCreationTime": "000000",
}
"""Action D: these must have a value, and have one that says nothing."""

REMOVED = (
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSponsorName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointDescription",
    "ClinicalTrialTimePointID",
    "ContributingEquipmentSequence",
    "DateOfSecondaryCapture",
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "TimeOfSecondaryCapture",
)
"""Action X. Of the trial's elements the profile replaces some; without them the optional module is absent instead."""

_OWN = """
AcquisitionContextSequence AnatomicRegionSequence BitsAllocated BitsStored BodyPartExamined BurnedInAnnotation
CodeMeaning CodeValue CodingSchemeDesignator CodingSchemeVersion Columns ContentDescription ContentLabel
ContentQualification ConversionType DerivationCodeSequence DerivationDescription DerivationImageSequence
DimensionDescriptionLabel DimensionIndexPointer DimensionIndexSequence DimensionIndexValues
DimensionOrganizationSequence DimensionOrganizationType DoubleFloatRealWorldValueFirstValueMapped
DoubleFloatRealWorldValueLastValueMapped FloatPixelData FloatPixelPaddingRangeLimit FloatPixelPaddingValue
FrameAnatomySequence FrameContentSequence FrameLabel FrameLaterality FrameType FrameVOILUTSequence
FunctionalGroupPointer HighBit ImageComments ImageOrientationPatient ImagePositionPatient ImageType InstanceNumber
LUTExplanation LUTLabel Laterality LossyImageCompression Manufacturer ManufacturerModelName
MeasurementUnitsCodeSequence Modality NumberOfFrames ParametricMapFrameTypeSequence PatientOrientation
PerFrameFunctionalGroupsSequence PhotometricInterpretation PixelData PixelMeasuresSequence PixelPresentation
PixelRepresentation PixelSpacing PixelValueTransformationSequence PlanarConfiguration PlaneOrientationSequence
PlanePositionSequence PositionReferenceIndicator PresentationLUTShape PurposeOfReferenceCodeSequence
RealWorldValueIntercept RealWorldValueMappingSequence RealWorldValueSlope RecognizableVisualFeatures
ReferencedInstanceSequence ReferencedSeriesSequence RescaleIntercept RescaleSlope RescaleType Rows SamplesPerPixel
SeriesDescription SeriesNumber SharedFunctionalGroupsSequence SliceThickness SoftwareVersions SourceImageSequence
SpacingBetweenSlices SpatialLocationsPreserved SpecificCharacterSet SyntheticData VOILUTFunction WindowCenter
WindowWidth
"""
KEPT = frozenset(_OWN.split())
"""What our own writers put in, none of it from the source but BodyPartExamined, Laterality and the picture."""


def deidentified(dataset: Dataset, salt: bytes) -> Dataset:
    """Copy an object of `mris.serving.dicom_objects` without what identifies the source's patient.

    - UIDs, those of study, source and the object itself included, become others; those of DICOM stay.
    - PatientID and PatientName become the same pseudonym, which depends on ID and issuer.
    - Dates, times, other names and numbers, the trial and private elements go.
    - PatientIdentityRemoved, DeidentificationMethod (text and codes) and LongitudinalTemporalInformationModified say
      so.

    The pixels are not looked at: leave the source out of the picture first.

    Args:
        dataset: With file meta information.
        salt: Key of the hashes, at least 16 bytes; keep it secret, or throw it away.

    Returns:
        The copy, with file meta information of its own.

    Raises:
        SettingsError: The salt is too short.
    """
    if len(salt) < LEAST_SALT:
        raise SettingsError(
            f"the salt has {len(salt)} bytes; give at least {LEAST_SALT}, so that it cannot be found by trying"
        )
    pseudonym = _pseudonym(dataset, salt)

    def replacement(uid: str) -> UID:
        return keyed_uid(uid, salt)

    copy = _cleaned(dataset, replacement)
    copy.PatientID, copy.PatientName = pseudonym, pseudonym.replace("-", "^")
    copy.PatientIdentityRemoved = "YES"
    copy.DeidentificationMethod = METHOD
    copy.DeidentificationMethodCodeSequence = [_code(value, meaning) for value, meaning in _CODES]
    copy.LongitudinalTemporalInformationModified = "REMOVED"
    copy.file_meta = _cleaned_meta(dataset.file_meta, copy.SOPInstanceUID)
    return copy


def random_salt() -> bytes:
    """A salt that nobody keeps: what it replaces is never found again, and never replaced by the same again."""
    return secrets.token_bytes(32)


def keyed_uid(uid: str, salt: bytes) -> UID:
    """Another UID for a UID: always the same with the same salt; UIDs that DICOM itself defines stay.

    Example:
        >>> keyed_uid("1.2.3", b"0" * 16) == keyed_uid("1.2.3", b"0" * 16) != keyed_uid("1.2.3", b"1" * 16)
        True
        >>> keyed_uid("1.2.840.10008.1.2.1", b"0" * 16).name
        'Explicit VR Little Endian'
    """
    given = UID(uid, config.IGNORE)
    if not uid or given.name != uid:  # the dictionary knows it; a root of DICOM alone makes no UID of DICOM's
        return given
    digest = hmac.digest(salt, b"UID\0" + uid.encode(), hashlib.sha256)
    return UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}")


def _pseudonym(dataset: Dataset, salt: bytes) -> str:
    identifier = str(dataset.get("PatientID") or "").strip()
    if not identifier:
        return ""
    text = "\0".join(("patient", identifier, str(dataset.get("IssuerOfPatientID") or "").strip()))
    return "MRIS-" + base64.b32encode(hmac.digest(salt, text.encode(), hashlib.sha256)).decode()[:16]


def _cleaned(dataset: Dataset, replacement: Callable[[str], UID]) -> Dataset:
    copy = Dataset()
    for element in dataset:
        keyword = element.keyword
        if element.tag.is_private or keyword in REMOVED or keyword in REPLACED:
            continue
        if keyword in EMPTIED:
            setattr(copy, keyword, "")
        elif keyword in DUMMIES:
            setattr(copy, keyword, DUMMIES[keyword])
        elif element.VR == "UI":
            copy.add(DataElement(element.tag, "UI", _replaced(element.value, replacement)))
        elif keyword in KEPT:
            value = [_cleaned(item, replacement) for item in element.value] if element.VR == "SQ" else element.value
            copy.add(DataElement(element.tag, element.VR, value))
    return copy


def _replaced(value: object, replacement: Callable[[str], UID]) -> UID | list[UID]:
    if isinstance(value, str):
        return replacement(value)
    return [replacement(str(uid)) for uid in value] if isinstance(value, list | tuple) else UID("")


def _cleaned_meta(meta: Dataset, sop_instance_uid: UID) -> FileMetaDataset:
    copy = FileMetaDataset()
    for keyword in ("MediaStorageSOPClassUID", "TransferSyntaxUID", "ImplementationClassUID"):
        setattr(copy, keyword, meta[keyword].value)
    copy.MediaStorageSOPInstanceUID = sop_instance_uid
    return copy


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
