"""A synthesis as DICOM: what other software reads, what the header says, what it must not hold."""

import datetime
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from tests.dicom_sources import IDENTIFYING, write_radiograph

from mris.database.neighbors import Neighbors
from mris.errors import ImageError
from mris.knee.anatomy import KNEE
from mris.serving.canvas import Canvas
from mris.serving.capture_picture import capture_pixels
from mris.serving.dicom_files import encoded_dicom_objects, write_dicom_objects
from mris.serving.dicom_objects import parametric_map, secondary_capture
from mris.serving.dicom_source import PATIENT_AND_STUDY, DerivedFrom, read_source_header
from mris.synthesis.calibration import Intervals
from mris.synthesis.readouts import Readout
from mris.synthesis.synthesis import Contribution, Synthesis

highdicom = pytest.importorskip("highdicom")

CREATED = datetime.datetime(2026, 11, 24, 12, 30)

ACCEPTED_WARNINGS = (
    # A defined term since parametric maps exist (PS3.3 C.8.32.2); the validator knows older terms only.
    r"Unrecognized defined term <QUANTITY> for value 4 of attribute <(Image|Frame) Type>",
    # Of DICOMDIR, which these files are not for; a de-identified object has neither date nor number of the study.
    r"Missing attribute or value that would be needed to build DICOMDIR - .*",
)


@pytest.fixture(scope="module")
def synthesis():
    y, x = np.mgrid[:31, :29] / 30 - 0.5
    image = np.where(x**2 + y**2 < 0.2, [2.0 + x, 1.0 + y], np.nan).astype(np.float32)
    image[0, 15, 15] = 0.0  # denuded bone is a value
    neighbors = Neighbors(
        np.array([[f"KEY-{i}" for i in range(3)]]),
        np.array([[f"SUBJECT-{i}" for i in range(3)]]),
        np.arange(3)[None],
        np.linspace(0.99, 0.9, 3, dtype=np.float32)[None],
        np.array([3]),
    )
    third, readout = np.full(3, 1 / 3, np.float32), Readout(n_neighbors=3)
    part = Contribution(
        ("femoral", "tibial"), readout, neighbors, third, np.arange(3), third, neighbors.keys[0], "f" * 64, 3
    )
    spread = np.abs(image) * np.float32(0.1)
    return Synthesis(image, spread, part.regions, "mm", (0.5, 0.4), (part,), bundle_id="b" * 32)


def with_readout(synthesis, readout):
    return replace(synthesis, contributions=(replace(synthesis.contributions[0], readout=readout),))


def with_intervals(synthesis):
    facts = Intervals(0.9, "calibration", 40, 0, 1, stale=False, means=())
    parts = tuple(replace(part, intervals=facts) for part in synthesis.contributions)
    half = np.float32(2) * synthesis.spread
    return replace(synthesis, contributions=parts, lower=synthesis.image - half, upper=synthesis.image + half)


@pytest.fixture(scope="module")
def source_file(tmp_path_factory):
    pixels = np.random.default_rng(1).integers(0, 4000, (40, 30))
    return write_radiograph(tmp_path_factory.mktemp("source") / "knee.dcm", pixels)


@pytest.fixture(scope="module")
def derived(source_file):
    return DerivedFrom(read_source_header(source_file), "right", mirrored=True, anatomy=KNEE, created=CREATED)


@pytest.fixture(scope="module")
def neighbor_maps(synthesis):
    return (np.stack([synthesis.image + np.float32(0.1 * i) for i in range(3)]),)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(2).random((1, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory, synthesis, derived, neighbor_maps, picture):
    encoded = encoded_dicom_objects("knee", synthesis, derived, neighbor_maps, picture)
    return write_dicom_objects(tmp_path_factory.mktemp("out"), encoded)


@pytest.fixture
def drawn_quickly(monkeypatch):
    monkeypatch.setattr(
        "mris.serving.dicom_objects.capture_pixels", lambda *given, **named: np.zeros((8, 8, 3), np.uint8)
    )


def test_the_map_read_back_by_highdicom_holds_the_very_values_and_no_value_where_there_is_none(files, synthesis):
    read = highdicom.pm.sop.pmread(files[1])
    np.testing.assert_array_equal(read.get_frames(apply_real_world_transform=True), synthesis.image)
    np.testing.assert_array_equal(pydicom.dcmread(files[1]).pixel_array, synthesis.image)
    assert np.isnan(read.FloatPixelPaddingValue) and np.isnan(read.FloatPixelPaddingRangeLimit)


def test_the_values_are_in_the_unit_and_stored_as_they_are(synthesis, derived):
    for unit, code in (("mm", ("mm", "UCUM")), ("voxels", ("{voxels}", "UCUM"))):
        made = parametric_map(replace(synthesis, unit=unit), derived)
        for frame in made.PerFrameFunctionalGroupsSequence:
            (mapping,) = frame.RealWorldValueMappingSequence
            (found,) = mapping.MeasurementUnitsCodeSequence
            assert (found.CodeValue, found.CodingSchemeDesignator) == code
            assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)


