from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mris.baselines.mean_map import MeanMap
from mris.cohort.cohort import Cohort
from mris.database.database import EmbeddingDatabase
from mris.errors import CohortError, SettingsError, SubjectLeakError
from mris.evaluation.bootstrap import resample_counts
from mris.evaluation.evaluate import Evaluation, evaluate, target_range
from mris.evaluation.image_error import METRICS
from mris.evaluation.pictures import choose_examples
from mris.evaluation.predictor import SynthesizerPredictor
from mris.evaluation.references import reference_predictors
from mris.evaluation.results import Cost
from mris.evaluation.strata import Group
from mris.reporting.html import write_evaluation
from mris.synthesis.synthesizer import Synthesizer
from mris.types import Sources, Targets


class Oracle:
    """Knows the truth of a cohort by the source, and may change it."""

    def __init__(self, cohort: Cohort, change: Callable[[Targets], Targets] = lambda targets: targets) -> None:
        self._truth = {s.tobytes(): t for s, t in zip(cohort.read_sources(), cohort.read_targets(), strict=True)}
        self._change = change
        self.seen: list[tuple[int, list[str]]] = []

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        self.seen.append((len(sources), list(subjects)))
        return self._change(np.stack([self._truth[source.tobytes()] for source in sources]))


@pytest.fixture(scope="module")
def test_view(knees: Cohort) -> Cohort:
    return knees.split("test")


@pytest.fixture(scope="module")
def training(knees: Cohort) -> Cohort:
    return knees.split("train")


@pytest.fixture(scope="module")
def methods(test_view: Cohort, training: Cohort) -> dict[str, object]:
    thicker = Oracle(test_view, lambda targets: targets + np.float32(0.25))
    return {"too thick": thicker} | dict(reference_predictors(training, np.random.default_rng(0), n_neighbors=5))


@pytest.fixture(scope="module")
def evaluation(methods, test_view: Cohort, training: Cohort, encoder) -> Evaluation:
    return evaluate(
        methods,
        test_view,
        training=training,
        by=["klg", "site"],
        retrieval={"field": encoder},
        n_bootstrap=200,
        progress=False,
    )


def test_a_constant_error_is_found_as_it_is(evaluation: Evaluation) -> None:
    for region in ("femoral", "tibial", "combined"):
        for metric in ("median", "mae", "rmse"):
            found = evaluation.results.estimate("too thick", metric, region=region)
            assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25), abs=1e-5)
            assert (found.n_images, found.n_subjects) == (48, 12)
    np.testing.assert_allclose(np.nanmax(evaluation.error_maps.signed[0]), 0.25, atol=1e-5)


def test_the_mean_map_has_the_error_of_a_plain_loop(
    evaluation: Evaluation, test_view: Cohort, training: Cohort
) -> None:
    mean = np.nanmean(np.where(training.atlas_mask, training.read_targets(), 0), axis=0)
    medians, rmses = [], []
    for truth in test_view.read_targets():
        mask = np.isfinite(truth) & training.atlas_mask
        errors = np.abs(truth - mean)[mask]
        medians.append(np.median(errors))
        rmses.append(np.sqrt((errors**2).mean()))
    assert evaluation.results.estimate("mean map", "median").value == pytest.approx(np.mean(medians), rel=1e-5)
    assert evaluation.results.estimate("mean map", "rmse").value == pytest.approx(np.mean(rmses), rel=1e-5)


def test_every_query_is_asked_once_and_no_batch_is_dropped(test_view: Cohort, training: Cohort) -> None:
    method = Oracle(test_view)
    evaluation = evaluate({"m": method}, test_view, training=training, batch_size=7, n_bootstrap=5, progress=False)
    assert [n for n, _ in method.seen[:7]] == [7, 7, 7, 7, 7, 7, 6]
    assert [name for _, names in method.seen[:7] for name in names] == list(test_view.subjects)
    assert evaluation.per_image.keys == tuple(test_view.keys)
    assert evaluation.results.estimate("m", "rmse").n_images == len(test_view) == 48


