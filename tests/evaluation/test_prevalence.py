from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.baselines.mean_map import MeanMap
from mris.cohort.cohort import Cohort
from mris.errors import SettingsError
from mris.evaluation import aggregate
from mris.evaluation.bootstrap import resample_counts, subject_codes
from mris.evaluation.evaluate import Evaluation, evaluate
from mris.evaluation.prevalence import check_prevalences
from mris.evaluation.references import PcaRidge
from mris.evaluation.results import WEIGHTED, Prevalence, read_results, write_results
from mris.evaluation.strata import Group, groups_of

MERGE = {"klg": {"0": "0-1", "1": "0-1", "4": "3-4", "3": "3-4"}}
WEIGHTS = {"klg": {"0-1": 0.5, "2": 0.3, "3-4": 0.1}}
N_BOOTSTRAP, SEED = 60, 3


@pytest.fixture(scope="module")
def views(knees: Cohort) -> tuple[Cohort, Cohort]:
    return knees.split("test"), knees.split("train")


@pytest.fixture(scope="module")
def methods(views: tuple[Cohort, Cohort]) -> dict[str, object]:
    training = views[1]
    return {"ridge": PcaRidge.fit(training, np.random.default_rng(0)), "mean map": MeanMap.fit(training)}


def _evaluated(methods, views: tuple[Cohort, Cohort], weights: Mapping[str, Mapping[str, float]]) -> Evaluation:
    return evaluate(
        methods,
        views[0],
        training=views[1],
        by=["klg"],
        merge=MERGE,
        prevalence=weights,
        n_bootstrap=N_BOOTSTRAP,
        seed=SEED,
        progress=False,
    )


@pytest.fixture(scope="module")
def evaluation(methods, views: tuple[Cohort, Cohort]) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregate, "MIN_SUBJECTS", 2)  # the oracle needs intervals of small strata
        return _evaluated(methods, views, WEIGHTS)


def _weighted_mean(values: np.ndarray, members: dict[str, np.ndarray], times: np.ndarray) -> float:
    """Stratum means of one method's numbers, each image counted so many times, weighted; a plain loop."""
    total = weight_sum = 0.0
    for name, weight in WEIGHTS["klg"].items():
        drawn = [value for value, n in zip(values[members[name]], times[members[name]], strict=True) for _ in range(n)]
        if not drawn:
            return np.nan
        total += weight * sum(drawn) / len(drawn)
        weight_sum += weight
    return total / weight_sum


def test_the_weighted_mean_and_its_intervals_are_those_of_a_plain_loop(
    evaluation: Evaluation, views: tuple[Cohort, Cohort]
) -> None:
    members = {group.name: np.flatnonzero(group.member) for group in groups_of(views[0], ["klg"], MERGE) if group.label}
    codes, n_subjects = subject_codes(list(views[0].subjects))
    counts = resample_counts(n_subjects, N_BOOTSTRAP, np.random.default_rng(SEED)).astype(int)
    once = np.ones(len(codes), dtype=int)
    ridge, mean = evaluation.per_image.values[:, 1, :, evaluation.per_image.metrics.index("rmse")]
    place = {"region": "tibial", "label": "klg", "stratum": WEIGHTED}
    for name, values in (("ridge", ridge), ("mean map", mean)):
        found = evaluation.results.estimate(name, "rmse", **place)
        resampled = [_weighted_mean(values, members, times[codes]) for times in counts]
        assert found.value == pytest.approx(_weighted_mean(values, members, once))
        assert (found.low, found.high) == pytest.approx(tuple(np.nanquantile(resampled, [0.025, 0.975])))
    difference = next(
        row
        for row in evaluation.results.differences
        if (row.region, row.label, row.stratum, row.metric) == ("tibial", "klg", WEIGHTED, "rmse")
    )
    paired = [_weighted_mean(ridge - mean, members, times[codes]) for times in counts]
    assert difference.value == pytest.approx(_weighted_mean(ridge - mean, members, once))
    assert (difference.low, difference.high) == pytest.approx(tuple(np.nanquantile(paired, [0.025, 0.975])))


