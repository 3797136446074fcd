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
from tests.mr_oracle import affine_at, digital_labels, gray_of, write_oracle
from tests.mr_scans import write_nifti, write_series

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
    (tmp_path / "cut_L.nii.gz").write_bytes(b"\x1f\x8b cut")
    outcome = run_cli("segment", series, tmp_path / "cut_L.nii.gz", "--model", model, "--dry-run", "--quiet")
    assert outcome.code == 2
    assert "1 of 2 scans can be read, 1 failed" in outcome.out
    assert (
        "knee.7: subject S001, left, timepoint 2024-03-15, 75 x 88 x 88 voxels of 1.60 x 1.60 x 1.60 mm" in outcome.out
    )
    assert "mris: 1 of 2 scans cannot be used" in outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {"dicom", "cut_L.nii.gz"}


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
    assert "does not say which knee it shows; give --side" in run_cli(*command).err
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
    outcome = run_cli("thickness", series, "--from-mr", "--dry-run", "--model", model, "--quiet")
    assert "1 of 1 scan can be read" in outcome.out


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
