"""The picture of a run says what its metrics are, and how good an answer is that needs no training."""

import pytest
from matplotlib.axes import Axes

from mris.training.callbacks import curves_figure

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
