"""Images side by side on one scale: examples, neighbors, error maps.

Panels are placed by arithmetic, in inches: a layout engine takes seconds for some tens of panels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from mris.evaluation.pictures import ErrorMaps, Example

INK = "#222222"
_OUTSIDE = "#ececef"
_PANEL, _GAP, _GROUP_GAP, _MARGIN = 1.3, 0.06, 0.22, 0.08
_LABEL, _TITLE, _BAR = 0.34, 0.26, 0.52


@dataclass(frozen=True)
class Scales:
    """Ends of the color bars that all examples share.

    Args:
        low: Lowest target value shown.
        high: Highest target value shown.
        error: Highest error and spread shown.
    """

    low: float
    high: float
    error: float


def shared_scales(examples: Sequence[Example]) -> Scales:
    """Choose one scale for the panels of all examples.

    The ends are percentiles, so that one bad pixel does not darken the rest; the lower end is 0 unless values stay far
    from it or are negative.
    """
    truths = [example.truth for example in examples]
    errors = [picture.error for example in examples for picture in example.pictures]
    low, high = _percentile(truths, 0.5, 0.0), _percentile(truths, 99.5, 1.0)
    return Scales(low if low < 0 or low > 0.35 * high else 0.0, high, _percentile(errors, 99.0, 1.0))


def example_figure(example: Example, regions: Sequence[str], unit: str, scales: Scales) -> Figure:
    """Show truth and source, and below a row a method: its synthesis, its absolute error, its spread if it has one.

    Args:
        example: The query.
        regions: Names of the regions.
        unit: Unit of the targets.
        scales: Ends of the color bars.
    """
    spreads = any(picture.explanation is not None for picture in example.pictures)
    n, groups = len(regions), 3 if spreads else 2
    grid = _Grid(1 + len(example.pictures), [n] * groups, _aspect(example.truth))
    for r, region in enumerate(regions):
        title = f"truth, {region}" if n > 1 else "truth"
        _image(grid.axes(0, r), example.truth[r], values_map(), scales.low, scales.high, title, bold=True)
    _image(grid.axes(0, n), example.source[0], colormaps["gray"], 0, 1, "source", bold=True)
    for row, picture in enumerate(example.pictures, start=1):
        titles = ("synthesis", "absolute error", "spread of neighbors") if row == 1 else ("", "", "")
        grid.label_row(row, picture.method)
        for r in range(n):
            _image(grid.axes(row, r), picture.image[r], values_map(), scales.low, scales.high)
            _image(grid.axes(row, n + r), picture.error[r], errors_map(), 0, scales.error)
            if picture.explanation is not None:
                inside = np.where(np.isfinite(example.truth[r]), picture.explanation.spread[r], np.nan)
                _image(grid.axes(row, 2 * n + r), inside, errors_map(), 0, scales.error)
        for group, title in enumerate(titles[:groups]):
            grid.title_group(row, group, title)
    grid.bar(0, 0, values_map(), scales.low, scales.high, unit)
    grid.bar(1, groups - 1, errors_map(), 0, scales.error, f"error, spread ({unit})" if spreads else f"error ({unit})")
    return grid.figure


def neighbors_figure(example: Example, regions: Sequence[str], unit: str, scales: Scales) -> Figure | None:
    """Show the truth, a synthesis and the neighbors it is made of; None if no method has neighbors."""
    told = [picture for picture in example.pictures if picture.explanation is not None]
    if not told or told[0].explanation is None:
        return None
    picture, explanation = told[0], told[0].explanation
    grid = _Grid(len(regions), [2, len(explanation.neighbors)], _aspect(example.truth))
    for r, region in enumerate(regions):
        captions = explanation.captions[r]
        if r and captions == explanation.captions[0]:
            captions = ("",) * len(captions)
        titles = ["truth", picture.method] if r == 0 else ["", ""]
        for column, image in enumerate([example.truth[r], picture.image[r], *explanation.neighbors[:, r]]):
            title = [*titles, *captions][column]
            _image(grid.axes(r, column), image, values_map(), scales.low, scales.high, title, bold=column == 0)
        grid.label_row(r, region if len(regions) > 1 else "")
    grid.bar(0, 0, values_map(), scales.low, scales.high, unit)
    return grid.figure


def error_map_figure(maps: ErrorMaps, unit: str) -> Figure:
    """Show each method's mean absolute error at each pixel, on one scale."""
    high = _percentile([maps.absolute], 99.5, 1.0)
    return _method_maps(maps, maps.absolute, errors_map(), 0.0, high, f"mean absolute error ({unit})")


def bias_map_figure(maps: ErrorMaps, unit: str) -> Figure:
    """Show each method's mean of synthesis minus truth at each pixel: red is too much, blue too little."""
    high = _percentile([np.abs(maps.signed)], 99.5, 1.0)
    return _method_maps(maps, maps.signed, bias_map(), -high, high, f"synthesis − truth, mean ({unit})")


