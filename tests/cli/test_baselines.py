"""``mris baseline train | synthesize``, and ``mris evaluate --baseline``."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from tests.dicom_sources import write_radiograph

from mris.evaluation.results import read_results

TINY_NETWORK = ["--set", "width=8", "--set", "batch_size=8", "--epochs", "1", "--quiet"]


def test_a_baseline_stands_beside_the_bundle_with_its_cost(
    run_cli, tiny_bundle: Path, tiny_cohort_path: Path, tiny_ridge: Path, tmp_path: Path
) -> None:
    outcome = run_cli(
        *("evaluate", tiny_bundle, tiny_cohort_path, "--out", tmp_path / "out", "--bootstrap", 10, "--quiet"),
        *("--baseline", f"ridge of the embedding={tiny_ridge}", "--no-references"),
    )
    assert outcome.code == 0, outcome
    results = read_results(tmp_path / "out" / "results.json")
    assert [method.name for method in results.methods] == ["MRIS", "ridge of the embedding"]
    assert results.methods[1].n_parameters is not None and results.methods[1].training_seconds is not None
    assert results.estimate("ridge of the embedding", "coverage").value == 1


def test_a_baseline_predicts_files(run_cli, refused, tiny_ridge: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "good.npy", rng.random((16, 16)).astype(np.float32))
    (tmp_path / "bad.npy").write_bytes(b"")
    files = [tmp_path / "bad.npy", tmp_path / "good.npy"]
    assert "bad.npy" in refused("baseline", "synthesize", tiny_ridge, *files, "--out", tmp_path / "out", "--quiet")
    skipping = ["--out", tmp_path / "out", "--on-error", "skip", "--quiet"]
    outcome = run_cli("baseline", "synthesize", tiny_ridge, *files, *skipping)
    assert outcome.code == 0
    assert "1 of 2 files" in outcome.out and "bad.npy" in outcome.err
    image = nib.load(tmp_path / "out" / "good.nii.gz")
    assert np.isfinite(image.get_fdata()).any() and np.isnan(image.get_fdata()).any()
    assert json.loads((tmp_path / "out" / "good.json").read_text())["method"] == "embedding-ridge"
    assert "no file could be used" in refused("baseline", "synthesize", tiny_ridge, tmp_path / "bad.npy", *skipping)


def test_a_baseline_refuses_a_plate_that_says_to_be_mirrored_or_of_another_side(
    refused, run_cli, tiny_ridge: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (40, 40))
    ask = ["baseline", "synthesize", tiny_ridge, "--out", tmp_path / "out", "--quiet"]
    mirrored = write_radiograph(tmp_path / "mirrored.dcm", pixels, PatientOrientation=["R", "F"])
    assert "says that the picture is mirrored" in refused(*ask, mirrored)
    right = write_radiograph(tmp_path / "right.dcm", pixels, ImageLaterality="R")
    assert "says right, but --side says left" in refused(*ask, right, "--side", "left")
    assert run_cli(*ask, right).code == 0


def test_what_cannot_be_trained_costs_one_line(
    refused, run_cli, tiny_cohort_path: Path, tiny_run: Path, tiny_ridge: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train = ["baseline", "train", tiny_cohort_path, run]
    assert "--encoder RUN" in refused(*train, "--method", "embedding-ridge")
    assert "leave it out" in refused(*train, "--method", "unet", "--encoder", tiny_run)
    assert "did you mean 'width'" in refused(*train, "--set", "widht=8")
    assert "batch_size" in refused(*train, "--set", "batch_size=one")
    assert "no finished baseline" in refused("baseline", "synthesize", tiny_run, tiny_run / "x.npy")
    assert "not empty" in refused("baseline", "train", tiny_cohort_path, tiny_ridge, *TINY_NETWORK)
    assert not run.exists()
    outcome = run_cli(*train, "--method", "transunet", "--dry-run")
    assert outcome.code == 0 and "would train transunet" in outcome.out
    assert not run.exists()
