import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import DigitalXRayImageStorageForProcessing
from tests.plates import item, pixels_of, region_with, write_plate

from mris.errors import ImageError
from mris.images.dicom import read_dicom_facts
from mris.images.read import read_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom tells what it tolerates

PIXELS = pixels_of((6, 8))


def facts_with(tmp_path, **elements):
    return read_dicom_facts(write_plate(tmp_path / "plate.dcm", PIXELS, **elements))


@pytest.mark.parametrize(
    ("elements", "spacing", "source"),
    [
        ({"PixelSpacing": [0.4, 0.3]}, (0.4, 0.3), "PixelSpacing"),
        ({}, (0.5, 0.5), "ImagerPixelSpacing"),
        ({"EstimatedRadiographicMagnificationFactor": 1.25}, (0.4, 0.4), "ImagerPixelSpacing / magnification"),
        ({"EstimatedRadiographicMagnificationFactor": 1}, (0.5, 0.5), "ImagerPixelSpacing"),
        # PixelSpacing that repeats the detector's is not calibrated (PS3.3, 10.7.1.3) ...
        (
            {"PixelSpacing": [0.5, 0.5], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.4, 0.4),
            "PixelSpacing / magnification",
        ),
        ({"PixelSpacing": [0.5, 0.5]}, (0.5, 0.5), "PixelSpacing"),
        # ... unless the file says how it was.
        (
            {
                "PixelSpacing": [0.5, 0.5],
                "PixelSpacingCalibrationType": "FIDUCIAL",
                "EstimatedRadiographicMagnificationFactor": 1.25,
            },
            (0.5, 0.5),
            "PixelSpacing",
        ),
        (
            {"PixelSpacing": [0.4, 0.4], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.4, 0.4),
            "PixelSpacing",
        ),
        (
            {"ImagerPixelSpacing": None, "NominalScannedPixelSpacing": [0.2, 0.2]},
            (0.2, 0.2),
            "NominalScannedPixelSpacing",
        ),
        ({"ImagerPixelSpacing": None}, None, "none"),
        # A scanned film likewise ...
        (
            {
                "ImagerPixelSpacing": None,
                "NominalScannedPixelSpacing": [0.5, 0.5],
                "PixelSpacing": [0.5, 0.5],
                "EstimatedRadiographicMagnificationFactor": 1.25,
            },
            (0.4, 0.4),
            "PixelSpacing / magnification",
        ),
        # ... and of a PixelSpacing alone nobody knows whether it was corrected; it is by definition at the patient.
        (
            {
                "ImagerPixelSpacing": None,
                "PixelSpacing": [0.5, 0.5],
                "EstimatedRadiographicMagnificationFactor": 1.25,
            },
            (0.5, 0.5),
            "PixelSpacing (magnification not used)",
        ),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.5, 0.5]}, (0.5, 0.5), "PixelSpacing"),
    ],
)  # fmt: skip
def test_the_spacing_is_that_at_the_patient_and_its_source_is_told(tmp_path, elements, spacing, source):
    facts = facts_with(tmp_path, **elements)
    assert facts.spacing == (None if spacing is None else pytest.approx(spacing))
    assert facts.spacing_source == source
    assert read_image(tmp_path / "plate.dcm").spacing == facts.spacing


@pytest.mark.parametrize(
    ("elements", "sides", "source"),
    [
        ({"ImageLaterality": "R", "Laterality": "B"}, ("right",), "ImageLaterality"),
        ({"Laterality": "L"}, ("left",), "Laterality"),
        ({"ImageLaterality": "B"}, ("right", "left"), "ImageLaterality"),
        ({"ImageLaterality": "U"}, (), ""),
        ({}, (), ""),
        ({"AnatomicRegionSequence": region_with(codes.SCT.Left.value)}, ("left",), "AnatomicRegionModifierSequence"),
        ({"AnatomicRegionSequence": region_with(codes.SCT.Right.value)}, ("right",), "AnatomicRegionModifierSequence"),
        (
            {"AnatomicRegionSequence": region_with(codes.SCT.RightAndLeft.value)},
            ("right", "left"),
            "AnatomicRegionModifierSequence",
        ),
        ({"AnatomicRegionSequence": region_with("G-A101")}, ("left",), "AnatomicRegionModifierSequence"),
        ({"AnatomicRegionSequence": region_with("1234")}, (), ""),
        (
            {"AnatomicRegionSequence": region_with(codes.SCT.Left.value, codes.SCT.Right.value)},
            ("right", "left"),
            "AnatomicRegionModifierSequence",
        ),
    ],
)
def test_sides_come_from_the_element_nearest_to_the_picture(tmp_path, elements, sides, source):
    facts = facts_with(tmp_path, **elements)
    assert (facts.sides, facts.sides_source) == (sides, source)
    assert read_image(tmp_path / "plate.dcm").laterality == (sides[0] if len(sides) == 1 else None)


