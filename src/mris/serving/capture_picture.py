"""The picture of a Secondary Capture: maps with color bars, spread, a strip of neighbors, and what all that is not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from mris.serving.pictures import Look, draw_map, draw_source, note_on, value_limits, write_edges
from mris.synthesis.synthesis import Synthesis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WARNING = "SYNTHESIZED, NOT MEASURED"
"""Burnt into every picture."""

_DPI = 100
_BIG, _GAP, _TITLE, _BAR, _HEAD, _FOOT, _EDGE, _LABEL = 2.7, 0.14, 0.26, 0.78, 0.66, 0.44, 0.25, 0.8  # inches
_LEAST_WIDTH = 11.0
_N_STRIP = 8
_PER_LINE = 2


def capture_pixels(
    synthesis: Synthesis,
    neighbor_maps: Sequence[Float32[np.ndarray, "m r h w"]],
    *,
    caption: str,
    source: Float32[np.ndarray, "c h w"] | None = None,
    source_title: str = "source",
    look: Look | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw what an archive shows of a synthesis: all maps share one color scale, all spreads another.

    Neighbors carry rank, weight and similarity, and no key: keys are of other people.

    Args:
        synthesis: What to draw.
        neighbor_maps: For each contribution its neighbors' targets; the first eight are drawn.
        caption: A line under the picture: what the map is of.
        source: The prepared source; left out if None.
        source_title: Its title.
        look: Colors and edges; this picture's own if None.

    Returns:
        Red, green, blue.
    """
    page = _Page(synthesis, with_source=source is not None)
    drawn = [maps[:_N_STRIP] for maps in neighbor_maps]
    look = look or Look()
    shown = np.concatenate([synthesis.image.ravel(), *(maps.ravel() for maps in drawn)])
    limits, spread_limits = look.values or value_limits(shown), look.spread_limits(synthesis.spread)
    if source is not None:
        draw_source(page.big(0, 0, source_title), source)
    for index, region in enumerate(synthesis.regions):
        line, place = divmod(index, _PER_LINE)
        image, edges = look.facing(synthesis.image[index], region)
        spread, _ = look.facing(synthesis.spread[index], region)
        panel = page.big(line, page.first + place, region)
        mappable = draw_map(panel, image, "viridis", *limits, synthesis.spacing)
        write_edges(panel, edges, 8)
        panel = page.big(line, page.first + page.per_line + place, f"{region}: spread of neighbors", after_bars=1)
        far = draw_map(panel, spread, "magma", *spread_limits, synthesis.spacing)
        write_edges(panel, edges, 8)
        if place == 0:
            page.bar(line, page.first + page.per_line, 0, mappable, synthesis.unit)
            page.bar(line, page.first + 2 * page.per_line, 1, far, synthesis.unit)
    strip = 0
    for part, maps in zip(synthesis.contributions, drawn, strict=True):
        for channel, region in enumerate(part.regions):
            for rank, values in enumerate(look.facing(maps[:, channel], region)[0]):
                cosine = part.neighbors.similarities[0, rank]
                panel = page.small(strip, rank, f"{rank + 1}: weight {part.weight_text(rank)}, cos {cosine:.2f}")
                draw_map(panel, values, "viridis", *limits, synthesis.spacing)
            page.label(strip, f"neighbors\n{region}")
            strip += 1
    return page.pixels(caption, n_maps=synthesis.contributions[0].n_contributors)


class _Page:
    """Places on the picture: lines of large panels above strips of small ones."""

    def __init__(self, synthesis: Synthesis, *, with_source: bool) -> None:
        from mris.drawing import Figure, FigureCanvasAgg, drawable

        self._drawable = drawable
        n_regions = len(synthesis.regions)
        self.first = int(with_source)
        self._warning = ", ".join(filter(None, (WARNING, note_on(synthesis).upper())))
        self.per_line = min(n_regions, _PER_LINE)
        self._n_lines = -(-n_regions // _PER_LINE)
        columns = self.first + 2 * self.per_line
        self._width = max(2 * _EDGE + columns * (_BIG + _GAP) + 2 * _BAR, _LEAST_WIDTH)
        self._small = (self._width - 2 * _EDGE - _LABEL) / _N_STRIP - _GAP
        self._height = (
            _HEAD + self._n_lines * (_BIG + _TITLE + _GAP) + n_regions * (self._small + _TITLE) + _FOOT + _GAP
        )
        self._figure = Figure(figsize=(self._width, self._height), dpi=_DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)

    def big(self, line: int, column: int, title: str, *, after_bars: int = 0) -> "Axes":
        panel = self._axes(self._left(column, after_bars), self._big_top(line), _BIG, _BIG)
        panel.set_title(self._drawable(title), fontsize=10, pad=4)
        return panel

    def bar(self, line: int, column: int, after_bars: int, drawn: Any, unit: str) -> None:
        axes = self._axes(self._left(column, after_bars), self._big_top(line), 0.16, _BIG)
        bar = self._figure.colorbar(drawn, cax=axes)
        bar.ax.tick_params(labelsize=8, pad=2, length=3)
        bar.set_label(self._drawable(unit), fontsize=10, labelpad=2)

    def small(self, strip: int, rank: int, title: str) -> "Axes":
        panel = self._axes(
            _EDGE + _LABEL + rank * (self._small + _GAP), self._small_top(strip), self._small, self._small
        )
        panel.set_title(self._drawable(title), fontsize=7, pad=3)
        return panel

    def label(self, strip: int, text: str) -> None:
        self._text(_EDGE, self._small_top(strip) + self._small / 2, text, 8)

    def pixels(self, caption: str, *, n_maps: int) -> UInt8[np.ndarray, "h w 3"]:
        self._text(_EDGE, 0.24, self._warning, 15, color="#b00020", weight="bold")
        self._text(
            _EDGE,
            0.5,
            f"Weighted sum of {n_maps:,} maps from a database; for research, not for diagnosis. "
            "A flattened map has no patient geometry.",
            9,
        )
        self._text(_EDGE, self._height - 0.26, caption, 9)
        canvas: Any = self._canvas  # Matplotlib does not annotate these two
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _big_top(self, line: int) -> float:
        return _HEAD + _TITLE + line * (_BIG + _TITLE + _GAP)

    def _small_top(self, strip: int) -> float:
        return self._big_top(self._n_lines) + strip * (self._small + _TITLE)

    def _left(self, column: int, after_bars: int) -> float:
        return _EDGE + column * (_BIG + _GAP) + after_bars * _BAR

    def _axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        bottom = self._height - top - height
        return self._figure.add_axes(
            (left / self._width, bottom / self._height, width / self._width, height / self._height)
        )

    def _text(
        self, left: float, top: float, text: str, size: float, *, color: str = "black", weight: str = "normal"
    ) -> None:
        self._figure.text(
            left / self._width,
            1 - top / self._height,
            self._drawable(text),
            fontsize=size,
            color=color,
            fontweight=weight,
            verticalalignment="center",
        )
