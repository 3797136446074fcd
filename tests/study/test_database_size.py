import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.baselines.mean_map import MeanMap
from mris.cohort.cohort import Cohort
from mris.database.build import build_entries, commit_first
from mris.database.database import EmbeddingDatabase
from mris.errors import CohortError, DatabaseError, SettingsError, SubjectLeakError
from mris.evaluation.bootstrap import percentile_interval, resample_counts, resampled_means, subject_codes
from mris.evaluation.evaluate import Evaluation, evaluate
from mris.evaluation.image_error import METRICS
from mris.study.database_size import MEAN_MAP, database_size_curve, draw_subsets
from mris.study.database_size_results import CURVE_METRICS, DatabaseSizeCurve, read_size_curve, write_size_curve
from mris.synthesis.bundle_synthesizer import BundleSynthesizer
from mris.synthesis.synthesizer import Synthesizer

K = 5
PLACES = [METRICS.index(name) for name in CURVE_METRICS]


@pytest.fixture(scope="module")
def views(knees: Cohort) -> tuple[Cohort, Cohort]:
    return knees.split("train"), knees.split("test")


@pytest.fixture(scope="module")
def synthesizer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Synthesizer]:
    def make(encoder, cohort: Cohort, **settings) -> Synthesizer:
        path = tmp_path_factory.mktemp("database") / "it"
        return Synthesizer(encoder, EmbeddingDatabase.build(path, cohort, encoder, progress=False), K, **settings)

    return make


def _curve(encoders, views: tuple[Cohort, Cohort], seed: int = 0, **settings) -> DatabaseSizeCurve:
    settings = {"n_neighbors": K, "n_bootstrap": 40, "n_draws": 2, "progress": False} | settings
    return database_size_curve({"M": encoders}, *views, rng=np.random.default_rng(seed), **settings)


def _evaluated(method, views: tuple[Cohort, Cohort]) -> Evaluation:
    training, test = views
    return evaluate(
        {"M": method, MEAN_MAP: MeanMap.fit(training)}, test, training=training, n_bootstrap=5, progress=False
    )


def _assert_same(curve: DatabaseSizeCurve, evaluation: Evaluation) -> None:
    for method in ("M", MEAN_MAP):
        for region in evaluation.results.regions:
            for metric in CURVE_METRICS:
                point = curve.line(method, metric, region)[-1]
                found = evaluation.results.estimate(method, metric, region=region).value
                assert point.value == pytest.approx(found, rel=1e-5, abs=1e-7), (method, region, metric)


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
@pytest.mark.parametrize("one_per_subject", [False, True])
def test_the_whole_database_has_the_error_of_the_synthesizer(
    views, encoder, synthesizer_of, memory_limit: int, one_per_subject: bool
) -> None:
    evaluation = _evaluated(synthesizer_of(encoder, views[0], one_per_subject=one_per_subject), views)
    settings = {"memory_limit": memory_limit, "one_per_subject": one_per_subject, "batch_size": 7}
    curve = _curve([encoder], views, shares=(0.5, 1.0), **settings)
    _assert_same(curve, evaluation)
    for point in curve.line("M", "rmse")[-1:]:
        assert (point.share, point.n_subjects, point.n_entries, point.spread) == (1.0, 12, 48.0, 0.0)
        assert point.low < point.value < point.high


def test_regions_of_separate_encoders_are_put_together_as_a_bundle_does(views, projection_encoder, tmp_path) -> None:
    one = projection_encoder.of(views[0].select([0]), regions=("tibial",), fingerprint="1" * 64)
    half = one.target_matrix.shape[0] // 2
    tibial, femoral = (
        replace(one, target_matrix=one.target_matrix[part], regions=(name,), fingerprint=name)
        for part, name in ((slice(half), "tibial"), (slice(half, None), "femoral"))
    )
    states = {}
    for encoder in (tibial, femoral):
        (tmp_path / encoder.fingerprint).mkdir()
        states[encoder.fingerprint] = build_entries(
            tmp_path / encoder.fingerprint, views[0], encoder, batch_size=64, progress=False
        )
    commit = commit_first(tmp_path, states)
    members = [
        Synthesizer(encoder, EmbeddingDatabase.of_folder(tmp_path, encoder.fingerprint, commit), K)
        for encoder in (tibial, femoral)
    ]
    mixed = BundleSynthesizer("bundle", members)
    _assert_same(_curve([tibial, femoral], views, shares=[1.0]), _evaluated(mixed, views))


