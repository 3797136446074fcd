"""Whether a bundle can be trusted is answered from its numbers."""

from dataclasses import replace

import numpy as np
import pytest

from mris.cohort.cohort import Cohort
from mris.database.database import EmbeddingDatabase
from mris.evaluation.evaluate import evaluate
from mris.evaluation.people_shown import people_shown
from mris.evaluation.references import reference_predictors
from mris.evaluation.results import IntervalCoverage, Results, read_results, write_results
from mris.evaluation.trust import trust
from mris.evaluation.verdict import METRIC
from mris.synthesis.synthesizer import Synthesizer


@pytest.fixture(scope="module")
def synthesizer(knees: Cohort, encoder, tmp_path_factory) -> Synthesizer:
    folder = tmp_path_factory.mktemp("trust") / "database"
    return Synthesizer(encoder, EmbeddingDatabase.build(folder, knees.split("train"), encoder, progress=False))


@pytest.fixture(scope="module")
def results(knees: Cohort, encoder, synthesizer: Synthesizer) -> Results:
    training = knees.split("train")
    methods = {"MRIS": synthesizer, **reference_predictors(training, np.random.default_rng(0))}
    return evaluate(
        methods, knees.split("test"), training=training, retrieval={"MRIS": encoder}, n_bootstrap=50, progress=False
    ).results


def answer(results: Results, question: str):
    return next(found for found in trust(results) if found.question.startswith(question))


def against(results: Results, reference: str, **values: float) -> Results:
    rows = tuple(
        replace(row, **values) if (row.method, row.reference, row.metric) == ("MRIS", reference, METRIC) else row
        for row in results.differences
    )
    return replace(results, differences=rows)


@pytest.mark.parametrize(
    ("low", "high", "short", "tone"),
    [
        (-0.2, -0.1, "yes", "good"),
        (-0.2, 0.1, "not shown", "open"),
        (0.1, 0.2, "no", "bad"),
        (np.nan,) * 2 + ("not shown", "open"),
    ],
)
@pytest.mark.parametrize("reference", ["mean map", "PCA ridge"])
def test_a_method_is_better_only_where_its_interval_says_so(
    results: Results, reference: str, low: float, high: float, short: str, tone: str
) -> None:
    better = {"value": -0.15, "low": -0.2, "high": -0.1}
    for name in ("mean map", "PCA k-NN", "PCA ridge"):
        results = against(results, name, **better)
    changed = against(results, reference, value=low, low=low, high=high)
    question = "Is it better than the mean map?" if reference == "mean map" else "Is it better than the other methods?"
    found = answer(changed, question)
    assert (found.short, found.tone) == (short, tone)
    assert any(reference in sentence for sentence in found.sentences)


@pytest.mark.parametrize(("low", "short"), [(0.1, "no"), (0.3, "yes"), (np.nan, "not shown")])
def test_retrieval_is_trusted_only_where_it_is_above_chance(results: Results, low: float, short: str) -> None:
    rows = tuple(replace(row, value=0.35, low=low, high=0.4, chance=0.2) for row in results.recalls)
    assert answer(replace(results, recalls=rows), "Does it find the right person?").short == short


def test_simulated_images_are_no_people(results: Results) -> None:
    assert not any("images of people" in found.question for found in trust(results))
    digital = replace(results, cohort=replace(results.cohort, origin="simulated"))
    assert trust(digital)[0].short == "no"


def test_the_readout_is_told_with_its_reason(results: Results) -> None:
    settings = replace(results.settings, readouts={"MRIS": "20 neighbors"}, reasons={"MRIS": "least error"})
    found = answer(replace(results, settings=settings), "How are people put together")
    assert found.sentences == ("20 neighbors. Why: least error.",)


def test_people_who_count_most_make_up_the_share_of_their_weights(
    knees: Cohort, synthesizer: Synthesizer, results: Results, tmp_path
) -> None:
    database, queries = synthesizer.database, knees.split("test")
    subject_of = dict(zip(database.keys.tolist(), database.subjects.tolist(), strict=True))
    found = people_shown("MRIS", synthesizer, queries, subject_of)
    shares, counts = [], []
    for source, subject in zip(queries.read_sources(), queries.subjects, strict=True):
        (synthesis,) = synthesizer.synthesize(source[None], [str(subject)])
        weights: dict[str, float] = {}
        for key, weight in zip(synthesis.neighbors.keys[0], synthesis.weights, strict=True):
            weights[subject_of[key]] = weights.get(subject_of[key], 0) + abs(float(weight))
        largest = sorted(weights.values(), reverse=True)
        shares.append([sum(largest[:n]) / sum(largest) for n in found.n_people])
        counts.append(len(weights))
    assert found.n_queries == len(queries)  # few enough to look at all
    assert found.shares == pytest.approx(np.mean(shares, axis=0), abs=1e-6)
    assert found.n_contributing == pytest.approx(np.mean(counts))
    told = replace(results, people_shown=(found,))
    write_results(tmp_path / "results.json", told)
    assert read_results(tmp_path / "results.json").people_shown == (found,)
    assert f"1 makes up {100 * found.shares[0]:.0f} %" in answer(told, "How many people").sentences[0]


@pytest.mark.parametrize(("value", "short"), [(0.90, "yes"), (0.84, "no"), (0.97, "yes")])
def test_intervals_are_trusted_where_their_coverage_reaches_what_they_state(
    results: Results, value: float, short: str
) -> None:
    region, everybody = results.regions[-1], results.strata[0]
    row = IntervalCoverage("MRIS", region, everybody, 0.9, value, value - 0.02, value + 0.02, 1.2, 0.9, 0.04)
    found = replace(results, intervals=(row,))
    assert answer(found, "Do its intervals hold").short == short
    assert ("wider than they need be" in answer(found, "Do its intervals hold").sentences[0]) == (value > 0.95)
    assert "4.0 % of the images" in answer(found, "Are these images like").sentences[0]
    unknown = replace(results, intervals=(replace(row, strange=float("nan")),))
    assert not any(one.question.startswith("Are these images like") for one in trust(unknown))


def test_the_encoders_of_another_method_whose_name_begins_alike_do_not_count(results: Results) -> None:
    (first, *_) = results.methods
    also = replace(first, name="MRIS S")
    theirs = tuple(replace(row, encoder="MRIS S", value=0.0, low=0.0) for row in results.recalls)
    alone = answer(results, "Does it find")
    both = replace(results, methods=(*results.methods, also), recalls=(*results.recalls, *theirs))
    assert answer(both, "Does it find") == alone
    members = tuple(replace(row, encoder="MRIS femoral") for row in results.recalls)
    assert "MRIS femoral" in " ".join(answer(replace(results, recalls=members), "Does it find").sentences)
