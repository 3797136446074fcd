"""Images side by side on one scale: examples, neighbors, error maps.

Panels are placed by arithmetic, in inches, on one pair of axes: a layout engine, or axes for each of some tens of
panels, would take seconds a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from mris.evaluation.pictures import ErrorMaps, Example

INK = "#222222"
_OUTSIDE = "#ececef"
_PANEL, _GAP, _GROUP_GAP, _MARGIN = 1.3, 0.06, 0.22, 0.08
_LABEL, _TITLE, _BAR = 0.34, 0.26, 0.52
_LEAST_WIDTH = 2.6
_LETTER = 0.08  # mean width of a letter of 9 points, with some reserve


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
    grid = _Grid(1 + len(example.pictures), [n] * groups, _aspect(example.truth), titled_rows=2)
    values, errors = (values_map(), scales.low, scales.high), (errors_map(), 0.0, scales.error)
    for r, region in enumerate(regions):
        grid.image(0, r, example.truth[r], values, f"truth, {region}" if n > 1 else "truth", bold=True)
    grid.image(0, n, example.source[0], (colormaps["gray"], 0, 1), "source", bold=True)
    for group, title in enumerate(("synthesis", "absolute error", "spread of neighbors")[:groups]):
        grid.title_group(1, group, title)
    for row, picture in enumerate(example.pictures, start=1):
        grid.label_row(row, picture.method)
        for r in range(n):
            grid.image(row, r, picture.image[r], values)
            grid.image(row, n + r, picture.error[r], errors)
            if picture.explanation is not None:
                inside = np.where(np.isfinite(example.truth[r]), picture.explanation.spread[r], np.nan)
                grid.image(row, 2 * n + r, inside, errors)
    grid.bar(0, 0, values, unit)
    grid.bar(1, groups - 1, errors, f"error, spread ({unit})" if spreads else f"error ({unit})")
    return grid.figure


def neighbors_figure(example: Example, regions: Sequence[str], unit: str, scales: Scales) -> Figure | None:
    """Show the truth, a synthesis and the neighbors it is made of; None if no method has neighbors."""
    told = [picture for picture in example.pictures if picture.explanation is not None]
    if not told or told[0].explanation is None:
        return None
    picture, explanation = told[0], told[0].explanation
    own_captions = any(captions != explanation.captions[0] for captions in explanation.captions)
    titled = len(regions) if own_captions else 1
    grid = _Grid(len(regions), [2, len(explanation.neighbors)], _aspect(example.truth), titled_rows=titled)
    values = (values_map(), scales.low, scales.high)
    for r, region in enumerate(regions):
        named = ["truth", picture.method] if r == 0 else ["", ""]
        titles = [*named, *(explanation.captions[r] if r < titled else [""] * len(explanation.neighbors))]
        for column, image in enumerate([example.truth[r], picture.image[r], *explanation.neighbors[:, r]]):
            grid.image(r, column, image, values, titles[column], bold=column == 0)
        grid.label_row(r, region if len(regions) > 1 else "")
    grid.bar(0, 0, values, unit)
    return grid.figure


def error_map_figure(maps: ErrorMaps, unit: str) -> Figure:
    """Show each method's mean absolute error at each pixel, on one scale."""
    high = _percentile([maps.absolute], 99.5, 1.0)
    return _method_maps(maps, maps.absolute, (errors_map(), 0.0, high), f"mean absolute error ({unit})")


def bias_map_figure(maps: ErrorMaps, unit: str) -> Figure:
    """Show each method's mean of synthesis minus truth at each pixel: red is too much, blue too little."""
    high = _percentile([np.abs(maps.signed)], 99.5, 1.0)
    return _method_maps(maps, maps.signed, (bias_map(), -high, high), f"synthesis − truth, mean ({unit})")


def values_map() -> Colormap:
    """Colors of target values."""
    return colormaps["viridis"].with_extremes(bad=_OUTSIDE)


def errors_map() -> Colormap:
    """Colors of errors and spreads."""
    return colormaps["inferno"].with_extremes(bad=_OUTSIDE)


def bias_map() -> Colormap:
    """Colors of signed errors; white is none, so outside is a darker gray."""
    return colormaps["RdBu_r"].with_extremes(bad="#d3d3d9")


_Shades = tuple[Colormap, float, float]
"""Colors, and the values at their two ends."""


