"""What the readouts over everybody hold at a time, with 100,000 small maps: hardly more than what they give."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from mris.database.gallery import Gallery
from mris.synthesis.readouts import ridge
from mris.synthesis.readouts.attention import attention_weights
from mris.synthesis.readouts.readout import Penalties
from mris.synthesis.readouts.ridge import fit_regression, predictions_by_penalty

N, Q, P = 100_000, 64, 16
MIB = 1 << 20


def peak_of(work: Callable[[], object]) -> tuple[object, int]:
    """What some work gives, and the bytes it had allocated at most."""
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, Q), dtype=np.float32)


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    pixels = np.random.default_rng(1).uniform(0, 3, (N, P)).astype(np.float32)
    return Gallery(np.ones((1, 4, 4), dtype=bool), np.arange(N), pixels)


def test_a_regression_holds_its_coordinates_and_little_more(features, gallery) -> None:
    regression, peak = peak_of(lambda: fit_regression(features, Q, gallery, Penalties(learned=0.1)))
    assert regression.features.shape == (N, Q)
    assert peak < features.nbytes + 24 * MIB


def test_a_choice_of_penalties_holds_few_copies_of_the_features(features, gallery) -> None:
    ladder = [Penalties(learned=0.1), Penalties(learned=1.0)]
    found, peak = peak_of(lambda: list(predictions_by_penalty(features, Q, gallery, features[:3], ladder)))
    assert len(found) == 2
    assert peak < 2 * features.nbytes + 24 * MIB


def test_attention_holds_the_weights_and_little_more(features) -> None:
    keys = features / np.linalg.norm(features, axis=1, keepdims=True)
    admitted = np.ones((32, N), dtype=bool)
    weights, peak = peak_of(lambda: attention_weights(keys[:32], keys, 0.05, admitted))
    assert peak < weights.nbytes + 8 * MIB


def test_a_regression_in_blocks_is_that_of_all_at_once(monkeypatch) -> None:
    rng = np.random.default_rng(2)
    features, queries = rng.normal(3, 1, (50, 6)).astype(np.float32), rng.normal(3, 1, (4, 6)).astype(np.float32)
    gallery = Gallery(np.ones((1, 1, 5), dtype=bool), np.arange(50), rng.uniform(0, 3, (50, 5)).astype(np.float32))
    penalties = Penalties(learned=0.1, components=0.5)
    whole = fit_regression(features, 4, gallery, penalties).answer(queries)
    (predicted,) = predictions_by_penalty(features, 4, gallery, queries, [penalties])
    monkeypatch.setattr(ridge, "_BLOCK_ROWS", 7)
    for found, expected in zip(fit_regression(features, 4, gallery, penalties).answer(queries), whole, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    (again,) = predictions_by_penalty(features, 4, gallery, queries, [penalties])
    np.testing.assert_allclose(again, predicted, atol=1e-5)
