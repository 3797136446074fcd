"""``mris segment`` and ``mris thickness --from-mr``: what they print and write, what they refuse."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.command import call
from tests.mr_oracle import affine_at, digital_labels, gray_of, write_oracle, write_repeater
from tests.mr_scans import affine_of, small_scan, write_nifti, write_series

from mris.errors import OutputError
from mris.images.write import write_json
from mris.knee.mr.model import CARD_FILE, COARSE_FOLDER, Model
from mris.knee.mr.overlays import write_page

SPOILED = {"torch", "lightning", "monai", "SimpleITK"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_oracle(tmp_path_factory.mktemp("oracle"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with what a series and a NIfTI gave."""
    place = tmp_path_factory.mktemp("scans")
    write_series(place / "knee.7", gray_of(digital_labels()), affine_at())
    write_nifti(place / "S1_L_00m.nii.gz", gray_of(digital_labels()), affine_at())
    scans = (place / "knee.7", place / "S1_L_00m.nii.gz")
    assert call("segment", *scans, "--model", model, "--out", place / "out", "--quiet") == 0
    return place / "out"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    write_nifti(tmp_path / "S1_L_00m.nii.gz", gray_of(digital_labels()), affine_at())
    return tmp_path / "S1_L_00m.nii.gz"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "dicom" / "knee.7", gray_of(digital_labels()), affine_at())
    return tmp_path / "dicom" / "knee.7"


