"""The fast average against a plain loop, and its laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.database import average as average_module
from mris.database.average import average_rows


def plain_average(targets, weights):
    """Pixel by pixel, in double precision."""
    mean = np.full(targets.shape[1:], np.nan)
    spread = np.full(targets.shape[1:], np.nan)
    for pixel in np.ndindex(*targets.shape[1:]):
        pairs = [
            (float(w), float(t[pixel]))
            for w, t in zip(weights, targets, strict=True)
            if w > 0 and not np.isnan(t[pixel])
        ]
        total = sum(w for w, _ in pairs)
        if total > 0:
            mean[pixel] = sum(w * value for w, value in pairs) / total
            spread[pixel] = np.sqrt(sum(w * (value - mean[pixel]) ** 2 for w, value in pairs) / total)
    return mean, spread


def average_images(targets, weights):
    mean, spread = average_rows(targets.reshape(len(targets), -1), np.arange(len(targets)), weights)
    return mean.reshape(targets.shape[1:]), spread.reshape(targets.shape[1:])


def random_case(seed, holes):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 8))
    targets = rng.uniform(0, 4, (k, 2, 3, 5)).astype(np.float32)
    targets[rng.random(targets.shape) < holes] = np.nan
    weights = rng.dirichlet(np.ones(k)).astype(np.float32)
    weights[rng.random(k) < 0.2] = 0
    return targets, weights


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), holes=st.sampled_from([0.0, 0.1, 0.5, 1.0]), chunk=st.sampled_from([1, 7, 8192]))
def test_mean_and_spread_are_those_of_a_plain_loop(seed, holes, chunk):
    targets, weights = random_case(seed, holes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(average_module, "_CHUNK", chunk)
        mean, spread = average_images(targets, weights)
    expected_mean, expected_spread = plain_average(targets, weights)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-5)
    np.testing.assert_allclose(spread, expected_spread, rtol=1e-4, atol=2e-6)
    assert mean.dtype == spread.dtype == np.float32


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), holes=st.sampled_from([0.0, 0.3]))
def test_the_mean_lies_between_the_valid_neighbors(seed, holes):
    targets, weights = random_case(seed, holes)
    mean, _ = average_images(targets, weights)
    counted = np.where((weights > 0)[:, None, None, None], targets, np.nan)
    known = ~np.isnan(mean)
    np.testing.assert_array_equal(known, (~np.isnan(counted)).any(axis=0))
    lowest = np.where(np.isnan(counted), np.inf, counted).min(axis=0)
    highest = np.where(np.isnan(counted), -np.inf, counted).max(axis=0)
    assert (mean[known] >= lowest[known] - 1e-6).all() and (mean[known] <= highest[known] + 1e-6).all()


@settings(max_examples=30, deadline=None)
@given(value=st.floats(-50, 50, width=16), k=st.integers(1, 30), seed=st.integers(0, 1000))
def test_equal_neighbors_give_their_own_image_and_no_spread(value, k, seed):
    weights = np.random.default_rng(seed).dirichlet(np.ones(k)).astype(np.float32)
    mean, spread = average_images(np.full((k, 1, 2, 2), value, np.float32), weights)
    np.testing.assert_allclose(mean, value, rtol=1e-6)
    np.testing.assert_allclose(spread, 0, atol=1e-6 * max(1, abs(value)))


def test_the_order_of_neighbors_does_not_matter(rng):
    targets, weights = random_case(8, 0.2)
    order = rng.permutation(len(targets))
    for found, expected in zip(
        average_images(targets[order], weights[order]), average_images(targets, weights), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_neighbor_of_weight_zero_and_a_missing_one_do_not_count(rng):
    store = rng.uniform(0, 3, (5, 40)).astype(np.float32)
    store[4] = np.nan
    mean, spread = average_rows(store, np.array([1, 4, -1, 3]), np.array([0.5, 0.0, 0.25, 0.25], np.float32))
    expected = (2 * store[1] + store[3]) / 3
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    np.testing.assert_allclose(
        spread, np.sqrt((2 * (store[1] - expected) ** 2 + (store[3] - expected) ** 2) / 3), rtol=1e-5
    )


def test_nobody_gives_nothing():
    mean, spread = average_rows(np.ones((2, 3), np.float32), np.array([-1, -1]), np.zeros(2, np.float32))
    assert np.isnan(mean).all() and np.isnan(spread).all()


def test_the_store_is_not_changed(rng):
    store = rng.uniform(0, 3, (4, 30)).astype(np.float32)
    store[2, 5:9] = np.nan
    before = store.copy()
    average_rows(store, np.arange(4), np.full(4, 0.25, np.float32))
    np.testing.assert_array_equal(store, before)
