"""``mris evaluate`` with more than one bundle, and with weights of strata."""

from pathlib import Path

import pytest

from mris.cli.evaluation import parse_prevalence
from mris.errors import SettingsError
from mris.evaluation.results import WEIGHTED, read_results


@pytest.fixture
def arguments(tiny_bundle: Path, tiny_cohort_path: Path, tmp_path: Path) -> list[object]:
    return ["evaluate", tiny_bundle, tiny_cohort_path, "--out", tmp_path / "out", "--bootstrap", 10, "--quiet"]


def test_two_bundles_stand_in_one_report(run_cli, arguments, tiny_bundle: Path, tmp_path: Path) -> None:
    more = ["--name", "first", "--also", f"the other={tiny_bundle}", "--by", "grade", "--no-references"]
    weights = ["--prevalence", "grade:0=0.5", "--prevalence", "grade:1=0.5", "--prevalence", "grade:2=0"]
    outcome = run_cli(*arguments, *more, *weights)
    assert outcome.code == 0, outcome
    results = read_results(tmp_path / "out" / "results.json")
    assert [method.name for method in results.methods] == ["first", "the other"]
    assert {row.encoder for row in results.recalls} == {"first", "the other"}
    assert {row.value for row in results.differences if row.stratum == WEIGHTED} == {0.0}, "it is the same bundle"
    assert "| combined | the other |" in outcome.out
    assert "Weights by prevalence of grade: others 100.0 %" in outcome.out, "five people are too few to be told apart"
    assert (tmp_path / "out" / "figures" / "figure3_inner.png").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--also", "bundle"], "--also 'bundle' is not NAME=PATH, such as MRIS-S=separate.bundle"),
        (["--also", "=bundle"], "--also '=bundle' is not NAME=PATH"),
        (["--also", "S="], "--also 'S=' is not NAME=PATH"),
        (["--also", "MRIS=bundle"], "two methods are named 'MRIS'"),
        (["--also", "S=a", "--baseline", "S=b"], "two methods are named 'S'"),
        (["--baseline", "U-Net"], "--baseline 'U-Net' is not NAME=PATH"),
        (["--name", " "], "a method has the empty name ' '"),
        (["--prevalence", "grade:0"], "--prevalence 'grade:0' is not LABEL:STRATUM=SHARE, such as klg:0-1=0.563"),
        (["--prevalence", "grade=0"], "is not LABEL:STRATUM=SHARE"),
        (["--prevalence", "grade:0=many"], "is not LABEL:STRATUM=SHARE"),
        (["--prevalence", "grade:0=nan"], "is not LABEL:STRATUM=SHARE"),
        (["--prevalence", "grade:0=1", "--prevalence", "grade:0=2"], "--prevalence gives grade:0 twice"),
        (["--prevalence", "grade:0=1"], "prevalence names label 'grade'; this evaluation has strata of: none"),
        (["--by", "grade", "--prevalence", "grade:9=1"], "prevalence of 'grade': '9' is no stratum"),
        (["--by", "grade", "--merge", "grade:0=a", "--merge", "grade:0=b"], "--merge gives grade:0 twice"),
        (["--by", "grade", "--merge", "grade:O=a"], "merge of 'grade': no image has the value 'O'; there are: 0, 1, 2"),
        (["--by", "grade", "--merge", "grade:1.0=a"], "merge of 'grade': no image has the value '1.0'"),
    ],
)
def test_a_rule_that_cannot_be_read_costs_one_line(refused, arguments, options, message: str, tmp_path: Path) -> None:
    assert message in refused(*arguments, *options)
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_is_not_there_is_named(refused, arguments, tmp_path: Path) -> None:
    assert "absent.bundle" in refused(*arguments, "--also", f"S={tmp_path / 'absent.bundle'}")


def test_a_stratum_may_hold_an_equals_sign() -> None:
    assert parse_prevalence(["age:>=60=0.4"]) == {"age": {">=60": 0.4}}
    with pytest.raises(SettingsError):
        parse_prevalence(["age:=0.4"])
