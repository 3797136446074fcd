"""Headers that DICOM does not allow: what the objects take over, and what is said of the rest.

benchmarks/fuzz_dicom.py takes thousands of files the same way.
"""

import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from tests.dicom_road import objects_of
from tests.dicom_sources import IDENTIFYING
from tests.dicom_strategies import built_files, header_files, identified_file, spoiled_files
from tests.tiny_synthesis import tiny_synthesis
from tests.validators import dciodvfy_errors

from mris.errors import ImageError
from mris.images.read import read_image
from mris.knee.anatomy import KNEE
from mris.knee.oai_files import find_plate
from mris.knee.radiograph import read_plate
from mris.serving.dicom_files import encoded_dicom_objects, write_dicom_objects
from mris.serving.dicom_source import DerivedFrom, identifiers_in, read_source_header

pytest.importorskip("highdicom")

NOT_ALLOWED = [
    {"PatientName": b"Meier^Hans\\Meier^Johann"},
    {"PatientName": b"A^B^C^D^E^F^G"},
    {"PatientName": b"M\xfcller^Hans"},  # Latin-1, where the header says UTF-8
    {"PatientName": "=".join("ABCD").encode()},
    {"ReferringPhysicianName": b"Hausmann^V\\Mueller^B"},
    {"ReferringPhysicianName": b"x" * 100},
    {"AccessionNumber": b"ACC-2024-06-13-00012345"},
    {"AccessionNumber": b"A\x01B"},
    {"StudyID": b"KNEE-STANDING-2024-06-13"},
    {"PatientID": b"X" * 80},
    {"PatientID": b"HOSP-1\\HOSP-2"},
    {"PatientID": b"HOSP\r\nMRN"},
    {"IssuerOfPatientID": b"Z" * 70},
    {"StudyDescription": b"K" * 90},
    {"StudyDescription": b"Knie\\Sturz"},
    {"StudyDate": b"2024.06.13"},
    {"StudyDate": b"20240231"},
    {"StudyDate": b"20240101-20240201"},
    {"StudyTime": b"14:27:51"},
    {"StudyTime": b"1427-1500"},
    {"PatientBirthDate": b"1953.09.17"},
    {"PatientBirthDate": b"17.9.53"},
    {"PatientAge": b"71"},
    {"PatientAge": b"71Y"},
    {"PatientSize": b"1,65"},
    {"PatientWeight": b"71 kg"},
    {"PatientWeight": b"71\\72"},
    {"PatientWeight": b"71.000000000000000001"},
    {"PatientSex": b"f"},
    {"PatientSex": b"M\\F"},
    {"BodyPartExamined": b"Knie links"},
    {"BodyPartExamined": b"KNEE\\KNEE"},
    {"BurnedInAnnotation": b"NO\\NO"},
    {"PatientIdentityRemoved": b"yes"},
    {"ClinicalTrialSiteName": b"A\\B"},
    {"ClinicalTrialTimePointID": b"T" * 65, "ClinicalTrialTimePointDescription": b"after a year"},
]
"""An element each, but for the last."""

HALVES = [
    ({"ClinicalTrialProtocolID": None}, "ClinicalTrialProtocolID"),
    ({"ClinicalTrialSponsorName": None}, "ClinicalTrialSponsorName"),
    ({"ClinicalTrialSubjectID": b""}, "ClinicalTrialSubjectID"),
    ({"PatientIdentityRemoved": b"YES"}, "PatientIdentityRemoved"),
]

