"""``mris synthesize`` of a hospital's files: DICOM results, de-identification, plates of both knees."""

import json
import warnings

import numpy as np
import pydicom
import pytest
from tests.dicom_sources import IDENTIFYING, identifying_values, write_radiograph

highdicom = pytest.importorskip("highdicom")

QUICK = ["--formats", "npz", "--no-pictures", "--quiet"]


@pytest.fixture
def knee(tmp_path, rng):
    return write_radiograph(tmp_path / "knee.dcm", rng.integers(0, 4000, (20, 20)), ImageLaterality="L")


@pytest.fixture
def plate(tmp_path, rng):
    return write_radiograph(tmp_path / "plate.dcm", rng.integers(0, 4000, (300, 390)))


def test_dicom_results_stand_beside_the_others_and_hold_the_same_map(run_cli, tiny_bundle, knee, tmp_path):
    other = write_radiograph(
        knee.with_name("b.dcm"), np.arange(400).reshape(20, 20), SOPInstanceUID="1.2.3", ImageLaterality="R"
    )
    outcome = run_cli("synthesize", tiny_bundle, knee, other, "--out", tmp_path / "o", "--dicom", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "2 of 2 files synthesized" in outcome.out
    for source in (knee, other):
        names = {path.name for path in (tmp_path / "o").glob(f"{source.stem}*")}
        assert names == {f"{source.stem}{end}" for end in (".npz", "_capture.dcm", "_map.dcm", "_provenance.json")}
        record = json.loads((tmp_path / "o" / f"{source.stem}_provenance.json").read_text())
        assert set(record["files"]) == names - {f"{source.stem}_provenance.json"}
        read = highdicom.pm.sop.pmread(tmp_path / "o" / f"{source.stem}_map.dcm")
        image = np.load(tmp_path / "o" / f"{source.stem}.npz")["image"]
        np.testing.assert_array_equal(read.get_frames(apply_real_world_transform=True), image)
        assert read.StudyInstanceUID == IDENTIFYING["StudyInstanceUID"]
        assert read.SourceImageSequence[0].ReferencedSOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID
    assert not list((tmp_path / "o").glob(".*"))


def test_deidentified_results_hold_nothing_that_identifies_and_keep_their_pseudonyms(
    run_cli, tiny_bundle, knee, tmp_path, monkeypatch
):
    monkeypatch.setenv("MRIS_SALT", "a salt that the user keeps")
    for name in ("a", "b"):
        flags = ["--dicom", "--deidentify", *QUICK]
        assert run_cli("synthesize", tiny_bundle, knee, "--out", tmp_path / name, *flags).code == 0
    monkeypatch.delenv("MRIS_SALT")
    assert run_cli("synthesize", tiny_bundle, knee, "--out", tmp_path / "c", *flags).code == 0
    for end in ("capture", "map"):
        a, b, c = (pydicom.dcmread(tmp_path / name / f"knee_{end}.dcm") for name in "abc")
        assert a.PatientID == b.PatientID != c.PatientID
        assert a.SOPInstanceUID == b.SOPInstanceUID != c.SOPInstanceUID
        for name in "abc":
            data = (tmp_path / name / f"knee_{end}.dcm").read_bytes()
            assert not [text for text in identifying_values(pydicom.dcmread(knee)) if text.encode() in data]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"{IDENTIFYING['PatientID']}.dcm", "PatientID"),
        ("annegret_knee.dcm", "PatientName"),
        (f"{IDENTIFYING['AccessionNumber']}-2.dcm", "AccessionNumber"),
        (f"{IDENTIFYING['SOPInstanceUID']}.dcm", "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID"),
        ("knee.dcm", None),
    ],
)
def test_names_that_would_undo_the_deidentification_are_noted(run_cli, tiny_bundle, knee, tmp_path, name, said):
    source = knee.rename(knee.with_name(name))
    for flags, expected in (([], None), (["--deidentify"], said)):
        outcome = run_cli("synthesize", tiny_bundle, source, "--out", tmp_path / "o", "--dicom", *flags, *QUICK)
        assert outcome.code == 0, outcome.err
        if expected is None:
            assert "note:" not in outcome.err
        else:
            assert f"the results of {name} hold its {expected}; rename the file first" in outcome.err


def test_the_source_s_picture_is_not_in_a_deidentified_capture(run_cli, tiny_bundle, knee, tmp_path, monkeypatch):
    drawn = []
    from mris.serving import dicom_objects

    real = dicom_objects.capture_pixels
    monkeypatch.setattr(dicom_objects, "capture_pixels", lambda *a, **k: drawn.append(k["source"]) or real(*a, **k))
    for flags in ([], ["--deidentify"]):
        run_cli("synthesize", tiny_bundle, knee, "--out", tmp_path / "o", "--dicom", *flags, *QUICK)
    assert drawn[0] is not None and drawn[1] is None


