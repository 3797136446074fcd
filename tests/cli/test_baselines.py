"""``mris baseline train | synthesize | remove``, and ``mris evaluate --baseline``."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.dicom_sources import write_radiograph

from mris.cohort.cohort import Cohort
from mris.cohort.training_subjects import TrainingSubjects, read_training_subjects
from mris.evaluation.results import read_results

TINY_NETWORK = ["--set", "width=8", "--set", "batch_size=8", "--epochs", "1", "--quiet"]
JUDGE = ["--bootstrap", "10", "--quiet", "--no-references"]


@pytest.fixture
def copied_ridge(tiny_ridge: Path, tmp_path: Path) -> Path:
    """A baseline that a test may change."""
    return shutil.copytree(tiny_ridge, tmp_path / "ridge")


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
    both = write_radiograph(tmp_path / "both.dcm", pixels, ImageLaterality="B")
    assert "shows both sides" in refused(*ask, both, "--side", "left")
    wide = write_radiograph(tmp_path / "wide.dcm", pixels, ImageLaterality="L", PixelSpacing=[9.0, 9.0])
    assert "shows 360 x 360 mm, but pictures of one knee are at most 300 mm wide" in refused(*ask, wide)


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


def test_a_baseline_that_was_trained_on_the_queries_is_refused_though_the_bundle_is_not(
    run_cli,
    refused,
    tiny_manifest: Callable[..., Path],
    tiny_bundle: Path,
    tiny_run: Path,
    tiny_cohort_path: Path,
    tmp_path: Path,
) -> None:
    """The same people, divided by another seed: nothing in the cohort to judge on tells whom the baseline saw."""
    manifest, other, run = tiny_manifest(tmp_path), tmp_path / "other", tmp_path / "run"
    sizes = ["--size", "16", "--target-size", "16", "--workers", "1", "--quiet"]
    assert run_cli("prepare", manifest, other, *sizes, "--seed", "5").code == 0
    assert run_cli("baseline", "train", other, run, "--method", "embedding-ridge", "--encoder", tiny_run).code == 0
    queries = set(Cohort.open(tiny_cohort_path).split("test").subjects)
    seen = sorted(queries.intersection(Cohort.open(other).split("train").subjects))
    assert seen, "the two divisions must differ for this test"
    out = tmp_path / "out"
    said = refused("evaluate", tiny_bundle, tiny_cohort_path, "--baseline", f"ridge={run}", "--out", out, *JUDGE)
    assert f"method 'ridge' was made with training pairs of {len(seen)} subject" in said and seen[0] in said
    assert not out.exists()


def test_a_baseline_of_before_its_people_were_recorded_is_judged_with_a_note(
    run_cli, refused, tiny_bundle: Path, tiny_cohort_path: Path, tiny_ridge: Path, copied_ridge: Path, tmp_path: Path
) -> None:
    (copied_ridge / "baseline" / "training_subjects.json").unlink()
    judge = ["evaluate", tiny_bundle, tiny_cohort_path, "--out", tmp_path / "out", *JUDGE]
    outcome = run_cli(*judge, "--baseline", f"older={copied_ridge}", "--baseline", f"newer={tiny_ridge}")
    assert outcome.code == 0, outcome
    notes = [line for line in outcome.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1 and "the training people of baseline 'older' are unknown" in notes[0]
    assert "does not say whom it was trained on" in refused("baseline", "remove", copied_ridge, "S000")


def test_a_person_is_removed_from_the_record_and_from_nothing_else(
    run_cli, refused, tiny_cohort_path: Path, copied_ridge: Path
) -> None:
    folder = copied_ridge / "baseline"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    people = sorted(set(Cohort.open(tiny_cohort_path).split("train").subjects.tolist()))
    first, second, *others = people
    assert not any(name.encode() in before["training_subjects.json"] for name in people)
    assert "has no training subject 'nobody'; nothing was removed" in refused(
        "baseline", "remove", copied_ridge, first, "nobody"
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    outcome = run_cli("baseline", "remove", copied_ridge, first, second, first)
    assert (outcome.code, outcome.out) == (0, "removed 2 training subjects\n")
    record = read_training_subjects(folder)
    assert record is not None and record.among(people) == others
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    del after["training_subjects.json"]
    assert after.items() < before.items() and len(after) == len(before) - 1


@pytest.mark.parametrize("spelling", ["Am\u00e9lie", "Ame\u0301lie"])
def test_two_encodings_of_a_name_are_one_person_of_the_record(spelling: str) -> None:
    record = TrainingSubjects.of(["Am\u00e9lie", "Ame\u0301lie", "S01"])
    assert len(record) == 2 and record.among([spelling]) == [spelling]
    assert record.without([spelling]).among(["Am\u00e9lie", "Ame\u0301lie", "S01"]) == ["S01"]


def test_a_finished_run_that_is_resumed_does_not_bring_a_removed_person_back(
    run_cli, tiny_cohort_path: Path, tiny_run: Path, copied_ridge: Path
) -> None:
    first = sorted(set(Cohort.open(tiny_cohort_path).split("train").subjects.tolist()))[0]
    assert run_cli("baseline", "remove", copied_ridge, first).code == 0
    again = ["baseline", "train", tiny_cohort_path, copied_ridge, "--method", "embedding-ridge", "--encoder", tiny_run]
    assert run_cli(*again, "--resume").code == 0
    record = read_training_subjects(copied_ridge / "baseline")
    assert record is not None and not record.among([first])


def test_a_regression_on_embeddings_knows_whom_its_encoder_was_trained_on(
    run_cli, tiny_manifest, tiny_cohort_path: Path, tiny_run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    sizes = ["--size", "16", "--target-size", "16", "--workers", "1", "--quiet"]
    assert run_cli("prepare", tiny_cohort_path.parent / "manifest.csv", other, *sizes, "--seed", "5").code == 0
    ridge = ["baseline", "train", other, tmp_path / "ridge", "--method", "embedding-ridge", "--encoder", tiny_run]
    assert run_cli(*ridge).code == 0
    people = [set(Cohort.open(cohort).split("train").subjects.tolist()) for cohort in (tiny_cohort_path, other)]
    record = read_training_subjects(tmp_path / "ridge" / "baseline")
    assert record is not None and set(record.among(people[0] | people[1])) == people[0] | people[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format_version": 2}', "is damaged"),
        ('{"format_version": 2, "salt": "a", "subjects": "S000", "before": []}', "subjects is 'S000': input should be"),
        ('{"format_version": 2, "salt": "a", "subjects": [17], "before": []}', "subjects.0 is 17: input should be"),
        ('{"format_version": 99, "subjects": []}', "format_version 99; this software reads 2"),
    ],
)
def test_a_record_that_cannot_be_read_is_not_taken_for_an_absent_one(
    refused, tiny_bundle: Path, tiny_cohort_path: Path, copied_ridge: Path, tmp_path: Path, text: str, message: str
) -> None:
    (copied_ridge / "baseline" / "training_subjects.json").write_text(text)
    judge = ["evaluate", tiny_bundle, tiny_cohort_path, "--out", tmp_path / "out", *JUDGE]
    assert message in refused(*judge, "--baseline", f"ridge={copied_ridge}")
    assert message in refused("baseline", "remove", copied_ridge, "S000")
