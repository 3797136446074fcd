"""Results as matplotlib figures with their intervals; none touches global state."""

from collections.abc import Sequence
from io import BytesIO
from math import isfinite
from typing import Literal

import numpy as np

from mris.drawing import Axes, Figure, drawable
from mris.evaluation.image_error import METRIC
from mris.evaluation.results import ALL, Estimate, Recall, Results
from mris.reporting.grid import INK
from mris.reporting.tables import digits_of, title_of
from mris.study.database_size_results import DatabaseSizeCurve

_PLAIN = "#767676"
COLORS = (
    "#0072B2",
    _PLAIN,
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#8C6BB1",
    "#000000",
    "#8C510A",
    "#66A61E",
    "#7A5195",
)
"""Colors of methods, told apart by color-blind eyes too (after Okabe and Ito)."""

DPI = 150
"""Pixels an inch of a rendered figure."""


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """Render a figure as PNG bytes on white."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def tidy(axis: Axes, grid: Literal["x", "y"]) -> None:
    """Leave two quiet edges and grid lines across one axis."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("#bbbbbb")
    axis.tick_params(colors=INK, labelsize=8, length=3)
    axis.grid(axis=grid, color="#e4e4e8", lw=0.8)
    axis.set_axisbelow(True)


def interval_figure(results: Results, metric: str, title: str) -> Figure:
    """Show one metric of every method with its interval, a panel a region."""
    regions = results.regions
    digits = digits_of(metric, results)
    figure = Figure(figsize=(max(3.2 * len(regions), 5.5), 0.55 + 0.34 * len(results.methods)), layout="constrained")
    panels = figure.subplots(1, len(regions), sharey=True, squeeze=False)[0]
    for axis, region in zip(panels, regions, strict=True):
        for row, method in enumerate(results.methods):
            found = results.estimate(method.name, metric, region=region)
            _whisker(axis, found, row, COLORS[row % len(COLORS)], digits)
        axis.set_title(drawable(region), fontsize=10, color=INK)
        axis.set_xlabel(drawable(title), fontsize=9)
        tidy(axis, grid="x")
    panels[0].set_yticks(range(len(results.methods)), [drawable(method.name) for method in results.methods], fontsize=9)
    panels[0].set_ylim(len(results.methods) - 0.5, -0.5)
    return figure


def strata_figure(results: Results, label: str, metric: str, title: str) -> Figure:
    """Show one metric by stratum, methods side by side with their intervals."""
    strata = [s for s in results.strata if s.label == label]
    regions = results.regions
    figure = Figure(figsize=(max(3.4 * len(regions), 5.5), 3.0), layout="constrained")
    panels = figure.subplots(1, len(regions), sharey=True, squeeze=False)[0]
    step = 0.7 / max(len(results.methods), 1)
    for axis, region in zip(panels, regions, strict=True):
        for m, method in enumerate(results.methods):
            found = [results.estimate(method.name, metric, region=region, label=label, stratum=s.name) for s in strata]
            x = np.arange(len(strata)) + (m - (len(results.methods) - 1) / 2) * step
            _points(axis, x, found, COLORS[m % len(COLORS)], drawable(method.name))
        axis.set_xticks(range(len(strata)), [drawable(f"{s.name}\nn = {s.n_images}") for s in strata], fontsize=8)
        axis.set_title(drawable(region), fontsize=10, color=INK)
        axis.set_xlabel(drawable(label), fontsize=9)
        tidy(axis, grid="y")
    panels[0].set_ylabel(drawable(title), fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 5), fontsize=8, frameon=False)
    return figure


def recall_figure(results: Results) -> Figure:
    """Show recall against k, with intervals, and what chance gives."""
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axis = figure.subplots()
    curves: dict[str, list[Recall]] = {}
    for row in results.recalls:
        if row.stratum == ALL and row.label == "":
            curves.setdefault(row.encoder, []).append(row)
    for i, (name, rows) in enumerate(curves.items()):
        ks = [row.k for row in rows]
        color = COLORS[i % len(COLORS)]
        axis.fill_between(ks, [row.low for row in rows], [row.high for row in rows], color=color, alpha=0.15, lw=0)
        axis.plot(ks, [row.value for row in rows], "o-", color=color, label=drawable(name), ms=4, lw=1.5)
    rows = next(iter(curves.values()))
    axis.plot([row.k for row in rows], [row.chance for row in rows], "--", color=INK, lw=1, label="chance")
    axis.set_xticks([row.k for row in rows])
    axis.set_ylim(0, 1.02)
    axis.set_xlabel(f"k nearest of {rows[0].gallery_size} targets", fontsize=9)
    axis.set_ylabel("share of queries that find their own", fontsize=9)
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axis.legend(fontsize=8, frameon=False, loc="best")
    tidy(axis, grid="y")
    return figure


def database_size_figure(curve: DatabaseSizeCurve, metric: str = "median") -> Figure:
    """Show one metric against the number of people in the database: a panel a region, a line a method.

    Shaded is the interval over queries' subjects; the bars are one standard deviation over draws on either side. The
    mean map of the same people is dashed.
    """
    regions, n_methods = curve.shown_regions, len(curve.methods)
    colors = [*[color for color in COLORS * n_methods if color != _PLAIN][: n_methods - 1], _PLAIN]
    figure = Figure(figsize=(max(3.3 * len(regions), 5.5), 3.3), layout="constrained")
    panels = figure.subplots(1, len(regions), sharey=True, squeeze=False)[0]
    for axis, region in zip(panels, regions, strict=True):
        for m, method in enumerate(curve.methods):
            points = curve.line(method, metric, region)
            # A little apart, so that bars at one number of people do not cover each other.
            x = [point.n_subjects * 1.03 ** (m - (n_methods - 1) / 2) for point in points]
            lows, highs = [point.low for point in points], [point.high for point in points]
            axis.fill_between(x, lows, highs, color=colors[m], alpha=0.12, lw=0)
            axis.errorbar(
                *(x, [point.value for point in points], np.nan_to_num([point.spread for point in points])),
                color=colors[m],
                label=drawable(method),
                fmt="o--" if method == curve.methods[-1] else "o-",
                ms=3.5,
                lw=1.5,
                elinewidth=1,
                capsize=2.5,
            )
        axis.set_xscale("log")
        axis.set_xticks(sorted({point.n_subjects for point in curve.points}))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.minorticks_off()
        axis.set_title(drawable(region), fontsize=10, color=INK)
        axis.set_xlabel("people in the database", fontsize=9)
        tidy(axis, grid="y")
    panels[0].set_ylabel(drawable(title_of(metric, curve.unit, METRIC[metric].meaning)), fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 5), fontsize=8, frameon=False)
    return figure


def _whisker(axis: Axes, found: Estimate, row: int, color: str, digits: int) -> None:
    if isfinite(found.low):
        axis.plot([found.low, found.high], [row, row], color=color, lw=2.5, solid_capstyle="round", alpha=0.45)
    axis.plot([found.value], [row], "o", color=color, ms=6)
    axis.annotate(
        f"{found.value:.{digits}f}",
        (found.value, row),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        color=INK,
    )


def _points(axis: Axes, x: np.ndarray, found: Sequence[Estimate], color: str, name: str) -> None:
    for place, row in zip(x, found, strict=True):
        if isfinite(row.low):
            axis.plot([place, place], [row.low, row.high], color=color, lw=2, alpha=0.45, solid_capstyle="round")
    axis.plot(x, [row.value for row in found], "o", color=color, ms=4.5, label=name)