def test_the_weighted_mean_counts_the_images_of_its_strata_and_no_missing_label(evaluation: Evaluation) -> None:
    results = evaluation.results
    found = results.estimate("ridge", "mae", label="klg", stratum=WEIGHTED)
    sizes = {row.name: row.n_images for row in results.strata if row.label == "klg"}
    assert sizes["missing"] == 1
    assert found.n_images == sum(sizes.values()) - 1 == 47
    assert found.n_subjects == 12
    assert WEIGHTED not in [row.name for row in results.strata], "it is no group of images"


@given(st.floats(0.01, 100))
def test_weights_need_not_sum_to_one(factor: float) -> None:
    weights = {"a": 2.0, "b": 1.0, "c": 1.0}
    plain = Prevalence("site", weights, {"femoral": ("c",)}).shares("femoral")
    scaled = Prevalence("site", {name: factor * w for name, w in weights.items()}, {"femoral": ("c",)}).shares(
        "femoral"
    )
    assert plain == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    assert scaled == pytest.approx(plain)


def test_weights_like_the_sizes_of_the_strata_give_the_plain_mean(methods, views: tuple[Cohort, Cohort]) -> None:
    results = _evaluated(methods, views, {"klg": {"0-1": 1, "2": 1, "3-4": 1}}).results
    sizes = {row.name: row.n_images for row in results.strata if row.label == "klg"}
    again = _evaluated(methods, views, {"klg": {name: float(n) for name, n in sizes.items()}}).results
    for method in methods:
        weighted = again.estimate(method, "median", label="klg", stratum=WEIGHTED).value
        assert weighted == pytest.approx(again.estimate(method, "median").value)


def test_a_stratum_without_test_images_is_left_out_and_named(methods, views: tuple[Cohort, Cohort]) -> None:
    test, training = views
    grades = groups_of(test, ["klg"], MERGE)
    two = next(group for group in grades if group.name == "2").member
    results = _evaluated(methods, (test.select(~two), training), WEIGHTS).results
    (row,) = results.prevalences
    assert row.absent == dict.fromkeys(("femoral", "tibial", "combined"), ("2",))
    assert row.shares("tibial") == pytest.approx({"0-1": 5 / 6, "3-4": 1 / 6})
    low, high = (results.estimate("ridge", "mae", label="klg", stratum=name).value for name in ("0-1", "3-4"))
    found = results.estimate("ridge", "mae", label="klg", stratum=WEIGHTED)
    assert found.value == pytest.approx((5 * low + high) / 6)


def test_a_stratum_of_one_person_leaves_the_weighted_mean_without_an_interval(methods, views) -> None:
    test, training = views
    two = next(group for group in groups_of(test, ["klg"], MERGE) if group.name == "2").member
    alone = test.subjects == test.subjects[np.flatnonzero(two)[0]]
    results = _evaluated(methods, (test.select(~two | alone), training), WEIGHTS).results
    found = results.estimate("ridge", "mae", label="klg", stratum=WEIGHTED)
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"site": {"A": 1.0}}, r"label 'site'; this evaluation has strata of: klg"),
        ({"klg": {"0-1": 0.5, "2": 0.3, "3": 0.1}}, r"'3' is no stratum; there are: 0-1, 2, 3-4, missing; merge"),
        ({"klg": {"0-1": 0.5, "2": 0.5}}, r"stratum '3-4' has images but no weight"),
        ({"klg": {"0-1": -0.5, "2": 0.5, "3-4": 0}}, r"klg:0-1 is -0\.5; give a finite share"),
        ({"klg": {"0-1": float("nan"), "2": 0.5, "3-4": 0}}, r"klg:0-1 is nan"),
        ({"klg": {"0-1": 0, "2": 0, "3-4": 0}}, r"no stratum with a weight above 0 has an image"),
    ],
)
def test_weights_that_fit_no_strata_are_refused(methods, views, weights, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        _evaluated(methods, views, weights)


def test_weights_of_training_strata_alone_are_no_weights() -> None:
    group = Group("klg", "2", np.ones(3, dtype=bool))
    with pytest.raises(SettingsError, match="no stratum with a weight above 0 has an image"):
        check_prevalences({"klg": {"2": 0, "4": 1}}, [group], {"klg": ["2", "4"]})


def test_weights_are_written_and_read_back(evaluation: Evaluation, tmp_path) -> None:
    write_results(tmp_path / "results.json", evaluation.results)
    again = read_results(tmp_path / "results.json")
    assert again.prevalences == evaluation.results.prevalences
    assert again.estimates[-1].stratum == WEIGHTED
