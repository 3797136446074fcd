"""Two processes train together through the command line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mris.cohort.cohort import Cohort
from mris.metric.encoders import DualEncoder
from mris.metric.module import MONITOR
from mris.metric.settings import TrainSettings, preset
from mris.metric.train import trainable
from mris.training.callbacks import read_metrics
from mris.training.pairs import in_order

_SETTINGS: dict[str, Any] = {"width": 8, "embedding_dim": 8, "batch_size": 4, "accelerator": "cpu", "validate_every": 1}


@pytest.fixture(scope="module")
def trained(tiny_cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two processes, and what they printed."""
    run = tmp_path_factory.mktemp("ddp") / "run"
    command = [sys.executable, "-m", "mris.cli.main", "train", str(tiny_cohort_path), str(run)]
    command += [part for name, value in _SETTINGS.items() for part in ("--set", f"{name}={value}")]
    command += ["--epochs", "2", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return run, done.stdout


@pytest.mark.slow
def test_two_processes_train_one_encoder(trained: tuple[Path, str]) -> None:
    run, _ = trained
    assert [row["epoch"] for row in read_metrics(run / "metrics.csv")] == [0, 1]
    assert DualEncoder.load(run / "encoder").spec.embedding_dim == 8


@pytest.mark.slow
def test_two_processes_say_once_what_came_of_the_training(trained: tuple[Path, str]) -> None:
    _, printed = trained
    assert printed.count("trained ") == 1
    assert printed.count("kept epoch") == 1


@pytest.mark.slow
def test_what_two_processes_validate_is_what_one_would(trained: tuple[Path, str], tiny_cohort_path: Path) -> None:
    run, _ = trained
    settings = TrainSettings.model_validate(preset("small").model_dump() | _SETTINGS | {"epochs": 2})
    encoder, cohort = DualEncoder.load(run / "encoder"), Cohort.open(tiny_cohort_path)
    module, data = trainable(cohort, encoder.spec, settings, seed=0)
    module.encoder = encoder.eval()
    noted: dict[str, float] = {}
    module.log = lambda name, value, **_: noted.update({name: float(value)})  # type: ignore[method-assign,assignment]
    module.on_validation_epoch_start()
    with torch.inference_mode():
        for loader, (reader, n) in enumerate(
            ((data.val_reader, len(data.val_reader.cohort)), (data.reader, len(data.gallery_rows)))
        ):
            for part in in_order(n, 4):
                module.validation_step(reader.read(data.gallery_rows[part] if loader else part), 0, loader)
    module.on_validation_epoch_end()
    best = min(read_metrics(run / "metrics.csv"), key=lambda row: row[MONITOR])
    for name, value in noted.items():
        assert best[name] == pytest.approx(value, rel=1e-5)