def test_the_time_of_a_query_holds_no_reading_of_the_database(
    tmp_path, test_view: Cohort, training: Cohort, encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    class SlowAtFirst(Synthesizer):
        def synthesize(self, sources, exclude_subjects=None):
            clock[0] += 60.0 if clock[0] == 0.0 else 0.001 * len(sources)
            return super().synthesize(sources, exclude_subjects)

    synthesizer = SlowAtFirst(encoder, EmbeddingDatabase.build(tmp_path / "d", training, encoder), n_neighbors=3)
    monkeypatch.setattr("mris.evaluation.measure.time.perf_counter", lambda: clock[0])
    found = evaluate({"k-NN": synthesizer}, test_view, training=training, n_bootstrap=5, progress=False)
    assert found.results.methods[0].ms_per_query == pytest.approx(1.0)


def test_the_batch_size_changes_no_number(evaluation: Evaluation, methods, test_view, training, encoder) -> None:
    again = evaluate(
        methods,
        test_view,
        training=training,
        by=["klg", "site"],
        retrieval={"field": encoder},
        n_bootstrap=200,
        batch_size=5,
        progress=False,
    )
    np.testing.assert_allclose(again.per_image.values, evaluation.per_image.values, rtol=1e-4, atol=1e-6)
    assert repr(again.results.recalls) == repr(evaluation.results.recalls)  # an empty interval is NaN
    np.testing.assert_allclose(again.error_maps.absolute, evaluation.error_maps.absolute, atol=1e-5)


def test_strata_hold_every_image_once(evaluation: Evaluation) -> None:
    for label in ("klg", "site"):
        strata = [stratum for stratum in evaluation.results.strata if stratum.label == label]
        assert sum(stratum.n_images for stratum in strata) == 48
        values = [
            evaluation.results.estimate("mean map", "mae", label=label, stratum=stratum.name) for stratum in strata
        ]
        weighted = sum(found.value * found.n_images for found in values) / 48
        assert weighted == pytest.approx(evaluation.results.estimate("mean map", "mae").value)
    assert "missing" in [stratum.name for stratum in evaluation.results.strata]


def test_a_stratum_of_five_people_has_a_mean_but_no_interval(methods, test_view: Cohort, training: Cohort) -> None:
    few = test_view.select(test_view.subjects != "S012")
    results = evaluate(methods, few, training=training, by=["site"], n_bootstrap=20, progress=False).results
    five, six = (results.estimate("mean map", "mae", label="site", stratum=name) for name in ("B", "A"))
    assert (five.n_subjects, six.n_subjects) == (5, 6)
    assert np.isfinite(five.value)
    assert np.isnan([five.low, five.high]).all()
    assert six.low < six.value < six.high
    differences = [row for row in results.differences if (row.label, row.stratum) == ("site", "B")]
    assert differences and all(np.isnan([row.low, row.high]).all() for row in differences), "nothing to print bold"


def test_differences_are_paired(evaluation: Evaluation) -> None:
    results = evaluation.results
    found = next(
        row
        for row in results.differences
        if (row.method, row.reference, row.region, row.metric, row.label)
        == ("too thick", "mean map", "combined", "mae", "")
    )
    reference = results.estimate("mean map", "mae")
    assert found.value == pytest.approx(0.25 - reference.value, abs=1e-5)
    # The method's error never varies, so the difference varies exactly as the reference does.
    assert (found.low, found.high) == pytest.approx((0.25 - reference.high, 0.25 - reference.low), abs=1e-5)
    assert found.relative == pytest.approx(0.25 / reference.value - 1, abs=1e-5)


def test_a_silent_method_is_judged_as_the_mean_map_and_covers_nothing(test_view: Cohort, training: Cohort) -> None:
    silent = Oracle(test_view, lambda targets: np.full_like(targets, np.nan))
    pair = {"silent": silent, "mean map": MeanMap.fit(training)}
    results = evaluate(pair, test_view, training=training, n_bootstrap=5, progress=False).results
    for metric in METRICS[:-1]:
        ours, theirs = (results.estimate(name, metric).value for name in pair)
        assert ours == pytest.approx(theirs, rel=1e-6), metric
    assert [results.estimate(name, "coverage").value for name in pair] == [0.0, 1.0]


def test_a_method_cannot_better_its_error_by_leaving_out_what_is_hard(test_view: Cohort, training: Cohort) -> None:
    mean = MeanMap.fit(training)

    def only_where_right(targets: Targets) -> Targets:
        error = np.abs(targets - mean.image)
        return np.where(error < 0.05, mean.image, np.float32(np.nan))

    shy = Oracle(test_view, only_where_right)
    results = evaluate({"shy": shy, "bold": mean}, test_view, training=training, n_bootstrap=5, progress=False).results
    assert results.estimate("shy", "rmse").value == pytest.approx(results.estimate("bold", "rmse").value)
    assert results.estimate("shy", "coverage").value < 0.5


def _people_drawn(view: Cohort, n_resamples: int = 200) -> list[np.ndarray]:
    """Positions of the images of each resample: those of the drawn people, as often as they were drawn."""
    names = np.unique(view.subjects)
    counts = resample_counts(len(names), n_resamples, np.random.default_rng(0))
    own = [np.flatnonzero(view.subjects == name) for name in names]
    return [np.concatenate([np.tile(rows, n) for rows, n in zip(own, line, strict=True)]) for line in counts]


def test_intervals_of_differences_and_shares_are_those_of_people_drawn_one_by_one(
    evaluation: Evaluation, test_view: Cohort
) -> None:
    per_image = evaluation.per_image
    one, other = (
        per_image.values[per_image.methods.index(name), -1, :, METRICS.index("mae")]
        for name in ("mean map", "PCA k-NN")
    )
    means = np.array([(one[rows].mean(), other[rows].mean()) for rows in _people_drawn(test_view)])
    found = next(
        row
        for row in evaluation.results.differences
        if (row.method, row.reference, row.region, row.metric, row.label)
        == ("mean map", "PCA k-NN", "combined", "mae", "")
    )
    gaps = means[:, 0] - means[:, 1]
    assert (found.low, found.high) == pytest.approx(np.quantile(gaps, [0.025, 0.975]), abs=1e-9)
    shares = gaps / means[:, 1]  # each resample by its own reference
    assert (found.relative_low, found.relative_high) == pytest.approx(np.quantile(shares, [0.025, 0.975]), abs=1e-9)


class _Unsure:
    """An encoder that finds some of the targets: its sources are off by chance."""

    def __init__(self, encoder) -> None:
        self.regions, self.encode_targets, self._encoder = encoder.regions, encoder.encode_targets, encoder

    def encode_sources(self, sources: Sources) -> np.ndarray:
        sure = self._encoder.encode_sources(sources)
        unsure = sure + np.random.default_rng(0).normal(scale=0.2, size=sure.shape)
        return (unsure / np.linalg.norm(unsure, axis=1, keepdims=True)).astype(np.float32)


def test_intervals_of_recall_are_those_of_the_queries_people(test_view: Cohort, training: Cohort, encoder) -> None:
    mean, unsure = {"mean": MeanMap.fit(training)}, {"unsure": _Unsure(encoder)}
    found = evaluate(mean, test_view, training=training, retrieval=unsure, n_bootstrap=200, progress=False)
    ranks = found.per_image.ranks["unsure"]
    drawn = [ranks[rows][ranks[rows] > 0] for rows in _people_drawn(test_view)]
    assert any(0.1 < row.value < 0.9 for row in found.results.recalls), "it finds all or nothing"
    for row in found.results.recalls:
        recalls = [np.mean(here <= row.k) for here in drawn]
        assert (row.low, row.high) == pytest.approx(np.quantile(recalls, [0.025, 0.975]), abs=1e-9)


def test_recall_counts_baseline_visits_of_both_sides(evaluation: Evaluation) -> None:
    rows = [row for row in evaluation.results.recalls if row.label == ""]
    assert [row.k for row in rows] == [1, 5, 10, 20]
    assert {(row.n_queries, row.gallery_size) for row in rows} == {(24, 24)}
    assert [row.chance for row in rows] == [k / 24 for k in (1, 5, 10, 20)]
    values = [row.value for row in rows]
    assert values == sorted(values)
    assert values[1] > 0.9, "the field encoder sees the same field on both sides"
    sites = [row for row in evaluation.results.recalls if row.label == "site" and row.k == 1]
    assert sum(row.n_queries for row in sites) == 24
    assert {row.gallery_size for row in sites} == {24}, "strata split the queries, never the gallery"
    ranks = evaluation.per_image.ranks["field"]
    assert np.mean(ranks[ranks > 0] <= 5) == values[1]


def test_a_synthesizer_is_a_method_and_says_where_its_image_comes_from(
    tmp_path, test_view: Cohort, training: Cohort, encoder
) -> None:
    database = EmbeddingDatabase.build(tmp_path / "database", training, encoder, progress=False)
    synthesizer = Synthesizer(encoder, database, n_neighbors=5)
    methods = {"MRIS": synthesizer, "mean map": MeanMap.fit(training)}
    evaluation = evaluate(methods, test_view, training=training, n_bootstrap=20, progress=False)
    results = evaluation.results
    assert results.estimate("MRIS", "mae").value < results.estimate("mean map", "mae").value
    told = evaluation.examples[0].pictures[0].explanation
    assert told is not None
    assert told.neighbors.shape == (5, 2, 16, 16)
    assert [len(captions) for captions in told.captions] == [5, 5]
    assert evaluation.examples[0].pictures[1].explanation is None
    expected = synthesizer(test_view.read_sources([0])[0]).image
    swapped = SynthesizerPredictor(synthesizer, ("tibial", "femoral"))
    np.testing.assert_array_equal(swapped.predict(test_view.read_sources([0]), subjects=["x"])[0], expected[::-1])
    with pytest.raises(SettingsError, match="but the cohort also has patellar"):
        SynthesizerPredictor(synthesizer, ("patellar",)).predict(test_view.read_sources([0]), subjects=["x"])


def test_a_synthesizer_does_not_see_the_querys_own_subject(tmp_path, knees: Cohort, training: Cohort, encoder) -> None:
    everyone = EmbeddingDatabase.build(tmp_path / "database", knees, encoder, progress=False)
    predictor = SynthesizerPredictor(Synthesizer(encoder, everyone, n_neighbors=1), knees.regions)
    sources, targets = knees.read_sources([60]), knees.read_targets([60])
    own = [str(knees.subjects[60])]
    kept_out = predictor.predict(sources, subjects=own)
    assert np.nanmin(np.nanmax(np.abs(kept_out - targets), axis=(1, 2, 3))) > 0.1
    assert predictor.explain(sources[0], subject=own[0]).neighbors.shape[0] == 1


def test_an_image_without_one_region_counts_for_the_others(cohort_of, rng: np.random.Generator) -> None:
    targets = rng.gamma(4, 0.5, size=(8, 2, 9, 9)).astype(np.float16).astype(np.float32)
    targets[5, 1] = np.nan
    cohort = cohort_of(
        rng.random((8, 1, 9, 9)), targets, subjects=list("abcdefgh"), splits=["train"] * 4 + ["test"] * 4
    )
    view, training = cohort.split("test"), cohort.split("train")
    evaluation = evaluate({"mean": MeanMap.fit(training)}, view, training=training, n_bootstrap=20, progress=False)
    results = evaluation.results
    assert dict(results.cohort.n_without_target) == {"femoral": 0, "tibial": 1}
    counts = {region: results.estimate("mean", "mae", region=region).n_images for region in results.regions}
    assert counts == {"femoral": 4, "tibial": 3, "combined": 4}
    assert np.isnan(evaluation.per_image.values[0, 1, 1]).all()


def test_pixels_outside_the_atlas_do_not_count_and_are_reported(cohort_of, rng: np.random.Generator) -> None:
    targets = np.ones((4, 1, 8, 8), dtype=np.float32)
    targets[:2, :, 4:] = np.nan
    targets[0, :, 0] = 2
    cohort = cohort_of(
        rng.random((4, 1, 8, 8)),
        targets,
        subjects=list("abcd"),
        splits=["train", "train", "test", "test"],
        regions=["target"],
    )
    evaluation = evaluate(
        {"mean": MeanMap.fit(cohort.split("train"))},
        cohort.split("test"),
        training=cohort.split("train"),
        n_bootstrap=5,
        progress=False,
    )
    assert evaluation.results.regions == ("target",)
    assert evaluation.results.cohort.outside_atlas == 0.5
    assert evaluation.per_image.n_pixels.tolist() == [[32, 32]]


def test_examples_are_chosen_by_rule() -> None:
    errors = np.array([0.3, np.nan, 0.1, 0.2, 0.5, 0.4])
    everyone = Group("", "all", np.ones(6, dtype=bool))
    odd = Group("klg", "odd", np.array([False, True, False, True, False, True]))
    nobody = Group("klg", "none", np.array([False, True, False, False, False, False]))
    other = Group("site", "A", np.ones(6, dtype=bool))
    assert choose_examples(errors, [everyone, odd, nobody, other]) == [
        ("best", 2),
        ("median", 0),
        ("worst", 4),
        ("klg = odd", 3),
    ]


def test_one_seed_gives_one_result(evaluation: Evaluation, methods, test_view: Cohort, training: Cohort) -> None:
    runs = [
        evaluate(methods, test_view, training=training, seed=seed, n_bootstrap=50, progress=False).results
        for seed in (1, 1, 2)
    ]
    assert runs[0].estimates == runs[1].estimates
    assert runs[0].estimates != runs[2].estimates


def test_a_test_subject_in_training_is_named(methods, knees: Cohort) -> None:
    both = knees.select(knees.subjects == "S003")
    with pytest.raises(SubjectLeakError, match=r"1 test subjects are also training subjects: S003; give each"):
        evaluate(methods, both.select([0]), training=both.select([1]), progress=False)


def test_what_does_not_fit_is_refused(knees, test_view, training, cohort_of, rng) -> None:
    mean = MeanMap.fit(training)
    with pytest.raises(SettingsError, match="no method to evaluate"):
        evaluate({}, test_view, training=training)
    with pytest.raises(CohortError, match=r"the test view of cohort .* has no images; name another split"):
        evaluate({"mean": mean}, test_view.select([]), training=training)
    with pytest.raises(CohortError, match="no label 'grade'"):
        evaluate({"mean": mean}, test_view, training=training, by=["grade"])
    other = cohort_of(
        rng.random((2, 1, 16, 16)), rng.random((2, 1, 16, 16)), subjects=["x", "y"], splits=["train"] * 2, regions=["a"]
    )
    with pytest.raises(CohortError, match=r"differ in regions: \('femoral', 'tibial'\) and \('a',\)"):
        evaluate({"mean": mean}, test_view, training=other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda targets: targets[:, :1], r"method 'bad' answered 48 queries with shape \(48, 1, 16, 16\).*regions"),
        (lambda targets: targets[:-1], r"shape \(47, 2, 16, 16\)"),
        (lambda targets: targets + np.inf, "infinite values"),
    ],
)
def test_a_method_with_wrong_answers_is_named(change, message: str, test_view: Cohort, training: Cohort) -> None:
    with pytest.raises(SettingsError, match=message):
        evaluate({"bad": Oracle(test_view, change)}, test_view, training=training, progress=False)


