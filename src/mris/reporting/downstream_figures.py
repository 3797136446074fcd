"""Classifiers on target maps as matplotlib figures with their intervals; none touches global state."""

from collections.abc import Mapping, Sequence

from mris.drawing import Figure, Line2D, drawable
from mris.reporting.downstream_tables import METRIC_TITLES, check_methods
from mris.reporting.figures import draw_in_row, draw_side_by_side, legend_below, panel_row, tidy
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
    figure, panels = panel_row(len(metrics), 2.6, 1.0 + 0.36 * len(methods))
    for axis, metric in zip(panels, metrics, strict=True):
        axis.axvline(chance_level(anyone, metric), color=INK, lw=1, ls="--", zorder=1)
        for row, estimates in enumerate(methods.values()):
            draw_in_row(axis, find_estimate(estimates, metric), row, digits=3)
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
    for m, (method, estimates) in enumerate(methods.items()):
        found = [find_estimate(estimates, "class_accuracy", name) for name in names]
        draw_side_by_side(axis, found, m, len(methods), method)
    sizes = [find_estimate(anyone, "class_accuracy", name).n_images for name in names]
    axis.set_xticks(
        range(len(names)), [drawable(f"{name}\nn = {n}") for name, n in zip(names, sizes, strict=True)], fontsize=8
    )
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel(drawable(label), fontsize=9)
    axis.set_ylabel("share classified as such", fontsize=9)
    tidy(axis, grid="y")
    legend_below(figure, axis, most=4)
    return figure
