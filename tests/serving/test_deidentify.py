"""De-identified objects hold nothing that tells who the source is of, and are told apart as before."""

import datetime
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dicom_sources import IDENTIFYING, identifying_values, write_radiograph
from tests.tiny_synthesis import tiny_synthesis

from mris.errors import SettingsError
from mris.knee.anatomy import KNEE
from mris.serving.deidentify import DUMMIES, EMPTIED, KEPT, REMOVED, REPLACED, deidentified, keyed_uid, random_salt
from mris.serving.dicom_objects import parametric_map, secondary_capture
from mris.serving.dicom_source import DerivedFrom, read_source_header

pytest.importorskip("highdicom")

SALT = b"the salt of a study that keeps it"


@pytest.fixture(scope="module")
def synthesis():
    return tiny_synthesis()


@pytest.fixture(scope="module")
def objects(synthesis, tmp_path_factory):
    """Both objects of one source, and of another study of the same person."""
    folder = tmp_path_factory.mktemp("sources")
    made = []
    for name, other in (("first", {}), ("later", {"StudyInstanceUID": "1.2.9", "SOPInstanceUID": "1.2.9.1"})):
        path = write_radiograph(folder / f"{name}.dcm", np.ones((6, 5)), **other)
        of = DerivedFrom(
            read_source_header(path), "left", anatomy=KNEE, created=datetime.datetime(2025, 3, 9, 8, 15, 44)
        )
        maps = (np.stack([synthesis.image]),)
        made.append((pydicom.dcmread(path), parametric_map(synthesis, of), secondary_capture(synthesis, of, maps)))
    return made


def saved(dataset: pydicom.Dataset) -> bytes:
    with BytesIO() as file:
        dataset.save_as(file, enforce_file_format=True)
        return file.getvalue()


def test_no_identifying_value_of_the_source_survives_anywhere_in_the_bytes(objects):
    for source, *made in objects:
        texts = identifying_values(source) | {"20250309", "081544"}
        assert len(texts) > 30
        for one in made:
            data, before = saved(deidentified(one, SALT)), saved(one)
            found = [text for text in texts for code in ("utf-8", "latin-1") if text.encode(code) in data]
            assert not found
            assert IDENTIFYING["PatientID"].encode() in before  # the search would have found it


def test_one_salt_replaces_alike_and_another_otherwise(objects):
    (first, *_), (later, *_) = [made for _, *made in objects]
    cleaned = [deidentified(one, SALT) for one in (first, later, first)]
    assert cleaned[0].PatientID == cleaned[1].PatientID == cleaned[2].PatientID != ""
    assert cleaned[0].StudyInstanceUID == cleaned[2].StudyInstanceUID != cleaned[1].StudyInstanceUID
    other = deidentified(first, random_salt())
    for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert other[keyword].value != cleaned[0][keyword].value


def test_the_objects_of_a_source_still_belong_together(objects):
    for source, *made in objects:
        values, capture = (deidentified(one, SALT) for one in made)
        assert values.StudyInstanceUID == capture.StudyInstanceUID
        named = {one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in (values, capture)}
        assert named == {keyed_uid(source.SOPInstanceUID, SALT)}
        assert values.file_meta.MediaStorageSOPInstanceUID == values.SOPInstanceUID


def test_it_says_what_was_done(objects):
    for _, *made in objects:
        for one in made:
            cleaned = deidentified(one, SALT)
            assert cleaned.PatientIdentityRemoved == "YES" and len(cleaned.DeidentificationMethod) <= 64
            codes = [item.CodeValue for item in cleaned.DeidentificationMethodCodeSequence]
            assert codes == ["113100", "113105"]
            assert cleaned.LongitudinalTemporalInformationModified == "REMOVED"


def test_what_identifies_nobody_is_kept_as_it_is(objects):
    for _, *made in objects:
        for one in made:
            cleaned = deidentified(one, SALT)
            lost = {element.keyword for element in one.iterall()} - {element.keyword for element in cleaned.iterall()}
            inside = {"ContributionDateTime", "ContributionDescription"}  # of a sequence that is removed
            assert lost <= set(REMOVED) | inside
            for element in cleaned:
                listed = (*EMPTIED, *REPLACED, *DUMMIES)
                if element.keyword in KEPT and element.VR != "SQ" and element.keyword not in listed:
                    np.testing.assert_equal(element.value, one[element.tag].value)


def test_the_lists_name_every_element_once():
    lists = [*EMPTIED, *REPLACED, *DUMMIES, *REMOVED, *KEPT]
    assert len(lists) == len(set(lists))
    assert not [keyword for keyword in lists if pydicom.datadict.tag_for_keyword(keyword) is None]


def test_an_element_on_no_list_is_removed(objects):
    made = pydicom.dcmread(BytesIO(saved(objects[0][1])))
    made.OtherPatientNames, made.InstitutionName = "Annegret", "Klinikum"
    made.private_block(0x0011, "MAKER", create=True).add_new(0x01, "LO", "private")
    made.SharedFunctionalGroupsSequence[0].PatientComments = "inside a sequence"
    cleaned = deidentified(made, SALT)
    words = {element.keyword for element in cleaned.iterall()}
    assert not words & {"OtherPatientNames", "InstitutionName", "PatientComments"}
    assert not [element for element in cleaned.iterall() if element.tag.is_private]


def test_a_person_without_an_id_gets_none(objects):
    made = pydicom.dcmread(BytesIO(saved(objects[0][1])))
    made.PatientID = ""
    assert deidentified(made, SALT).PatientID == "" == str(deidentified(made, SALT).PatientName)


def test_equal_ids_of_two_issuers_are_two_people(objects):
    made = pydicom.dcmread(BytesIO(saved(objects[0][1])))
    here = deidentified(made, SALT).PatientID
    made.IssuerOfPatientID = "ELSEWHERE"
    assert deidentified(made, SALT).PatientID != here


def test_a_short_salt_is_refused(objects):
    with pytest.raises(SettingsError, match="the salt has 15 bytes; give at least 16"):
        deidentified(objects[0][1], b"123456789012345")


uids = st.lists(st.integers(0, 10**6), min_size=2, max_size=7).map(lambda parts: "1.3." + ".".join(map(str, parts)))


@given(uids, uids, st.binary(min_size=16, max_size=40))
def test_replaced_uids_are_uids_and_differ_exactly_where_the_originals_do(one, other, salt):
    first, second = keyed_uid(one, salt), keyed_uid(other, salt)
    assert first.is_valid and len(first) <= 64 and first != one
    assert (first == second) == (one == other)


def test_a_study_that_an_archive_gave_a_uid_below_dicom_s_own_root_is_not_told():
    assert keyed_uid("1.2.840.10008.20240613.7741", SALT).startswith("2.25.")
    assert keyed_uid("1.2.840.10008.1.2", SALT) == "1.2.840.10008.1.2"
