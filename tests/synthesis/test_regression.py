"""The regression of the linear readout: against scikit-learn, the dual form, and fits from scratch."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from mris.database.gallery import Gallery
from mris.synthesis.readouts.readout import Penalties
from mris.synthesis.readouts.ridge import fit_regression, predictions_by_penalty, trusted

NOBODY = np.empty(0, dtype=np.int64)


PENALTY = st.sampled_from([None, 1e-3, 0.1, 10.0])
"""None leaves a group of features out."""


def scaled_by_hand(features: np.ndarray, queries: np.ndarray, penalties: Penalties) -> list[np.ndarray]:
    """Entries and queries, centered, each group of features scaled so that one penalty does for all."""
    scaled = [np.empty((len(part), 0)) for part in (features, queries)]
    for columns, penalty in ((slice(0, 5), penalties.learned), (slice(5, None), penalties.components)):
        if penalty is not None:
            center = features[:, columns].mean(axis=0)
            scale = np.sqrt(penalty * features[:, columns].var(axis=0).mean())
            parts = [(part[:, columns] - center) / scale for part in (features, queries)]
            scaled = [np.concatenate(pair, axis=1) for pair in zip(scaled, parts, strict=True)]
    return scaled


def dense_ridge(features: np.ndarray, pixels: np.ndarray, queries: np.ndarray, penalties: Penalties) -> np.ndarray:
    """The same regression by scikit-learn."""
    known, asked = scaled_by_hand(features, queries, penalties)
    if not known.shape[1]:
        return np.repeat(pixels.mean(axis=0)[None], len(queries), axis=0)
    return Ridge(alpha=len(features)).fit(known, pixels).predict(asked)


def dual_weights(features: np.ndarray, queries: np.ndarray, penalties: Penalties) -> np.ndarray:
    """The weights of the same regression by the dual form: of people, where the primal has equations of features."""
    known, asked = scaled_by_hand(features, queries, penalties)
    n = len(known)
    weights = asked @ known.T @ np.linalg.inv(known @ known.T + n * np.eye(n))
    return weights + (1 - weights.sum(axis=1, keepdims=True)) / n


def answer(
    features: np.ndarray, gallery: Gallery, penalties: Penalties, queries: np.ndarray, without: np.ndarray = NOBODY
) -> tuple[np.ndarray, np.ndarray]:
    """What a regression of the first five features and the others gives, all entries but some."""
    regression = fit_regression(features, 5, gallery, penalties)
    asked = queries[:, trusted(penalties, 5, queries.shape[1])]
    return regression.answer_without(without, asked) if len(without) else regression.answer(asked)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(20, 40),
    PENALTY,
    PENALTY,
    st.sampled_from([0.0, 0.3]),
)
def test_a_regression_without_some_entries_is_that_of_a_fit_to_the_others(
    seed: int, n: int, learned: float | None, components: float | None, missing: float
) -> None:
    rng = np.random.default_rng(seed)
    features, queries = rng.normal(3, 1, (n, 8)).astype(np.float32), rng.normal(3, 1, (4, 8)).astype(np.float32)
    pixels = rng.uniform(0, 3, (n, 6)).astype(np.float32)
    pixels[rng.random(pixels.shape) < missing] = np.nan
    gallery = Gallery(np.ones((1, 2, 3), dtype=bool), np.arange(n), pixels)
    out = rng.choice(n, rng.integers(1, 6), replace=False)
    left = np.setdiff1d(np.arange(n), out)
    penalties = Penalties(learned=learned, components=components)
    found, weights = answer(features, gallery, penalties, queries, out)
    expected, others = answer(features[left], gallery.subset(left), penalties, queries)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(weights[:, left], others, atol=1e-5)
    assert (weights[:, out] == 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 30), PENALTY, PENALTY)
def test_the_regression_is_that_of_scikit_learn(
    seed: int, n: int, learned: float | None, components: float | None
) -> None:
    rng = np.random.default_rng(seed)
    features, queries = rng.normal(size=(n, 8)).astype(np.float32), rng.normal(size=(4, 8)).astype(np.float32)
    gallery = Gallery(np.ones((1, 2, 3), dtype=bool), np.arange(n), rng.uniform(0, 3, (n, 6)).astype(np.float32))
    penalties = Penalties(learned=learned, components=components)
    found, weights = answer(features, gallery, penalties, queries)
    expected = dense_ridge(features.astype(float), gallery.store.astype(float), queries.astype(float), penalties)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(weights @ gallery.store, expected, atol=1e-3)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-4)
    (by_ladder,) = predictions_by_penalty(features, 5, gallery, queries, [penalties])
    np.testing.assert_allclose(by_ladder, expected, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 30), PENALTY, PENALTY)
def test_the_weights_of_the_regression_are_those_of_the_dual_form(
    seed: int, n: int, learned: float | None, components: float | None
) -> None:
    rng = np.random.default_rng(seed)
    features, queries = rng.normal(size=(n, 8)), rng.normal(size=(4, 8))
    gallery = Gallery(np.ones((1, 1, 4), dtype=bool), np.arange(n), rng.uniform(0, 3, (n, 4)).astype(np.float32))
    penalties = Penalties(learned=learned, components=components)
    _, found = answer(features, gallery, penalties, queries)
    np.testing.assert_allclose(found, dual_weights(features, queries, penalties), atol=1e-4)
