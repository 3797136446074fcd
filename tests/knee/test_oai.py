"""The importer on a small layout made by hand: what is found, what is missing and how that is said."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mris.cohort.cohort import Cohort
from mris.cohort.manifest import read_manifest
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.errors import ManifestError, OutputError, SettingsError, SubjectLeakError
from mris.images.transforms import SourcePreparation
from mris.knee.oai import survey_oai, write_oai_manifest
from mris.knee.oai_files import find_plate, map_folder, plate_file
from mris.knee.phantom.plate import PhantomPlate
from mris.knee.phantom.plate_file import PlateRecord, write_plate

PATIENTS = {"0901": "test_set", "0902": "fold1", "0903": "fold5"}
VISITS = "patient_id,month,mri_left,mri_right,xray\n"
CENTERS = "patient_id,month,keypoint_right,keypoint_left\n"
GRADES = "ID,SIDE,READPRJ,V00XRKL,V01XRKL,V03XRKL,V05XRKL,V06XRKL,V08XRKL,V10XRKL\n"


def write_layout(top: Path) -> Path:
    """Three patients, two visits each: 12 pairs; month 12 of patient 0902 was read by project 37 alone."""
    top.joinpath("sheets").mkdir(parents=True)
    pixels = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 16
    grades = GRADES
    for patient, fold in PATIENTS.items():
        folder = top / "sheets" / (fold if fold == "test_set" else f"train_set/{fold}")
        visits, centers = VISITS, CENTERS
        for month, visit in (("00_MONTH", 0), ("12_MONTH", 1)):
            xray = f"{visit}.C.2/{patient}/2004/00000{visit}"
            visits += f"{patient},{month},{xray}1,{xray}2,{xray}\n"
            centers += f'{patient},{month},"[12, 20]","[45, 21]"\n'
            path = plate_file(top / "radiographs", xray)
            path.parent.mkdir(parents=True)
            record = PlateRecord(patient, f"{visit}", visit * 12, "male", 60.0, date(2004, 3, 1), False, False)
            write_plate(path, PhantomPlate(pixels, (0.175, 0.175), {}), record)
            for side in ("left", "right"):
                target = map_folder(top / "thickness", patient, month, side)
                target.mkdir(parents=True)
                for name in ("FC_2d_thickness.npy", "TC_2d_thickness.npy"):
                    np.save(target / name, np.where(np.eye(310) > 0, 1.5, np.nan))
        folder.mkdir(parents=True)
        (folder / "mri_xray.csv").write_text(visits)
        (folder / "xray_keypoints.csv").write_text(centers)
        at_12 = "NA" if patient == "0902" else "1"
        grades += f"{patient},1,15,2,{at_12},NA,NA,NA,NA,NA\n{patient},2,15,0,0,NA,NA,NA,NA,NA\n"
    grades += "0902,1,37,3,3,NA,NA,NA,NA,NA\n"
    (top / "sheets" / "KLG_score.csv").write_text(grades)
    return top


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("oai") / "whole")


@pytest.fixture
def layout(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "oai"))


def survey(top: Path, **options):
    return survey_oai(top / "sheets", top / "radiographs", top / "thickness", **options)


def edited(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_everything_that_is_there_becomes_a_manifest_that_prepare_accepts(whole: Path, tmp_path: Path) -> None:
    found = survey(whole)
    assert not found.left_out
    manifest = read_manifest(write_oai_manifest(found, tmp_path / "out"))
    manifest.require_sound()
    assert manifest.regions == ("femoral", "tibial")
    assert {row.key for row in manifest.rows} == {
        f"{patient}/{month}/{side}" for patient in PATIENTS for month in (0, 12) for side in ("left", "right")
    }
    assert {row.subject: row.split for row in manifest.rows} == {"0901": "test", "0902": "train", "0903": "val"}
    row = next(row for row in manifest.rows if row.key == "0901/12/right")
    assert row.center == (20.0, 12.0)
    assert Path(row.source) == whole / "radiographs/1.C.2/0901/2004/000001/001"
    knee = "0901/MR_SAG_3D_DESS/RIGHT_KNEE/12_MONTH/avsm"
    assert [Path(path) for path in row.targets] == [
        whole / "thickness" / knee / "FC_2d_thickness.npy",
        whole / "thickness" / knee / "TC_2d_thickness.npy",
    ]
    assert dict(zip(manifest.labels, row.labels, strict=True)) == {"fold": "test_set", "klg": 1}


def test_month_0_is_the_folder_of_enrollment(whole: Path) -> None:
    assert (whole / "thickness/0901/MR_SAG_3D_DESS/LEFT_KNEE/ENROLLMENT/avsm/FC_2d_thickness.npy").is_file()
    assert "00_MONTH" not in {path.name for path in whole.rglob("*")}


def test_counts_are_those_of_the_layout_and_stand_beside_the_papers(whole: Path) -> None:
    found = survey(whole)
    one = {"patients": 1, "visits": 2, "knees": 2, "pairs": 4, "centers": 4, "grades": 4}
    assert {name: vars(counts) for name, counts in found.counts.items()} == dict.fromkeys(
        ("train", "val", "test"), one | {"plates": 4, "maps": 4, "usable": 4}
    )
    assert found.spacings == {"0.175": 6}
    lines = [line.split() for line in found.summary().splitlines()]
    assert ["patients", "1", "1", "2", "2,000", "1", "897"] in lines
    assert ["pairs", "(a", "knee", "at", "a", "visit)", "4", "4", "8", "13,616", "4", "8,418"] in lines
    assert "not in these sheets: fold2, fold3, fold4" in found.summary()


@pytest.mark.parametrize(
    ("reading", "grade"), [("15-first", 3), ("37-first", 3), ("15-only", None), ("37-only", 3)], ids=str
)
def test_the_rule_for_two_readers_is_the_callers(whole: Path, reading: str, grade: int | None) -> None:
    found = {pair.key: pair.klg for pair in survey(whole, reading=reading).pairs}
    assert found["0902/12/right"] == grade
    assert found["0902/0/right"] == (2 if reading.startswith("15") else 3)
    assert found["0901/0/left"] == (None if reading == "37-only" else 0)


def remove_plate(top: Path) -> None:
    (top / "radiographs/0.C.2/0901/2004/000000/001").unlink()


def break_plate(top: Path) -> None:
    (top / "radiographs/0.C.2/0901/2004/000000/001").write_bytes(b"no DICOM")


def without_spacing(top: Path) -> None:
    path = top / "radiographs/0.C.2/0901/2004/000000/001"
    dataset = pydicom.dcmread(path)
    del dataset.PixelSpacing
    dataset.save_as(path)


def orient(top: Path, *directions: str) -> None:
    path = top / "radiographs/0.C.2/0901/2004/000000/001"
    dataset = pydicom.dcmread(path)
    dataset.PatientOrientation = list(directions)
    dataset.save_as(path)


def remove_femoral(top: Path) -> None:
    (top / "thickness/0901/MR_SAG_3D_DESS/LEFT_KNEE/ENROLLMENT/avsm/FC_2d_thickness.npy").unlink()


def remove_all_maps(top: Path) -> None:
    shutil.rmtree(top / "thickness/0901/MR_SAG_3D_DESS/LEFT_KNEE")


def remove_row_of_centers(top: Path) -> None:
    edited(top / "sheets/test_set/xray_keypoints.csv", '0901,00_MONTH,"[12, 20]","[45, 21]"\n', "")


def remove_one_center(top: Path) -> None:
    edited(top / "sheets/test_set/xray_keypoints.csv", '0901,00_MONTH,"[12, 20]"', "0901,00_MONTH,")


def swap_rows_and_columns(top: Path) -> None:
    edited(
        top / "sheets/test_set/xray_keypoints.csv",
        '0901,00_MONTH,"[12, 20]","[45, 21]"',
        '0901,00_MONTH,"[20, 12]","[21, 45]"',
    )


BOTH = ["0901/0/left", "0901/0/right"]
LEFT_AT_BOTH_VISITS = ["0901/0/left", "0901/12/left"]


@pytest.mark.parametrize(
    ("spoil", "reasons", "keys", "column"),
    [
        (remove_plate, {"no plate": 2}, BOTH, "plates"),
        (break_plate, {"unreadable plate": 2}, BOTH, None),
        (without_spacing, {"plate without pixel spacing": 2}, BOTH, None),
        (lambda top: orient(top, "R", "F"), {"mirrored plate": 2}, BOTH, None),
        (lambda top: orient(top, "L", "H"), {"unreadable plate": 2}, BOTH, None),
        (remove_femoral, {"no femoral map": 1}, ["0901/0/left"], "maps"),
        (remove_all_maps, {"no femoral map": 2, "no tibial map": 2}, LEFT_AT_BOTH_VISITS, "maps"),
        (remove_row_of_centers, {"no joint center": 2}, BOTH, "centers"),
        (remove_one_center, {"no joint center": 1}, ["0901/0/right"], "centers"),
        (swap_rows_and_columns, {"joint center outside the plate": 1}, ["0901/0/left"], None),
    ],
)
def test_a_pair_of_which_something_is_missing_is_left_out_counted_and_listed(
    layout: Path, spoil: Callable[[Path], None], reasons: dict[str, int], keys: list[str], column: str | None
) -> None:
    spoil(layout)
    found = survey(layout)
    assert [pair.key for pair in found.left_out] == keys
    assert found.reasons == reasons
    counts = found.counts["test"]
    assert counts.usable == 4 - len(keys)
    if column is not None:
        assert getattr(counts, column) == 4 - len(keys)
    manifest = write_oai_manifest(found, layout / "out")
    assert {row.key for row in read_manifest(manifest).rows} == {pair.key for pair in found.pairs} - set(keys)
    report = json.loads((layout / "out" / "import.json").read_text())
    assert (report["n_left_out"], report["left_out_by_reason"]) == (len(keys), reasons)
    assert [entry["key"] for entry in report["left_out"]] == keys
    for reason in reasons:
        assert f"left out, {reason}: " in found.summary()


def test_the_message_on_a_broken_plate_names_the_file_and_the_reason(layout: Path) -> None:
    break_plate(layout)
    (first, _) = survey(layout).left_out
    assert "0901/2004/000000/001 is no DICOM file" in first.reasons["unreadable plate"]


@pytest.mark.parametrize(("directions", "said"), [("RF", "mirrored"), ("LH", "upside down"), ("RH", "upside down")])
def test_a_plate_that_is_not_as_if_the_patient_faced_the_reader_says_so(layout: Path, directions, said) -> None:
    orient(layout, *directions)
    (reason,) = survey(layout).left_out[0].reasons.values()
    assert "0901/2004/000000/001" in reason and f"PatientOrientation) says that the picture is {said}" in reason


def test_a_plate_cut_in_its_header_is_left_out_with_its_reason(layout: Path) -> None:
    path = layout / "radiographs/0.C.2/0901/2004/000000/001"
    whole = path.read_bytes()
    for length in (140, 300, 600):
        path.write_bytes(whole[:length])
        found = find_plate(path)
        assert found.finding is not None
        assert found.finding.rule == "unreadable plate"
        assert str(path) in found.finding.reason


def test_maps_of_310_pixels_and_plates_become_a_cohort(whole: Path, tmp_path: Path) -> None:
    manifest = write_oai_manifest(survey(whole), tmp_path / "out")
    source = SourcePreparation((8, 8), mirror_sides=("right",), region_mm=4.0)
    settings = PrepareSettings(source, target_size=(310, 310), workers=1)
    report = prepare_cohort(manifest, tmp_path / "cohort", settings, progress=False)
    assert (report.n_kept, report.rows_by_split) == (12, {"test": 4, "train": 4, "val": 4})
    cohort = Cohort.open(tmp_path / "cohort")
    assert cohort.header.target_shape == (2, 310, 310)
    assert np.array_equal(np.nan_to_num(cohort.read_targets([0])[0, 0]), 1.5 * np.eye(310))


def test_no_pair_left_is_an_error_that_says_why(layout: Path) -> None:
    shutil.rmtree(layout / "radiographs")
    (layout / "radiographs").mkdir()
    with pytest.raises(
        ManifestError, match=r"none of 12 pairs can be used \(no plate: 12\); the first, 0901/0/left: no"
    ):
        write_oai_manifest(survey(layout), layout / "out")
    assert not (layout / "out").exists()


def test_a_patient_in_two_folds_is_named(layout: Path) -> None:
    for name in ("mri_xray.csv", "xray_keypoints.csv"):
        shutil.copy(layout / "sheets/test_set" / name, layout / "sheets/train_set/fold1" / name)
    with pytest.raises(SubjectLeakError, match=r"1 patient in two folds: 0901 in fold1 and test_set"):
        survey(layout)


def test_the_validation_fold_is_the_callers_choice(whole: Path) -> None:
    def splits(fold: str) -> dict[str, str]:
        return {pair.patient: pair.split for pair in survey(whole, val_fold=fold).pairs}

    assert splits("fold1") == {"0901": "test", "0902": "val", "0903": "train"}
    assert splits("none") == {"0901": "test", "0902": "train", "0903": "train"}
    for unknown in ("fold2", "test_set"):
        with pytest.raises(SettingsError, match=rf"fold is '{unknown}', but the sheets have fold1, fold5; name one"):
            splits(unknown)


def test_the_sheets_alone_give_counts_and_no_manifest(whole: Path, tmp_path: Path) -> None:
    found = survey_oai(whole / "sheets")
    assert {counts.pairs for counts in found.counts.values()} == {4}
    assert (found.counts["test"].plates, found.counts["test"].maps, found.counts["test"].usable) == (None, None, None)
    assert "usable" not in found.summary()
    with pytest.raises(SettingsError, match="a manifest needs the folders of radiographs and of thickness maps"):
        write_oai_manifest(found, tmp_path / "out")


def test_a_folder_that_is_none_is_named(whole: Path) -> None:
    with pytest.raises(SettingsError, match=r"radiographs is '.*nowhere', which is no folder"):
        survey_oai(whole / "sheets", whole / "nowhere")


def test_the_same_import_may_run_again_whole_or_interrupted(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = write_oai_manifest(survey(whole), out).read_bytes()
    assert write_oai_manifest(survey(whole), out).read_bytes() == first
    (out / "manifest.csv").unlink()
    (out / ".manifest.csv.0123456789ab.tmp.csv").touch()
    assert write_oai_manifest(survey(whole), out).read_bytes() == first
    monkeypatch.chdir(whole)
    assert write_oai_manifest(survey(Path()), out).read_bytes() == first


def test_a_folder_of_other_files_is_no_place_for_an_import(whole: Path, tmp_path: Path) -> None:
    for name in ("manifest.csv", "notes.txt"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(OutputError, match=r"holds files and no import wrote it; choose another folder"):
            write_oai_manifest(survey(whole), folder)
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, "mine")]
    (tmp_path / "notes" / "import.json").write_text("{}")
    with pytest.raises(OutputError, match=r"import.json is damaged \(sheets is missing\); .*choose another folder"):
        write_oai_manifest(survey(whole), tmp_path / "notes")


@pytest.mark.parametrize("other", ["grades", "val_fold", "a center", "a map"])
def test_an_import_with_another_result_is_not_replaced(layout: Path, tmp_path: Path, other: str) -> None:
    out = tmp_path / "out"
    write_oai_manifest(survey(layout), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    if other == "a center":
        edited(layout / "sheets/test_set/xray_keypoints.csv", '0901,00_MONTH,"[12, 20]"', '0901,00_MONTH,"[13, 20]"')
    if other == "a map":
        remove_femoral(layout)
    options = {"grades": {"reading": "37-first"}, "val_fold": {"val_fold": "fold1"}}.get(other, {})
    with pytest.raises(OutputError, match=r"holds an import with another result .*; choose another folder, or remove"):
        write_oai_manifest(survey(layout, **options), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.data
def test_the_official_sheets_hold_the_papers_patients_and_pairs(data_dir: Path) -> None:
    found = survey_oai(data_dir / "oai_sheets")
    train, val, test = (found.counts[name] for name in ("train", "val", "test"))
    assert (train.patients + val.patients, test.patients) == (2000, 897)
    assert (train.pairs + val.pairs, test.pairs) == (13616, 8418)
    for counts in (train, val, test):
        assert counts.pairs == 2 * counts.visits == counts.centers
    missing = 1 - (train.grades + val.grades) / (train.pairs + val.pairs)
    assert missing == pytest.approx(0.12, abs=0.005), "12 % of the training pairs have no grade"
    assert len(found.unused_centers) == 4
    assert not found.absent_folds
