"""Weights are convex whatever the similarities, and follow their equations where these apply."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mris.errors import SettingsError
from mris.synthesis.weights import neighbor_weights, similarity_weights, softmax_weights, uniform_weights

similarities = arrays(np.float32, (4, 5), elements=st.floats(-1, 1, width=32))
present = arrays(np.bool_, (4, 5))


@given(similarities, present, st.sampled_from(["similarity", "softmax", "uniform"]), st.floats(1e-6, 1e6))
def test_weights_are_convex_and_zero_where_there_is_no_neighbor(similarities, present, rule, temperature):
    rows = np.where(present, 3, -1)
    weights = neighbor_weights(rule, np.where(present, similarities, np.nan), rows, temperature)
    assert weights.dtype == np.float32 and (weights >= 0).all()
    assert (weights[~present] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), present.any(axis=1), atol=1e-6)


def test_similarity_weights_are_the_shares_of_equation_4():
    found = similarity_weights(np.array([[0.9, 0.6, 0.5]]), np.array([[2, 0, 1]]))
    np.testing.assert_allclose(found, [[0.45, 0.3, 0.25]], rtol=1e-6)


def test_negative_similarities_count_as_zero_and_only_such_give_uniform_weights():
    rows = np.array([[0, 1, 2], [0, 1, -1]])
    found = similarity_weights(np.array([[0.5, -0.5, 0.5], [-0.1, -0.9, np.nan]]), rows)
    np.testing.assert_allclose(found, [[0.5, 0, 0.5], [0.5, 0.5, 0]])


def test_softmax_weights_are_scipys(rng):
    from scipy.special import softmax

    scores = rng.uniform(-1, 1, (6, 9))
    found = softmax_weights(scores, np.zeros((6, 9), int), 0.07)
    np.testing.assert_allclose(found, softmax(scores / 0.07, axis=1), rtol=1e-5)


def test_a_tiny_temperature_trusts_the_nearest_and_a_huge_one_all_alike():
    scores, rows = np.array([[0.9, 0.8, 0.1]]), np.array([[0, 1, 2]])
    np.testing.assert_allclose(softmax_weights(scores, rows, 1e-9), [[1, 0, 0]])
    np.testing.assert_allclose(softmax_weights(scores, rows, 1e9), uniform_weights(rows), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_temperature_that_cannot_work_is_refused(temperature):
    with pytest.raises(SettingsError, match="temperature is"):
        softmax_weights(np.ones((1, 2)), np.zeros((1, 2), int), temperature)