def test_a_plate_with_centers_by_hand_gives_both_knees(run_cli, tiny_bundle, plate, tmp_path):
    where = ["--right", "150,95", "--left", "160,290"]
    outcome = run_cli("synthesize", tiny_bundle, plate, "--out", tmp_path / "o", *where, "--dicom", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "1 of 1 file, 2 knees, synthesized" in outcome.out
    maps = [pydicom.dcmread(tmp_path / "o" / f"plate_{side}_map.dcm") for side in ("right", "left")]
    sides = [one.SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0].FrameLaterality for one in maps]
    assert sides == ["R", "L"] and maps[0].SOPInstanceUID != maps[1].SOPInstanceUID
    assert len({one.SeriesInstanceUID for one in maps}) == 2
    record = json.loads((tmp_path / "o" / "plate_left_provenance.json").read_text())
    assert record["query"]["center"] == [160.0, 290.0] and record["query"]["center_source"] == "given"


def test_a_region_of_which_more_than_a_quarter_is_outside_the_plate_is_noted_once(
    run_cli, tiny_bundle, plate, tmp_path
):
    flags = ["--right", "5,5", "--left", "160,290", *QUICK]
    outcome = run_cli("synthesize", tiny_bundle, plate, "--out", tmp_path / "o", *flags)
    assert outcome.code == 0, outcome.err
    records = {
        side: json.loads((tmp_path / "o" / f"plate_{side}_provenance.json").read_text()) for side in ("right", "left")
    }
    assert 0.7 < records["right"]["query"]["outside"] < 0.75 and records["left"]["query"]["outside"] <= 0.25
    (note,) = [line for line in outcome.err.splitlines() if "plate.dcm" in line]
    share = f"{records['right']['query']['outside']:.0%}"
    assert note == f"note: plate.dcm: {share} of the region of the right knee lies outside the plate; check its center"


def test_a_plate_with_a_sheet_of_centers_gives_its_knees(run_cli, tiny_bundle, plate, tmp_path):
    sheet = tmp_path / "centers.csv"
    row = f'{IDENTIFYING["PatientID"]},00_MONTH,,"[290, 160]"'
    sheet.write_text(f"patient_id,month,keypoint_right,keypoint_left\n{row}\n")
    outcome = run_cli("synthesize", tiny_bundle, plate, "--out", tmp_path / "o", "--knees", sheet, *QUICK)
    assert outcome.code == 0, outcome.err
    assert "1 of 1 file, 1 knee, synthesized" in outcome.out
    assert not (tmp_path / "o" / "plate_right.npz").exists() and (tmp_path / "o" / "plate_left.npz").exists()


def test_a_source_that_is_no_dicom_is_refused_before_anything_is_written(refused, tiny_bundle, tmp_path, rng):
    np.save(tmp_path / "knee.npy", rng.random((16, 16)))
    flags = ["--dicom", "--side", "left", *QUICK]
    text = refused("synthesize", tiny_bundle, tmp_path / "knee.npy", "--out", tmp_path / "o", *flags)
    assert "knee.npy: is no DICOM file" in text and "leave out --dicom" in text
    assert not (tmp_path / "o").exists()


def test_skipping_goes_on_after_a_file_that_is_no_dicom(run_cli, tiny_bundle, knee, tmp_path, rng):
    np.save(tmp_path / "a.npy", rng.random((16, 16)))
    flags = ["--dicom", "--side", "left", "--on-error", "skip", *QUICK]
    outcome = run_cli("synthesize", tiny_bundle, tmp_path / "a.npy", knee, "--out", tmp_path / "o", *flags)
    assert outcome.code == 0 and "1 of 2 files synthesized" in outcome.out
    assert "skipped: image" in outcome.err and (tmp_path / "o" / "knee_map.dcm").exists()


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--deidentify"], "de-identification is asked for, but it is of DICOM results only"),
        (["--knees", "detect", "--left", "1,2"], "centers are given by hand; leave out one of them"),
        (["--left", "middle"], "--left is 'middle'; give ROW,COLUMN"),
        (["--knees", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--left", "150,290", "--center", "3,4"], "--center is for files of one knee"),
    ],
)
def test_options_that_contradict_each_other_are_refused(refused, tiny_bundle, plate, tmp_path, flags, match):
    assert match in refused("synthesize", tiny_bundle, plate, "--out", tmp_path / "o", *flags, *QUICK)
    assert not (tmp_path / "o").exists()


def test_a_short_salt_in_the_environment_is_refused(refused, tiny_bundle, plate, tmp_path, monkeypatch):
    monkeypatch.setenv("MRIS_SALT", "short")
    flags = ["--dicom", "--deidentify", *QUICK]
    message = refused("synthesize", tiny_bundle, plate, "--out", tmp_path / "o", *flags)
    assert "the salt (MRIS_SALT) has 5 bytes; give at least 16" in message


