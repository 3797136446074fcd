"""Results as matplotlib figures with their intervals; none touches global state."""

from collections.abc import Sequence
from io import BytesIO
from math import isfinite
from typing import Literal

import numpy as np

from mris.drawing import Axes, Figure, drawable, withStroke
from mris.evaluation.image_error import METRIC
from mris.evaluation.results import ALL, Estimate, Recall, Results
from mris.reporting.grid import INK
from mris.reporting.tables import digits_of, title_of
from mris.study.class_results import ClassEstimate
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


def panel_row(n_panels: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    """Open a figure of panels side by side, of a width each, with one vertical axis; no figure is narrower than 5.5."""
    figure = Figure(figsize=(max(width * n_panels, 5.5), height), layout="constrained")
    return figure, figure.subplots(1, n_panels, sharey=True, squeeze=False)[0]


def legend_below(figure: Figure, axis: Axes, most: int = 5) -> None:
    """Name below a figure what one of its axes shows, at most so many names a line."""
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), most), fontsize=8, frameon=False)


def draw_in_row(axis: Axes, found: Estimate | ClassEstimate, row: int, digits: int) -> None:
    """Draw a number with its interval in the row of a method, written above it; one that is not known is left out."""
    if not isfinite(found.value):
        return
    color = COLORS[row % len(COLORS)]
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
        path_effects=[withStroke(linewidth=2, foreground="white")],  # legible on a line
    )


def draw_side_by_side(
    axis: Axes, found: Sequence[Estimate | ClassEstimate], method: int, n_methods: int, name: str
) -> None:
    """Draw one method's numbers with their intervals, a group each, beside those of the other methods."""
    color, step = COLORS[method % len(COLORS)], 0.7 / n_methods
    x = np.arange(len(found)) + (method - (n_methods - 1) / 2) * step
    for place, row in zip(x, found, strict=True):
        if isfinite(row.low):
            axis.plot([place, place], [row.low, row.high], color=color, lw=2, alpha=0.45, solid_capstyle="round")
    axis.plot(x, [row.value for row in found], "o", color=color, ms=4.5, label=drawable(name))


def interval_figure(results: Results, metric: str, title: str) -> Figure:
    """Show one metric of every method with its interval, a panel a region."""
    regions = results.regions
    digits = digits_of(metric, results)
    figure, panels = panel_row(len(regions), 3.2, 0.55 + 0.34 * len(results.methods))
    for axis, region in zip(panels, regions, strict=True):
        for row, method in enumerate(results.methods):
            draw_in_row(axis, results.estimate(method.name, metric, region=region), row, digits)
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
    figure, panels = panel_row(len(regions), 3.4, 3.0)
    for axis, region in zip(panels, regions, strict=True):
        for m, method in enumerate(results.methods):
            found = [results.estimate(method.name, metric, region=region, label=label, stratum=s.name) for s in strata]
            draw_side_by_side(axis, found, m, len(results.methods), method.name)
        axis.set_xticks(range(len(strata)), [drawable(f"{s.name}\nn = {s.n_images}") for s in strata], fontsize=8)
        axis.set_title(drawable(region), fontsize=10, color=INK)
        axis.set_xlabel(drawable(label), fontsize=9)
        tidy(axis, grid="y")
    panels[0].set_ylabel(drawable(title), fontsize=9)
    legend_below(figure, panels[0])
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
    figure, panels = panel_row(len(regions), 3.3, 3.3)
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
    legend_below(figure, panels[0])
    return figure
