"""``mris evaluate``: what it says, and how neighbors are averaged."""

import pytest

from mris.evaluation.results import read_results
from mris.evaluation.verdict import verdict

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
