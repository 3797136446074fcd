"""A run claims its folder, writes nothing before it begins, and its result once."""

import errno
from pathlib import Path

import pytest

from mris.baselines.settings import BaselineSettings
from mris.errors import OutputError, TrainingError
from mris.metric.settings import TrainSettings
from mris.study.settings import ClassifierSettings
from mris.training.recipe import Recipe
from mris.training.run import Run, run_card
from mris.training.run_folder import RunCard

_CARD = RunCard(kind="metric", seed=0, settings={})


def test_a_claimed_folder_is_not_made_before_the_run_begins(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", _CARD, result="result.txt", resume=False)
    assert not run.folder.exists()
    run.begin()
    with pytest.raises(TrainingError, match="is not empty; choose another, or continue"):
        Run.open(tmp_path / "run", _CARD, result="result.txt", resume=False)


def test_a_run_is_finished_once_its_result_is_written(tmp_path: Path) -> None:
    run = Run.open(tmp_path, _CARD, result="result.txt", resume=False)
    run.begin()
    assert not Run.open(tmp_path, _CARD, result="result.txt", resume=True).finished
    run.finish((tmp_path / "result.txt").touch)
    assert Run.open(tmp_path, _CARD, result="result.txt", resume=True).finished


@pytest.mark.parametrize("recipe", [TrainSettings, BaselineSettings, ClassifierSettings])
def test_a_run_from_before_a_setting_existed_resumes_where_its_default_is_asked(
    tmp_path: Path, make_cohort, rng, recipe: type[Recipe]
) -> None:
    cohort = make_cohort(["S1", "S2"], rng=rng)
    earlier = run_card("metric", cohort, recipe.model_validate({}), ("femoral",), seed=0)
    without = {name: value for name, value in earlier.settings.items() if name != "blur"}
    Run.open(tmp_path / "run", earlier.model_copy(update={"settings": without}), result="result", resume=False).begin()
    assert not Run.open(tmp_path / "run", earlier, result="result", resume=True).finished
    blurred = run_card("metric", cohort, recipe.model_validate({"blur": 1.0}), ("femoral",), seed=0)
    with pytest.raises(TrainingError, match=r"other settings \(blur: 0.0 then, 1.0 now\)"):
        Run.open(tmp_path / "run", blurred, result="result", resume=True)


def test_a_result_that_the_system_refuses_is_an_error_of_one_line(tmp_path: Path) -> None:
    def write() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "encoder")

    run = Run.open(tmp_path, _CARD, result="result.txt", resume=False)
    with pytest.raises(OutputError, match="cannot write encoder: No space left on device; make room"):
        run.finish(write)


def test_local_contrast_of_another_network_is_refused_before_the_training() -> None:
    with pytest.raises(ValueError, match="source_contrast 'local' is of resnet18, not of efficientnet-lite0"):
        TrainSettings(source_contrast="local", architecture="efficientnet-lite0")
