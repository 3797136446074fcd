"""What pictures are drawn on: panels with titles, edges and color bars.

Places are computed, in inches from the lower left corner. Pillow draws, with the font and the colors that Matplotlib
would use: Matplotlib itself takes a second to load and half a second a picture, longer than a synthesis.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
from jaxtyping import Float32, UInt8
from PIL import ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from mris.images.edges import Edges
from mris.quiet import matplotlib_fonts

Box = tuple[float, float, float, float]
"""Left, bottom, width and height, in inches."""

_OUTSIDE = 217
"""The gray where there is no value."""

_TABLES = Path(__file__).with_name("color_tables.png")
"""The 256 colors of each color map, a line each."""

_LINES = ("viridis", "inferno")
_SHARES = {"left": 0.0, "center": 0.5, "right": 1.0}
_TICK, _PAD = 2 / 72, 1 / 72
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_STEPS = 9
_LONGEST = 6  # letters of a number that fit beside a bar
_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


@dataclass(frozen=True)
class ColorScale:
    """Which color stands for which value; values beyond the ends take the color of the end.

    Attributes:
        colors: Name of the color map.
        least: Value of its first color.
        largest: Value of its last color.
    """

    colors: str
    least: float
    largest: float

    def pixels(self, values: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
        """Give the colors of some values, gray where there is none."""
        known = np.isfinite(values)
        shares = (np.where(known, values, self.least) - self.least) / ((self.largest - self.least) or 1.0)
        shown = color_table(self.colors)[np.clip(256 * shares, 0, 255).astype(np.int64)]
        shown[~known] = _OUTSIDE
        return shown


@functools.cache
def color_table(name: str) -> UInt8[np.ndarray, "256 3"]:
    """The colors of one of Matplotlib's color maps."""
    with PIL.Image.open(_TABLES) as tables:
        colors: UInt8[np.ndarray, "256 3"] = np.asarray(tables)[_LINES.index(name)]
    return colors


