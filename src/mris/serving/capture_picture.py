"""The picture of a Secondary Capture: maps with color bars, spread, a strip of neighbors, and what all that is not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from mris.colors import ERROR_COLORS, VALUE_COLORS
from mris.serving.canvas import Canvas, ColorScale, Panel, draw_map, draw_source
from mris.serving.pictures import Look, note_on, value_limits
from mris.synthesis.synthesis import Synthesis

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
        draw_source(page.big(0, 0, source_title, source.shape[1:]), source)
    for index, region in enumerate(synthesis.regions):
        line, place = divmod(index, _PER_LINE)
        image, edges = look.facing(synthesis.image[index], region)
        spread, _ = look.facing(synthesis.spread[index], region)
        size: dict[str, Any] = {"shape": image.shape, "spacing": synthesis.spacing}
        panel = page.big(line, page.first + place, region, **size)
        mappable = draw_map(panel, image, VALUE_COLORS, *limits)
        panel.write_edges(edges, 8)
        title = f"{region}: spread of neighbors"
        panel = page.big(line, page.first + page.per_line + place, title, **size, after_bars=1)
        far = draw_map(panel, spread, ERROR_COLORS, *spread_limits)
        panel.write_edges(edges, 8)
        if place == 0:
            page.bar(line, page.first + page.per_line, 0, mappable, synthesis.unit)
            page.bar(line, page.first + 2 * page.per_line, 1, far, synthesis.unit)
    strip = 0
    for part, maps in zip(synthesis.contributions, drawn, strict=True):
        for channel, region in enumerate(part.regions):
            for rank, values in enumerate(look.facing(maps[:, channel], region)[0]):
                cosine = part.neighbors.similarities[0, rank]
                title = f"{rank + 1}: weight {part.weight_text(rank)}, cos {cosine:.2f}"
                draw_map(page.small(strip, rank, title, values.shape, synthesis.spacing), values, VALUE_COLORS, *limits)
            page.label(strip, f"neighbors\n{region}")
            strip += 1
    return page.pixels(caption, n_maps=synthesis.contributions[0].n_contributors)


class _Page:
    """Places on the picture: lines of large panels above strips of small ones."""

    def __init__(self, synthesis: Synthesis, *, with_source: bool) -> None:
        n_regions = len(synthesis.regions)
        self.first = int(with_source)
        self._warning = ", ".join(filter(None, (WARNING, note_on(synthesis).upper())))
        self.per_line = min(n_regions, _PER_LINE)
        self._n_lines = -(-n_regions // _PER_LINE)
        columns = self.first + 2 * self.per_line
        width = max(2 * _EDGE + columns * (_BIG + _GAP) + 2 * _BAR, _LEAST_WIDTH)
        self._small = (width - 2 * _EDGE - _LABEL) / _N_STRIP - _GAP
        self._height = (
            _HEAD + self._n_lines * (_BIG + _TITLE + _GAP) + n_regions * (self._small + _TITLE) + _FOOT + _GAP
        )
        self._canvas = Canvas(width, self._height, _DPI)

    def big(
        self,
        line: int,
        column: int,
        title: str,
        shape: tuple[int, int],
        spacing: tuple[float, float] | None = None,
        *,
        after_bars: int = 0,
    ) -> Panel:
        left, bottom = self._left(column, after_bars), self._height - self._big_top(line) - _BIG
        panel = self._canvas.panel(left, bottom, _BIG, shape, spacing)
        panel.write_title(title, 10, pad=4)
        return panel

    def bar(self, line: int, column: int, after_bars: int, drawn: ColorScale, unit: str) -> None:
        box = (self._left(column, after_bars), self._height - self._big_top(line) - _BIG, 0.16, _BIG)
        self._canvas.bar(box, drawn, unit, sizes=(8, 10))

    def small(
        self, strip: int, rank: int, title: str, shape: tuple[int, int], spacing: tuple[float, float] | None
    ) -> Panel:
        left, bottom = _EDGE + _LABEL + rank * (self._small + _GAP), self._small_bottom(strip)
        panel = self._canvas.panel(left, bottom, self._small, shape, spacing)
        panel.write_title(title, 7, pad=3)
        return panel

    def label(self, strip: int, text: str) -> None:
        self._canvas.write(_EDGE, self._small_bottom(strip) + self._small / 2, text, 8, upward="center")

    def pixels(self, caption: str, *, n_maps: int) -> UInt8[np.ndarray, "h w 3"]:
        meant = (
            f"Weighted sum of {n_maps:,} maps from a database; for research, not for diagnosis. "
            "A flattened map has no patient geometry."
        )
        self._line(0.24, self._warning, 15, color="#b00020", bold=True)
        self._line(0.5, meant, 9)
        self._line(self._height - 0.26, caption, 9)
        return self._canvas.pixels()

    def _line(self, top: float, text: str, size: float, *, color: str = "black", bold: bool = False) -> None:
        self._canvas.write(_EDGE, self._height - top, text, size, upward="center", color=color, bold=bold)

    def _big_top(self, line: int) -> float:
        return _HEAD + _TITLE + line * (_BIG + _TITLE + _GAP)

    def _small_bottom(self, strip: int) -> float:
        top = self._big_top(self._n_lines) + strip * (self._small + _TITLE)
        return self._height - top - self._small

    def _left(self, column: int, after_bars: int) -> float:
        return _EDGE + column * (_BIG + _GAP) + after_bars * _BAR