def test_costs_stand_beside_the_method_they_belong_to(test_view: Cohort, training: Cohort) -> None:
    pair = {"one": MeanMap.fit(training), "other": MeanMap.fit(training)}
    costs = {"other": Cost(n_parameters=12, training_seconds=3.5, peak_megabytes=80.0)}
    settings = {"training": training, "n_bootstrap": 5, "progress": False}
    one, other = evaluate(pair, test_view, costs=costs, **settings).results.methods
    assert (other.n_parameters, other.training_seconds, other.peak_megabytes) == (12, 3.5, 80.0)
    assert (one.n_parameters, one.training_seconds, one.peak_megabytes) == (None, None, None)
    with pytest.raises(SettingsError, match="costs name 'U-Net', which is no method; methods: one, other"):
        evaluate(pair, test_view, costs={"U-Net": Cost()}, **settings)


def test_recall_without_a_baseline_visit_is_left_out(test_view: Cohort, training: Cohort, encoder) -> None:
    later = test_view.select(~test_view.is_baseline)
    mean = {"mean": MeanMap.fit(training)}
    found = evaluate(mean, later, training=training, retrieval={"field": encoder}, n_bootstrap=5, progress=False)
    assert found.results.recalls == ()
    assert found.per_image.ranks == {}
    assert found.results.estimate("mean", "rmse").n_images == 24