class Canvas:
    """A picture with a white ground, safe in threads.

    Args:
        width: In inches.
        height: In inches.
        dpi: Pixels an inch.
    """

    def __init__(self, width: float, height: float, dpi: int) -> None:
        self._height, self._dpi = height, dpi
        self._picture = PIL.Image.new("RGB", (int(width * dpi), int(height * dpi)), "white")

    def panel(
        self, left: float, bottom: float, side: float, shape: tuple[int, int], spacing: tuple[float, float] | None
    ) -> "Panel":
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
        return Panel(self, (left + (side - width) / 2, bottom + (side - height) / 2, width, height))

    def show(self, pixels: UInt8[np.ndarray, "h w 3"], box: Box, *, framed: bool) -> None:
        """Fill a box with an image, each of its pixels a rectangle of one color."""
        left, top, right, bottom = self._corners(box)
        rows = np.arange(bottom - top) * len(pixels) // (bottom - top)
        columns = np.arange(right - left) * pixels.shape[1] // (right - left)
        self._picture.paste(PIL.Image.fromarray(pixels[rows][:, columns]), (left, top))
        if framed:
            ImageDraw.Draw(self._picture).rectangle((left, top, right, bottom), outline="black")

    def write(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        across: Literal["left", "center", "right"] = "left",
        upward: Literal["top", "center", "baseline", "bottom"] = "baseline",
        turned: Literal[0, 90, 270] = 0,
        color: str = "black",
        bold: bool = False,
        halo: bool = False,
    ) -> float:
        """Write lines of text.

        Args:
            x: Where the side or the middle of the text is that `across` names.
            y: Where the end or the middle of the text is that `upward` names; "baseline" is that of its last line.
            text: Letters that the font lacks stand as their codes: an empty box would stand for any of them.
            size: Of its letters, in points.
            across: See `x`.
            upward: See `y`.
            turned: By how many degrees, against the clock.
            color: Of the letters.
            bold: Whether they are.
            halo: Whether they have a white rim.

        Returns:
            Its width in inches, before it is turned.
        """
        font = _font(size * self._dpi / 72, bold)
        lines = [_drawable(line, font) for line in text.split("\n")]
        # From the top of an "l" of the first line to the foot of a "p" of the last one, as Matplotlib sets them.
        _, above, _, below = font.getbbox("lp", anchor="ls")
        pitch = round(1.2 * -above + below)
        lengths = [font.getlength(line) for line in lines]
        width, height = math.ceil(max(lengths)), round(below - above + pitch * (len(lines) - 1))
        room = math.ceil(font.size / 2)  # for accents, and for the halo
        layers = [("white", 1), (color, 0)] if halo else [(color, 0)]
        center = "center" if turned else upward
        from_top = {"top": 0.0, "center": (height - below) / 2, "baseline": height - below, "bottom": float(height)}
        at = x * self._dpi, (self._height - y) * self._dpi
        for ink, rim in layers:
            mask = PIL.Image.new("L", (width + 2 * room, height + 2 * room))
            pen = ImageDraw.Draw(mask)
            for number, (line, length) in enumerate(zip(lines, lengths, strict=True)):
                left = room + _SHARES[across] * (width - length)
                place = left, room - above + number * pitch
                pen.text(place, line, fill=255, font=font, anchor="ls", stroke_width=rim)
            if turned:
                mask = mask.rotate(turned, expand=True)
                inner = mask.width - 2 * room, mask.height - 2 * room
                corner = at[0] - _SHARES[across] * inner[0], at[1] - inner[1] / 2
            else:
                corner = at[0] - _SHARES[across] * width, at[1] - from_top[center]
            self._picture.paste(ink, (round(corner[0]) - room, round(corner[1]) - room), mask)
        return width / self._dpi

    def bar(self, box: Box, scale: ColorScale, unit: str, sizes: tuple[float, float]) -> None:
        """Draw a color bar into a box; letters of its numbers, and of its unit, have these sizes in points."""
        left, bottom, width, height = box
        self.show(color_table(scale.colors)[::-1, None], box, framed=True)
        pen, widest, right = ImageDraw.Draw(self._picture), 0.0, left + width
        power, ticks = _ticks(scale, math.floor(height * 72 / (2 * sizes[0])))
        for value, text in ticks:
            y = bottom + height * (value - scale.least) / (scale.largest - scale.least)
            start, line, end, _ = self._corners((right, y, _TICK, 0.0))
            pen.line((start, line, end, line), fill="black")
            widest = max(widest, self.write(right + _TICK + _PAD, y, text, sizes[0], upward="center"))
        x = right + _TICK + _PAD + widest + _PAD
        label = f"10{str(power).translate(_RAISED)} {unit}" if power else unit
        self.write(x, bottom + height / 2, label, sizes[1], upward="center", turned=90)

    def save(self, path: Path) -> None:
        """Write a PNG."""
        facts = PngInfo()
        facts.add_text("Software", "mris")
        # Level 4 takes about half the time of the usual 6, for 4 % more bytes.
        self._picture.save(path, format="PNG", dpi=(self._dpi, self._dpi), pnginfo=facts, compress_level=4)

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """Red, green and blue of what is drawn."""
        return np.array(self._picture)

    def _corners(self, box: Box) -> tuple[int, int, int, int]:
        """Left, upper, right and lower end of a box, in pixels from the upper left corner."""
        left, bottom, width, height = box
        ends = left, self._height - bottom - height, left + width, self._height - bottom
        first, top, last, low = (round(end * self._dpi) for end in ends)
        return first, top, last, low


