"""Several trainings become one result: of one it is that training's, of two the mean of both."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.experiments.conftest import plan_of

from mris.cohort.cohort import Cohort
from mris.evaluation.bootstrap import percentile_interval
from mris.evaluation.evaluate import evaluate
from mris.evaluation.references import reference_predictors
from mris.evaluation.results import Cost, PerImage, Results, write_results
from mris.images.write import write_npz
from mris.reporting.experiment_tables import spread_table
from mris.study.experiment import queries_of
from mris.study.plan import Plan
from mris.study.seeds import read_seeds, reference_differences
from mris.types import Sources, Targets

N_BOOTSTRAP = 60


class Noise:
    """A training that learned nothing: 2 mm and noise, another one for each seed."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self.rng, self.shape = np.random.default_rng(seed), shape

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        return self.rng.uniform(0, 4, (len(sources), *self.shape)).astype(np.float32)


@pytest.fixture
def cohort(small_cohort) -> Cohort:
    return small_cohort()


@pytest.fixture
def plan(settings) -> Plan:
    weights = {"klg": {"0": 0.6, "1": 0.3, "2": 0.1}}
    plan = plan_of(settings())
    return plan.model_copy(update={"n_bootstrap": N_BOOTSTRAP, "prevalence": weights, "test_visits": "all"})


@pytest.fixture
def judge(cohort: Cohort, plan, projection_encoder, tmp_path: Path):
    """Evaluate a seed as the pipeline does, into a folder of its own."""

    def run(seed: int, seconds: float | None) -> tuple[Path, PerImage]:
        training, folder = cohort.split("train"), tmp_path / f"seed{seed}"
        methods = {"noise": Noise(seed, cohort.header.target_shape)}
        evaluation = evaluate(
            methods | reference_predictors(training, np.random.default_rng(0), n_neighbors=3),
            queries_of(cohort, plan),
            training=training,
            by=plan.by,
            prevalence=plan.prevalence,
            costs={"noise": Cost(12, seconds, 100.0)},
            retrieval={"field": projection_encoder.of(cohort, seed=seed)},
            n_bootstrap=N_BOOTSTRAP,
            progress=False,
        )
        write_results(folder / "results.json", evaluation.results)
        rows = evaluation.per_image
        ranks = {f"rank {name}": values for name, values in rows.ranks.items()}
        write_npz(folder / "per_image.npz", values=rows.values, n_pixels=rows.n_pixels, **ranks)
        return folder, rows

    return run


def values_of(results: Results) -> dict[str, float]:
    """Every estimate by its name."""
    return {f"{e.method} {e.region} {e.label}={e.stratum} {e.metric}": e.value for e in results.estimates}


def test_of_one_seed_everything_is_that_seeds(cohort: Cohort, plan, judge) -> None:
    folder, _ = judge(0, 60.0)
    queries = queries_of(cohort, plan)
    over = read_seeds([folder], queries, {})
    (single,) = over.single
    for name in ("estimates", "differences", "methods", "strata", "prevalences", "cohort", "settings"):
        assert repr(getattr(over.mean, name)) == repr(getattr(single, name)), name  # NaN equals NaN
    assert over.mean.recalls == tuple(row for row in single.recalls if not row.label)
    assert {row.k for row in over.mean.recalls} == {1, 5}
    for method in ("noise", "mean map"):
        estimate = single.estimate(method, "median", region="tibial").value
        assert over.extremes(method, "median", "tibial") == (estimate, estimate)


def test_of_two_seeds_every_mean_is_the_mean_of_both(cohort: Cohort, plan, judge) -> None:
    folders = [judge(seed, seconds)[0] for seed, seconds in ((1, 60.0), (3, 100.0))]
    over = read_seeds(folders, queries_of(cohort, plan), {})
    first, second = (values_of(one) for one in over.single)
    assert first.keys() == second.keys() == values_of(over.mean).keys()
    changed = 0
    for name, value in values_of(over.mean).items():
        assert value == pytest.approx((first[name] + second[name]) / 2, nan_ok=True), name
        changed += first[name] != second[name]
    assert changed > 50
    hits = []
    for row in over.mean.recalls:
        same = [r for one in over.single for r in one.recalls if (r.encoder, r.k, r.label) == (row.encoder, row.k, "")]
        assert row.value == pytest.approx(np.mean([r.value for r in same]))
        hits.append([r.value for r in same])
        assert row.median_rank == pytest.approx(np.mean([r.median_rank for r in same]))
        assert row.low <= row.value <= row.high
    assert any(one != other for one, other in hits)
    assert over.mean.methods[0].training_seconds == 80
    assert over.mean.methods[0].n_parameters == 12
    assert over.mean.methods[1].training_seconds is None
    low, high = sorted(one.estimate("noise", "median", region="femoral").value for one in over.single)
    assert over.extremes("noise", "median", "femoral") == (low, high)
    assert low < high
    rows = spread_table(over, "median").rows
    assert f"({low:.3f} to {high:.3f})" in rows[0][1].text


def test_the_interval_of_two_seeds_resamples_people_of_the_images_means(cohort: Cohort, plan, judge) -> None:
    """Plain loop over the resamples."""
    (one, first), (two, second) = judge(1, None), judge(2, None)
    queries = queries_of(cohort, plan)
    over = read_seeds([one, two], queries, {})
    place = first.regions.index("femoral"), first.metrics.index("median")
    each = [(a[0, place[0], i, place[1]] + b[0, place[0], i, place[1]]) / 2 for a, b in [(first.values, second.values)]
            for i in range(len(queries))]  # fmt: skip
    people = sorted(set(queries.subjects))
    rng, means = np.random.default_rng(0), []
    for _ in range(N_BOOTSTRAP):
        drawn = rng.integers(0, len(people), len(people))
        means.append(np.mean([each[i] for d in drawn for i in np.flatnonzero(queries.subjects == people[d])]))
    low, high = percentile_interval(np.array(means)[:, None], 0.95)
    found = over.mean.estimate("noise", "median", region="femoral")
    assert (found.low, found.high) == pytest.approx((low[0], high[0]))


def test_a_difference_to_a_reference_is_method_minus_reference_whichever_came_first(
    cohort: Cohort, plan, judge
) -> None:
    folders = [judge(seed, None)[0] for seed in (1, 2)]
    over = read_seeds(folders, queries_of(cohort, plan), {})
    names = [method.name for method in over.mean.methods]
    for reference in names:
        rows = reference_differences(over, reference, "tibial", "median")
        assert {row.method for row in rows} == set(names) - {reference}
        base = over.mean.estimate(reference, "median", region="tibial").value
        for row in rows:
            own = over.mean.estimate(row.method, "median", region="tibial").value
            assert row.reference == reference
            assert row.value == pytest.approx(own - base)
            assert row.relative == pytest.approx((own - base) / base)
            assert row.low <= row.value <= row.high
