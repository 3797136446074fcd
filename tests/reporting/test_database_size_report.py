import numpy as np
import pytest

from mris.reporting.figures import COLORS, database_size_figure, png
from mris.reporting.tables import database_size_table, markdown
from mris.study.database_size_results import CURVE_METRICS, DatabaseSizeCurve, SizePoint

SIZES = ((0.01, 10), (0.1, 100), (1.0, 1000))
METHODS = ("MRIS-C", "MRIS-S", "mean map")


@pytest.fixture
def curve() -> DatabaseSizeCurve:
    points = tuple(
        SizePoint(method, region, metric, share, n, 3.4 * n, value, value - 0.02, value + 0.03, 0.004 * (share < 1))
        for m, method in enumerate(METHODS)
        for r, region in enumerate(("femoral", "tibial", "combined"))
        for metric in CURVE_METRICS
        for share, n in SIZES
        for value in [0.5 + 0.1 * m + 0.01 * r - 0.05 * np.log10(n)]
    )
    return DatabaseSizeCurve(
        *("2026-01-01T00:00:00+00:00", {}, "cohort", "0" * 64, "mm", ("femoral", "tibial"), METHODS),
        *(40, 20, 20, False, 3, 1000, 0.95, points),
    )


def test_there_is_a_panel_a_region_and_a_line_a_method(curve: DatabaseSizeCurve) -> None:
    figure = database_size_figure(curve, "rmse")
    assert [axis.get_title() for axis in figure.axes] == ["femoral", "tibial", "combined"]
    assert figure.axes[0].get_ylabel() == "RMSE (mm)"
    for axis, region in zip(figure.axes, curve.shown_regions, strict=True):
        assert axis.get_xscale() == "log"
        assert axis.get_xticks().tolist() == [10, 100, 1000]
        for container, method in zip(axis.containers, METHODS, strict=True):
            line = container.lines[0]
            points = curve.line(method, "rmse", region)
            assert line.get_ydata().tolist() == [point.value for point in points]
            people = [point.n_subjects for point in points]
            np.testing.assert_allclose(np.asarray(line.get_xdata(), dtype=float), people, rtol=0.05)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(METHODS)
    assert png(figure)[:4] == b"\x89PNG"


def test_the_reference_is_gray_and_no_method_is(curve: DatabaseSizeCurve) -> None:
    colors = [container.lines[0].get_color() for container in database_size_figure(curve).axes[0].containers]
    assert colors[-1] == COLORS[1]
    assert len(set(colors)) == 3


def test_the_table_has_a_column_a_share_with_spread_and_interval(curve: DatabaseSizeCurve) -> None:
    table = database_size_table(curve, "femoral")
    assert table.header == ("method", "1 % (n = 10)", "10 % (n = 100)", "100 % (n = 1,000)")
    assert [row[0].text for row in table.rows] == list(METHODS)
    assert (table.rows[0][1].text, table.rows[0][1].note) == ("0.450 ± 0.004", "[0.430, 0.480]")
    assert table.rows[0][3].text == "0.350 ± 0.000"
    for part in (
        "femoral: median absolute error in mm of 40 queries",
        "3 draws",
        "95 % intervals by subject",
        "k = 20",
    ):
        assert part in table.caption
    assert "45.0 % ± 0.4 %" in markdown(database_size_table(curve, "femoral", "coverage"))


def test_one_draw_has_no_spread_to_write(curve: DatabaseSizeCurve) -> None:
    point = SizePoint("M", "map", "mae", 1.0, 3, 3.0, 0.2, float("nan"), float("nan"), float("nan"))
    alone = DatabaseSizeCurve("", {}, "c", "", "mm", ("map",), ("M",), 4, 4, 20, False, 1, 10, 0.95, (point,))
    (row,) = database_size_table(alone, "map", "mae").rows
    assert (row[1].text, row[1].note) == ("0.200", "")
    assert len(database_size_figure(alone, "mae").axes) == 1