def test_a_share_is_the_mean_over_draws_with_their_spread_and_the_interval_of_their_mean(
    views, encoder, synthesizer_of
) -> None:
    training, test = views
    curve = _curve([encoder], views, seed=4, shares=[0.3], n_draws=3)
    rng = np.random.default_rng(4)
    ordered = training.select(np.argsort(training.keys))
    subsets = draw_subsets(ordered.subjects, [4], 3, rng)
    codes, n_subjects = subject_codes(list(test.subjects))
    counts = resample_counts(n_subjects, 40, rng)
    drawn = [_evaluated(synthesizer_of(encoder, ordered.select(subset.rows)), views) for subset in subsets]
    values = np.stack([one.per_image.values[0][:, :, PLACES] for one in drawn])  # (draws, regions, n, metrics)
    for r, region in enumerate(curve.shown_regions):
        low, high = percentile_interval(resampled_means(values[:, r].mean(axis=0), codes, counts))
        for i, metric in enumerate(CURVE_METRICS):
            (point,) = curve.line("M", metric, region)
            means = values[:, r, :, i].mean(axis=1)
            assert point.value == pytest.approx(means.mean(), rel=1e-5)
            assert point.spread == pytest.approx(means.std(ddof=1), rel=1e-3, abs=1e-7)
            assert (point.low, point.high) == pytest.approx((low[i], high[i]), rel=1e-5)
            assert (point.n_subjects, point.n_entries) == (4, 16)


def test_the_mean_map_is_that_of_the_same_subjects(views) -> None:
    training, test = views
    encoder = _Constant(training.regions)
    curve = _curve([encoder], views, seed=1, shares=[0.2], n_draws=1, n_neighbors=1000)
    ordered = training.select(np.argsort(training.keys))
    (subset,) = draw_subsets(ordered.subjects, [2], 1, np.random.default_rng(1))
    mean = np.nanmean(np.where(training.atlas_mask, ordered.read_targets(subset.rows), 0), axis=0)
    errors = []
    for truth in test.read_targets():
        mask = np.isfinite(truth) & training.atlas_mask
        errors.append(np.abs(truth - mean)[mask].mean())
    still, retrieved = curve.line(MEAN_MAP, "mae")[0], curve.line("M", "mae")[0]
    assert still.value == pytest.approx(np.mean(errors), rel=1e-5)
    assert retrieved.value == pytest.approx(still.value, rel=1e-5), "k above the entries, equal weights: their mean"
    assert np.isnan(still.spread), "one draw has no spread"


class _Constant:
    """Embeds everything to one point: every entry is as near as every other."""

    fingerprint = "c" * 64

    def __init__(self, regions: tuple[str, ...]) -> None:
        self.regions = regions

    def encode_sources(self, sources: np.ndarray) -> np.ndarray:
        return np.ones((len(sources), 1), dtype=np.float32)

    encode_targets = encode_sources


def test_a_database_of_fewer_entries_than_neighbors_is_averaged_whole(views, encoder) -> None:
    few = _curve([encoder], views, shares=[0.01], n_neighbors=4)
    many = _curve([encoder], views, shares=[0.01], n_neighbors=400)
    assert [point.n_subjects for point in many.line("M", "mae")] == [1]
    assert [point.n_entries for point in many.line("M", "mae")] == [4.0]
    assert repr(few.points) == repr(many.points), "one person has four entries"


