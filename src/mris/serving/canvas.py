"""What pictures are drawn on: panels that share one pair of axes, with titles, edges and color bars.

Places are computed, in inches from the lower left corner. A layout engine, or axes for each of some tens of panels,
would take seconds a picture.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from mris.images.edges import Edges

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OUTSIDE = "0.85"


@dataclass(frozen=True)
class Panel:
    """The place of one image.

    Attributes:
        axes: Whose unit is an inch.
        left: From the left edge, in inches, as all that follow.
        bottom: From the lower edge.
        width: Of the image.
        height: Of the image.
    """

    axes: "Axes"
    left: float
    bottom: float
    width: float
    height: float

    def show(self, image: np.ndarray, **options: Any) -> Any:
        """Fill the panel with an image; the result is what a color bar takes."""
        extent = (self.left, self.left + self.width, self.bottom, self.bottom + self.height)
        return self.axes.imshow(image, extent=extent, aspect="auto", interpolation="nearest", **options)

    def write_title(self, text: str, size: float, pad: float) -> None:
        """Write above the image, in letters of `size` points, `pad` points away."""
        from mris.drawing import drawable

        x, y = self.left + self.width / 2, self.bottom + self.height + pad / 72
        self.axes.text(x, y, drawable(text), fontsize=size, horizontalalignment="center")

    def write_edges(self, edges: Edges | None, size: float) -> None:
        """Write what lies at the edges of a map into it, in letters of `size` points; nothing where unknown."""
        from mris.drawing import drawable, withStroke

        places = (
            (0.5, 0.985, "top", 0),
            (0.5, 0.015, "bottom", 0),
            (0.015, 0.5, "left", 90),
            (0.985, 0.5, "right", 270),
        )
        for x, y, edge, turn in places if edges is not None else ():
            self.axes.text(
                self.left + x * self.width,
                self.bottom + y * self.height,
                drawable(getattr(edges, edge)),
                fontsize=size,
                rotation=turn,
                horizontalalignment=edge if edge in ("left", "right") else "center",
                verticalalignment=edge if edge in ("top", "bottom") else "center",
                path_effects=[withStroke(linewidth=1.2, foreground="white")],
            )


class Canvas:
    """A figure of its own, never pyplot's: no global state, no window, safe in threads.

    Args:
        width: In inches.
        height: In inches.
        dpi: Pixels an inch.
    """

    def __init__(self, width: float, height: float, dpi: int) -> None:
        from mris.drawing import Figure, FigureCanvasAgg

        self._size = (width, height)
        self.figure = Figure(figsize=self._size, dpi=dpi, facecolor="white")
        self._canvas: Any = FigureCanvasAgg(self.figure)  # Matplotlib does not annotate its methods
        self._axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self._axes.set_axis_off()
        self._axes.autoscale(False)

    def panel(
        self, left: float, bottom: float, side: float, shape: tuple[int, int], spacing: tuple[float, float] | None
    ) -> Panel:
        """The largest place for an image in the middle of a square.

        Args:
            left: Of the square.
            bottom: Of the square.
            side: Of the square.
            shape: Rows and columns of the image.
            spacing: Distance of rows and of columns, whose ratio is kept; pixels are squares if None.
        """
        height, width = shape[0] * (1.0 if spacing is None else spacing[0] / spacing[1]), float(shape[1])
        scale = side / max(height, width)
        height, width = scale * height, scale * width
        return Panel(self._axes, left + (side - width) / 2, bottom + (side - height) / 2, width, height)

    def write(self, x: float, y: float, text: str, size: float, **options: Any) -> None:
        """Write from a place on, in letters of `size` points."""
        from mris.drawing import drawable

        self._axes.text(x, y, drawable(text), fontsize=size, **options)

    def bar(self, box: tuple[float, float, float, float], drawn: Any, unit: str, sizes: tuple[float, float]) -> None:
        """Draw a color bar into a box of left, bottom, width and height; letters of its numbers, and of its unit."""
        from mris.drawing import drawable

        place = tuple(part / whole for part, whole in zip(box, self._size * 2, strict=True))
        bar = self.figure.colorbar(drawn, cax=self.figure.add_axes(place))  # type: ignore[arg-type]
        bar.ax.tick_params(labelsize=sizes[0], pad=1, length=2)
        bar.set_label(drawable(unit), fontsize=sizes[1], labelpad=1)

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """Red, green and blue of what is drawn."""
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()


def draw_map(panel: Panel, values: Float32[np.ndarray, "h w"], colors: str, least: float, largest: float) -> Any:
    """Draw one region's values, framed, gray where there is none; the result is what a color bar takes."""
    from mris.drawing import Rectangle, colormaps

    shades = colormaps[colors].with_extremes(bad=_OUTSIDE)
    drawn = panel.show(np.ma.masked_invalid(values), cmap=shades, vmin=least, vmax=largest)
    frame = Rectangle((panel.left, panel.bottom), panel.width, panel.height, fill=False, linewidth=0.8)
    panel.axes.add_patch(frame)
    return drawn


def draw_source(panel: Panel, source: Float32[np.ndarray, "c h w"]) -> None:
    """Draw the first channel of a prepared source in gray."""
    panel.show(source[0], cmap="gray")
