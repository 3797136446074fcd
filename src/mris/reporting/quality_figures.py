"""Target maps on contact sheets, and histograms of their scores with the flagged ones marked."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64

from mris.cohort.quality.map_quality import SCORES, MapQuality
from mris.drawing import Figure, drawable
from mris.reporting.figures import COLORS
from mris.reporting.grid import INK, Grid, Shades, aspect_of, shades_between

_MARK = "#D55E00"


class SheetRow(NamedTuple):
    """One map of a contact sheet beside what it is compared with.

    Attributes:
        title: Written above it.
        label: Written left of it (the region).
        shown: The map; shape (h, w).
        usual: The cohort's median map of its region.
        nearest: The nearest maps of other subjects; shape (k, h, w), all NaN where there is none.
        nearest_titles: Written above them.
    """

    title: str
    label: str
    shown: Float32[np.ndarray, "h w"]
    usual: Float32[np.ndarray, "h w"]
    nearest: Float32[np.ndarray, "k h w"]
    nearest_titles: tuple[str, ...]


def shades_of(maps: Float32[np.ndarray, "n r h w"]) -> Shades:
    """Choose the colors' ends by sound maps: their 0.5th and 99.5th percentile, the lower one 0 if it is near that."""
    known = maps[np.isfinite(maps)]
    low, high = (float(value) for value in np.percentile(known, [0.5, 99.5])) if known.size else (0.0, 1.0)
    colors, low, high = shades_between(low, high)
    return colors, low, high if high > low else low + 1.0


def flagged_sheet(rows: Sequence[SheetRow], shades: Shades, unit: str) -> Figure:
    """Show each map in a row with the cohort's median map and its nearest maps."""
    n_nearest = len(rows[0].nearest)
    grid = Grid(len(rows), [1, 1, n_nearest], aspect_of(rows[0].shown), titled_rows=len(rows), headed=True)
    grid.heading(0, "flagged", bold=True)
    grid.heading(1, "median map")
    for column in range(n_nearest):
        grid.heading(2 + column, f"nearest {column + 1}")
    for place, row in enumerate(rows):
        grid.label_row(place, row.label)
        grid.image(place, 0, row.shown, shades, row.title, bold=True)
        grid.image(place, 1, row.usual, shades)
        for column, (image, title) in enumerate(zip(row.nearest, row.nearest_titles, strict=True), start=2):
            grid.image(place, column, image, shades, title)
    grid.bar(0, 2, shades, unit)
    return grid.figure


def sample_sheet(maps: Float32[np.ndarray, "n h w"], titles: Sequence[str], shades: Shades, unit: str) -> Figure:
    """Show maps in rows of six."""
    columns = min(6, len(maps))
    n_rows = -(-len(maps) // columns)
    grid = Grid(n_rows, [columns], aspect_of(maps[0]), titled_rows=n_rows)
    for place, (image, title) in enumerate(zip(maps, titles, strict=True)):
        grid.image(*divmod(place, columns), image, shades, title)
    grid.bar(0, 0, shades, unit)
    return grid.figure


def histograms(quality: MapQuality, region: int) -> Figure:
    """Show how each score of a region is distributed; triangles are maps that this score flags.

    The axis covers the middle of the cohort; what lies beyond is counted at its ends.
    """
    columns = 5
    n_rows = -(-len(SCORES) // columns)
    figure = Figure(figsize=(2.0 * columns, 1.75 * n_rows + 0.1))
    axes = figure.subplots(n_rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(left=0.02, right=0.98, top=0.96, bottom=0.07, wspace=0.18, hspace=0.75)
    for place, (axis, score) in enumerate(zip(axes, SCORES, strict=False)):
        values = quality.scores[:, region, place]
        marked = np.nan_to_num(np.abs(quality.deviations[:, region, place])) >= quality.threshold
        factor = 100.0 if score.kind == "share" else 1.0
        axis.set_title(score.name, fontsize=9, color=INK)
        axis.set_xlabel("%" if score.kind == "share" else drawable(quality.unit), fontsize=8, labelpad=1)
        known = np.isfinite(values)
        if known.any():
            low, high = _ends(factor * values[known], marked[known], least=1.0 if score.kind == "share" else 1e-3)
            clipped = np.clip(factor * values, low, high)
            counts, edges = np.histogram(clipped[known], bins=np.linspace(low, high, 31))
            axis.stairs(counts, edges, fill=True, color=COLORS[0], alpha=0.75)
            axis.set_ylim(bottom=0)
            axis.plot(
                clipped[marked],
                np.zeros(int(marked.sum())),
                "^",
                color=_MARK,
                ms=6,
                clip_on=False,
                zorder=3,
                mec="white",
                mew=0.4,
            )
            axis.set_xlim(low, high)
        else:
            axis.text(0.5, 0.5, "not known", ha="center", va="center", transform=axis.transAxes, fontsize=8)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
        axis.set_yticks([])
        axis.tick_params(labelsize=7, length=2, colors=INK)
    for axis in axes[len(SCORES) :]:
        axis.set_axis_off()
    return figure


def median_map(maps: Float32[np.ndarray, "n r h w"]) -> Float32[np.ndarray, "r h w"]:
    """Take the median at each pixel that at least half of the maps have; NaN elsewhere."""
    known = np.isfinite(maps)
    usual = 2 * known.sum(axis=0) >= max(len(maps), 1)
    medians = np.full(maps.shape[1:], np.nan, dtype=np.float32)
    medians[usual] = np.nanmedian(maps[:, usual], axis=0)
    return medians


def _ends(values: Float64[np.ndarray, " n"], marked: Bool[np.ndarray, " n"], least: float) -> tuple[float, float]:
    """The range of the unmarked values, wider where there are marked ones beyond it."""
    usual = values[~marked] if (~marked).any() else values
    low, high = float(usual.min()), float(usual.max())
    margin = max(0.12 * (high - low), least)
    return low - margin if (values < low).any() else low, high + margin if (
        values > high
    ).any() or low == high else high
