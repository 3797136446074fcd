import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mris.baselines.mean_map import MeanMap
from mris.cohort.cohort import Cohort
from mris.errors import CohortError
from mris.evaluation.evaluate import evaluate
from mris.evaluation.results import Results, read_results, write_results


@pytest.fixture(scope="module")
def results(knees: Cohort, encoder) -> Results:
    training = knees.split("train")
    return evaluate(
        {"mean map": MeanMap.fit(training), "again": MeanMap.fit(training)},
        knees.split("test"),
        training=training,
        by=["klg"],
        retrieval={"field": encoder},
        n_bootstrap=10,
        progress=False,
    ).results


def test_what_is_written_is_read_back(tmp_path: Path, results: Results) -> None:
    write_results(tmp_path / "results.json", results)
    again = read_results(tmp_path / "results.json")
    assert repr(again) == repr(results), "compared as text, since no NaN equals another"


def test_a_number_that_does_not_exist_is_null_in_the_file(tmp_path: Path, results: Results) -> None:
    holed = replace(results, estimates=(replace(results.estimates[0], low=float("nan")), *results.estimates[1:]))
    path = tmp_path / "results.json"
    write_results(path, holed)
    assert "NaN" not in path.read_text()
    assert json.loads(path.read_text())["estimates"][0]["low"] is None
    assert np.isnan(read_results(path).estimates[0].low)


def test_results_hold_no_key_and_no_subject(tmp_path: Path, results: Results, knees: Cohort) -> None:
    write_results(tmp_path / "results.json", results)
    text = (tmp_path / "results.json").read_text()
    assert not [key for key in knees.keys if key in text]
    assert not [subject for subject in knees.subjects if f'"{subject}"' in text]


def test_an_unknown_cost_is_null_and_read_back_as_unknown(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "results.json"
    known = replace(results.methods[0], n_parameters=7_763_041, training_seconds=12.5)
    write_results(path, replace(results, methods=(known, results.methods[1])))
    assert json.loads(path.read_text())["methods"][1]["n_parameters"] is None
    again = read_results(path).methods
    assert (again[0].n_parameters, again[0].training_seconds, again[0].peak_megabytes) == (7_763_041, 12.5, None)
    assert again[1].n_parameters is None


def test_a_file_from_before_costs_and_prevalences_is_still_read(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "results.json"
    write_results(path, results)
    plain = json.loads(path.read_text())
    del plain["prevalences"]
    for method in plain["methods"]:
        for name in ("n_parameters", "training_seconds", "peak_megabytes"):
            del method[name]
    path.write_text(json.dumps(plain))
    assert repr(read_results(path)) == repr(results)


def test_an_estimate_is_looked_up_by_name(results: Results) -> None:
    assert results.estimate("again", "mae").region == "combined"
    with pytest.raises(CohortError, match=r"no estimate for .*'U-Net'"):
        results.estimate("U-Net", "mae")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain | {"format_version": 99}, "format version 99; this program reads 1"),
        (lambda plain: {name: part for name, part in plain.items() if name != "cohort"}, "cohort is missing"),
        (
            lambda plain: plain | {"methods": [{"name": "m", "ms_per_query": "slow"}]},
            "ms_per_query is 'slow': input should be",
        ),
        (lambda plain: [plain], "holds a list, not a JSON object"),
    ],
)
def test_a_damaged_file_costs_one_clear_line(tmp_path: Path, results: Results, change, message: str) -> None:
    path = tmp_path / "results.json"
    write_results(path, results)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(CohortError, match=message) as caught:
        read_results(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(CohortError, match="cannot be read"):
        read_results(path)
    with pytest.raises(CohortError, match="cannot be read"):
        read_results(tmp_path / "absent.json")
