"""Training: it learns, repeats itself, resumes to the same result, and refuses what cannot work."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.killed_training import train_until_killed

from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.errors import SettingsError, TrainingError
from mris.images.transforms import SourcePreparation
from mris.metric.encoders import DualEncoder
from mris.metric.settings import TrainSettings, preset
from mris.metric.train import train_encoders
from mris.training import callbacks
from mris.training.callbacks import read_metrics

TINY = TrainSettings(
    width=8, embedding_dim=8, reduction="mean", batch_size=8, epochs=3, lr_source=1e-2, lr_target=1e-2,
    schedule="cosine", rotation=5.0, accelerator="cpu", devices=1, n_neighbors=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tiny_cohort_path: Path) -> Cohort:
    return Cohort.open(tiny_cohort_path)


@pytest.fixture(scope="module")
def run(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train_encoders(cohort, folder, settings=TINY, seed=1, progress=False)
    return folder


SYNTHESIS = TINY.model_copy(update={
    "objective": "both", "target_network": "components", "n_components": 6, "source_components": 5, "pooling": "places",
})  # fmt: skip


@pytest.fixture(scope="module")
def synthesis_run(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train_encoders(cohort, folder, settings=SYNTHESIS, seed=1, progress=False)
    return folder


def test_training_for_the_synthesis_learns_a_temperature_and_keeps_the_components(synthesis_run: Path) -> None:
    encoder = DualEncoder.load(synthesis_run / "encoder")
    assert encoder.spec.temperature == pytest.approx(float(encoder.temperature))
    assert encoder.spec.temperature != SYNTHESIS.temperature
    assert float(encoder.components.directions.abs().sum()) > 0
    embeddings, features = encoder.describe_sources(np.zeros((2, 1, 16, 16), dtype=np.float32))
    assert embeddings.shape == (2, 8) and features.shape == (2, encoder.n_learned + 5)


@pytest.mark.parametrize("objective", ["both", "synthesis"])
def test_an_objective_that_needs_every_key_refuses_a_convolutional_target_network(objective: str) -> None:
    with pytest.raises(ValueError, match="set target_network to 'components'"):
        TrainSettings(objective=objective)


def weights_equal(first: DualEncoder, second: DualEncoder) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_a_run_killed_while_it_writes_its_encoder_is_finished_by_a_resume(
    cohort: Cohort, run: Path, tmp_path: Path
) -> None:
    killed = Path(shutil.copytree(run, tmp_path / "killed"))
    (killed / "encoder" / "encoder.json").unlink()
    encoder = train_encoders(cohort, killed, settings=TINY, seed=1, resume=True, progress=False)
    assert weights_equal(encoder, DualEncoder.load(run / "encoder"))
    assert weights_equal(encoder, DualEncoder.load(killed / "encoder"))


def test_a_run_leaves_encoder_metrics_curves_settings_and_versions(run: Path) -> None:
    for name in ("encoder/encoder.safetensors", "encoder/encoder.json", "metrics.csv", "curves.png", "tensorboard"):
        assert (run / name).exists(), name
    description = json.loads((run / "run.json").read_text())
    assert description["settings"]["embedding_dim"] == 8
    assert "torch" in description["versions"]
    rows = read_metrics(run / "metrics.csv")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert {"loss/train", "error/val", "recall/val@1"} <= rows[0].keys()


def test_every_row_of_a_run_holds_the_error_of_the_mean_map_which_no_epoch_changes(cohort: Cohort, run: Path) -> None:
    train, val, inside = cohort.split("train"), cohort.split("val"), cohort.atlas_mask
    mean = np.nanmean(train.read_targets()[:, inside], axis=0)
    of_mean = np.nanmean(np.abs(val.read_targets()[:, inside] - mean), axis=1).mean()
    rows = read_metrics(run / "metrics.csv")
    assert [row["error/val@mean_map"] for row in rows] == pytest.approx([of_mean] * len(rows), rel=1e-5)


def test_a_run_draws_its_errors_in_the_unit_of_the_cohorts_targets(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str | None] = []
    monkeypatch.setattr(callbacks, "draw_curves", lambda rows, path, unit: drawn.append(unit))
    train_encoders(cohort, tmp_path / "run", settings=TINY.model_copy(update={"epochs": 1}), progress=False)
    assert drawn == [cohort.header.unit]


def test_no_file_of_a_run_is_a_pickle(run: Path) -> None:
    for path in run.rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:4]
            assert not head.startswith((b"\x80\x02", b"\x80\x04", b"PK\x03\x04")), path


def test_the_chosen_encoder_is_that_of_the_epoch_with_the_smallest_error_not_the_best_recall(
    cohort: Cohort, run: Path
) -> None:
    from mris.metric.data import PairsData
    from mris.metric.validation import neighbor_weights, weighted_error

    data = PairsData(cohort, cohort.regions, TINY, seed=1)
    encoder = DualEncoder.load(run / "encoder")
    val, train = cohort.split("val"), cohort.split("train")
    weights = neighbor_weights(
        torch.from_numpy(encoder.encode_sources(val.read_sources())),
        torch.from_numpy(encoder.encode_targets(train.read_targets(data.gallery_rows))),
        n_neighbors=3,
    )
    error = weighted_error(weights, data.judged.gallery, data.judged.truths, data.judged.mask)
    smallest = min(row["error/val"] for row in read_metrics(run / "metrics.csv"))
    assert error == pytest.approx(smallest, rel=1e-3)


def test_a_loaded_encoder_embeds_as_the_saved_one_on_unit_vectors(cohort: Cohort, run: Path) -> None:
    encoder = DualEncoder.load(run / "encoder")
    embedded = encoder.encode_targets(cohort.read_targets())
    assert embedded.shape == (len(cohort), 8)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, rtol=1e-5)
    one_by_one = np.concatenate([encoder.encode_targets(cohort.read_targets([i])) for i in range(3)])
    np.testing.assert_allclose(embedded[:3], one_by_one, atol=1e-5)


def test_changed_weights_are_noticed(run: Path, tmp_path: Path) -> None:
    encoder = DualEncoder.load(run / "encoder")
    encoder.save(tmp_path)
    data = bytearray((tmp_path / "encoder.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "encoder.safetensors").write_bytes(data)
    with pytest.raises(TrainingError, match="weights are not those"):
        DualEncoder.load(tmp_path)


def test_a_run_is_not_overwritten_and_not_resumed_with_other_settings(cohort: Cohort, run: Path) -> None:
    with pytest.raises(TrainingError, match="not empty"):
        train_encoders(cohort, run, settings=TINY, seed=1, progress=False)
    other = TINY.model_copy(update={"margin": 0.2})
    with pytest.raises(TrainingError, match=r"margin: 0.1 then, 0.2 now"):
        train_encoders(cohort, run, settings=other, seed=1, resume=True, progress=False)
    with pytest.raises(TrainingError, match="seed"):
        train_encoders(cohort, run, settings=TINY, seed=2, resume=True, progress=False)


def test_missing_splits_regions_and_runs_are_named(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no pairs in split 'val'"):
        train_encoders(cohort.split("train"), tmp_path / "a", settings=TINY, progress=False)
    with pytest.raises(TrainingError, match="no region 'patella'"):
        train_encoders(cohort, tmp_path / "b", settings=TINY, regions=["patella"], progress=False)
    with pytest.raises(TrainingError, match="holds no run to resume"):
        train_encoders(cohort, tmp_path / "c", settings=TINY, resume=True, progress=False)
    one = cohort.select((cohort.subjects == cohort.split("train").subjects[0]) | (cohort.splits == "val"))
    with pytest.raises(TrainingError, match="at least 2 subjects"):
        train_encoders(one, tmp_path / "d", settings=TINY, progress=False)
    with pytest.raises(SettingsError, match="seed is -1"):
        train_encoders(cohort, tmp_path / "e", settings=TINY, seed=-1, progress=False)
    assert not list(tmp_path.iterdir()), "what is refused leaves a folder"


def test_a_run_file_that_is_no_description_is_named(cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(TrainingError, match=r"run.json is damaged .*; restore a copy, or start a new run"):
        train_encoders(cohort, tmp_path, settings=TINY, resume=True, progress=False)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(cohort: Cohort, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mris.cli.main", "train", str(cohort.path), str(tmp_path / "run"), "--quiet"]
    options = ["--set", "width=8", "--set", "batch_size=8", "--epochs", "500"]
    process = subprocess.Popen(
        [*command, *options],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test in the background ignores Ctrl-C
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 2, printed
    assert printed.splitlines()[-1].startswith("mris: training of ") and "continue it with --resume" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "whole_run"), [(TINY, "run"), (SYNTHESIS, "synthesis_run")])
def test_a_resumed_run_equals_an_uninterrupted_one(
    cohort: Cohort, settings: TrainSettings, whole_run: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Kill -9 in the middle of training, then resume."""
    run: Path = request.getfixturevalue(whole_run)
    interrupted = tmp_path / "interrupted"
    train_until_killed(train_encoders, cohort, interrupted, settings=settings, seed=1, progress=False)
    encoder = train_encoders(cohort, interrupted, settings=settings, seed=1, resume=True, progress=False)
    assert weights_equal(encoder, DualEncoder.load(run / "encoder"))
    whole, resumed = (read_metrics(folder / "metrics.csv") for folder in (run, interrupted))
    for a, b in zip(whole, resumed, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_variables_of_a_slurm_job_do_not_keep_a_run_from_training(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "knees")
    one = TINY.model_copy(update={"epochs": 1})
    train_encoders(cohort, tmp_path / "run", settings=one, progress=False)
    assert (tmp_path / "run" / "encoder").is_dir()


@pytest.mark.slow
def test_a_run_that_ran_out_of_patience_trains_no_further_when_it_is_resumed(cohort: Cohort, tmp_path: Path) -> None:
    """Killed between its last epoch and the writing of the encoder."""
    settings = TINY.model_copy(update={"epochs": 20, "patience": 1})
    stopped = train_encoders(cohort, tmp_path / "run", settings=settings, seed=1, progress=False)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert len(rows) < 20, "it never ran out of patience"
    shutil.rmtree(tmp_path / "run" / "encoder")
    resumed = train_encoders(cohort, tmp_path / "run", settings=settings, seed=1, resume=True, progress=False)
    assert read_metrics(tmp_path / "run" / "metrics.csv") == rows
    assert weights_equal(stopped, resumed)


@pytest.mark.slow
def test_learning_beats_the_mean_map_on_validation_subjects(tiny_manifest, tmp_path: Path) -> None:
    manifest = tiny_manifest(tmp_path, n_subjects=80)
    prepared = PrepareSettings(SourcePreparation((16, 16)), (16, 16), fractions={"train": 0.8, "val": 0.2}, workers=1)
    prepare_cohort(manifest, tmp_path / "cohort", prepared, progress=False)
    cohort = Cohort.open(tmp_path / "cohort")
    changes = {"epochs": 12, "sampler": "pair", "batch_size": 16, "embedding_dim": 16, "rotation": 0.0}
    settings = TINY.model_copy(update={**changes, "lr_source": 3e-3, "lr_target": 3e-3, "validate_every": 4})
    train_encoders(cohort, tmp_path / "run", settings=settings, progress=False)
    error = min(row.get("error/val", math.inf) for row in read_metrics(tmp_path / "run" / "metrics.csv"))
    train, val, inside = cohort.split("train"), cohort.split("val"), cohort.atlas_mask
    mean = train.read_targets()[:, inside].mean(axis=0)
    mean_map_error = np.abs(val.read_targets()[:, inside] - mean).mean()
    assert error < 0.5 * mean_map_error


def test_the_papers_preset_is_the_published_recipe() -> None:
    paper = preset("paper")
    assert (paper.architecture, paper.width, paper.embedding_dim) == ("resnet18", 64, 512)
    assert (paper.lr_source, paper.lr_target, paper.batch_size, paper.epochs) == (1e-4, 1e-5, 64, 450)
    assert (paper.step_epochs, paper.step_factor, paper.margin, paper.weight_decay) == (150, 0.2, 0.1, 1e-3)
    assert math.isclose(paper.target_scale, 3.0)