def _knees_with(cohort_of, rng: np.random.Generator, change: Callable[[Targets], None]) -> Cohort:
    """Six people to train, six to test, whose targets (n, r, h, w) are changed."""
    targets = 2 + rng.random((12, 2, 8, 8)).astype(np.float32)
    change(targets[6:])
    sources = rng.random((12, 1, 8, 8)).astype(np.float32)
    return cohort_of(sources, targets, subjects=list("abcdefghijkl"), splits=["train"] * 6 + ["test"] * 6)


def _leave_out(targets: Targets, *regions: int) -> None:
    targets[:, list(regions)] = np.nan


def test_a_region_that_no_query_has_leaves_the_other_region_its_numbers(cohort_of, rng, encoder, tmp_path) -> None:
    cohort = _knees_with(cohort_of, rng, lambda targets: _leave_out(targets, 1))
    training = cohort.split("train")
    methods = reference_predictors(training, rng)
    settings = {"training": training, "retrieval": {"field": encoder}, "n_bootstrap": 20, "progress": False}
    found = evaluate(methods, cohort.split("test"), **settings)
    values = {region: found.results.estimate("mean map", "median", region=region) for region in found.results.regions}
    assert np.isfinite(values["femoral"].value)
    assert np.isnan(values["tibial"].value)
    assert values["combined"].value == pytest.approx(values["femoral"].value)
    assert found.results.recalls == ()
    assert write_evaluation(found, tmp_path / "report").is_file()