@pytest.mark.parametrize(
    ("elements", "view", "row_towards"),
    [
        ({}, "PA", None),
        ({"ViewPosition": None}, "", None),
        ({"ViewPosition": "ap"}, "AP", None),
        ({"PatientOrientation": ["L", "F"]}, "PA", "left"),
        ({"PatientOrientation": ["R", "F"]}, "PA", "right"),
        ({"PatientOrientation": ["RP", "F"]}, "PA", "right"),
        ({"PatientOrientation": ["A", "F"]}, "PA", None),
        ({"ViewPosition": None, "PatientOrientation": ["A", "F"]}, "LATERAL", None),
        ({"ViewPosition": None, "PatientOrientation": ["L", "PH"]}, "AXIAL", "left"),
        ({"ViewPosition": None, "PatientOrientation": ["L", "F"]}, "", "left"),
        ({"PatientOrientation": ""}, "PA", None),
        (
            {"ViewPosition": None, "ViewCodeSequence": Sequence([item(CodeValue=codes.SCT.PosteroAnterior.value)])},
            "PA",
            None,
        ),
        (
            {"ViewPosition": None, "ViewCodeSequence": Sequence([item(CodeValue=codes.SCT.AnteroPosterior.value)])},
            "AP",
            None,
        ),
        (
            {
                "ViewPosition": None,
                "ViewCodeSequence": Sequence([item(CodeValue="399173006", CodeMeaning="left lateral")]),
            },
            "LEFT LATERAL",
            None,
        ),
    ],
)
def test_the_view_and_the_direction_of_rows_are_told(tmp_path, elements, view, row_towards):
    facts = facts_with(tmp_path, **elements)
    assert (facts.view, facts.row_towards) == (view, row_towards)


@pytest.mark.parametrize(("named", "told"), [("Pelvis", "PELVIS"), (None, "")])
def test_the_part_of_the_body_is_told_in_capitals(tmp_path, named, told):
    assert facts_with(tmp_path, BodyPartExamined=named).body_part == told


def test_the_transforms_are_told_apart_by_what_is_applied_and_what_is_not(tmp_path):
    table = item(LUTDescriptor=[2, 0, 16], ModalityLUTType="US", LUTData=[1, 2])
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    assert facts_with(tmp_path).modality == "none"
    assert facts_with(tmp_path, RescaleSlope=1, RescaleIntercept=0).modality == "none"
    assert facts_with(tmp_path, RescaleSlope=2, RescaleIntercept=0).modality == "rescale"
    assert facts_with(tmp_path, ModalityLUTSequence=Sequence([table])).modality == "lookup table"
    assert facts_with(tmp_path).display == "none"
    window = facts_with(tmp_path, WindowCenter=100, WindowWidth=10)
    assert window.display == "window"
    np.testing.assert_array_equal(read_image(tmp_path / "plate.dcm").pixels[0], PIXELS)
    assert facts_with(tmp_path, VOILUTSequence=Sequence([table])).display == "lookup table"