ALLOWED = [
    {},
    {"PatientName": b"Meier"},
    {"PatientName": b"", "PatientID": b""},
    {"PatientName": b"M\xfcller^Hans", "SpecificCharacterSet": b"ISO_IR 100", "StudyDescription": b"Knie"},
    {"PatientName": b"X", "SpecificCharacterSet": b"ISO_IR 999", "StudyDescription": b"Knie"},
    {"StudyTime": b"235960"},
    {"StudyTime": b"142751.25", "PatientWeight": b"7.1e1", "BodyPartExamined": b"KNEE "},
    {"DeidentificationMethod": b"by hand\\twice", "PatientIdentityRemoved": b"YES"},
    {"ClinicalTrialSubjectID": None, "ClinicalTrialSubjectReadingID": b"R-1"},
    {"ClinicalTrialTimePointDescription": b"after a year"},
    dict.fromkeys([key for key in IDENTIFYING if not key.endswith("InstanceUID")], None),
]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Make the objects of a radiograph whose header holds something else; without a warning of a library."""
    monkeypatch.setattr(
        "mris.serving.dicom_objects.capture_pixels", lambda *given, **named: np.zeros((8, 8, 3), np.uint8)
    )

    def make(changes, salt=None):
        (tmp_path / "knee.dcm").write_bytes(identified_file(changes))
        synthesis = tiny_synthesis()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            header = read_source_header(tmp_path / "knee.dcm")
            derived = DerivedFrom(header, "left", anatomy=KNEE)
            picture = np.zeros((1, 8, 8), np.float32)
            encoded = encoded_dicom_objects("knee", synthesis, derived, (synthesis.image[None],), picture, salt=salt)
        return header, write_dicom_objects(tmp_path, encoded)

    return make


@pytest.mark.parametrize("salt", [None, b"a salt of 16 bytes or more"], ids=["identified", "de-identified"])
@pytest.mark.parametrize("changes", NOT_ALLOWED, ids=lambda changes: str(*list(changes.items())[:1]))
def test_a_value_that_dicom_does_not_allow_is_left_empty_and_noted_without_the_value(made, changes, salt):
    keyword, value = next(iter(changes.items()))
    header, paths = made(changes, salt)
    (note,) = header.notes
    assert note.startswith(f"{keyword} of knee.dcm is no value that DICOM allows; it is left ")
    assert value.decode("latin-1") not in note.split()
    for path in paths:
        assert not dciodvfy_errors(path)
        said = pydicom.dcmread(path).get(keyword)
        assert salt or not said or (keyword, said) == ("BurnedInAnnotation", "NO")  # of the map, which shows no source
        assert len(value) < 4 or value not in path.read_bytes()


@pytest.mark.parametrize(("changes", "named"), HALVES, ids=lambda given: str(given)[:40])
def test_what_lacks_its_other_half_is_left_out_and_noted(made, changes, named):
    header, paths = made(changes)
    (note,) = header.notes
    assert named in note and note.endswith("it is left out")
    for path in paths:
        assert not dciodvfy_errors(path)
        assert "PatientIdentityRemoved" not in pydicom.dcmread(path)


@pytest.mark.parametrize("salt", [None, b"a salt of 16 bytes or more"], ids=["identified", "de-identified"])
@pytest.mark.parametrize("changes", ALLOWED, ids=lambda changes: str(changes)[:40])
def test_whatever_dicom_allows_is_taken_over_without_a_note(made, changes, salt):
    header, paths = made(changes, salt)
    assert header.notes == ()
    for path in paths:
        assert not dciodvfy_errors(path)
        if salt is None:
            found = pydicom.dcmread(path)
            other = ("SpecificCharacterSet", "PatientWeight", "DeidentificationMethod")  # written otherwise
            charset = "latin-1" if changes.get("SpecificCharacterSet") == b"ISO_IR 100" else "utf-8"
            for keyword, value in changes.items():
                if value is not None and keyword not in other:
                    assert str(found[keyword].value) == value.decode(charset).strip()


@pytest.mark.parametrize(("keyword", "most"), [("PatientName", 64), ("PatientID", 64), ("AccessionNumber", 16)])
def test_a_length_counts_characters_and_not_bytes(made, keyword, most):
    for n in (most, most + 1):
        header, paths = made({keyword: "Ö".encode() * n})
        assert len(header.notes) == n - most
        for path in paths:
            assert pydicom.dcmread(path)[keyword].value == ("Ö" * n if n == most else "")


@pytest.mark.parametrize("uid", [b"1.2.826.0.01.5", b"1.2." + b"3" * 70, b"1.2.abc.4", b"20240613.5", b"k\xfcnie"])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_a_uid_of_a_wrong_form_is_kept_and_noted_since_nothing_else_says_which_the_source_is(made, keyword, uid):
    header, paths = made({keyword: uid})
    assert header.notes == (
        f"{keyword} of knee.dcm is no value that DICOM allows; it is kept, since the results must refer to it",
    )
    for path in paths:
        assert uid in path.read_bytes()


@pytest.mark.parametrize("uid", [b"1.2.3\\1.2.4", b"", b" ", None])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_a_source_of_two_studies_or_of_none_is_refused(made, keyword, uid):
    with pytest.raises(ImageError, match=rf"knee\.dcm: its header lacks {keyword}, or has several"):
        made({keyword: uid})


@pytest.mark.parametrize("read", [read_image, read_plate, find_plate, read_source_header])
@pytest.mark.parametrize("changes", NOT_ALLOWED, ids=lambda changes: str(*list(changes.items())[:1]))
def test_no_reader_lets_a_library_warn_of_a_value(tmp_path, read, changes):
    path = tmp_path / "knee.dcm"
    path.write_bytes(identified_file(changes | {"SOPInstanceUID": b"1.2.abc.4"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path) is not None


@pytest.mark.parametrize("changes", [{"PatientName": b"Meier^Hans\\Kunz^Johann"}, {"PatientID": b"HOSP-1\\KUNZ"}])
def test_an_identifier_that_is_not_taken_over_is_found_in_a_name_all_the_same(made, changes):
    header, _ = made(changes)
    assert identifiers_in("kunz_knee.dcm", header) == tuple(changes) and identifiers_in("knee.dcm", header) == ()


def test_an_element_of_a_type_that_is_no_text_is_noted(tmp_path):
    path = tmp_path / "knee.dcm"
    odd = {"PatientName": b"\1\2", "StudyID": b"\1\2", "AccessionNumber": b"KUNZ-1"}  # no whole number of 32 bit
    path.write_bytes(identified_file(odd, vrs={"PatientName": b"US", "AccessionNumber": b"UL"}))
    assert {note.split()[0] for note in read_source_header(path).notes} == set(odd)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=header_files() | built_files() | spoiled_files())
def test_of_whatever_file_both_objects_are_made_or_one_clear_line_says_why_not(tmp_path_factory, case):
    folder = tmp_path_factory.mktemp("any")
    (folder / "any.dcm").write_bytes(case.content)
    objects_of(folder / "any.dcm", folder)


def test_a_fault_of_a_library_names_the_file_and_nothing_of_the_header(made, monkeypatch):
    def fail(*given, **named):
        raise TypeError(f"no name: {IDENTIFYING['PatientName']}")

    monkeypatch.setattr("mris.serving.dicom_files.parametric_map", fail)
    with pytest.raises(ImageError, match=r"knee\.dcm: DICOM results cannot be made .*\(TypeError\)") as caught:
        made({})
    assert IDENTIFYING["PatientName"] not in str(caught.value)
