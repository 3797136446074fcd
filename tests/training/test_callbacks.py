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
    return {axes.get_title(): axes for axes in curves_figure(ROWS).axes}


def test_the_error_of_the_mean_map_is_a_dashed_line_across_the_panel_of_the_error(panels: dict[str, Axes]) -> None:
    error, mean_map = panels["error/val"].get_lines()
    assert list(error.get_ydata()) == [0.4, 0.3] and error.get_linestyle() == "-"
    assert list(mean_map.get_ydata()) == [0.37, 0.37] and mean_map.get_linestyle() == "--"
    legend = panels["error/val"].get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["error/val", "mean map"]
