import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors

from mris.baselines.mean_map import MeanMap, evenly_spaced
from mris.baselines.ridge import RIDGE_LADDER
from mris.cohort.cohort import Cohort
from mris.errors import CohortError, SettingsError
from mris.evaluation.references import PcaNeighbors, PcaRidge, SourceComponents, reference_predictors


@pytest.fixture(scope="module")
def training(knees: Cohort) -> Cohort:
    return knees.split("train")


@pytest.fixture(scope="module")
def test_sources(knees: Cohort) -> np.ndarray:
    return knees.split("test").read_sources()


def test_the_mean_map_is_the_mean_of_valid_values(cohort_of, rng: np.random.Generator) -> None:
    targets = rng.random((7, 1, 4, 5)).astype(np.float16).astype(np.float32)
    targets[rng.random(targets.shape) < 0.4] = np.nan
    targets[:, 0, 0, 0] = np.nan
    targets[0, 0, 3] = 0.5
    cohort = cohort_of(
        rng.random((7, 1, 4, 4)), targets, subjects=list("abcdefg"), splits=["train"] * 7, regions=["target"]
    )
    mean = MeanMap.fit(cohort)
    known = np.isfinite(targets).any(axis=0)
    np.testing.assert_allclose(mean.image[known], np.nanmean(targets[:, known], axis=0), rtol=1e-6)
    assert np.isnan(mean.image[~known]).all()
    assert mean.without_gaps()[0, 0, 0] == pytest.approx(mean.image[known].mean(), rel=1e-6)
    assert mean.predict(rng.random((3, 1, 4, 4)).astype(np.float32), subjects=["x"] * 3).shape == (3, 1, 4, 5)


def test_neighbors_are_those_of_scikit_learn_and_their_mean_ignores_nan(training, test_sources, rng) -> None:
    predictor = PcaNeighbors.fit(training, rng, n_neighbors=7)
    queries = predictor.components.scores(test_sources)
    _, rows = NearestNeighbors(n_neighbors=7).fit(predictor.scores).kneighbors(queries)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="empty slice"):
        expected = np.nanmean(training.read_targets()[rows], axis=1)
    answer = predictor.predict(test_sources, subjects=["nobody"] * len(test_sources))
    np.testing.assert_allclose(answer, expected, rtol=1e-5)


def test_ones_own_subject_is_never_a_neighbor(training, rng) -> None:
    predictor = PcaNeighbors.fit(training, rng, n_neighbors=5)
    rows = predictor.neighbors(training.read_sources(), list(training.subjects))
    assert (training.subjects[rows] != training.subjects[:, None]).all()
    alone = predictor.neighbors(training.read_sources(), ["nobody"] * len(training))
    assert alone[:, 0].tolist() == list(range(len(training))), "unless it is not told"


def test_the_ridge_is_that_of_scikit_learn(training, test_sources, rng) -> None:
    ridge = PcaRidge.fit(training, rng, n_components=6, penalty=0.1)
    scores = ridge.components.training_scores(training).astype(np.float64)
    scores -= scores.mean(axis=0)
    scale = np.trace(scores.T @ scores) / scores.shape[1]
    targets = training.read_targets()
    known = np.isfinite(targets).all(axis=0)
    oracle = Ridge(alpha=0.1 * scale).fit(scores, targets[:, known])
    queries = ridge.components.scores(test_sources) - ridge.regression.center
    answer = ridge.predict(test_sources, subjects=["x"] * len(test_sources))
    np.testing.assert_allclose(answer[:, known], oracle.predict(queries), atol=2e-4)
    assert np.isnan(answer[:, ~np.isfinite(targets).any(axis=0)]).all()


def test_the_chosen_penalty_has_the_least_error_of_held_out_subjects(training) -> None:
    chosen = PcaRidge.fit(training, np.random.default_rng(3), n_components=6).regression.penalty
    rng = np.random.default_rng(3)
    components = SourceComponents.fit(training, rng, 6)
    scores = components.training_scores(training).astype(np.float64)
    scores -= scores.mean(axis=0)
    _, codes = np.unique(training.subjects, return_inverse=True)
    folds = rng.permutation(codes.max() + 1)[codes] % 5
    targets = training.read_targets().reshape(len(training), -1)
    values = np.where(np.isfinite(targets), targets - MeanMap.fit(training).without_gaps().ravel(), 0)

    def held_out_error(penalty: float) -> float:
        total = 0.0
        for fold in range(5):
            kept = folds != fold
            inner = scores[kept].T @ scores[kept]
            alpha = penalty * np.trace(inner) / len(inner)
            model = Ridge(alpha=alpha, fit_intercept=False).fit(scores[kept], values[kept])
            total += ((model.predict(scores[~kept]) - values[~kept]) ** 2).sum()
        return total

    assert chosen == min(RIDGE_LADDER, key=held_out_error)


