"""What a GPU must show; what a CPU can tell of it is run there, the rest skips and says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mris.baselines.settings import BaselineSettings
from mris.baselines.train import train_baseline
from mris.bench.training import random_cohort
from mris.cohort.cohort import Cohort
from mris.metric.settings import TrainSettings, preset
from mris.metric.train import train_encoders
from mris.training.callbacks import read_metrics

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

ON_GPU = torch.cuda.is_available()
HERE = "gpu" if ON_GPU else "cpu"
for_a_gpu = pytest.mark.skipif(not ON_GPU, reason="not run on a GPU")
_SHARED: dict[str, Any] = {"width": 8, "batch_size": 8, "epochs": 2, "validate_every": 1, "devices": 1}


def _errors(run: Path) -> list[float]:
    return [row["error/val"] for row in read_metrics(run / "metrics.csv")]


def _trained(cohort: Cohort, run: Path, objective: str, accelerator: str, precision: str) -> Path:
    recipe = preset("small" if objective == "both" else "small-paper").model_dump()
    own = {"objective": objective, "embedding_dim": 8, "accelerator": accelerator, "precision": precision}
    settings = TrainSettings.model_validate(recipe | _SHARED | own | {"rotation": 0, "noise": 0, "contrast": 0})
    train_encoders(cohort, run, settings=settings, progress=False)
    return run


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return random_cohort(tmp_path_factory.mktemp("random"), people=24, size=32)


@for_a_gpu
@pytest.mark.parametrize("objective", ["triplet", "both"])
def test_training_here_is_the_training_of_a_cpu(cohort: Cohort, tmp_path: Path, objective: str) -> None:
    here = _trained(cohort, tmp_path / "here", objective, HERE, "32-true")
    cpu = _trained(cohort, tmp_path / "cpu", objective, "cpu", "32-true")
    np.testing.assert_allclose(_errors(here), _errors(cpu), rtol=2e-2)  # it sums in another order, with TF32


@pytest.mark.parametrize("precision", ["bf16-mixed", pytest.param("16-mixed", marks=for_a_gpu)])
def test_half_precision_trains_as_single_does(cohort: Cohort, tmp_path: Path, precision: str) -> None:
    half = _trained(cohort, tmp_path / "half", "both", HERE, precision)
    single = _trained(cohort, tmp_path / "single", "both", HERE, "32-true")
    np.testing.assert_allclose(_errors(half), _errors(single), rtol=0.1)


@for_a_gpu
@pytest.mark.parametrize("method", ["unet", "pix2pix"])
def test_a_baseline_trains_in_float16_with_clipped_gradients(cohort: Cohort, tmp_path: Path, method: str) -> None:
    """It clips after the scale of its losses is off (tests/baselines/test_module.py)."""
    own = {"method": method, "accelerator": HERE, "precision": "16-mixed"}
    baseline = train_baseline(cohort, tmp_path / "run", BaselineSettings.model_validate(_SHARED | own), progress=False)
    assert np.isfinite(_errors(tmp_path / "run")).all()
    assert np.isfinite(baseline.predict(cohort.read_sources(range(2)))).all()


def test_one_process_that_might_be_several_trains_as_one_alone(cohort: Cohort, tmp_path: Path) -> None:
    """DDP with one process: what it gathers is its own."""
    alone = _trained(cohort, tmp_path / "alone", "both", HERE, "32-true")
    torch.distributed.init_process_group(
        "nccl" if ON_GPU else "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        together = _trained(cohort, tmp_path / "together", "both", HERE, "32-true")
    finally:
        torch.distributed.destroy_process_group()
    np.testing.assert_allclose(_errors(together), _errors(alone), rtol=1e-2 if ON_GPU else 1e-6)