def test_each_frame_is_a_region_that_its_index_and_its_labels_name(files):
    made = pydicom.dcmread(files[1])
    frames = made.PerFrameFunctionalGroupsSequence
    assert [frame.FrameContentSequence[0].FrameLabel for frame in frames] == ["femoral", "tibial"]
    assert [frame.RealWorldValueMappingSequence[0].LUTLabel for frame in frames] == ["femoral", "tibial"]
    assert [frame.FrameContentSequence[0].DimensionIndexValues for frame in frames] == [1, 2]


def test_the_ends_of_intervals_follow_the_values_as_frames_of_their_own(synthesis, derived, tmp_path):
    told = with_intervals(synthesis)
    made = parametric_map(told, derived)
    made.save_as(tmp_path / "map.dcm")
    read = highdicom.pm.sop.pmread(tmp_path / "map.dcm").get_frames(apply_real_world_transform=True)
    np.testing.assert_array_equal(read, np.concatenate([told.image, told.lower, told.upper]))
    mappings = [frame.RealWorldValueMappingSequence[0] for frame in made.PerFrameFunctionalGroupsSequence]
    ends = [f"{name}{end}" for end in ("", " lower", " upper") for name in synthesis.regions]
    assert [one.LUTLabel for one in mappings] == ends
    assert mappings[2].LUTExplanation == "femoral (mm), lower end of 90 % interval"
    assert "hold 90 % of a new person's pixels on average" in made.ImageComments
    moved = parametric_map(replace(told, upper=told.upper + 1), derived)
    assert moved.SOPInstanceUID != made.SOPInstanceUID


def test_regions_whose_names_are_too_long_for_a_label_stay_apart(synthesis, derived):
    regions = ("medial weight-bearing femur", "medial weight-bearing tibia")
    part = replace(synthesis.contributions[0], regions=regions)
    made = parametric_map(replace(synthesis, regions=regions, contributions=(part,)), derived)
    labels = [frame.RealWorldValueMappingSequence[0].LUTLabel for frame in made.PerFrameFunctionalGroupsSequence]
    assert len(set(labels)) == 2 and max(map(len, labels)) <= 16