def test_the_components_are_those_of_scikit_learn(training, rng) -> None:
    sources = training.read_sources().reshape(len(training), -1)
    oracle = PCA(4).fit(sources)
    components = SourceComponents.fit(training, rng, 4)
    np.testing.assert_allclose(np.abs(components.directions @ oracle.components_.T), np.eye(4), atol=2e-2)
    np.testing.assert_allclose(components.mean, oracle.mean_, atol=1e-6)


def test_references_fitted_with_one_seed_agree(training, test_sources) -> None:
    first, second = (reference_predictors(training, np.random.default_rng(5)) for _ in range(2))
    assert list(first) == ["mean map", "PCA k-NN", "PCA ridge"]
    for name in first:
        answers = [p[name].predict(test_sources, subjects=["x"] * len(test_sources)) for p in (first, second)]
        np.testing.assert_array_equal(answers[0], answers[1])


def test_reading_in_small_blocks_gives_the_same_neighbors(training, test_sources, rng, monkeypatch) -> None:
    predictor = PcaNeighbors.fit(training, rng, n_neighbors=5)
    subjects = ["x"] * len(test_sources)
    whole = predictor.predict(test_sources, subjects=subjects)
    monkeypatch.setattr("mris.database.gallery._READ_BYTES", 1)
    np.testing.assert_array_equal(predictor.predict(test_sources, subjects=subjects), whole)


def test_equal_sources_predict_the_mean_map(cohort_of, rng: np.random.Generator) -> None:
    targets = rng.random((6, 1, 4, 4)).astype(np.float16).astype(np.float32)
    sources = np.full((6, 1, 4, 4), 0.5, dtype=np.float32)
    cohort = cohort_of(sources, targets, subjects=list("abcdef"), splits=["train"] * 6, regions=["target"])
    ridge = PcaRidge.fit(cohort, rng)
    np.testing.assert_allclose(ridge.predict(sources[:1], subjects=["x"])[0], targets.mean(axis=0), rtol=1e-5)


def test_references_of_a_training_cohort_smaller_than_k_average_all_of_it(cohort_of, rng) -> None:
    targets = rng.random((12, 1, 4, 4)).astype(np.float16).astype(np.float32)
    sources = rng.random((12, 1, 4, 4)).astype(np.float32)
    cohort = cohort_of(sources, targets, subjects=list("abcdefghijkl"), splits=["train"] * 12, regions=["target"])
    neighbors = reference_predictors(cohort, rng, n_neighbors=20)["PCA k-NN"]
    whole = neighbors.predict(sources[:2], subjects=["x", "y"])
    np.testing.assert_allclose(whole, np.stack([targets.mean(axis=0)] * 2), rtol=1e-5)


def test_fewer_targets_than_neighbors_is_refused(training, rng) -> None:
    with pytest.raises(SettingsError, match="n_neighbors is 49, the training cohort has 48 targets; give 1 to 48"):
        PcaNeighbors.fit(training, rng, n_neighbors=49)
    predictor = PcaNeighbors.fit(training, rng, n_neighbors=48)
    with pytest.raises(SettingsError, match="without the query's own subject the gallery has 44"):
        predictor.predict(training.read_sources([0]), subjects=[training.subjects[0]])


def test_an_empty_training_cohort_is_refused(training, rng) -> None:
    with pytest.raises(CohortError, match="has no pairs; name another split"):
        MeanMap.fit(training.select([]))


def test_one_training_subject_cannot_choose_a_penalty(training, rng) -> None:
    one = training.select(training.subjects == training.subjects[0])
    with pytest.raises(SettingsError, match="needs 2 or more; give the penalty"):
        PcaRidge.fit(one, rng)
    with pytest.raises(SettingsError, match=r"penalty is -1; give a number above 0"):
        PcaRidge.fit(training, rng, penalty=-1)


def test_subjects_must_go_with_the_sources(training, test_sources) -> None:
    with pytest.raises(SettingsError, match="48 sources, 1 subjects"):
        MeanMap.fit(training).predict(test_sources, subjects=["x"])


def test_evenly_spaced_takes_all_or_that_many() -> None:
    assert evenly_spaced(4, 10).tolist() == [0, 1, 2, 3]
    assert evenly_spaced(101, 5).tolist() == [0, 25, 50, 75, 100]
