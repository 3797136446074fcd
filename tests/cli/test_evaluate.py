"""``mris evaluate``: what it says, and how neighbors are averaged."""

from dataclasses import asdict

import pytest

from mris.cohort.cohort import Cohort
from mris.evaluation.evaluate import evaluate
from mris.evaluation.results import read_results
from mris.evaluation.verdict import verdict
from mris.synthesis.bundle import Bundle
from mris.synthesis.readouts import SynthesisSettings

JUDGE = ["--split", "test", "--bootstrap", 10, "--quiet"]


@pytest.fixture(scope="module")
def judged_bundle(tiny_run, tiny_cohort_path, tmp_path_factory):
    from .conftest import call

    bundle = tmp_path_factory.mktemp("judged") / "b.bundle"
    assert call("index", tiny_run, tiny_cohort_path, bundle, "--quiet") == 0
    return bundle


def test_the_verdict_is_printed_after_the_tables(run_cli, judged_bundle, tiny_cohort_path, tmp_path):
    outcome = run_cli("evaluate", judged_bundle, tiny_cohort_path, "--out", tmp_path / "r", *JUDGE)
    assert outcome.code == 0, outcome.err
    sentences = verdict(read_results(tmp_path / "r" / "results.json"))
    assert sentences
    assert outcome.out.splitlines()[-len(sentences) - 1 : -1] == list(sentences)


def test_a_site_that_cannot_be_audited_costs_one_line_before_any_work(
    refused, judged_bundle, tiny_cohort_path, tmp_path
):
    said = refused("evaluate", judged_bundle, tiny_cohort_path, "--out", tmp_path / "r", *JUDGE, "--site", "clinic")
    assert "has no label 'clinic'" in said
    said = refused("evaluate", judged_bundle, tiny_cohort_path, "--out", tmp_path / "r", *JUDGE, "--site", "grade")
    assert "a cross-validation in 5 folds needs 5" in said
    assert not (tmp_path / "r").exists()


def test_index_says_the_readout_and_why(run_cli, tiny_run, tiny_cohort_path, tmp_path):
    outcome = run_cli("index", tiny_run, tiny_cohort_path, tmp_path / "b.bundle", "--quiet")
    (readout,) = Bundle.open(tmp_path / "b.bundle").readouts(SynthesisSettings())
    assert outcome.out.splitlines()[1] == f"readout of inner, outer: {readout.describe()}. Why: {readout.reason}"


def test_index_takes_the_readout_that_is_asked_for_and_calibrates_it(run_cli, tiny_run, tiny_cohort_path, tmp_path):
    command = ["index", tiny_run, tiny_cohort_path, tmp_path / "few.bundle", "--readout", "few", "--quiet"]
    assert run_cli(*command).code == 0
    bundle = Bundle.open(tmp_path / "few.bundle")
    (readout,) = bundle.readouts(SynthesisSettings())
    assert readout.name == "few" and readout.reason.startswith("asked for; otherwise ")
    assert all(member.calibration is None or member.calibration.fits(readout) for member in bundle.header.members)
    (synthesis,) = bundle.synthesizer().synthesize(Cohort.open(tiny_cohort_path).read_sources([0]))
    assert synthesis.contributions[0].weights.min() > 0
    assert len(synthesis.contributions[0].all_keys) <= 20


@pytest.mark.parametrize(
    ("options", "settings", "told"),
    [
        ([], SynthesisSettings(), "all entries, by the signed weights of a linear regression from pixels alone."),
        (["-k", 3, "--weights", "uniform"], SynthesisSettings(3, "uniform"), "3 neighbors, uniform weights."),
        (
            ["--n-neighbors", 4, "--weights", "softmax", "--temperature", 0.5, "--one-per-subject"],
            SynthesisSettings(4, "softmax", 0.5, True),
            "4 neighbors, softmax weights of temperature 0.5, at most one map of a person.",
        ),
    ],
)
def test_neighbors_are_averaged_as_asked_and_the_report_says_how(
    run_cli, judged_bundle, tiny_cohort_path, tmp_path, options, settings, told
):
    outcome = run_cli("evaluate", judged_bundle, tiny_cohort_path, "--out", tmp_path / "r", *JUDGE, *options)
    assert outcome.code == 0, outcome.err
    results = read_results(tmp_path / "r" / "results.json")
    assert results.settings.synthesis == settings
    assert told in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    # The oracle: the bundle's own synthesizer, whose numbers an evaluation without options of a bundle gives.
    cohort = Cohort.open(tiny_cohort_path)
    own = Bundle.open(judged_bundle).synthesizer(**asdict(settings))
    plain = evaluate(
        {"MRIS": own}, cohort.split("test"), training=cohort.split("train"), n_bootstrap=10, progress=False
    )
    assert results.estimate("MRIS", "rmse").value == plain.results.estimate("MRIS", "rmse").value