def test_both_stand_in_the_source_s_study_and_refer_to_it(files, source_file):
    source = pydicom.dcmread(source_file)
    series = set()
    for path in files:
        made = pydicom.dcmread(path)
        series.add(made.SeriesInstanceUID)
        for keyword in PATIENT_AND_STUDY:
            if keyword in source:
                assert str(made[keyword].value) == str(source[keyword].value), keyword
        (reference,) = made.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == source.SOPClassUID
        (referenced,) = made.ReferencedSeriesSequence
        assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
        assert (made.BodyPartExamined, made.Modality) == ("KNEE", "OT")
    assert len(series | {source.SeriesInstanceUID}) == 3
    for frame in pydicom.dcmread(files[1]).PerFrameFunctionalGroupsSequence:
        (origin,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert (origin.ReferencedSOPClassUID, origin.ReferencedSOPInstanceUID) == (
            source.SOPClassUID,
            source.SOPInstanceUID,
        )
        assert origin.SpatialLocationsPreserved == "NO"


def test_nothing_of_the_source_but_patient_study_and_body_part_is_taken_over(files):
    of_the_device = {"InstitutionName", "OperatorsName", "StationName", "InstitutionAddress", "PatientComments"}
    for path in files:
        assert not of_the_device & {element.keyword for element in pydicom.dcmread(path).iterall()}
        assert b"private Annegret" not in path.read_bytes()


def test_the_header_says_that_it_is_synthesized_and_has_no_patient_geometry(files):
    for path in files:
        made = pydicom.dcmread(path)
        assert "not measured" in made.SeriesDescription
        assert made.DerivationDescription.startswith("Synthesized, not measured")
        assert "no patient geometry" in made.ImageComments
        assert made.ImageType[0] == "DERIVED"
    assert pydicom.dcmread(files[1]).ContentQualification == "RESEARCH"
    assert "no patient geometry" in pydicom.dcmread(files[1]).ContentDescription


def test_the_header_counts_the_neighbors_that_were_averaged_and_not_those_asked_for(synthesis, derived):
    asked_for_more = with_readout(synthesis, Readout(n_neighbors=20))
    assert "3 neighbors, similarity weights" in parametric_map(asked_for_more, derived).DerivationDescription


def test_the_map_s_frame_of_reference_is_the_atlas_s_and_not_the_source_s(synthesis, derived, tmp_path, rng):
    other = write_radiograph(tmp_path / "b.dcm", rng.integers(0, 9, (5, 5)), SOPInstanceUID="1.2.3", PatientID="else")
    of_other = DerivedFrom(read_source_header(other), "left", anatomy=KNEE)
    frames = {parametric_map(synthesis, one).FrameOfReferenceUID for one in (derived, of_other)}
    assert len(frames) == 1 and IDENTIFYING["FrameOfReferenceUID"] not in frames
    bundle = replace(synthesis, bundle_id="c" * 32)
    assert parametric_map(bundle, derived).FrameOfReferenceUID not in frames


def test_an_unknown_pixel_size_is_said_to_be_unknown(synthesis, derived):
    known, unknown = (parametric_map(replace(synthesis, spacing=size), derived) for size in ((0.5, 0.4), None))
    assert "counts pixels, not mm" in unknown.ImageComments and "counts pixels" not in known.ImageComments
    measures = known.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == [0.5, 0.4]


def test_the_side_is_told_once_with_the_anatomy_where_the_source_says_knee(files, synthesis, derived):
    assert pydicom.dcmread(files[0]).Laterality == "R"
    made = pydicom.dcmread(files[1])
    (anatomy,) = made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence
    assert "Laterality" not in made
    assert anatomy.FrameLaterality == "R" and anatomy.AnatomicRegionSequence[0].CodeValue == codes.SCT.Knee.value
    elsewhere = replace(derived, source=replace(derived.source, body_part="HIP"))
    made = parametric_map(synthesis, elsewhere)
    assert "FrameAnatomySequence" not in made.SharedFunctionalGroupsSequence[0] and made.Laterality == "R"


def test_the_picture_says_in_red_what_it_is(synthesis, neighbor_maps, monkeypatch):
    picture = capture_pixels(synthesis, neighbor_maps, caption="knee")
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    monkeypatch.setattr("mris.serving.capture_picture.WARNING", "")
    silent = capture_pixels(synthesis, neighbor_maps, caption="knee")
    rows = np.flatnonzero((picture != silent).any(axis=(1, 2)))
    assert rows.size and rows.max() < 60  # the red line at the top, and nothing else


def test_no_key_and_no_subject_of_the_database_is_in_the_objects(files, synthesis, neighbor_maps, monkeypatch):
    for path in files:
        assert b"KEY-" not in path.read_bytes() and b"SUBJECT-" not in path.read_bytes()
    drawn: list[str] = []
    write = Canvas.write
    monkeypatch.setattr(Canvas, "write", lambda c, x, y, s, *a, **kw: drawn.append(s) or write(c, x, y, s, *a, **kw))
    capture_pixels(synthesis, neighbor_maps, caption="knee")
    assert len(drawn) > 10 and not [text for text in drawn if "KEY" in text or "SUBJECT" in text]


def test_the_same_content_gives_the_same_bytes(files, synthesis, derived, neighbor_maps, picture):
    again = encoded_dicom_objects("knee", synthesis, derived, neighbor_maps, picture)
    assert again == {path.name: path.read_bytes() for path in files}


def test_other_content_has_other_uids_even_if_the_pictures_are_the_same(
    synthesis, derived, neighbor_maps, drawn_quickly
):
    part = replace(synthesis.contributions[0], database_version=4)
    changed = [
        (replace(synthesis, image=synthesis.image + 1), derived),
        (replace(synthesis, contributions=(part,)), derived),
        (with_readout(synthesis, Readout(n_neighbors=6)), derived),
        (synthesis, replace(derived, side="left")),
    ]
    for make in (parametric_map, lambda *of: secondary_capture(*of, neighbor_maps)):
        uids = {make(*of).SOPInstanceUID for of in ((synthesis, derived), *changed)}
        assert len(uids) == 1 + len(changed)
        assert all(re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid) for uid in uids)


@pytest.mark.parametrize(
    ("of_the_source", "drawn", "said"),
    [("YES", True, "YES"), ("NO", True, "NO"), ("", True, None), ("YES", False, "NO"), ("", False, "NO")],
)
def test_the_capture_says_of_burnt_in_names_what_is_known(
    synthesis, derived, neighbor_maps, picture, drawn_quickly, of_the_source, drawn, said
):
    source = replace(derived.source, burned_in=of_the_source)
    shown = picture if drawn else None
    made = secondary_capture(synthesis, replace(derived, source=source), neighbor_maps, picture_source=shown)
    assert made.get("BurnedInAnnotation") == said


