"""Radiographs of people who do not exist, as a hospital's DICOM files, with everything that identifies a person."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

IDENTIFYING = {
    "PatientName": "Grünwald-Öst^Annegret^Maria",
    "PatientID": "HOSP-7741-2209",
    "IssuerOfPatientID": "KLINIKUM-WEST",
    "PatientBirthDate": "19530917",
    "PatientSex": "F",
    "PatientAge": "071Y",
    "PatientSize": 1.6487,
    "PatientWeight": 71.25,
    "StudyInstanceUID": "1.2.826.0.1.9999.11.5501",
    "SeriesInstanceUID": "1.2.826.0.1.9999.11.5501.3",
    "SOPInstanceUID": "1.2.826.0.1.9999.11.5501.3.7",
    "FrameOfReferenceUID": "1.2.826.0.1.9999.11.5501.8",
    "StudyDate": "20240613",
    "StudyTime": "142751",
    "SeriesDate": "20240614",
    "AcquisitionDate": "20240615",
    "StudyID": "STU-60117",
    "StudyDescription": "Knie beidseits im Stehen, Sturz",
    "AccessionNumber": "ACC-93340128",
    "ReferringPhysicianName": "Hausmann^Volkmar",
    "OperatorsName": "Technik^Olaf",
    "InstitutionName": "Klinikum Westerwald",
    "InstitutionAddress": "Am Waldrand 5",
    "StationName": "ROE-RAUM-2",
    "DeviceSerialNumber": "SN-44871",
    "ProtocolName": "KNIE-STAND",
    "ClinicalTrialSponsorName": "Sponsor AG",
    "ClinicalTrialProtocolID": "PROT-118",
    "ClinicalTrialSubjectID": "SUBJ-0042",
    "ClinicalTrialSiteName": "Zentrum Sued",
    "PatientComments": "erbittet Rueckruf",
    "OtherPatientIDs": "ALT-20071",
}
"""Elements of a source that tell who it is of, where and when it was taken."""


def radiograph(stored: np.ndarray, **elements: Any) -> FileDataset:
    """An uncompressed digital radiograph of a few elements; keywords set elements, None leaves one out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    bits = stored.dtype.itemsize * 8
    plain = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": "1.2.3.4",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "PixelData": stored.astype(stored.dtype.newbyteorder("<")).tobytes(),
    }
    for keyword, value in (plain | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def write_radiograph(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    """Write 16-bit pixels as a radiograph that tells all of `IDENTIFYING`, and more in a private element."""
    plain = {
        "SpecificCharacterSet": "ISO_IR 100",
        "Modality": "DX",
        "BodyPartExamined": "KNEE",
        "Manufacturer": "Maker",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "PixelSpacing": [1.0, 1.0],
    }
    dataset = radiograph(pixels.astype(np.uint16), **(IDENTIFYING | plain | elements))
    private = dataset.private_block(0x0011, "MAKER", create=True)
    private.add_new(0x01, "LO", "private Annegret")
    dataset.save_as(path, enforce_file_format=True)
    return path


def identifying_values(dataset: Dataset) -> set[str]:
    """Texts by which a source's person could be found: whole values, and the words of names and descriptions."""
    texts: set[str] = set()
    for keyword in IDENTIFYING:
        if keyword in dataset and keyword not in ("PatientSex",):
            value = str(dataset[keyword].value)
            texts |= {value, *(part for part in value.replace("^", " ").replace(",", " ").split() if len(part) > 3)}
    return texts
