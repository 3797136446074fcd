"""What the numbers come to is said in words."""

from dataclasses import replace
from math import nan

import pytest

from mris.baselines.mean_map import MeanMap
from mris.cohort.cohort import Cohort
from mris.evaluation.evaluate import evaluate
from mris.evaluation.results import Results
from mris.evaluation.verdict import METRIC, verdict


class Shifted:
    """The mean map, and so much more at every pixel."""

    def __init__(self, mean_map: MeanMap, shift: float) -> None:
        self.mean_map, self.shift = mean_map, shift

    def predict(self, sources, *, subjects):
        return self.mean_map.predict(sources, subjects=subjects) + self.shift


@pytest.fixture(scope="module")
def results(knees: Cohort, encoder) -> Results:
    training = knees.split("train")
    mean_map = MeanMap.fit(training)
    return evaluate(
        {"far": Shifted(mean_map, 5.0), "same": Shifted(mean_map, 0.0), "mean map": mean_map},
        knees.split("test"),
        training=training,
        retrieval={"field": encoder},
        n_bootstrap=50,
        progress=False,
    ).results


def changed(results: Results, method: str, **values: float) -> Results:
    """The results with other differences of a method from the mean map."""
    rows = tuple(
        replace(row, **values) if (row.method, row.reference, row.metric) == (method, "mean map", METRIC) else row
        for row in results.differences
    )
    return replace(results, differences=rows)


def said_of(name: str, results: Results) -> list[str]:
    return [line for line in verdict(results) if f"{name} " in line]


def test_a_method_that_is_worse_than_the_mean_map_is_said_to_be(results: Results) -> None:
    (line,) = said_of("far", results)
    assert line.startswith("far is worse than the mean map: ")
    assert line.count("above it (95 % interval ") == len(results.regions)


def test_a_method_that_equals_the_mean_map_cannot_be_told_from_it(results: Results) -> None:
    (line,) = said_of("same", results)
    assert line.startswith("same cannot be told from the mean map with these people: ")


def test_an_interval_across_0_names_both_of_its_ends(results: Results) -> None:
    ends = {"value": -0.1, "low": -0.3, "high": 0.2, "relative": -0.05, "relative_low": -0.15, "relative_high": 0.1}
    (line,) = said_of("same", changed(results, "same", **ends))
    assert "5.0 % below it (95 % interval 15.0 % below to 10.0 % above)" in line


def test_a_method_without_trouble_gets_one_line_of_how_far_below_it_is(results: Results) -> None:
    ends = {"value": -0.3, "low": -0.4, "high": -0.2, "relative": -0.2, "relative_low": -0.25, "relative_high": -0.15}
    (line,) = said_of("far", changed(results, "far", **ends))
    region = results.regions[-1]
    assert line == (
        f"far is better than the mean map: median error, {region}, 20.0 % below it (95 % interval 15.0 to 25.0 %)."
    )


def test_too_few_people_are_no_verdict(results: Results) -> None:
    (line,) = said_of("far", changed(results, "far", low=nan, high=nan, relative_low=nan, relative_high=nan))
    assert line.startswith("There are too few people to tell far from the mean map: ")


def test_the_order_of_the_methods_does_not_turn_the_verdict(knees: Cohort) -> None:
    training = knees.split("train")
    mean_map = MeanMap.fit(training)
    methods = {"mean map": mean_map, "far": Shifted(mean_map, 5.0)}
    turned = evaluate(methods, knees.split("test"), training=training, n_bootstrap=50, progress=False).results
    (line,) = verdict(turned)
    assert line.startswith("far is worse than the mean map: ")
    assert "above it" in line and "below" not in line


@pytest.mark.parametrize(("low", "n_lines"), [(0.1, 1), (0.2, 1), (0.3, 0), (nan, 0)])
def test_retrieval_is_at_chance_where_its_interval_is_not_above_chance(
    results: Results, low: float, n_lines: int
) -> None:
    rows = tuple(replace(row, value=0.35, low=low, high=0.4, chance=0.2) for row in results.recalls)
    lines = [line for line in verdict(replace(results, recalls=rows)) if line.startswith("Retrieval of field is at")]
    assert len(lines) == n_lines
    assert all("guessing finds 20.0 %" in line for line in lines)


def test_nothing_is_said_against_a_mean_map_that_was_not_evaluated(results: Results) -> None:
    alone = replace(results, methods=results.methods[:1], differences=(), recalls=())
    assert verdict(alone) == ()


def test_results_of_simulated_images_say_so_before_all_else(results: Results) -> None:
    assert not any("simulated" in line for line in verdict(results))
    digital = replace(results, cohort=replace(results.cohort, origin="simulated"))
    assert verdict(digital)[0] == (
        f"Cohort {results.cohort.name} was made from simulated images; its numbers say nothing about people."
    )
    methods = tuple(replace(method, origin="simulated") for method in results.methods[:2])
    assert verdict(replace(results, methods=methods))[0] == "far, same were made from simulated images."
