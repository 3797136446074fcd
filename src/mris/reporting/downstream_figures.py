"""Classifiers on target maps as matplotlib figures with their intervals; none touches global state."""

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from mris.drawing import Axes, Figure, Line2D, drawable, withStroke
from mris.reporting.downstream_tables import METRIC_TITLES, check_methods
from mris.reporting.figures import COLORS, tidy
from mris.reporting.grid import INK
from mris.study.class_results import ClassEstimate, chance_level, class_names_of, find_estimate


def class_metric_figure(methods: Mapping[str, Sequence[ClassEstimate]], metrics: Sequence[str]) -> Figure:
    """Show metrics of all classes for every method with their intervals, a panel a metric, beside chance.

    Args:
        methods: The metrics of `mris.study.downstream.measure_classification` by method, on the same images.
        metrics: Names of the metrics, such as `mris.study.class_results.OVERALL_METRICS`.

    Returns:
        The figure.

    Raises:
        CohortError: The methods were not tested on the same images, or the task lacks a metric.
        SettingsError: There is no method, or a metric is one of single classes.
    """
    anyone = check_methods(methods)
    figure = Figure(figsize=(max(2.6 * len(metrics), 5.5), 1.0 + 0.36 * len(methods)), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axis, metric in zip(panels, metrics, strict=True):
        axis.axvline(chance_level(anyone, metric), color=INK, lw=1, ls="--", zorder=1)
        for row, estimates in enumerate(methods.values()):
            _draw_row(axis, find_estimate(estimates, metric), row, COLORS[row % len(COLORS)])
        axis.set_title(METRIC_TITLES[metric], fontsize=10, color=INK)
        axis.margins(x=0.12)
        tidy(axis, grid="x")
    panels[0].set_yticks(range(len(methods)), [drawable(name) for name in methods], fontsize=9)
    panels[0].set_ylim(len(methods) - 0.5, -0.7)
    chance = Line2D([], [], color=INK, lw=1, ls="--")
    figure.legend([chance], ["chance"], loc="outside lower center", fontsize=8, frameon=False)
    return figure


def class_accuracy_figure(methods: Mapping[str, Sequence[ClassEstimate]], label: str) -> Figure:
    """Show the accuracy of each class, methods side by side with their intervals.

    Args:
        methods: The metrics of `mris.study.downstream.measure_classification` by method, on the same images.
        label: Name of what is classified, such as "grade".

    Returns:
        The figure.

    Raises:
        CohortError: The methods were not tested on the same images.
        SettingsError: There is no method.
    """
    anyone = check_methods(methods)
    names = class_names_of(anyone)
    figure = Figure(figsize=(max(1.5 * len(names), 5.5), 3.4), layout="constrained")
    axis = figure.subplots()
    step = 0.7 / len(methods)
    for m, (method, estimates) in enumerate(methods.items()):
        color = COLORS[m % len(COLORS)]
        x = np.arange(len(names)) + (m - (len(methods) - 1) / 2) * step
        found = [find_estimate(estimates, "class_accuracy", name) for name in names]
        for place, row in zip(x, found, strict=True):
            if isfinite(row.low):
                _whisker(axis, (place, place), (row.low, row.high), color)
        axis.plot(x, [row.value for row in found], "o", color=color, ms=4.5, label=drawable(method))
    sizes = [find_estimate(anyone, "class_accuracy", name).n_images for name in names]
    axis.set_xticks(
        range(len(names)), [drawable(f"{name}\nn = {n}") for name, n in zip(names, sizes, strict=True)], fontsize=8
    )
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel(drawable(label), fontsize=9)
    axis.set_ylabel("share classified as such", fontsize=9)
    tidy(axis, grid="y")
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), fontsize=8, frameon=False)
    return figure


def _draw_row(axis: Axes, found: ClassEstimate, row: int, color: str) -> None:
    if not isfinite(found.value):
        return
    if isfinite(found.low):
        _whisker(axis, (found.low, found.high), (row, row), color)
    axis.plot([found.value], [row], "o", color=color, ms=6)
    axis.annotate(
        f"{found.value:.3f}",
        (found.value, row),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        color=INK,
        path_effects=[withStroke(linewidth=2, foreground="white")],  # legible on the line of chance
    )


def _whisker(axis: Axes, x: tuple[float, float], y: tuple[float, float], color: str) -> None:
    axis.plot(x, y, color=color, lw=2.5, solid_capstyle="round", alpha=0.45)