@pytest.mark.parametrize("encoder_kind", ["field", "constant"])
def test_the_order_of_the_database_changes_nothing(views, encoder, encoder_kind: str, rng) -> None:
    training, test = views
    encoders = [encoder if encoder_kind == "field" else _Constant(training.regions)]
    shuffled = training.select(rng.permutation(len(training)))
    first, second = (
        _curve(encoders, (cohort, test), shares=(0.25, 1.0), one_per_subject=encoder_kind == "field")
        for cohort in (training, shuffled)
    )
    assert first.points == second.points


@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 2**31))
def test_subsets_of_a_draw_are_nested_and_hold_whole_subjects(n_subjects: int, n_draws: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    subjects = np.array([f"S{i:02d}" for i in rng.integers(0, n_subjects, size=3 * n_subjects)])
    everyone = sorted(set(subjects))
    sizes = sorted({max(1, round(share * len(everyone))) for share in (0.01, 0.2, 0.5, 1.0)})
    subsets = draw_subsets(subjects, sizes, n_draws, rng)
    assert len(subsets) == n_draws * (len(sizes) - 1) + 1
    chosen = [set(subjects[subset.rows]) for subset in subsets]
    for subset, names in zip(subsets, chosen, strict=True):
        assert len(names) == subset.n_subjects
        np.testing.assert_array_equal(subset.rows, np.flatnonzero(np.isin(subjects, sorted(names))))
    for smaller, larger in pairwise(chosen[: len(sizes)]):
        assert smaller < larger
    again = draw_subsets(subjects[::-1], sizes, 1, np.random.default_rng(5))
    same = draw_subsets(subjects, sizes, 1, np.random.default_rng(5))
    for one, other in zip(again, same, strict=True):
        assert set(subjects[::-1][one.rows]) == set(subjects[other.rows])


def test_where_a_small_database_is_silent_the_mean_of_all_speaks_and_coverage_says_so(cohort_of, rng) -> None:
    targets = np.ones((6, 1, 8, 8), dtype=np.float32)
    for i in range(4):
        targets[i] = np.nan
        targets[i, 0, 2 * i : 2 * i + 2] = i  # each person of the database knows two rows of pixels
    cohort = cohort_of(
        rng.random((6, 1, 8, 8)), targets, subjects=list("abcdef"), splits=["train"] * 4 + ["test"] * 2, regions=["map"]
    )
    views = cohort.split("train"), cohort.split("test")
    curve = _curve([_Constant(("map",))], views, shares=(0.25, 0.5, 1.0), n_draws=4)
    for method in ("M", MEAN_MAP):
        assert [point.value for point in curve.line(method, "coverage")] == [0.25, 0.5, 1.0]
        errors = [point.value for point in curve.line(method, "mae")]
        assert errors == pytest.approx([1.0] * 3), "|0 - 1|, |1 - 1|, |2 - 1| and |3 - 1|, from whomever"
    assert curve.shown_regions == ("map",)


def test_an_image_without_a_pixel_leaves_the_others_with_their_own_people(cohort_of, rng) -> None:
    """The interval of a curve draws people one by one; the first image, which has no pixel, shifts nobody's code."""
    targets = np.zeros((11, 1, 8, 8), dtype=np.float32)
    targets[3:] = np.array([np.nan, 1, 2, 4, 3, 5, 7, 8], dtype=np.float32).reshape(8, 1, 1, 1)
    cohort = cohort_of(
        rng.random((11, 1, 8, 8)),
        targets,
        subjects=["a", "b", "c", "d", "e", "f", "f", "g", "h", "i", "j"],
        timepoints=["0"] * 6 + ["12"] + ["0"] * 4,
        splits=["train"] * 3 + ["test"] * 8,
        regions=["map"],
    )
    views = cohort.split("train"), cohort.split("test")
    (point,) = _curve([_Constant(("map",))], views, seed=2, shares=[1.0], n_draws=1).line("M", "mae")
    order = np.random.default_rng(2)
    draw_subsets(views[0].subjects, [3], 1, order)
    counts = resample_counts(7, 40, order).tolist()
    means = [
        np.mean([1.0] * e + [2.0, 4.0] * f + [3.0] * g + [5.0] * h + [7.0] * i + [8.0] * j)
        for _, e, f, g, h, i, j in counts
    ]
    assert point.value == pytest.approx(30 / 7)
    assert (point.low, point.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_shares_that_are_the_same_number_of_people_have_the_same_numbers(views, encoder) -> None:
    curve = _curve([encoder], views, shares=(0.09, 0.01, 0.02))
    points = curve.line("M", "median")
    assert [(point.share, point.n_subjects) for point in points] == [(0.01, 1), (0.02, 1), (0.09, 1)]
    assert len({point.value for point in points}) == 1


def test_points_stand_line_by_line(views, encoder) -> None:
    curve = _curve([encoder], views, shares=(0.5, 1.0))
    assert curve.methods == ("M", MEAN_MAP)
    lines = [(p.method, p.region, p.metric) for p in curve.points[::2]]
    assert lines == [(m, r, i) for m in curve.methods for r in curve.shown_regions for i in CURVE_METRICS]
    with pytest.raises(CohortError, match=r"no point for .*'U-Net'"):
        curve.line("U-Net", "mae")


def test_a_curve_is_written_and_read_back_without_a_key_or_subject(views, encoder, tmp_path: Path) -> None:
    curve = _curve([encoder], views, shares=[0.5], n_draws=1)
    path = tmp_path / "database_size.json"
    write_size_curve(path, curve)
    assert repr(read_size_curve(path)) == repr(curve)
    text = path.read_text()
    assert not [name for name in (*views[0].keys, *views[1].subjects) if f'"{name}"' in text]
    plain = json.loads(text)
    assert plain["points"][0]["spread"] is None
    path.write_text(json.dumps(plain | {"n_draws": "many"}))
    with pytest.raises(CohortError, match=r"database-size file .* is damaged \(n_draws is"):
        read_size_curve(path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"shares": []}, SettingsError, "no share of the database is given"),
        ({"shares": [0.5, 0.0]}, SettingsError, r"a share of the database is 0\.0; give shares above 0"),
        ({"shares": [1.5]}, SettingsError, "is 1.5"),
        ({"n_draws": 0}, SettingsError, "n_draws is 0; give at least 1"),
        ({"n_neighbors": 0}, SettingsError, "n_neighbors is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(views, encoder, change, error, message: str) -> None:
    with pytest.raises(error, match=message):
        _curve([encoder], views, **change)


def test_what_does_not_fit_is_refused(views, knees: Cohort, encoder) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(SettingsError, match="no method is given"):
        database_size_curve({}, *views, rng=rng)
    with pytest.raises(SettingsError, match="two methods are named 'mean map'"):
        database_size_curve({MEAN_MAP: [encoder]}, *views, rng=rng)
    with pytest.raises(SettingsError, match=r"method 'M' gives regions femoral, tibial, femoral, tibial; the cohort"):
        _curve([encoder, encoder], views)
    with pytest.raises(SettingsError, match="method 'M' gives regions none"):
        _curve([], views)
    with pytest.raises(SubjectLeakError, match="are also training subjects"):
        _curve([encoder], (views[0], knees))
    with pytest.raises(CohortError, match=r"the training view of cohort 'knees.*' has no images"):
        _curve([encoder], (views[0].select([]), views[1]))
    broken = _Constant(views[0].regions)
    broken.encode_targets = lambda targets: np.zeros((len(targets), 1), dtype=np.float32)  # type: ignore[method-assign]
    with pytest.raises(DatabaseError, match="target 0 has an embedding of norm 0"):
        _curve([broken], views)