def test_depth_sign_and_syntax_are_those_of_the_header(tmp_path):
    facts = facts_with(tmp_path, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert (facts.bits_stored, facts.signed, facts.photometric) == (12, True, "MONOCHROME2")
    assert facts.transfer_syntax == "Explicit VR Little Endian"


def test_facts_are_shown_without_the_patient(tmp_path):
    facts = facts_with(tmp_path)
    assert facts.patient_id == "P-17"
    assert "P-17" not in repr(facts)


def test_what_is_no_dicom_image_has_no_facts(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    (tmp_path / "b.dcm").write_bytes(b"\x93NUMPY" + bytes(500))
    assert read_dicom_facts(tmp_path / "a.png") is None
    assert read_dicom_facts(tmp_path / "b.dcm") is None


def test_a_file_without_preamble_has_its_facts(tmp_path):
    facts = facts_with(tmp_path)
    (tmp_path / "bare.dcm").write_bytes((tmp_path / "plate.dcm").read_bytes()[132:])
    assert read_dicom_facts(tmp_path / "bare.dcm") == facts


def test_facts_of_a_file_that_is_refused_are_refused(tmp_path, pydicom_file):
    with pytest.raises(ImageError, match="RGB"):
        read_dicom_facts(pydicom_file("SC_rgb_rle.dcm"))


@pytest.mark.parametrize("wrong", [b"0.2 ", b"0\\0 ", b"abc\\0.1 ", b"0.1\\0.1\\0.1 ", b"0,2\\0,2 "])
@pytest.mark.parametrize("imager", [None, [0.5, 0.5]])
def test_a_pixel_spacing_that_is_none_gives_way_to_a_good_one_with_a_note(tmp_path, wrong, imager):
    dataset = pydicom.dcmread(write_plate(tmp_path / "plate.dcm", PIXELS, ImagerPixelSpacing=imager))
    dataset._dict[Tag(0x00280030)] = RawDataElement(Tag(0x00280030), "DS", len(wrong), wrong, 0, False, True)
    dataset.save_as(tmp_path / "plate.dcm")
    facts = read_dicom_facts(tmp_path / "plate.dcm")
    assert facts.spacing == (imager and tuple(imager))
    (note,) = facts.notes
    assert note.startswith("its PixelSpacing is no pair of positive numbers")
    assert note.endswith("that of ImagerPixelSpacing" if imager else "unknown")


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["INVERSE", "IDENTITY", None])
def test_a_polarity_that_the_header_contradicts_is_noted(tmp_path, photometric, shape):
    facts = facts_with(tmp_path, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    agree = shape is None or (photometric == "MONOCHROME1") == (shape == "INVERSE")
    assert [f"{photometric} with PresentationLUTShape {shape}" in note for note in facts.notes] == [True][agree:]


@pytest.mark.parametrize(
    ("elements", "noted"),
    [
        ({"PresentationIntentType": "FOR PRESENTATION"}, False),
        ({"PresentationIntentType": "FOR PROCESSING"}, True),
        ({"SOPClassUID": DigitalXRayImageStorageForProcessing}, True),
    ],
)
def test_pixels_that_are_for_processing_are_noted(tmp_path, elements, noted):
    facts = facts_with(tmp_path, **elements)
    assert facts.for_processing == noted == any("FOR PROCESSING" in note for note in facts.notes)


def test_facts_agree_with_pixels_over_the_files_that_pydicom_ships(pydicom_file):
    n_read = 0
    for path in sorted(pydicom_file("").glob("*.dcm")):
        try:
            image = read_image(path)
        except ImageError:
            continue
        facts = read_dicom_facts(path)
        assert facts.spacing == image.spacing
        assert facts.bits_stored == pydicom.dcmread(path, force=True, stop_before_pixels=True).get("BitsStored", 0)
        n_read += 1
    assert n_read > 20


def test_an_element_that_cannot_be_read_does_not_bring_its_value_into_the_message(tmp_path) -> None:
    path = write_plate(tmp_path / "plate.dcm", PIXELS, PatientID="O'NEIL")
    content = path.read_bytes()
    assert content.count(b"\x10\x00\x20\x00LO") == 1
    path.write_bytes(content.replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00UL"))  # six bytes are no number of four
    with pytest.raises(ImageError, match="cannot be read as DICOM: Expected total bytes") as refused:
        read_dicom_facts(path)
    assert "NEIL" not in str(refused.value)
