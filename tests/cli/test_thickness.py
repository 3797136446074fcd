"""``mris thickness``: what it prints, what it refuses."""

from inspect import signature
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.knee_volumes import knee, write_segmentation

from mris.cli.thickness import thickness
from mris.knee.label_map import PRESETS


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_segmentation(tmp_path / "S1_L_00m.nii.gz", knee((2.0, 1.4, 1.4)))


def test_a_dry_run_reads_all_files_writes_nothing_and_fails_if_one_is_damaged(
    run_cli, scan: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "S2_R_00m.nii.gz"
    cut.write_bytes(scan.read_bytes()[:400])
    outcome = run_cli("thickness", scan, cut, "--labels", "oai_zib", "--dry-run", "--quiet")
    assert outcome.code == 2, outcome
    assert "mris: 1 of 2 files cannot be used" in outcome.err
    assert "1 of 2 knees can be read, 1 failed" in outcome.out
    assert "error S2_R_00m: " in outcome.out
    assert sorted(tmp_path.iterdir()) == [scan, cut]


def test_a_dry_run_shows_whose_knees_the_files_are(run_cli, scan: Path, tmp_path: Path) -> None:
    names = ["9990001_20050715_SAG_3D_DESS_RIGHT_10423916_seg.nii.gz", "sub-9990001_ses-12m_hemi-L_dseg.nii.gz"]
    scans = [scan.rename(tmp_path / names[0]), tmp_path / names[1]]
    scans[1].write_bytes(scans[0].read_bytes())
    outcome = run_cli("thickness", *scans, "--labels", "oai_zib", "--dry-run", "--quiet")
    assert outcome.code == 0, outcome
    assert "they are of 1 subject:" in outcome.out
    assert "sub-9990001_ses-12m_hemi-L_dseg: subject 9990001, left, timepoint 12" in outcome.out
    assert f"{names[0].removesuffix('.nii.gz')}: subject 9990001, right, timepoint 2005-07-15" in outcome.out


def test_without_labels_anatomy_chooses_and_the_summary_says_what(run_cli, scan: Path) -> None:
    outcome = run_cli("thickness", scan, "--dry-run", "--quiet")
    assert "  labels oai_zib: 1 knee\n" in outcome.out
    assert outcome.code == 0, outcome
    assert (
        "it is a knee by --labels oai_zib, not by those nnunet_knee"
        in run_cli("thickness", scan, "--labels", "nnunet_knee", "--dry-run", "--quiet").out
    )
    upside_down = nib.load(scan)
    nib.save(nib.Nifti1Image(upside_down.dataobj, np.diag([1, 1, -1, 1]) @ upside_down.affine), scan)
    outcome = run_cli("thickness", scan, "--dry-run", "--quiet")
    assert outcome.code == 2, outcome
    assert "fits no preset of --labels; by oai_zib, the nearest, it has the femur below the tibia" in outcome.out


def test_the_help_names_every_preset() -> None:
    (option,) = signature(thickness, eval_str=True).parameters["labels"].annotation.__metadata__
    assert [name for name in PRESETS if name not in option.help] == []


def test_a_bar_of_progress_goes_to_stderr(run_cli, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    reading = run_cli("thickness", scan, "--labels", "oai_zib", "--dry-run")
    making = run_cli("phantom", tmp_path / "knees", "--subjects", 1, "--size", 32, "--workers", 1, "--visits", 1)
    assert (reading.code, making.code) == (0, 0)
    assert "Reading segmentations" in reading.err and "Reading segmentations" not in reading.out
    assert "Simulating knees" in making.err and "Simulating knees" not in making.out


def test_no_atlas_says_where_to_get_one(refused, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MRIS_ATLAS", raising=False)
    message = refused("thickness", scan, "--labels", "oai_zib", "--out", tmp_path / "maps")
    assert "OAI_analysis 2" in message
    assert "--atlas or MRIS_ATLAS" in message
    assert not (tmp_path / "maps").exists()


def test_an_atlas_that_is_none_is_refused_before_any_knee_is_read(refused, scan: Path, tmp_path: Path) -> None:
    scan.write_bytes(b"")
    message = refused("thickness", scan, "--atlas", tmp_path, "--out", tmp_path / "maps", "--quiet")
    assert "no atlas_fc.nii.gz" in message


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no segmentation was given"),
        (["knee.nii"], "tells no side"),
        (["a_L.nii", "--labels", "femur=1"], "femoral_cartilage has no number"),
        (["a_L.nii", "--index", "absent.csv"], "absent.csv' cannot be read"),
        (["a_L.nii"], "needs --out"),
    ],
)
def test_arguments_that_cannot_work_are_refused(refused, arguments: list[str], reason: str) -> None:
    assert reason in refused("thickness", *arguments)


@pytest.mark.data
@pytest.mark.slow
def test_a_real_knee_goes_in_and_maps_and_a_table_come_out(run_cli, data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "oai_knees" / "segmentations" / "9251077_R_96m_seg.nii.gz"
    command = ["thickness", source, "--atlas", data_dir / "oai_atlas", "--out", tmp_path, "--workers=1", "--quiet"]
    outcome = run_cli(*command)
    assert outcome.code == 0, outcome
    assert "1 of 1 knee has maps, 0 failed, 0 with warnings" in outcome.out
    assert {path.name for path in (tmp_path / "9251077_R_96m_seg").iterdir()} == {
        "FC_2d_thickness.npy", "TC_2d_thickness.npy", "preview.png", "record.json",
    }  # fmt: skip
    assert "1 were there before" in run_cli(*command).out
