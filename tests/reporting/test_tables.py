from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.evaluation.evaluate import Evaluation
from mris.reporting import tables
from mris.reporting.tables import Cell, Table, markdown, number, percent, signed


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.27941, 3, "0.279"),
        (-0.0123, 3, "−0.012"),
        (-0.0001, 3, "0.000"),
        (123.456, 3, "123.46"),
        (12345.6, 3, "12,346"),
        (float("nan"), 3, "–"),
        (float("inf"), 1, "–"),
    ],
)
def test_numbers_are_written_short_and_without_a_negative_zero(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


@given(st.floats(-1000, 1000))
def test_a_sign_says_what_the_number_shows(value: float) -> None:
    text = signed(value, 3)
    shown = float(text.replace("−", "-").replace(",", ""))
    assert text.startswith("+") == (shown > 0)
    assert text.startswith("−") == (shown < 0)


def test_shares_are_percentages() -> None:
    assert (percent(0.4521), percent(float("nan"))) == ("45.2 %", "–")


def test_every_number_of_the_error_table_is_one_of_the_results(evaluation: Evaluation) -> None:
    results = evaluation.results
    table = tables.error_table(results, "combined")
    assert [row[0].text for row in table.rows] == [method.name for method in results.methods]
    for method, row in zip(results.methods, table.rows, strict=True):
        for metric, place in (("median", 1), ("mae", 3), ("rmse", 4), ("ssim", 6)):
            found = results.estimate(method.name, metric)
            assert row[place].text == number(found.value)
            assert row[place].note == f"[{number(found.low)}, {number(found.high)}]"


def test_the_best_of_each_column_is_strong_whichever_way_is_better(evaluation: Evaluation) -> None:
    results = evaluation.results
    for name, place, choose in (("rmse", 4, min), ("psnr", 5, max)):
        values = [results.estimate(method.name, name).value for method in results.methods]
        strong = [row[place].strong for row in tables.error_table(results, "combined").rows]
        assert strong == [value == choose(values) for value in values]


def test_the_stratum_table_counts_images_that_add_up(evaluation: Evaluation) -> None:
    results = evaluation.results
    (label,) = results.settings.by
    table = tables.strata_table(results, "combined", label)
    counts = [int(title.split("n = ")[1].rstrip(")")) for title in table.header[1:]]
    assert sum(counts[:-1]) == counts[-1] == results.cohort.n_images


def test_a_difference_is_strong_only_if_its_interval_leaves_out_zero(evaluation: Evaluation) -> None:
    results = evaluation.results
    rows = [row for row in results.differences if row.region == "combined" and row.label == ""]
    for low, high, strong in ((0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False)):
        changed = replace(results, differences=tuple(replace(row, low=low, high=high) for row in rows))
        table = tables.difference_table(changed, "combined")
        assert [cell.strong for cell in table.rows[0][1:]] == [strong] * 5


def test_the_recall_table_states_gallery_and_chance(evaluation: Evaluation) -> None:
    results = evaluation.results
    table = tables.recall_table(results)
    size = results.recalls[0].gallery_size
    assert f"gallery of {size} targets" in table.caption
    assert table.rows[-1][0].text == "chance"
    assert table.rows[-1][2].text == percent(1 / size)


def test_markdown_has_as_many_columns_in_each_row_and_escapes_bars() -> None:
    table = Table("caption", ("method", "error"), ((Cell("a | b"), Cell("1", "[0, 2]", strong=True)),))
    lines = markdown(table).splitlines()
    assert lines[0] == "caption"
    assert lines[2:] == ["| method | error |", "| --- | ---: |", r"| a \| b | **1** [0, 2] |"]


def test_html_escapes_names(evaluation: Evaluation) -> None:
    text = tables.html(tables.error_table(evaluation.results, "combined"))
    assert "<b>20</b>" not in text
    assert "k &lt;b&gt;20&lt;/b&gt; | C" in text


def test_all_tables_are_those_that_have_numbers(evaluation: Evaluation, plain_evaluation: Evaluation) -> None:
    assert len(tables.all_tables(evaluation.results)) == 3 + 3 + 3 + 1
    assert len(tables.all_tables(plain_evaluation.results)) == 3