def test_queries_without_a_pixel_to_compare_are_refused(cohort_of, rng: np.random.Generator) -> None:
    cohort = _knees_with(cohort_of, rng, lambda targets: _leave_out(targets, 0, 1))
    training = cohort.split("train")
    with pytest.raises(CohortError, match="none of 6 images has a pixel to compare"):
        evaluate({"mean": MeanMap.fit(training)}, cohort.split("test"), training=training, progress=False)


@pytest.mark.parametrize(("least", "greatest", "expected"), [(2, 3, 3), (-1, 3, 4), (-4, -1, 3)])
def test_the_range_of_values_begins_at_zero_or_below(cohort_of, rng, least: int, greatest: int, expected: int) -> None:
    targets = np.full((2, 1, 8, 8), least, dtype=np.float32)
    targets[:, :, 4:] = greatest
    cohort = cohort_of(rng.random((2, 1, 8, 8)), targets, subjects=["a", "b"], splits=["train"] * 2, regions=["t"])
    assert target_range(cohort) == expected


def test_targets_of_one_value_have_no_range(cohort_of, rng: np.random.Generator) -> None:
    zeros = np.zeros((2, 1, 8, 8), dtype=np.float32)
    cohort = cohort_of(rng.random((2, 1, 8, 8)), zeros, subjects=["a", "b"], splits=["train"] * 2, regions=["t"])
    with pytest.raises(CohortError, match="targets reach from 0 to 0 mm"):
        target_range(cohort)
