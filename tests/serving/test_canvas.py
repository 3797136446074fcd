"""Pictures are drawn by Pillow as Matplotlib would draw them: it is the oracle of colors, of numbers and of places."""

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mris.colors import ERROR_COLORS, VALUE_COLORS
from mris.serving.canvas import Canvas, ColorScale, _ticks, color_table, draw_map

NAMES = (VALUE_COLORS, ERROR_COLORS)


@pytest.mark.parametrize("name", NAMES)
def test_the_colors_of_a_map_are_those_of_matplotlib(name: str) -> None:
    np.testing.assert_array_equal(color_table(name), mpl.colormaps[name](np.arange(256), bytes=True)[:, :3])


@pytest.mark.parametrize("name", NAMES)
def test_values_get_the_colors_that_matplotlib_gives_them(name: str) -> None:
    values = np.random.default_rng(0).normal(1.5, 2.0, (40, 30)).astype(np.float32)
    values[0, :4] = np.nan, np.inf, 0.25, 3.25
    told = mpl.colormaps[name].with_extremes(bad="0.85")(
        mpl.colors.Normalize(0.25, 3.25)(np.ma.masked_invalid(values)), bytes=True
    )
    shown = ColorScale(name, 0.25, 3.25).pixels(values)
    away = np.abs(shown.astype(int) - told[..., :3].astype(int)).max(axis=-1)
    assert (away > 0).mean() < 0.01 and away.max() < 10, "rounding may lead to the next of 256 colors"


def test_a_scale_of_one_value_still_has_a_color() -> None:
    np.testing.assert_array_equal(ColorScale(VALUE_COLORS, 2.0, 2.0).pixels(np.full((1, 1), 2.0))[0, 0], [68, 1, 84])


@settings(max_examples=25, deadline=None)
@example(least=1.4, span=1.0, height=1.6)
@given(
    least=st.floats(-50, 50).map(lambda value: round(value, 2)),
    span=st.floats(0.02, 400),
    height=st.sampled_from((1.6, 2.7)),  # of the bars in pictures; a lower one could get a single number here
)
def test_a_color_bar_has_the_numbers_that_matplotlib_writes(least: float, span: float, height: float) -> None:
    largest, size = least + span, 6
    figure = Figure(figsize=(2, height))
    canvas = FigureCanvasAgg(figure)
    mappable = mpl.cm.ScalarMappable(mpl.colors.Normalize(least, largest), "viridis")
    bar = figure.colorbar(mappable, cax=figure.add_axes((0, 0, 0.1, 1)))
    bar.ax.tick_params(labelsize=size)
    bar.ax.ticklabel_format(useOffset=False)  # a picture has no room for what would stand above its bar
    canvas.draw()
    told = [(at, text.get_text()) for at, text in zip(bar.get_ticks(), bar.ax.get_yticklabels(), strict=True)]
    power, shown = _ticks(ColorScale(VALUE_COLORS, least, largest), int(height * 72 / (2 * size)))
    assert power == 0
    close = 1e-9 * span  # Matplotlib draws a number that rounding has led beyond an end, too
    known = [(at, text) for at, text in told if least - close <= at <= largest + close]
    assert [text for _, text in shown] == [text for _, text in known]
    np.testing.assert_allclose([at for at, _ in shown], [at for at, _ in known], atol=1e-9 * span)


@settings(max_examples=50, deadline=None)
@given(least=st.sampled_from((0.0, -0.4, 0.2)), exponent=st.integers(-12, 12))
def test_numbers_of_any_size_stay_short_and_mean_what_they_say(least: float, exponent: int) -> None:
    scale = ColorScale(VALUE_COLORS, least * 10.0**exponent, 1.3 * 10.0**exponent)
    power, shown = _ticks(scale, 8)
    assert len(shown) > 3
    for value, text in shown:
        assert len(text) <= 7
        assert float(text.replace("\N{MINUS SIGN}", "-")) * 10.0**power == pytest.approx(
            value, abs=1e-9 * scale.largest
        )


def test_each_pixel_of_a_map_is_a_rectangle_of_its_color_inside_a_frame() -> None:
    canvas = Canvas(1.0, 2.0, 100)
    values = np.array([[0.0, 1.0], [np.nan, 0.5]], dtype=np.float32)
    draw_map(canvas.panel(0.1, 0.2, 0.8, (2, 2), None), values, VALUE_COLORS, 0.0, 1.0)
    pixels, table = canvas.pixels(), color_table(VALUE_COLORS)
    corners = [(120, 30), (120, 70), (160, 30), (160, 70)]  # rows count from the top
    np.testing.assert_array_equal([pixels[corner] for corner in corners], [table[0], table[255], [217] * 3, table[128]])
    assert (pixels[[100, 180], 50] == 0).all() and (pixels[140, [10, 90]] == 0).all() and (pixels[95] == 255).all()


def test_pixels_that_are_not_squares_keep_their_ratio() -> None:
    _, _, width, height = Canvas(3.0, 3.0, 50).panel(0.0, 0.0, 2.0, (10, 10), (0.5, 1.0)).box
    assert (width, height) == (2.0, 1.0)


def test_a_text_stands_where_it_is_asked_for() -> None:
    def rows_and_columns(**options: object) -> tuple[float, float]:
        canvas = Canvas(2.0, 2.0, 100)
        canvas.write(1.0, 1.0, "HH", 10, **options)
        inked = np.argwhere(canvas.pixels()[..., 0] < 128)
        return tuple(float(value) for value in np.concatenate([inked.min(axis=0), inked.max(axis=0)]))

    top, left, bottom, right = rows_and_columns(across="center", upward="center")
    assert abs((top + bottom) / 2 - 100) < 1.5 and abs((left + right) / 2 - 100) < 1.5
    assert abs(rows_and_columns()[2] - 99) < 1.5, "its baseline"
    assert abs(rows_and_columns(upward="top")[0] - 100) < 2
    assert rows_and_columns(upward="bottom")[2] < 99
    top, left, bottom, right = rows_and_columns(turned=90)
    assert bottom - top > right - left and abs((top + bottom) / 2 - 100) < 1.5 and left > 99