def test_a_salt_is_not_taken_from_the_command_line_where_others_could_read_it(run_cli, tiny_bundle, knee, tmp_path):
    flags = ["--dicom", "--deidentify", "--salt", "a salt that others read", *QUICK]
    outcome = run_cli("synthesize", tiny_bundle, knee, "--out", tmp_path / "o", *flags)
    assert outcome.code == 2 and "No such option" in outcome.err and "--salt" in outcome.err


def test_what_could_not_be_taken_over_is_said_without_the_value(run_cli, tiny_bundle, knee, tmp_path):
    found = pydicom.dcmread(knee)
    with pytest.warns(UserWarning, match="Invalid value"):
        found.PatientBirthDate = "17.9.53"
    found.save_as(knee)
    outcome = run_cli("synthesize", tiny_bundle, knee, "--out", tmp_path / "o", "--dicom", *QUICK)
    assert outcome.code == 0
    assert "note: PatientBirthDate of knee.dcm is no value that DICOM allows" in outcome.err
    assert "17.9.53" not in outcome.err + outcome.out


def odd_knee(path, rng, **odd):
    """A knee whose header holds values that no library would write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_radiograph(path, rng.integers(0, 4000, (20, 20)), ImageLaterality="L", **odd)


@pytest.mark.parametrize("flags", [[], ["--deidentify"]], ids=["identified", "de-identified"])
def test_two_names_for_one_patient_and_a_date_that_is_none_cost_a_note_each_and_no_warning_of_a_library(
    run_cli, tiny_bundle, knee, tmp_path, rng, recwarn, flags
):
    odd = {"PatientName": "Meier^Hans\\Meier^Jo", "ReferringPhysicianName": "Obermann", "StudyDate": "2024.06.13"}
    source = odd_knee(tmp_path / "odd.dcm", rng, **odd)
    outcome = run_cli("synthesize", tiny_bundle, source, knee, "--out", tmp_path / "o", "--dicom", *flags, *QUICK)
    assert outcome.code == 0 and "2 of 2 files synthesized" in outcome.out, outcome.err
    notes = [line.split()[1] for line in outcome.err.splitlines() if line.startswith("note: ")]
    assert notes == ["PatientName", "StudyDate"]
    assert not [one for value in odd.values() for one in value.split("\\") if one in outcome.err]
    assert not [one for one in recwarn if issubclass(one.category, UserWarning)]


def test_a_source_of_two_studies_is_skipped_and_the_others_are_not(run_cli, tiny_bundle, knee, tmp_path, rng):
    source = odd_knee(tmp_path / "odd.dcm", rng, StudyInstanceUID="1.2.3\\1.2.4")
    flags = ["--dicom", "--on-error", "skip", *QUICK]
    outcome = run_cli("synthesize", tiny_bundle, source, knee, "--out", tmp_path / "o", *flags)
    assert outcome.code == 0 and "1 of 2 files synthesized" in outcome.out, outcome.err
    assert "odd.dcm: its header lacks StudyInstanceUID, or has several" in outcome.err


def test_objects_that_cannot_be_made_cost_their_file_alone_and_nothing_of_it_is_written(
    run_cli, refused, tiny_bundle, plate, knee, tmp_path, monkeypatch
):
    from mris.serving import dicom_files

    real = dicom_files.parametric_map

    def made(synthesis, derived, **named):
        if derived.source.path == plate and derived.side == "left":  # the second knee of the plate
            raise TypeError("Invalid type for a person name.")
        return real(synthesis, derived, **named)

    monkeypatch.setattr(dicom_files, "parametric_map", made)
    found = ["--right", "150,95", "--left", "160,290", "--dicom", *QUICK]
    outcome = refused("synthesize", tiny_bundle, plate, "--out", tmp_path / "stop", *found)
    assert "plate.dcm: DICOM results cannot be made of its header and its map (TypeError)" in outcome
    again = write_radiograph(tmp_path / "again.dcm", np.arange(300 * 390).reshape(300, 390), SOPInstanceUID="1.2.3")
    flags = [*found, "--on-error", "skip"]
    outcome = run_cli("synthesize", tiny_bundle, plate, again, "--out", tmp_path / "skip", *flags)
    assert outcome.code == 0 and "1 of 2 files, 2 knees, synthesized" in outcome.out, outcome.err
    assert "skipped: image" in outcome.err
    for folder in ("stop", "skip"):
        assert not list((tmp_path / folder).glob("plate*"))


def test_a_missing_package_is_named_before_the_work(refused, tiny_bundle, knee, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    text = refused("synthesize", tiny_bundle, knee, "--out", tmp_path / "o", "--dicom", *QUICK)
    assert "pip install 'mris[dicom]'" in text and not (tmp_path / "o").exists()
