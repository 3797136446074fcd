"""Two processes train together: every kind of training makes one run, and both processes get its result."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mris.baselines.predictor import open_baseline
from mris.cohort.cohort import Cohort
from mris.training.callbacks import read_metrics

_SCRIPT = """
import sys
from pathlib import Path

import numpy as np
import torch

from mris.baselines import module
from mris.baselines.embedding_ridge import train_embedding_ridge
from mris.baselines.settings import BaselineSettings
from mris.baselines.train import train_baseline
from mris.cohort.cohort import Cohort
from mris.errors import MrisError
from mris.images.write import write_json
from mris.metric.settings import TrainSettings
from mris.metric.train import train_encoders
from mris.study import classifier
from mris.study.settings import ClassifierSettings

folder, cohort = Path(sys.argv[1]), Cohort.open(sys.argv[2])
shared = {"width": 8, "batch_size": 12, "epochs": 2, "accelerator": "cpu", "devices": 2, "target_scale": 1.0}
sources, targets = cohort.read_sources(), cohort.read_targets()
labeled = classifier.LabeledMaps(targets, np.arange(len(cohort)) % 2, list(cohort.subjects), 2)


def note_weights(self):
    outcomes["pix2pix, weights"] = [float(parameter.detach().norm()) for parameter in self.parameters()]


def baseline(method, resume=False):
    settings = BaselineSettings.model_validate({**shared, "method": method})
    return train_baseline(cohort, folder / method, settings, resume=resume, progress=False).predict(sources[:4])


def classify(run):
    settings = ClassifierSettings.model_validate(shared)
    return classifier.train_classifier(labeled, folder / run, settings, progress=False).probabilities(targets[:4])


def ridge():
    settings = TrainSettings.model_validate({**shared, "embedding_dim": 8})
    encoder = train_encoders(cohort, settings=settings, progress=False)
    return train_embedding_ridge(cohort, folder / "ridge", [encoder], target_scale=1.0).predict(sources[:4])


def refused():
    classifier.WEIGHTS_FILE = "run.json/weights"  # a file stands where the folder should be
    return classify("refused")


trainings = {
    "pix2pix": lambda: baseline("pix2pix"),
    "unet": lambda: baseline("unet"),
    "unet, finished": lambda: baseline("unet", resume=True),
    "unet, again": lambda: baseline("unet"),
    "classifier": lambda: classify("classifier"),
    "ridge": ridge,
    "refused": refused,
}
module.AdversarialModule.on_train_end = note_weights
outcomes = {}
for name, train in trainings.items():
    try:
        outcomes[name] = np.nan_to_num(train()).tolist()
    except MrisError as error:
        outcomes[name] = str(error)
write_json(folder / f"rank{torch.distributed.get_rank()}.json", outcomes)
torch.distributed.barrier()
"""


@pytest.fixture(scope="module")
def together(square_cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs of two processes, with what each got of each training."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "script.py").write_text(_SCRIPT)
    command = [sys.executable, str(folder / "script.py"), str(folder), str(square_cohort_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def _outcomes(together: Path, training: str) -> list[Any]:
    return [json.loads((together / f"rank{rank}.json").read_text())[training] for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pix2pix", "unet"])
def test_two_processes_train_one_baseline_and_both_predict_with_it(
    together: Path, square_cohort_path: Path, method: str
) -> None:
    rows = read_metrics(together / method / "metrics.csv")
    assert [row["epoch"] for row in rows] == [0, 1]
    expected = open_baseline(together / method).predict(Cohort.open(square_cohort_path).read_sources(range(4)))
    for predictions in _outcomes(together, method):
        np.testing.assert_allclose(predictions, np.nan_to_num(expected), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("training", ["classifier", "ridge"])
def test_two_processes_return_the_same_of_one_run(together: Path, training: str) -> None:
    first, second = _outcomes(together, training)
    assert isinstance(first, list), first
    np.testing.assert_array_equal(first, second)
    assert (together / training / "run.json").is_file()


@pytest.mark.slow
def test_the_networks_of_two_processes_take_the_same_steps(together: Path) -> None:
    first, second = _outcomes(together, "pix2pix, weights")
    assert first == second


@pytest.mark.slow
def test_two_processes_both_find_the_run_finished(together: Path) -> None:
    assert _outcomes(together, "unet, finished") == _outcomes(together, "unet")


@pytest.mark.slow
@pytest.mark.parametrize(("training", "error"), [("unet, again", "is not empty"), ("refused", "cannot write")])
def test_what_stops_one_process_stops_all_with_the_same_error(together: Path, training: str, error: str) -> None:
    first, second = _outcomes(together, training)
    assert error in first
    assert first == second
