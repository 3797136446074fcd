from collections.abc import Sequence
from io import BytesIO

import numpy as np
import PIL.Image
import pytest

from mris.errors import CohortError, SettingsError
from mris.evaluation.bootstrap import resample_counts
from mris.reporting.downstream_figures import class_accuracy_figure, class_metric_figure
from mris.reporting.figures import png
from mris.study.class_results import BINARY_METRICS, OVERALL_METRICS, ClassEstimate, find_estimate
from mris.study.downstream import ClassPredictions, measure_classification

GRADES = ("0-1", "2", "3", "4")


def measured(
    rng: np.random.Generator, names: tuple[str, ...] = GRADES, top: int | None = None, one_person: bool = False
) -> dict[str, Sequence[ClassEstimate]]:
    """Two classifiers of forty knees; `top` is the highest class that occurs."""
    truth = np.minimum(np.arange(40) % len(names), len(names) if top is None else top)
    subjects = ("S1",) * 40 if one_person else tuple(f"S{i // 2}" for i in range(40))
    counts = resample_counts(len(set(subjects)), 30, rng)
    found = {}
    for method in ("MRIS-S", "an encoder and a decoder without skips"):
        rows = np.exp(rng.normal(size=(40, len(names))) + np.eye(len(names))[truth])
        answers = rows / rows.sum(axis=1, keepdims=True)
        keys = tuple(f"K{i}" for i in range(40))
        found[method] = measure_classification(ClassPredictions(keys, subjects, truth, answers, names), counts)
    return found


def _dots(axis) -> list[tuple[float, float]]:
    return [xy for line in axis.lines if line.get_marker() == "o" for xy in map(tuple, line.get_xydata())]


def _whiskers(axis) -> list[np.ndarray]:
    return [line.get_xydata() for line in axis.lines if line.get_marker() == "None" and line.get_linestyle() == "-"]


def test_a_panel_shows_each_method_where_the_results_put_it(rng: np.random.Generator) -> None:
    methods = measured(rng)
    figure = class_metric_figure(methods, OVERALL_METRICS)
    assert len(figure.axes) == 3
    for axis, metric in zip(figure.axes, OVERALL_METRICS, strict=True):
        found = [find_estimate(rows, metric) for rows in methods.values()]
        assert _dots(axis) == [(row.value, i) for i, row in enumerate(found)]
        for whisker, row in zip(_whiskers(axis), found, strict=True):
            assert whisker[:, 0].tolist() == [row.low, row.high]
        assert [text.get_text() for text in axis.texts] == [f"{row.value:.3f}" for row in found]


def test_each_panel_shows_what_chance_gives(rng: np.random.Generator) -> None:
    figure = class_metric_figure(measured(rng), OVERALL_METRICS)
    lines = [line for axis in figure.axes for line in axis.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in lines] == [0.25, 0.25, 0.0]
    ranking = class_metric_figure(measured(rng, ("stays", "rises")), BINARY_METRICS)
    lines = [line for axis in ranking.axes for line in axis.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in lines] == [0.5, 0.5]


def test_classes_stand_side_by_side_with_the_number_of_their_images(rng: np.random.Generator) -> None:
    methods = measured(rng)
    (axis,) = class_accuracy_figure(methods, "klg").axes
    assert [text.get_text() for text in axis.get_xticklabels()] == [f"{name}\nn = 10" for name in GRADES]
    dots = _dots(axis)
    assert [round(x) for x, _ in dots] == [0, 1, 2, 3] * 2
    expected = [find_estimate(rows, "class_accuracy", name).value for rows in methods.values() for name in GRADES]
    assert [y for _, y in dots] == expected
    assert len(_whiskers(axis)) == 8


@pytest.mark.filterwarnings("error")
def test_a_class_or_an_interval_that_does_not_exist_is_left_out(rng: np.random.Generator) -> None:
    without = measured(rng, top=2)
    (axis,) = class_accuracy_figure(without, "klg").axes
    assert len(_whiskers(axis)) == 6
    alone = class_metric_figure(measured(rng, one_person=True), OVERALL_METRICS)
    assert all(_whiskers(panel) == [] and len(_dots(panel)) == 2 for panel in alone.axes)
    one_class = class_metric_figure(measured(rng, ("stays", "rises"), top=0), BINARY_METRICS)
    assert all(_dots(panel) == [] for panel in one_class.axes)
    assert png(one_class).startswith(b"\x89PNG")


def test_a_figure_renders_whole_with_a_long_name(rng: np.random.Generator) -> None:
    for figure in (class_metric_figure(measured(rng), OVERALL_METRICS), class_accuracy_figure(measured(rng), "klg")):
        with PIL.Image.open(BytesIO(png(figure))) as image:
            pixels = np.asarray(image.convert("L"))
        # nothing is cut off where all four edges are white
        assert min(pixels[0].min(), pixels[-1].min(), pixels[:, 0].min(), pixels[:, -1].min()) == 255
        assert pixels.min() < 100


def test_a_figure_of_nothing_or_of_a_metric_without_chance_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(SettingsError, match="no method to show"):
        class_metric_figure({}, OVERALL_METRICS)
    with pytest.raises(SettingsError, match="no method to show"):
        class_accuracy_figure({}, "klg")
    with pytest.raises(SettingsError, match="'share' has no chance level"):
        class_metric_figure(measured(rng), ["share"])
    with pytest.raises(CohortError, match="'roc_auc'"):
        class_metric_figure(measured(rng), ["roc_auc"])