@pytest.mark.parametrize(("written", "read"), [("YES", "YES"), ("NO", "NO"), ("PERHAPS", ""), ("", ""), (None, "")])
def test_the_source_s_word_on_burnt_in_names_is_read(tmp_path, rng, written, read):
    path = write_radiograph(tmp_path / "knee.dcm", rng.integers(0, 9, (4, 4)), BurnedInAnnotation=written)
    assert read_source_header(path).burned_in == read


@pytest.mark.parametrize("salt", [None, b"a salt of 16 bytes or more"], ids=["identified", "de-identified"])
@pytest.mark.parametrize("spacing", [(0.5, 0.4), None], ids=["mm", "unknown size, with intervals"])
def test_the_validators_of_other_makers_find_no_error(
    synthesis, derived, neighbor_maps, picture, tmp_path, salt, spacing
):
    if not (shutil.which("dciodvfy") and shutil.which("dcmdump") and shutil.which("dcm2pnm")):
        pytest.skip("dciodvfy (dicom3tools) or dcmdump and dcm2pnm (dcmtk) are not installed")
    sized = replace(synthesis if spacing else with_intervals(synthesis), spacing=spacing)
    encoded = encoded_dicom_objects("knee", sized, derived, neighbor_maps, picture, salt=salt)
    capture, values = write_dicom_objects(tmp_path, encoded)
    for path in (capture, values):
        found = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        lines = (found.stdout + found.stderr).splitlines()
        assert not [line for line in lines if line.startswith("Error")], lines
        warnings = [line.removeprefix("Warning - ") for line in lines if line.startswith("Warning")]
        accepted = [text for text in warnings if any(re.fullmatch(one, text) for one in ACCEPTED_WARNINGS)]
        assert warnings == accepted
        dump = subprocess.run(["dcmdump", "-q", path], capture_output=True, check=True)
        assert b"StudyInstanceUID" in dump.stdout and not dump.stderr
    drawn = subprocess.run(["dcm2pnm", "--write-raw-pnm", capture, tmp_path / "p.ppm"], capture_output=True, check=True)
    assert not drawn.stderr
    data = (tmp_path / "p.ppm").read_bytes()
    pixels = pydicom.dcmread(capture).pixel_array
    assert data.endswith(pixels.tobytes())


def test_a_region_without_any_value_is_stored_as_such(synthesis, derived):
    empty = synthesis.image.copy()
    empty[1] = np.nan
    made = parametric_map(replace(synthesis, image=empty), derived)
    assert np.isnan(np.frombuffer(made.FloatPixelData, "<f4").reshape(2, 31, 29)[1]).all()


def test_names_in_any_script_come_through(tmp_path, synthesis, neighbor_maps, rng):
    pixels = rng.integers(0, 9, (5, 5))
    path = write_radiograph(
        tmp_path / "jp.dcm", pixels, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎"
    )
    made = parametric_map(synthesis, DerivedFrom(read_source_header(path), anatomy=KNEE))
    made.save_as(tmp_path / "map.dcm", enforce_file_format=True)
    assert str(pydicom.dcmread(tmp_path / "map.dcm").PatientName) == "Yamada^Tarou=山田^太郎"


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_source_that_does_not_say_which_it_is_is_refused(tmp_path, rng, keyword):
    path = write_radiograph(tmp_path / "x.dcm", rng.integers(0, 9, (5, 5)))
    found = pydicom.dcmread(path)
    del found[keyword]
    found.save_as(path)
    with pytest.raises(ImageError, match=rf"x\.dcm: its header lacks {keyword}"):
        read_source_header(path)


def test_a_source_that_is_no_dicom_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 4)))
    with pytest.raises(ImageError, match=r"x\.npy: is no DICOM file"):
        read_source_header(tmp_path / "x.npy")


def test_values_that_dicom_does_not_allow_are_left_empty_and_noted_without_the_value(tmp_path, rng, synthesis):
    path = write_radiograph(tmp_path / "x.dcm", rng.integers(0, 9, (5, 5)))
    found = pydicom.dcmread(path)
    with pytest.warns(UserWarning, match="Invalid value"):
        found.StudyDate, found.PatientSex, found.PatientBirthDate = "June 13", "W", "17.9.53"
    found.save_as(path)
    header = read_source_header(path)
    assert {note.split()[0] for note in header.notes} == {"StudyDate", "PatientSex", "PatientBirthDate"}
    assert not [note for note in header.notes if "June" in note or "53" in note]
    made = parametric_map(synthesis, DerivedFrom(header, anatomy=KNEE))
    assert not made.StudyDate and not made.PatientSex and str(made.PatientID) == IDENTIFYING["PatientID"]
