"""Two processes train together through the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from mris.metric.encoders import DualEncoder
from mris.training.callbacks import read_metrics


@pytest.mark.slow
def test_two_processes_train_one_encoder(tiny_cohort_path: Path, tmp_path: Path) -> None:
    settings = ["width=8", "embedding_dim=8", "batch_size=4", "accelerator=cpu", "validate_every=1"]
    command = [sys.executable, "-m", "mris.cli.main", "train", str(tiny_cohort_path), str(tmp_path / "run")]
    command += [part for setting in settings for part in ("--set", setting)] + ["--epochs", "2", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [row["epoch"] for row in read_metrics(tmp_path / "run" / "metrics.csv")] == [0, 1]
    assert DualEncoder.load(tmp_path / "run" / "encoder").spec.embedding_dim == 8
