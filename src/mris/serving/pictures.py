"""Pictures for people: the synthesis beside its spread, and beside the neighbors that it came from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mris.cohort.origin import SIMULATED_NOTE
from mris.colors import ERROR_COLORS, VALUE_COLORS
from mris.errors import SettingsError
from mris.images.edges import Edges, turned_as
from mris.images.write import atomic_write
from mris.serving.canvas import Canvas, ColorScale, Panel, draw_map, draw_source
from mris.synthesis.synthesis import Synthesis

ValueRange = tuple[float, float]
"""Least and largest value of a color scale."""


@dataclass(frozen=True)
class Look:
    """How maps are drawn: one look for a whole run makes its pictures comparable.

    Values beyond the colors take the color of the end.

    Attributes:
        values: Least and largest value of the colors; those of each picture's maps if None.
        spread: Largest spread of the colors, whose least is 0; that of each picture if None.
        edges: By region what lies at the edges of its maps; regions face the way of the first that is named.

    Raises:
        SettingsError: Colors have no range.
    """

    values: ValueRange | None = None
    spread: float | None = None
    edges: Mapping[str, Edges] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spread = (0.0, 1.0 if self.spread is None else self.spread)
        for what, (least, largest) in {"values": self.values or (0.0, 1.0), "spread": spread}.items():
            if not -math.inf < least < largest < math.inf:
                raise SettingsError(
                    f"the colors of {what} go from {least:g} to {largest:g}; give finite numbers, the smaller first"
                )

    def spread_limits(self, spread: np.ndarray) -> ValueRange:
        """Least and largest value of the colors of a spread."""
        return 0.0, value_limits(spread)[1] if self.spread is None else self.spread

    def facing(self, values: np.ndarray, region: str) -> tuple[np.ndarray, Edges | None]:
        """A region's map as it is drawn, and what lies at its edges; None where that is unknown."""
        if region not in self.edges:
            return values, None
        return turned_as(values, self.edges[region], next(iter(self.edges.values())))


N_PICTURED = 8
"""Neighbors on a picture."""

_DPI = 110
_PANEL, _GAP, _TITLE, _BAR, _NOTE = 1.6, 0.12, 0.36, 0.5, 0.12  # inches
_EDGES = 5.5  # points


def common_look(
    syntheses: Sequence[Synthesis], neighbor_maps: Sequence[Float32[np.ndarray, "m r h w"]], look: Look
) -> Look:
    """Choose the colors that a look leaves open, so that all pictures of some syntheses can be compared.

    Args:
        syntheses: At least one.
        neighbor_maps: Maps of neighbors that are drawn beside them; nearly all of their values have a color of their
            own: one thick pixel of one person would make every picture dark.
        look: What is chosen already.
    """
    shown = [value_limits(synthesis.image) for synthesis in syntheses] + [most_values(maps) for maps in neighbor_maps]
    spreads = [value_limits(synthesis.spread) for synthesis in syntheses]
    return replace(
        look,
        values=look.values or value_limits(np.array(shown)),
        spread=value_limits(np.array(spreads))[1] if look.spread is None else look.spread,
    )


def write_maps_picture(path: str | Path, synthesis: Synthesis, *, look: Look | None = None) -> None:
    """Draw the image above its spread and the width of its intervals, where it has any, one column a region.

    Color bars are in the unit; gray is where there is no value.

    Args:
        path: The PNG.
        synthesis: What to draw.
        look: Colors and edges; this picture's own if None.

    Raises:
        OutputError: The disk refuses.
    """
    look = look or Look()
    limits, spread_limits = look.values or value_limits(synthesis.image), look.spread_limits(synthesis.spread)
    drawn_maps = [
        (synthesis.image, VALUE_COLORS, limits, "synthesis"),
        (synthesis.spread, ERROR_COLORS, spread_limits, "spread"),
    ]
    if synthesis.lower is not None and synthesis.upper is not None and synthesis.level is not None:
        width = synthesis.upper - synthesis.lower
        what = f"{100 * synthesis.level:g} % interval, width"
        drawn_maps.append((width, ERROR_COLORS, (0.0, value_limits(width)[1]), what))
    n_regions = len(synthesis.regions)
    grid = _Grid(n_columns=n_regions, n_rows=len(drawn_maps), bars_after=(n_regions - 1,), note=note_on(synthesis))
    for row, (maps, colors, (least, largest), what) in enumerate(drawn_maps):
        for column, (region, values) in enumerate(zip(synthesis.regions, maps, strict=True)):
            turned, edges = look.facing(values, region)
            panel = grid.panel(row, column, f"{what}: {region}", turned.shape, synthesis.spacing)
            drawn = draw_map(panel, turned, colors, least, largest)
            panel.write_edges(edges, _EDGES)
        grid.bar(row, len(synthesis.regions) - 1, drawn, synthesis.unit)
    grid.save(path)