def test_a_series_becomes_labels_on_its_grid_a_table_and_a_page(made: Path) -> None:
    table = (made / "segmentations.csv").read_text().splitlines()
    assert table[1:] == [
        "knee.7/knee.7_seg.nii.gz,S001,left,2024-03-15,,",
        "S1_L_00m/S1_L_00m_seg.nii.gz,S1,left,0,,",
    ]
    labels = nib.load(made / "S1_L_00m" / "S1_L_00m_seg.nii.gz")
    assert labels.shape == digital_labels().shape
    np.testing.assert_allclose(labels.affine, affine_at(), atol=1e-4)
    assert set(np.unique(labels.dataobj)) == {0, 1, 2, 3, 4, 7, 8, 9}
    record = json.loads((made / "knee.7" / "record.json").read_text())
    assert (record["subject"], record["side"], record["shape"]) == ("S001", "left", [75, 88, 88])
    page = (made / "index.html").read_text()
    pictures = re.findall(r'src="([^"]+)"', page)
    assert sorted(pictures) == ["S1_L_00m/overlay.png", "knee.7/overlay.png"]
    assert all((made / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert "//" not in page.replace("<!doctype html>", "")


@pytest.mark.slow
def test_what_is_there_is_kept_unless_it_is_to_be_made_anew(run_cli, scan: Path, model: Path, tmp_path: Path) -> None:
    command = ("segment", scan, "--model", model, "--out", tmp_path / "out", "--quiet")
    run_cli(*command)
    labels = tmp_path / "out" / "S1_L_00m" / "S1_L_00m_seg.nii.gz"
    before = labels.stat().st_mtime_ns
    assert "1 were there before" in run_cli(*command).out
    assert labels.stat().st_mtime_ns == before
    assert "there before" not in run_cli(*command, "--overwrite").out
    assert labels.stat().st_mtime_ns > before
    write_nifti(scan, gray_of(digital_labels()) + 1, affine_at())
    assert "there before" not in run_cli(*command).out, "another scan of that name"


def test_a_dry_run_says_what_the_scans_are_and_writes_nothing(
    run_cli, series: Path, model: Path, tmp_path: Path
) -> None:
    cut, askew = tmp_path / "cut_L.nii.gz", tmp_path / "askew_L.nii.gz"
    cut.write_bytes(b"\x1f\x8b cut")
    write_nifti(askew, small_scan(), affine_of(tilt=40.0))
    outcome = run_cli("segment", series, cut, askew, "--model", model, "--dry-run", "--quiet")
    assert outcome.code == 2
    assert "1 of 3 scans can be read, 2 failed" in outcome.out
    assert "40 degrees off those of the body" in outcome.out
    assert (
        "knee.7: subject S001, left, timepoint 2024-03-15, 75 x 88 x 88 voxels of 1.60 x 1.60 x 1.60 mm" in outcome.out
    )
    assert "mris: 2 of 3 scans cannot be used" in outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {"dicom", "cut_L.nii.gz", "askew_L.nii.gz"}


def test_a_scan_that_cannot_be_used_stops_or_is_left_out(run_cli, scan: Path, model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "S2_L.nii.gz"
    bad.write_bytes(scan.read_bytes()[:2000])
    command = ("segment", bad, scan, "--model", model, "--out", tmp_path / "out", "--quiet")
    stopped = run_cli(*command)
    assert stopped.code == 2
    assert stopped.err.count("\n") == 1
    assert "or leave such scans out with --on-error skip" in stopped.err
    outcome = run_cli(*command, "--on-error", "skip")
    assert outcome.code == 0, outcome
    assert "1 of 2 scans have a segmentation, 1 failed" in outcome.out
    assert "error S2_L: image " in outcome.out


REFUSED = {
    "no out": ((), "needs --out"),
    "no such file": (("absent_L.nii.gz", "--out", "o"), "there is no such file or folder"),
    "no scan": (("--out", "o"), "no scan was given"),
    "no model": (("S1_L_00m.nii.gz", "--out", "o", "--model", "nowhere"), "has no card.json"),
    "other side": (("S1_L_00m.nii.gz", "--out", "o", "--side", "right"), "its name says left and --side right"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_costs_one_line_and_exit_code_2(
    run_cli, scan: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = REFUSED[case]
    chosen = arguments if "--model" in arguments else (*arguments, "--model", model)
    outcome = run_cli("segment", *chosen, "--quiet")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_series_that_names_no_side_needs_one(run_cli, model: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", gray_of(digital_labels()), affine_at(), Laterality=None)
    command = ("segment", tmp_path / "dicom", "--model", model, "--out", tmp_path / "out", "--quiet")
    assert "does not say which knee it shows, or names both sides; give --side" in run_cli(*command).err
    assert run_cli(*command, "--side", "left").code == 0


def test_the_table_is_an_index_for_thickness(run_cli, made: Path) -> None:
    outcome = run_cli("thickness", "--index", made / "segmentations.csv", "--dry-run", "--quiet")
    assert outcome.code == 0, outcome
    assert "2 of 2 knees can be read, 0 failed" in outcome.out
    assert "labels nnunet_knee: 2 knees" in outcome.out


def test_thickness_from_mr_refuses_what_does_not_go_together(
    run_cli, series: Path, model: Path, tmp_path: Path
) -> None:
    assert "--from-mr makes its own" in run_cli("thickness", series, "--from-mr", "--labels", "oai_zib").err
    assert "give --from-mr, too" in run_cli("thickness", series, "--model", model).err
    assert "needs an atlas" in run_cli("thickness", series, "--from-mr", "--out", tmp_path / "maps").err
    command = ("thickness", series, "--from-mr", "--out", tmp_path / "maps", "--model", model, "--quiet")
    assert "atlas_fc" in run_cli(*command, "--atlas", tmp_path / "no atlas").err
    assert not (tmp_path / "maps").exists(), "nothing was segmented before"
    outcome = run_cli("thickness", series, "--from-mr", "--dry-run", "--model", model, "--quiet")
    assert "1 of 1 scan can be read" in outcome.out


def test_thickness_of_scans_that_all_failed_says_so(
    run_cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mris.knee.cartilage_atlas.open_atlas", lambda _: None)
    (tmp_path / "cut_L.nii.gz").write_bytes(b"cut")
    command = ("--from-mr", "--out", tmp_path / "maps", "--model", model, "--atlas", tmp_path, "--on-error", "skip")
    outcome = run_cli("thickness", tmp_path / "cut_L.nii.gz", *command, "--quiet")
    assert outcome.code == 2
    assert outcome.err.startswith("mris: none of the scans has a segmentation")
    assert "0 of 1 scan has a segmentation, 1 failed" in outcome.out


@pytest.mark.slow
def test_a_segmentation_needs_no_torch(series: Path, model: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mris.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    assert not leaving.code, leaving.code\n"
        f"assert not {SPOILED!r} & set(sys.modules), {SPOILED!r} & set(sys.modules)\n"
    )
    words = ["segment", str(series), "--model", str(model), "--out", str(tmp_path / "out"), "-q"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.data
def test_a_series_goes_in_and_thickness_maps_come_out(
    run_cli, series: Path, model: Path, data_dir: Path, tmp_path: Path
) -> None:
    atlas = data_dir / "oai_atlas"
    command = ("thickness", series, "--from-mr", "--model", model, "--atlas", atlas, "--out", tmp_path / "maps")
    outcome = run_cli(*command, "--workers", 1, "--quiet")
    assert outcome.code == 0, outcome
    assert "1 of 1 knee has maps, 0 failed" in outcome.out
    (folder,) = (path.parent for path in (tmp_path / "maps").glob("*/FC_2d_thickness.npy"))
    maps = {name: np.load(folder / f"{name}_2d_thickness.npy") for name in ("FC", "TC")}
    assert all(1.0 < np.nanmedian(flat) < 3.5 for flat in maps.values())
    assert (tmp_path / "maps" / "segmentations" / "index.html").is_file()


def test_who_uses_the_network_of_the_package_is_cautioned(
    run_cli, scan: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mris.knee.mr.model.PACKAGED", model)
    for options, cautioned in (((), True), (("--model", model), False)):
        outcome = run_cli("segment", scan, *options, "--out", tmp_path / "out", "--quiet")
        assert outcome.code == 0
        assert ("not good enough to measure with" in outcome.out) == cautioned


@pytest.fixture
def coarse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of large voxels, of whose answers no pictures are drawn: quick, where only files are looked at."""
    monkeypatch.setattr("mris.knee.mr.folder.write_overlay", lambda path, *_: path.write_bytes(b"a picture"))
    return write_oracle(tmp_path / "coarse", edge=32, step_mm=5.0)


def large_voxels(folder: Path, **changes: object) -> Path:
    write_series(folder, gray_of(digital_labels(5.0)), affine_at(5.0), **changes)
    return folder


def test_folders_of_one_name_are_told_apart_and_never_written_over(run_cli, coarse: Path, tmp_path: Path) -> None:
    series = large_voxels(tmp_path / "dicom" / "knee.7")
    other = large_voxels(tmp_path / "other" / "knee.7", series="1.2.9", PatientID="S002")
    command = ("--model", coarse, "--out", tmp_path / "out", "--quiet")
    assert run_cli("segment", series, *command).code == 0
    record = tmp_path / "out" / "knee.7" / "record.json"
    before = record.read_bytes()
    outcome = run_cli("segment", other, *command)
    assert outcome.code == 2
    assert "holds the segmentation of another scan, of subject S001, left" in outcome.err
    assert record.read_bytes() == before
    assert run_cli("segment", other, *command, "--overwrite").code == 0
    assert b"S002" in record.read_bytes()
    index = tmp_path / "index.csv"
    index.write_text("file,subject,side,timepoint\ndicom/knee.7,A,left,0\n")
    read = run_cli("segment", "--index", index, "--dry-run", "--model", coarse, "--quiet").out
    assert "  knee.7: subject A, left, timepoint 0" in read


def test_a_header_without_a_person_gives_each_scan_a_subject_of_its_own(run_cli, model: Path, tmp_path: Path) -> None:
    scans = [large_voxels(tmp_path / one / "dicom", PatientID=None) for one in ("first", "second")]
    read = run_cli("segment", *scans, "--dry-run", "--model", model, "--quiet").out
    assert "subject first_dicom, left" in read
    assert "subject second_dicom, left" in read
    assert "its header names no person" in read


def test_a_network_whose_card_or_guide_has_changed_segments_anew(tmp_path: Path) -> None:
    folder = write_repeater(tmp_path / "model")
    write_oracle(folder / COARSE_FOLDER)
    found = {Model(folder).checksum}
    write_oracle(folder / COARSE_FOLDER, step_mm=2.0)
    found.add(Model(folder).checksum)
    write_json(folder / CARD_FILE, Model(folder).card.to_json() | {"normalization": "volume"})
    found.add(Model(folder).checksum)
    assert len(found) == 3


def test_an_interrupted_change_of_network_leaves_no_record_of_the_other(
    run_cli, coarse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("segment", large_voxels(tmp_path / "dicom"), "--out", tmp_path / "out", "--quiet", "--model")
    assert run_cli(*command, coarse).code == 0

    def interrupted(*_: object) -> None:
        raise OutputError("the disk is full")

    other = write_oracle(tmp_path / "other", edge=32, step_mm=4.0)
    with monkeypatch.context() as patch:
        patch.setattr("mris.knee.mr.folder.write_overlay", interrupted)
        assert "the disk is full" in run_cli(*command, other).err
    assert "there before" not in run_cli(*command, coarse).out


def test_results_inside_the_folder_of_a_scan_do_not_change_it(
    run_cli, coarse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = large_voxels(tmp_path / "dicom")
    monkeypatch.chdir(series)
    command = ("segment", ".", "--model", coarse, "--out", "out", "--quiet")
    assert run_cli(*command).code == 0
    (series / ".DS_Store").write_bytes(b"of a file manager")
    assert "1 were there before" in run_cli(*command).out
    assert json.loads((series / "out" / "dicom" / "record.json").read_text())["scan"] == "dicom"


@pytest.mark.parametrize("order", ["LIA", "PIR"])
def test_labels_of_a_tilted_scan_lie_exactly_on_it(run_cli, coarse: Path, tmp_path: Path, order: str) -> None:
    affine = affine_of((5.0, 4.0, 3.0), tilt=14.0, order=order)
    write_nifti(tmp_path / "S1_R.nii.gz", small_scan(), affine)
    assert run_cli("segment", tmp_path / "S1_R.nii.gz", "--model", coarse, "--out", tmp_path / "out", "-q").code == 0
    scan, labels = nib.load(tmp_path / "S1_R.nii.gz"), nib.load(tmp_path / "out" / "S1_R" / "S1_R_seg.nii.gz")
    np.testing.assert_array_equal(labels.affine, scan.affine)
    np.testing.assert_allclose(labels.get_qform(), scan.affine, atol=1e-4)
    assert labels.shape == scan.shape


def test_results_of_a_link_have_its_name(run_cli, coarse: Path, tmp_path: Path) -> None:
    link = tmp_path / "knee 7"
    link.symlink_to(large_voxels(tmp_path / "store" / "object"), target_is_directory=True)
    assert run_cli("segment", link, "--model", coarse, "--out", tmp_path / "out", "--quiet").code == 0
    assert (tmp_path / "out" / "knee 7" / "knee 7_seg.nii.gz").is_file()


def test_the_page_finds_the_picture_of_a_name_with_signs_of_addresses(tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", "0", [("50%#1", "50%#1/overlay.png", ())])
    page = (tmp_path / "index.html").read_text()
    assert 'src="50%25%231/overlay.png"' in page
    assert "1 knee by" in page