class _Grid:
    """Panels in rows and groups of columns, a label left of each row, titles above the first rows, bars below."""

    def __init__(self, n_rows: int, groups: Sequence[int], aspect: float, titled_rows: int) -> None:
        self._groups, self._height = groups, _PANEL * aspect
        self._left: list[float] = []
        x = _MARGIN + _LABEL
        for group in groups:
            for _ in range(group):
                self._left.append(x)
                x += _PANEL + _GAP
            x += _GROUP_GAP - _GAP
        pitch = [self._height + (_TITLE if row < titled_rows else _GAP) for row in range(n_rows)]
        self._bottom = [_BAR + sum(pitch[row + 1 :]) for row in range(n_rows)]
        self._size = (max(x - _GROUP_GAP + _MARGIN, _LEAST_WIDTH), _BAR + sum(pitch) + _MARGIN)
        self.figure = Figure(figsize=self._size)
        self._canvas = self.figure.add_axes((0, 0, 1, 1), xlim=(0, self._size[0]), ylim=(0, self._size[1]))
        self._canvas.set_axis_off()
        self._canvas.autoscale(False)

    def image(
        self, row: int, column: int, image: np.ndarray, shades: _Shades, title: str = "", *, bold: bool = False
    ) -> None:
        """Draw an image in the panel of a row and column, as large as fits, with a title above."""
        left, bottom = self._left[column], self._bottom[row]
        scale = min(_PANEL / image.shape[1], self._height / image.shape[0])
        width, height = scale * image.shape[1], scale * image.shape[0]
        x, y = left + (_PANEL - width) / 2, bottom + (self._height - height) / 2
        colors, low, high = shades
        self._canvas.imshow(
            image,
            cmap=colors,
            vmin=low,
            vmax=high,
            interpolation="nearest",
            extent=(x, x + width, y, y + height),
            aspect="auto",
        )
        self._title(left + _PANEL / 2, row, title, _PANEL, bold=bold)

    def label_row(self, row: int, text: str) -> None:
        """Write left of a row."""
        middle = self._bottom[row] + self._height / 2
        self._canvas.text(
            _MARGIN + _LABEL - 0.08,
            middle,
            text,
            rotation=90,
            ha="right",
            va="center",
            fontsize=_fitting(text, self._height),
            color=INK,
        )

    def title_group(self, row: int, group: int, text: str) -> None:
        """Write above a group of columns."""
        start, end = self._extent(group, group)
        self._title((start + end) / 2, row, text, end - start, bold=False)

    def bar(self, first: int, last: int, shades: _Shades, title: str) -> None:
        """Draw a color bar below some groups of columns."""
        start, end = self._extent(first, last)
        width, (colors, low, high) = min(end - start - 0.2, 3.0), shades
        box = ((start + end - width) / 2, _BAR - 0.16, width, 0.09)
        place = (*(part / whole for part, whole in zip(box, self._size * 2, strict=True)),)
        bar = self.figure.colorbar(
            ScalarMappable(Normalize(low, high), colors),
            cax=self.figure.add_axes((place[0], place[1], place[2], place[3])),
            orientation="horizontal",
        )
        bar.set_label(title, fontsize=8, color=INK, labelpad=1)
        bar.ax.tick_params(labelsize=7, length=2, pad=1, colors=INK)
        bar.outline.set_visible(False)

    def _extent(self, first: int, last: int) -> tuple[float, float]:
        start = sum(self._groups[:first])
        return self._left[start], self._left[sum(self._groups[: last + 1]) - 1] + _PANEL

    def _title(self, x: float, row: int, text: str, room: float, *, bold: bool) -> None:
        y = self._bottom[row] + self._height + 0.06
        weight, size = ("bold" if bold else "normal"), _fitting(text, room)
        self._canvas.text(x, y, text, ha="center", va="bottom", fontsize=size, color=INK, fontweight=weight)


def _method_maps(maps: ErrorMaps, images: Float32[np.ndarray, "methods r h w"], shades: _Shades, title: str) -> Figure:
    grid = _Grid(len(maps.regions), [len(maps.methods)], _aspect(images[0]), titled_rows=1)
    for r, region in enumerate(maps.regions):
        for m, method in enumerate(maps.methods):
            grid.image(r, m, images[m, r], shades, method if r == 0 else "")
        grid.label_row(r, region if len(maps.regions) > 1 else "")
    grid.bar(0, 0, shades, title)
    return grid.figure


def _fitting(text: str, room: float) -> float:
    """Choose a size in points (9 or less) at which a text fits into some inches; very long texts stay legible."""
    return max(4.5, min(9.0, 9 * room / (_LETTER * max(len(text), 1))))


def _aspect(images: Float32[np.ndarray, "r h w"]) -> float:
    return float(min(max(images.shape[-2] / images.shape[-1], 0.3), 3.0))


def _percentile(images: Sequence[np.ndarray], percent: float, otherwise: float) -> float:
    values = np.concatenate([image[np.isfinite(image)] for image in images]) if images else np.zeros(0)
    found = float(np.percentile(values, percent)) if values.size else otherwise
    return found if found > 0 or percent < 50 else otherwise
