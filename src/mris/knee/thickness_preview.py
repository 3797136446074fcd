"""A picture of the two maps of a knee, to look at before they are trusted."""

from pathlib import Path

import numpy as np

from mris.colors import VALUE_COLORS
from mris.drawing import Figure, FigureCanvasAgg, drawable
from mris.images.edges import turned_as
from mris.images.write import atomic_write
from mris.knee.map_edges import ATLAS_EDGES
from mris.knee.thickness_maps import ThicknessMaps

THICKEST_MM = 4.0
"""Upper end of the color scale, so that pictures can be compared."""


def write_preview(path: Path, maps: ThicknessMaps, title: str) -> None:
    """Draw femoral and tibial map side by side as PNG, with a scale in mm; bare bone is black, no value white.

    Both have medial at the top, as the tibial map is stored; the femoral one is stored the other way round.

    Raises:
        OutputError: The file cannot be written.
    """
    figure = Figure(figsize=(7.4, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    findings = f"\n{'; '.join(map(str, maps.findings))}" if maps.findings else ""
    figure.suptitle(drawable(f"{title}{findings}"), fontsize=8, wrap=True)
    for axis, name, stored in zip(axes, ("femoral", "tibial"), (maps.femoral, maps.tibial), strict=True):
        flat, edges = turned_as(stored, ATLAS_EDGES[name], ATLAS_EDGES["tibial"])
        picture = axis.imshow(flat, cmap=VALUE_COLORS, vmin=0.0, vmax=THICKEST_MM, interpolation="nearest")
        axis.imshow(np.where(flat <= 0.0, 0.0, np.nan), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        axis.set_title(f"{name}, Dice {maps.registration.dice[name]:.2f}", fontsize=8)
        axis.set_xlabel(f"{edges.left} to {edges.right}", fontsize=7)
        axis.set_ylabel(f"{edges.bottom} to {edges.top}", fontsize=7)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(picture, ax=list(axes), label="thickness (mm)", shrink=0.8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