@dataclass(frozen=True)
class Panel:
    """The place of one image.

    Attributes:
        canvas: What it is on.
        box: Where.
    """

    canvas: Canvas
    box: Box

    def write_title(self, text: str, size: float, pad: float) -> None:
        """Write above the image, in letters of `size` points, `pad` points away."""
        left, bottom, width, height = self.box
        self.canvas.write(left + width / 2, bottom + height + pad / 72, text, size, across="center")

    def write_edges(self, edges: Edges | None, size: float) -> None:
        """Write what lies at the edges of a map into it, in letters of `size` points; nothing where unknown."""
        if edges is None:
            return
        left, bottom, width, height = self.box
        middle, half = left + width / 2, bottom + height / 2
        write, inset = self.canvas.write, 0.015
        write(middle, bottom + (1 - inset) * height, edges.top, size, across="center", upward="top", halo=True)
        write(middle, bottom + inset * height, edges.bottom, size, across="center", upward="bottom", halo=True)
        write(left + inset * width, half, edges.left, size, turned=90, halo=True)
        write(left + (1 - inset) * width, half, edges.right, size, across="right", turned=270, halo=True)


def draw_map(panel: Panel, values: Float32[np.ndarray, "h w"], colors: str, least: float, largest: float) -> ColorScale:
    """Draw one region's values, framed, gray where there is none; the result is what a color bar takes."""
    scale = ColorScale(colors, least, largest)
    panel.canvas.show(scale.pixels(values), panel.box, framed=True)
    return scale


def draw_source(panel: Panel, source: Float32[np.ndarray, "c h w"]) -> None:
    """Draw the first channel of a prepared source in gray."""
    least, largest = float(source[0].min()), float(source[0].max())
    gray = np.clip(256 * ((source[0] - least) / ((largest - least) or 1.0)), 0, 255).astype(np.uint8)
    panel.canvas.show(np.repeat(gray[..., None], 3, axis=-1), panel.box, framed=False)


def _ticks(scale: ColorScale, most: int) -> tuple[int, list[tuple[float, str]]]:
    """Round numbers of a scale, at most `most` steps and 9, and how they are written: in units of a power of ten.

    The power is 0 unless the numbers would be too long to stand beside a bar.
    """
    ticks = _round_numbers(scale.least, scale.largest, most)
    if _longest(ticks) <= _LONGEST:
        return 0, ticks
    power = math.floor(math.log10(max(abs(scale.least), abs(scale.largest))))
    shorter = _round_numbers(scale.least / 10.0**power, scale.largest / 10.0**power, most)
    if _longest(shorter) >= _longest(ticks):
        return 0, ticks
    return power, [(value * 10.0**power, text) for value, text in shorter]


def _longest(ticks: list[tuple[float, str]]) -> int:
    return max((len(text) for _, text in ticks), default=0)


def _round_numbers(least: float, largest: float, most: int) -> list[tuple[float, str]]:
    wanted = (largest - least) / min(max(most, 1), _MOST_STEPS)
    magnitude = 10.0 ** math.floor(math.log10(wanted))
    step = next(factor * magnitude for factor in _STEPS if factor * magnitude >= wanted * (1 - 1e-9))
    first, last = math.ceil(least / step - 1e-9), math.floor(largest / step + 1e-9)
    decimals = next((digits for digits in range(12) if abs(round(step, digits) - step) < 1e-6 * step), 12)
    return [
        (number * step, f"{number * step:.{decimals}f}".replace("-", "\N{MINUS SIGN}"))
        for number in range(first, last + 1)
    ]


@functools.cache
def _font(pixels: float, bold: bool) -> ImageFont.FreeTypeFont:
    file = matplotlib_fonts() / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    return ImageFont.truetype(file, pixels, layout_engine=ImageFont.Layout.BASIC)


def _drawable(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Write letters that a font lacks as their codes."""
    if text.isascii():
        return text
    lacking = bytes(font.getmask("\uffff"))
    return "".join(
        letter
        if letter.isascii() or bytes(font.getmask(letter)) != lacking
        else letter.encode("ascii", "backslashreplace").decode()
        for letter in text
    )
