"""Pictures for people: the synthesis beside its spread, and beside the neighbors that it came from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from mris.images.write import atomic_write
from mris.synthesis.synthesis import Synthesis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ValueRange = tuple[float, float]
"""Least and largest value of a color scale."""

_OUTSIDE = "0.85"
_DPI = 110
_PANEL_INCHES = 1.9


def write_maps_picture(path: str | Path, synthesis: Synthesis, *, value_range: ValueRange | None = None) -> None:
    """Draw the image above its spread, one column a region, color bars in the unit, gray where there is no value.

    Args:
        path: The PNG.
        synthesis: What to draw.
        value_range: Least and largest value of the colors; those of the image if None.

    Raises:
        OutputError: The disk refuses.
    """
    figure = _figure(len(synthesis.regions) + 0.5, 2)
    axes = figure.subplots(2, len(synthesis.regions), squeeze=False)
    limits, spread_limits = value_range or _limits(synthesis.image), (0.0, _limits(synthesis.spread)[1])
    for row, maps, colors, (least, largest), what in (
        (axes[0], synthesis.image, "viridis", limits, "synthesis"),
        (axes[1], synthesis.spread, "magma", spread_limits, "spread"),
    ):
        for panel, region, values in zip(row, synthesis.regions, maps, strict=True):
            drawn = _draw(panel, values, colors, least, largest, synthesis.spacing)
            panel.set_title(f"{what}: {region}", fontsize=8)
        figure.colorbar(drawn, ax=list(row), label=synthesis.unit, fraction=0.05)
    _save(figure, path)


def write_neighbors_picture(
    path: str | Path,
    synthesis: Synthesis,
    source: Float32[np.ndarray, "c h w"],
    neighbor_maps: Sequence[Float32[np.ndarray, "m r h w"]],
    *,
    value_range: ValueRange | None = None,
) -> None:
    """Draw the query, its synthesis and spread, and the first neighbors with weight and similarity; a line a region.

    All maps of a line, the synthesis included, share one color scale.

    Args:
        path: The PNG.
        synthesis: What to draw.
        source: The prepared source; its first channel is drawn.
        neighbor_maps: For each contribution its neighbors' targets, as `BatchSynthesizer.neighbor_maps` gives them.
        value_range: Least and largest value of the colors; those of the maps if None.

    Raises:
        OutputError: The disk refuses.
    """
    n_columns = 3 + max(len(maps) for maps in neighbor_maps)
    figure = _figure(n_columns, len(synthesis.regions))
    axes = figure.subplots(len(synthesis.regions), n_columns, squeeze=False)
    line = 0
    for part, maps in zip(synthesis.contributions, neighbor_maps, strict=True):
        for channel, region in enumerate(part.regions):
            panels = axes[line]
            image, spread = synthesis.image[line], synthesis.spread[line]
            least, largest = value_range or _limits(np.concatenate([image[None], maps[:, channel]]))
            _draw_source(panels[0], source, visible=line == 0)
            drawn = _draw(panels[1], image, "viridis", least, largest, synthesis.spacing)
            panels[1].set_title(f"synthesis: {region}", fontsize=7)
            far = _draw(panels[2], spread, "magma", 0.0, _limits(spread)[1], synthesis.spacing)
            panels[2].set_title("spread", fontsize=7)
            for rank, panel in enumerate(panels[3:]):
                if rank >= len(maps):
                    panel.set_axis_off()
                    continue
                _draw(panel, maps[rank, channel], "viridis", least, largest, synthesis.spacing)
                weight, similarity = part.weights[rank], part.neighbors.similarities[0, rank]
                key = str(part.neighbors.keys[0, rank])
                panel.set_title(f"{_shortened(key)}\nweight {weight:.3f}, cos {similarity:.3f}", fontsize=6)
            figure.colorbar(far, ax=panels[2], fraction=0.05).ax.tick_params(labelsize=5)
            figure.colorbar(drawn, ax=list(panels[3:]) or panels[1], label=synthesis.unit, fraction=0.02)
            line += 1
    _save(figure, path)


def _figure(n_columns: float, n_rows: int) -> "Figure":
    # A figure of its own, never pyplot's: no global state, no window, safe in threads.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_PANEL_INCHES * n_columns, _PANEL_INCHES * n_rows + 0.3), layout="constrained", dpi=_DPI)
    FigureCanvasAgg(figure)
    return figure


def _draw(
    panel: "Axes",
    values: Float32[np.ndarray, "h w"],
    colors: str,
    least: float,
    largest: float,
    spacing: tuple[float, float] | None,
) -> Any:
    aspect = 1.0 if spacing is None else spacing[0] / spacing[1]
    panel.set_facecolor(_OUTSIDE)
    panel.set_xticks([])
    panel.set_yticks([])
    return panel.imshow(
        np.ma.masked_invalid(values), cmap=colors, vmin=least, vmax=largest, aspect=aspect, interpolation="nearest"
    )


def _draw_source(panel: "Axes", source: Float32[np.ndarray, "c h w"], *, visible: bool) -> None:
    panel.set_axis_off()
    if visible:
        panel.imshow(source[0], cmap="gray", interpolation="nearest")
        panel.set_title("source", fontsize=7)


def _limits(values: np.ndarray) -> ValueRange:
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    least, largest = float(known.min()), float(known.max())
    return (least, largest) if largest > least else (least, least + 1.0)


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else text[:11] + "..." + text[-10:]


def _save(figure: "Figure", path: str | Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "mris"})