def write_neighbors_picture(
    path: str | Path,
    synthesis: Synthesis,
    source: Float32[np.ndarray, "c h w"],
    neighbor_maps: Sequence[Float32[np.ndarray, "m r h w"]],
    *,
    look: Look | None = None,
) -> None:
    """Draw the query, its synthesis and spread, and the first neighbors with weight and similarity; a line a region.

    All maps of a line, the synthesis included, share one color scale.

    Args:
        path: The PNG.
        synthesis: What to draw.
        source: The prepared source; its first channel is drawn.
        neighbor_maps: For each contribution its neighbors' targets, as `BatchSynthesizer.neighbor_maps` gives them.
        look: Colors and edges; each line's own colors if None.

    Raises:
        OutputError: The disk refuses.
    """
    n_columns = 3 + max(len(maps) for maps in neighbor_maps)
    grid = _Grid(n_columns=n_columns, n_rows=len(synthesis.regions), bars_after=(1, 2), note=note_on(synthesis))
    look = look or Look()
    draw_source(grid.panel(0, 0, "source", source.shape[1:]), source)
    line = 0
    for part, maps in zip(synthesis.contributions, neighbor_maps, strict=True):
        for channel, region in enumerate(part.regions):
            image, edges = look.facing(synthesis.image[line], region)
            spread, _ = look.facing(synthesis.spread[line], region)
            neighbors, _ = look.facing(maps[:, channel], region)
            least, largest = look.values or value_limits(np.concatenate([image[None], neighbors]))
            panel = grid.panel(line, 1, f"synthesis: {region}", image.shape, synthesis.spacing)
            grid.bar(line, 1, draw_map(panel, image, VALUE_COLORS, least, largest), synthesis.unit)
            panel.write_edges(edges, _EDGES)
            panel = grid.panel(line, 2, "spread", spread.shape, synthesis.spacing)
            far = draw_map(panel, spread, ERROR_COLORS, *look.spread_limits(spread))
            grid.bar(line, 2, far, synthesis.unit)
            panel.write_edges(edges, _EDGES)
            for rank, values in enumerate(neighbors):
                similarity = part.neighbors.similarities[0, rank]
                key = _shortened(str(part.neighbors.keys[0, rank]))
                title = f"{key}\nweight {part.weight_text(rank)}, cos {similarity:.3f}"
                panel = grid.panel(line, 3 + rank, title, values.shape, synthesis.spacing)
                draw_map(panel, values, VALUE_COLORS, least, largest)
            line += 1
    grid.save(path)


class _Grid:
    """Panels of one size in lines and columns, some columns followed by a color bar."""

    def __init__(self, *, n_columns: int, n_rows: int, bars_after: tuple[int, ...], note: str) -> None:
        self._bars_after = bars_after
        width = n_columns * (_PANEL + _GAP) + len(bars_after) * _BAR + _GAP
        self._height = n_rows * (_PANEL + _TITLE) + _GAP + (_NOTE if note else 0)
        self._canvas = Canvas(width, self._height, _DPI)
        if note:
            self._canvas.write(_GAP, 0.04, note, 7, color="#b00020")

    def panel(
        self, row: int, column: int, title: str, shape: tuple[int, int], spacing: tuple[float, float] | None = None
    ) -> Panel:
        """The panel of a line and column for an image of so many rows and columns."""
        panel = self._canvas.panel(self._left(column), self._bottom(row), _PANEL, shape, spacing)
        panel.write_title(title, 7, pad=3)
        return panel

    def bar(self, row: int, column: int, drawn: ColorScale, unit: str) -> None:
        """The color bar after a column."""
        box = (self._left(column) + _PANEL + 0.06, self._bottom(row), 0.1, _PANEL)
        self._canvas.bar(box, drawn, unit, sizes=(6, 7))

    def save(self, path: str | Path) -> None:
        """Write the picture, whole or not at all."""
        with atomic_write(path) as temporary:
            self._canvas.save(temporary)

    def _left(self, column: int) -> float:
        return _GAP + column * (_PANEL + _GAP) + _BAR * sum(after < column for after in self._bars_after)

    def _bottom(self, row: int) -> float:
        return self._height - (row + 1) * (_PANEL + _TITLE)


def note_on(synthesis: Synthesis) -> str:
    """What every picture of a synthesis must say of the images behind it; nothing where they are of people."""
    return SIMULATED_NOTE if synthesis.origin == "simulated" else ""


def value_limits(values: np.ndarray) -> ValueRange:
    """Least and largest finite value, apart from each other; (0, 1) where there is none."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    least, largest = float(known.min()), float(known.max())
    return (least, largest) if largest > least else (least, least + 1.0)


def most_values(values: np.ndarray) -> ValueRange:
    """Range of all but the smallest and the largest half percent of the finite values; (0, 1) where there is none.

    Example:
        >>> most_values(np.array([0.0] * 500 + [1.0] * 499 + [7.0]))
        (0.0, 1.0)
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    return value_limits(np.percentile(known, [0.5, 99.5]))


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else text[:11] + "..." + text[-10:]