def values_map() -> Colormap:
    """Colors of target values."""
    return colormaps["viridis"].with_extremes(bad=_OUTSIDE)


def errors_map() -> Colormap:
    """Colors of errors and spreads."""
    return colormaps["inferno"].with_extremes(bad=_OUTSIDE)


def bias_map() -> Colormap:
    """Colors of signed errors; white is none, so outside is a darker gray."""
    return colormaps["RdBu_r"].with_extremes(bad="#d3d3d9")


class _Grid:
    """Panels in rows and groups of columns, a label left of each row, a title above each group, bars below."""

    def __init__(self, n_rows: int, groups: Sequence[int], aspect: float) -> None:
        self._n_rows, self._groups, self._height = n_rows, groups, _PANEL * aspect
        self._left = []
        x = _MARGIN + _LABEL
        for group in groups:
            for _ in range(group):
                self._left.append(x)
                x += _PANEL + _GAP
            x += _GROUP_GAP - _GAP
        self._size = (x - _GROUP_GAP + _MARGIN, _MARGIN + n_rows * (self._height + _TITLE) + _BAR)
        self.figure = Figure(figsize=self._size)

    def axes(self, row: int, column: int) -> Axes:
        """Add the panel of a row and column."""
        axis = self._add(self._left[column], self._bottom(row), _PANEL, self._height)
        axis.set_axis_off()
        return axis

    def label_row(self, row: int, text: str) -> None:
        """Write left of a row."""
        middle = self._bottom(row) + self._height / 2
        self._text(_MARGIN + _LABEL - 0.08, middle, text, rotation=90, ha="right", va="center")

    def title_group(self, row: int, group: int, text: str) -> None:
        """Write above a group of columns."""
        start, end = self._extent(group, group)
        self._text((start + end) / 2, self._bottom(row) + self._height + 0.06, text, ha="center", va="bottom")

    def bar(self, first: int, last: int, colors: Colormap, low: float, high: float, title: str) -> None:
        """Draw a color bar below some groups."""
        start, end = self._extent(first, last)
        width = min(end - start, 3.0)
        axis = self._add((start + end - width) / 2, _BAR - 0.12, width, 0.09)
        mappable = ScalarMappable(Normalize(low, high), colors)
        bar = self.figure.colorbar(mappable, cax=axis, orientation="horizontal")
        bar.set_label(title, fontsize=8, color=INK, labelpad=1)
        bar.ax.tick_params(labelsize=7, length=2, pad=1, colors=INK)
        bar.outline.set_visible(False)

    def _extent(self, first: int, last: int) -> tuple[float, float]:
        start = sum(self._groups[:first])
        return self._left[start], self._left[sum(self._groups[: last + 1]) - 1] + _PANEL

    def _bottom(self, row: int) -> float:
        return _BAR + (self._n_rows - 1 - row) * (self._height + _TITLE)

    def _add(self, left: float, bottom: float, width: float, height: float) -> Axes:
        full_width, full_height = self._size
        return self.figure.add_axes((left / full_width, bottom / full_height, width / full_width, height / full_height))

    def _text(self, x: float, y: float, text: str, **place: object) -> None:
        self.figure.text(x / self._size[0], y / self._size[1], text, fontsize=9, color=INK, **place)  # type: ignore[arg-type]


def _method_maps(
    maps: ErrorMaps,
    images: Float32[np.ndarray, "methods r h w"],
    colors: Colormap,
    low: float,
    high: float,
    title: str,
) -> Figure:
    grid = _Grid(len(maps.regions), [len(maps.methods)], _aspect(images[0]))
    for r, region in enumerate(maps.regions):
        for m, method in enumerate(maps.methods):
            _image(grid.axes(r, m), images[m, r], colors, low, high, method if r == 0 else "")
        grid.label_row(r, region if len(maps.regions) > 1 else "")
    grid.bar(0, 0, colors, low, high, title)
    return grid.figure


def _image(
    axis: Axes, image: np.ndarray, colors: Colormap, low: float, high: float, title: str = "", *, bold: bool = False
) -> None:
    axis.imshow(image, cmap=colors, vmin=low, vmax=high, interpolation="nearest")
    axis.set_title(title, fontsize=9, color=INK, pad=4, fontweight="bold" if bold else "normal")


def _aspect(images: Float32[np.ndarray, "r h w"]) -> float:
    return min(max(images.shape[-2] / images.shape[-1], 0.3), 3.0)


def _percentile(images: Sequence[np.ndarray], percent: float, otherwise: float) -> float:
    values = np.concatenate([image[np.isfinite(image)] for image in images]) if images else np.zeros(0)
    found = float(np.percentile(values, percent)) if values.size else otherwise
    return found if found > 0 or percent < 50 else otherwise
