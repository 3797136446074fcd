from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.evaluation.evaluate import Evaluation
from mris.evaluation.results import WEIGHTED, Prevalence, Results
from mris.reporting import tables
from mris.reporting.evaluation_tables import all_tables
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


def _scaled(results: Results, factor: float) -> Results:
    """The same results in another unit: errors, and ends of their intervals and differences, times a factor."""
    rows = [
        replace(row, value=row.value * factor, low=row.low * factor, high=row.high * factor)
        if row.metric in tables.UNIT_METRICS
        else row
        for row in (*results.estimates, *results.differences)
    ]
    n = len(results.estimates)
    return replace(results, estimates=tuple(rows[:n]), differences=tuple(rows[n:]))


def test_errors_of_a_small_unit_show_three_figures_and_those_of_mm_three_decimals(evaluation: Evaluation) -> None:
    results = evaluation.results
    for factor in (1, 1e-3, 1e-6):
        found = _scaled(results, factor)
        table = tables.error_table(found, "combined")
        for row in table.rows:
            for cell in row[1:5]:
                assert len(cell.text.replace("0.", "", 1).lstrip("0")) >= (3 if factor < 1 else 2), cell
                assert "[0.000, 0.000]" not in cell.note
        (by,) = results.settings.by
        shown = float(tables.strata_table(found, "combined", by).rows[0][-1].text.split(" ± ")[0])
        assert shown == pytest.approx(found.estimate(found.methods[0].name, "median").value, rel=0.02)
        assert tables.difference_table(found, "combined").rows[0][1].text.strip("+−0.") != "", "a difference shows"
    assert {len(cell.text) for row in tables.error_table(results, "combined").rows for cell in row[1:5]} == {5}


def test_a_method_without_error_does_not_lengthen_the_numbers_of_the_others() -> None:
    assert tables.error_digits([[0.28, 1e-9], [0.13, 0.0]]) == 3
    assert tables.error_digits([[float("nan")], [0.0]]) == 3
    assert tables.error_digits([[2.8e-4], [1e-4, 0.9e-4]]) == 6


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
    queries = results.recalls[0].n_queries
    assert table.caption == (
        f"Recall of {queries} queries in a gallery of {size} targets, baseline visits only, with 95 % intervals by "
        "subject"
    )
    assert [row[0].text for row in table.rows] == ["combined", "chance"]
    assert table.rows[-1][0].text == "chance"
    assert table.rows[-1][2].text == percent(1 / size)


def test_the_recall_table_has_a_row_for_each_encoder_named_by_what_it_reads(evaluation: Evaluation) -> None:
    results = evaluation.results
    rows = [row for row in results.recalls if row.label == ""]
    more = [replace(row, encoder=f"S {name}", regions=(name,)) for name in ("outer", "inner") for row in rows]
    table = tables.recall_table(replace(results, recalls=(*rows, *more)))
    assert [(row[0].text, row[1].text) for row in table.rows] == [
        ("combined", "pixels"),
        ("outer", "S outer"),
        ("inner", "S inner"),
        ("chance", ""),
    ]
    assert [cell.text for cell in table.rows[-1][2:-1]] == [percent(row.chance) for row in rows]
    one = replace(results, cohort=replace(results.cohort, regions=("inner",)), recalls=tuple(more[-len(rows) :]))
    assert tables.recall_table(one).rows[0][0].text == "inner", "with one region nothing is combined"


def test_the_weighted_mean_is_the_last_column_and_its_weights_are_stated(evaluation: Evaluation) -> None:
    results = _weighted(evaluation.results)
    (label,) = results.settings.by
    table = tables.strata_table(results, "combined", label)
    assert table.header[-1] == WEIGHTED
    found = results.estimate(results.methods[0].name, "median", label=label, stratum=WEIGHTED)
    assert table.rows[0][-1].text.startswith(number(found.value))
    assert table.caption.endswith(
        "Weights by prevalence of grade: 0 75.0 %, 1 25.0 %; no image of 2, the other weights are divided by their sum"
    )
    strata = tables.strata_table(evaluation.results, "combined", label)
    assert WEIGHTED not in strata.header


def test_differences_of_weighted_means_have_a_table_of_their_own(evaluation: Evaluation) -> None:
    results = _weighted(evaluation.results)
    shown = tables.difference_tables(results)
    assert len(shown) == 6
    assert "paired differences of prevalence-weighted means" in shown[-1].caption
    assert "0 75.0 %" in shown[-1].caption
    row = next(r for r in results.differences if (r.stratum, r.metric, r.region) == (WEIGHTED, "mae", "combined"))
    assert shown[-1].rows[0][2].text.startswith(signed(row.value, 3))


def test_a_table_of_differences_may_begin_with_any_method(evaluation: Evaluation) -> None:
    results = evaluation.results
    second = results.methods[1].name
    third = [replace(row, method=second, reference="third") for row in results.differences]
    methods = (*results.methods, replace(results.methods[1], name="third"))
    more = replace(results, methods=methods, differences=(*results.differences, *third))
    table = tables.difference_table(more, "combined", method=second)
    assert [row[0].text for row in table.rows] == [f"{second} − third"]


def test_the_cost_table_says_what_is_not_known(evaluation: Evaluation) -> None:
    results = evaluation.results
    assert not tables.has_costs(results)
    first, second = results.methods
    known = replace(first, n_parameters=31_037_633, training_seconds=754.2, peak_megabytes=2100.4)
    table = tables.cost_table(replace(results, methods=(known, second)))
    assert [cell.text for cell in table.rows[0][1:]] == [
        "31,037,633",
        "12 min 34 s",
        number(first.ms_per_query, 1),
        "2,100",
    ]
    assert [cell.text for cell in table.rows[1][1:]] == ["–", "–", number(second.ms_per_query, 1), "–"]
    assert tables.has_costs(replace(results, methods=(known, second)))


@given(st.floats(0, 10**6))
def test_a_duration_is_the_time_to_a_unit_of_its_size(seconds: float) -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    parts = tables.duration(seconds).split()
    told = sum(float(value) * units[unit] for value, unit in zip(parts[::2], parts[1::2], strict=True))
    assert abs(told - seconds) <= (0.05 if seconds < 60 else 0.5 if seconds < 3599 else 60) + 1e-9


def _weighted(results: Results) -> Results:
    """The results with a weighted mean whose numbers are those of the first stratum."""
    (label,) = results.settings.by
    prevalence = Prevalence(label, {"0": 3, "1": 1, "2": 1}, dict.fromkeys(results.regions, ("2",)))
    first = next(row.name for row in results.strata if row.label == label)
    return replace(
        results,
        prevalences=(prevalence,),
        estimates=(
            *results.estimates,
            *(replace(r, stratum=WEIGHTED) for r in results.estimates if (r.label, r.stratum) == (label, first)),
        ),
        differences=(
            *results.differences,
            *(replace(r, stratum=WEIGHTED) for r in results.differences if (r.label, r.stratum) == (label, first)),
        ),
    )


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
    assert len(all_tables(evaluation.results)) == 3 + 3 + 3 + 1
    assert len(all_tables(plain_evaluation.results)) == 3
