"""A grid of images with titles, row labels and color bars.

Panels are placed by arithmetic, in inches, on one pair of axes: a layout engine, or axes for each of some tens of
panels, would take seconds a figure.
"""

from collections.abc import Sequence

import numpy as np

from mris.colors import BIAS_COLORS, ERROR_COLORS, VALUE_COLORS
from mris.drawing import Colormap, Figure, Normalize, ScalarMappable, colormaps, drawable

INK = "#222222"
_OUTSIDE = "#ececef"
PANEL = 1.3
"""Width of a panel, in inches."""

_GAP, _GROUP_GAP, _MARGIN = 0.06, 0.22, 0.08
_LABEL, _TITLE, _BAR = 0.34, 0.26, 0.52
_LEAST_WIDTH = 2.6
_LETTER = 0.08  # mean width of a letter of 9 points, with some reserve

Shades = tuple[Colormap, float, float]
"""Colors, and the values at their two ends."""


def values_map() -> Colormap:
    """Colors of target values."""
    return colormaps[VALUE_COLORS].with_extremes(bad=_OUTSIDE)


def errors_map() -> Colormap:
    """Colors of errors and spreads."""
    return colormaps[ERROR_COLORS].with_extremes(bad=_OUTSIDE)


def bias_map() -> Colormap:
    """Colors of signed errors; white is none, so outside is a darker gray."""
    return colormaps[BIAS_COLORS].with_extremes(bad="#d3d3d9")


def shades_between(low: float, high: float) -> Shades:
    """Color target values from one end to another; the lower end is 0 unless it is far from it or negative."""
    return values_map(), low if low < 0 or low > 0.35 * high else 0.0, high


def aspect_of(images: np.ndarray, low: float = 0.3, high: float = 3.0) -> float:
    """Divide the height of images, shape (..., h, w), by their width, within bounds."""
    return float(min(max(images.shape[-2] / images.shape[-1], low), high))


class Grid:
    """Panels in rows and groups of columns, a label left of each row, titles above the first rows, bars below.

    Args:
        n_rows: Number of rows.
        groups: Columns of each group.
        aspect: Height of a panel as a share of its width.
        titled_rows: Rows, counted from the top, with room for titles above their panels.
        headed: Leave room for a heading above each column.
        panel: Width of a panel, in inches.
    """

    def __init__(
        self,
        n_rows: int,
        groups: Sequence[int],
        aspect: float,
        titled_rows: int,
        *,
        headed: bool = False,
        panel: float = PANEL,
    ) -> None:
        self._groups, self._panel, self._height = groups, panel, panel * aspect
        self._left: list[float] = []
        x = _MARGIN + _LABEL
        for group in groups:
            for _ in range(group):
                self._left.append(x)
                x += self._panel + _GAP
            x += _GROUP_GAP - _GAP
        pitch = [self._height + (_TITLE if row < titled_rows else _GAP) for row in range(n_rows)]
        self._bottom = [_BAR + sum(pitch[row + 1 :]) for row in range(n_rows)]
        self._top = _BAR + sum(pitch)
        head = _TITLE if headed else 0
        self._size = (max(x - _GROUP_GAP + _MARGIN, _LEAST_WIDTH), self._top + head + _MARGIN)
        self.figure = Figure(figsize=self._size)
        self._canvas = self.figure.add_axes((0, 0, 1, 1), xlim=(0, self._size[0]), ylim=(0, self._size[1]))
        self._canvas.set_axis_off()
        self._canvas.autoscale(False)

    def image(
        self, row: int, column: int, image: np.ndarray, shades: Shades, title: str = "", *, bold: bool = False
    ) -> None:
        """Draw an image in the panel of a row and column, as large as fits, with a title above."""
        left, bottom = self._left[column], self._bottom[row]
        scale = min(self._panel / image.shape[1], self._height / image.shape[0])
        width, height = scale * image.shape[1], scale * image.shape[0]
        x, y = left + (self._panel - width) / 2, bottom + (self._height - height) / 2
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
        self._title(left + self._panel / 2, row, title, self._panel, bold=bold)

    def label_row(self, row: int, text: str) -> None:
        """Write left of a row."""
        text, middle = drawable(text), self._bottom[row] + self._height / 2
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

    def heading(self, column: int, text: str, *, bold: bool = False) -> None:
        """Write above the titles of a column."""
        self._write(self._left[column] + self._panel / 2, self._top + 0.02, text, self._panel, bold=bold)

    def title_group(self, row: int, group: int, text: str) -> None:
        """Write above a group of columns."""
        start, end = self._extent(group, group)
        self._title((start + end) / 2, row, text, end - start, bold=False)

    def bar(self, first: int, last: int, shades: Shades, title: str) -> None:
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
        bar.set_label(drawable(title), fontsize=8, color=INK, labelpad=1)
        bar.ax.tick_params(labelsize=7, length=2, pad=1, colors=INK)
        bar.outline.set_visible(False)

    def _extent(self, first: int, last: int) -> tuple[float, float]:
        start = sum(self._groups[:first])
        return self._left[start], self._left[sum(self._groups[: last + 1]) - 1] + self._panel

    def _title(self, x: float, row: int, text: str, room: float, *, bold: bool) -> None:
        self._write(x, self._bottom[row] + self._height + 0.06, text, room, bold=bold)

    def _write(self, x: float, y: float, text: str, room: float, *, bold: bool) -> None:
        text = drawable(text)
        weight, size = ("bold" if bold else "normal"), _fitting(text, room)
        self._canvas.text(x, y, text, ha="center", va="bottom", fontsize=size, color=INK, fontweight=weight)


def _fitting(text: str, room: float) -> float:
    """Choose a size in points (9 or less) at which a text fits into some inches; very long texts stay legible."""
    return max(4.5, min(9.0, 9 * room / (_LETTER * max(len(text), 1))))
