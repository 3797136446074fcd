"""The picture of a run says what its metrics are, and how good an answer is that needs no training."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from matplotlib.axes import Axes

from mris.training.callbacks import Checkpoints, curves_figure

ROWS = [
    {"epoch": 0.0, "loss/train": 0.11, "seconds": 1.5},
    {"epoch": 1.0, "loss/train": 0.10, "error/val": 0.4, "error/val@mean_map": 0.37, "recall/val@1": 0.1},
    {"epoch": 2.0, "loss/train": 0.09},
    {"epoch": 3.0, "loss/train": 0.08, "error/val": 0.3, "error/val@mean_map": 0.37, "recall/val@1": 0.2},
]


@pytest.fixture
def panels() -> dict[str, Axes]:
    return {axes.get_title(): axes for axes in curves_figure(ROWS, "mm").axes}


def test_the_error_of_the_mean_map_is_a_dashed_line_across_the_panel_of_the_error(panels: dict[str, Axes]) -> None:
    error, mean_map = panels["error/val"].get_lines()
    assert list(error.get_ydata()) == [0.4, 0.3] and error.get_linestyle() == "-"
    assert list(mean_map.get_ydata()) == [0.37, 0.37] and mean_map.get_linestyle() == "--"
    legend = panels["error/val"].get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["error/val", "mean map"]


def test_epochs_count_from_1_as_in_the_printed_lines(panels: dict[str, Axes]) -> None:
    assert list(panels["loss/train"].get_lines()[0].get_xdata()) == [1, 2, 3, 4]
    assert list(panels["error/val"].get_lines()[0].get_xdata()) == [2, 4]
    for axes in panels.values():
        assert all(float(tick).is_integer() for tick in axes.get_xticks()), "no epoch is half an epoch"


def test_every_axis_is_named_and_an_error_has_the_unit_of_the_targets(panels: dict[str, Axes]) -> None:
    assert {axes.get_xlabel() for axes in panels.values()} == {"epoch"}
    assert {title: axes.get_ylabel() for title, axes in panels.items()} == {
        "loss/train": "loss",
        "error/val": "mean absolute error (mm)",
        "recall/val": "share that find their own target",
    }
    unknown = next(axes for axes in curves_figure(ROWS).axes if axes.get_title() == "error/val")
    assert unknown.get_ylabel() == "mean absolute error (unit of the targets)"


def test_a_run_of_a_single_epoch_is_drawn(panels: dict[str, Axes]) -> None:
    assert {axes.get_title() for axes in curves_figure(ROWS[1:2], "mm").axes} == set(panels)


def test_a_moved_run_knows_its_best_epoch_and_an_earlier_version_s_too(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for callback in (Checkpoints, ModelCheckpoint):
        old = callback(before, "best", "error/val", save_top_k=1, enable_version_counter=False)
        best = str(before / "best.safetensors")
        old.best_model_score = old.kth_value = torch.tensor(0.25)
        old.best_model_path = old.kth_best_model_path = best
        old.best_k_models = {best: torch.tensor(0.25)}
        new = Checkpoints(after, "best", "error/val", save_top_k=1, enable_version_counter=False)
        assert new.state_key == old.state_key
        new.load_state_dict(old.state_dict())
        assert (float(new.best_model_score), float(new.kth_value)) == (0.25, 0.25)
        assert new.best_model_path == new.kth_best_model_path == str(after / "best.safetensors")
        assert list(new.best_k_models) == [str(after / "best.safetensors")]
        assert new.last_model_path == ""
