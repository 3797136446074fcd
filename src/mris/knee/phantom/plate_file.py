"""A phantom plate as a DICOM file: computed radiography, 12 bits stored in 16, raw or by JPEG 2000 without loss."""

import uuid
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless

import mris
from mris.knee.phantom.plate import PhantomPlate

_BITS = 12
_LARGEST = (1 << _BITS) - 1


@dataclass(frozen=True)
class PlateRecord:
    """What the header of a plate says beside its pixels.

    Attributes:
        subject: Stands as PatientID; there is no name.
        number: Of the plate, of at most 16 digits; stands as AccessionNumber.
        month: Months since enrollment.
        sex: "female" or "male".
        age: Years at the exposure.
        day: Of the exposure.
        inverted: Store as MONOCHROME1: the smallest value is white.
        at_detector: Write the spacing as ImagerPixelSpacing, not as PixelSpacing.
    """

    subject: str
    number: str
    month: int
    sex: str
    age: float
    day: date
    inverted: bool
    at_detector: bool


def write_plate(path: Path, plate: PhantomPlate, record: PlateRecord, *, raw: bool = False) -> None:
    """Write a plate; equal arguments give equal bytes, since unique identifiers are made of the record.

    Args:
        path: File to write; its folder exists.
        plate: Of 16 bits; the 12 highest are stored.
        record: What the header says.
        raw: Store the pixels as they are, for readers that know no JPEG 2000; ten times the bytes.
    """
    dataset = _described(record)
    spacing = [f"{value:g}" for value in plate.spacing]
    if record.at_detector:
        dataset.ImagerPixelSpacing = spacing
    else:
        dataset.PixelSpacing = spacing
    stored = plate.pixels >> np.uint16(16 - _BITS)
    if record.inverted:
        stored = np.uint16(_LARGEST) - stored
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS, _BITS - 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if record.inverted else "MONOCHROME2"
    dataset.WindowCenter, dataset.WindowWidth = (_LARGEST + 1) // 2, _LARGEST + 1
    if raw:
        dataset.PixelData = stored.astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
    else:  # a tenth of the bytes for half a second: interpolated pictures are smooth
        dataset.compress(JPEG2000Lossless, np.ascontiguousarray(stored), generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def _described(record: PlateRecord) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SyntheticData = "YES"
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = _uid(record, "instance")
    dataset.StudyInstanceUID = _uid(record, "study")
    dataset.SeriesInstanceUID = _uid(record, "series")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = f"{record.day:%Y%m%d}"
    dataset.StudyTime = dataset.ContentTime = "120000"
    dataset.ReferringPhysicianName = dataset.PatientName = dataset.PatientBirthDate = ""
    dataset.PatientID, dataset.AccessionNumber = record.subject, record.number
    dataset.PatientSex = record.sex[0].upper()
    dataset.PatientAge = f"{int(record.age):03d}Y"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "digital phantom: there is no patient"
    dataset.Modality = "CR"
    dataset.Manufacturer, dataset.ManufacturerModelName = "mris", "digital knee phantom"
    dataset.SoftwareVersions = mris.__version__
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = f"{record.month:02d}", 1, 1
    dataset.StudyDescription = "digital phantom, knees, posteroanterior, fixed flexion"
    dataset.BodyPartExamined, dataset.ViewPosition = "KNEE", "PA"
    dataset.PatientOrientation, dataset.ImageLaterality = ["L", "F"], "B"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    return dataset


def _uid(record: PlateRecord, kind: str) -> UID:
    """UID of the form 2.25.<UUID>, the UUID made of a name (RFC 9562, version 5)."""
    name = f"mris phantom {record.subject} {record.number} {record.month} {record.day} {kind}"
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}")
