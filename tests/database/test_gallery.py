"""A gallery against a plain loop, and its laws: order, memory or disk, few rows or all of them."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.baselines.mean_map import MeanMap
from mris.baselines.ridge import fit_map_regression
from mris.database.gallery import Gallery
from mris.errors import DatabaseError, SettingsError

SEEDS = st.integers(0, 2**32 - 1)
HOLES = st.sampled_from([0.0, 0.2, 0.9])
BLOCKS = st.sampled_from([1, 300, 1 << 20])
N, N_QUERIES = 9, 3


def random_gallery(rng, holes):
    """N entries of two regions, in a store that holds others, too; the last pixel is empty in all of them."""
    mask = rng.random((2, 3, 4)) < 0.7
    mask[:, 0, 0] = True
    store = rng.uniform(0, 4, (N + 4, int(mask.sum()))).astype(np.float32)
    store[rng.random(store.shape) < holes] = np.nan
    store[:, -1] = np.nan
    return Gallery(mask, rng.permutation(N + 4)[:N], store)


def on_disk(gallery):
    """The same gallery, whose rows are asked for."""
    return Gallery(gallery.mask, gallery.rows, partial(np.take, gallery.store, axis=0))


def convex(rng, shape):
    weights = rng.dirichlet(np.ones(shape[1]), shape[0])
    weights[:, 1:][rng.random((shape[0], shape[1] - 1)) < 0.3] = 0
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def with_blocks_of(n_bytes, function, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mris.database.gallery._READ_BYTES", n_bytes)
        patch.setattr("mris.database.average._PIECE", (4, 5))
        return function(*arguments)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, holes=HOLES, block=BLOCKS)
def test_a_combination_is_that_of_a_plain_loop(seed, holes, block):
    rng = np.random.default_rng(seed)
    gallery = random_gallery(rng, holes)
    weights = rng.normal(size=(N_QUERIES, N)).astype(np.float32)
    values = gallery.store[gallery.rows].astype(np.float64)
    expected = np.full((N_QUERIES, gallery.n_pixels), np.nan)
    for query, pixel in np.ndindex(*expected.shape):
        column = values[:, pixel]
        known = column[~np.isnan(column)]
        if len(known):
            filled = [known.mean() if np.isnan(value) else value for value in column]
            expected[query, pixel] = sum(w * y for w, y in zip(weights[query], filled, strict=True))
    close(with_blocks_of(block, gallery.combine, weights), expected)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, holes=HOLES, block=BLOCKS)
def test_sparse_convex_weights_of_all_rows_average_the_few_that_have_weight(seed, holes, block):
    rng = np.random.default_rng(seed)
    gallery = random_gallery(rng, holes)
    rows = np.stack([rng.permutation(N)[:4] for _ in range(N_QUERIES)])
    few, weights = convex(rng, (N_QUERIES, 4)), np.zeros((N_QUERIES, N), dtype=np.float32)
    np.put_along_axis(weights, rows, few, axis=1)
    mean, _ = gallery.average(rows, few)
    close(with_blocks_of(block, gallery.average_all, 7 * weights), mean)
    complete = ~np.isnan(gallery.pixels(np.arange(N))).any(axis=0)
    close(gallery.combine(weights)[:, complete], mean[:, complete])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, holes=HOLES)
def test_a_permuted_gallery_gives_the_same(seed, holes):
    rng = np.random.default_rng(seed)
    gallery, order = random_gallery(rng, holes), rng.permutation(N)
    shuffled, weights = gallery.subset(order), convex(rng, (N_QUERIES, N))
    close(shuffled.combine(weights[:, order]), gallery.combine(weights))
    close(shuffled.average_all(weights[:, order]), gallery.average_all(weights))
    rows, few = np.array([[5, 0, -1, 7]]), convex(rng, (1, 4))
    places = np.where(rows >= 0, np.argsort(order)[rows], -1)
    close(shuffled.average(places, few), gallery.average(rows, few))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, holes=HOLES, block=BLOCKS, part=st.sampled_from([slice(None), slice(2, 7), slice(0, 0)]))
def test_a_gallery_on_disk_gives_what_memory_gives(seed, holes, block, part):
    rng = np.random.default_rng(seed)
    held = random_gallery(rng, holes).subset(np.arange(N)[part])
    streamed = on_disk(held)
    n = len(held)
    weights = rng.normal(size=(N_QUERIES, n))
    close(with_blocks_of(block, streamed.combine, weights), held.combine(weights))
    close(with_blocks_of(block, streamed.average_all, abs(weights)), held.average_all(abs(weights)))
    np.testing.assert_array_equal(with_blocks_of(block, streamed.in_memory).store, held.pixels(np.arange(n)))
    rows, few = rng.integers(-1, n, (5, 4)), convex(rng, (5, 4))
    for found, expected in zip(
        with_blocks_of(block, streamed.average, rows, few), held.average(rows, few), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("channels", [[0], [1], [0, 1], [1, 0]])
def test_regions_are_the_same_pixels_alone(channels, rng):
    gallery = random_gallery(rng, 0.2)
    rows, weights = np.array([[0, 3, 8]]), np.full((1, 3), 1 / 3, dtype=np.float32)
    whole, _ = gallery.average(rows, weights)
    for one in (gallery.of_regions(channels), on_disk(gallery).of_regions(channels)):
        mean, _ = one.average(rows, weights)
        np.testing.assert_array_equal(one.images(mean), gallery.images(whole)[:, channels])
        np.testing.assert_array_equal(mean, whole[:, gallery.places(channels)])


def test_images_of_a_mask_without_pixels_are_empty():
    gallery = Gallery(np.zeros((1, 2, 2), dtype=bool), np.arange(3), np.empty((3, 0), dtype=np.float32))
    mean, _ = gallery.average(np.array([[0, 2]]), np.ones((1, 2), dtype=np.float32))
    assert np.isnan(gallery.images(mean)).all() and gallery.images(mean).shape == (1, 1, 2, 2)
    assert gallery.combine(np.ones((2, 3), dtype=np.float32)).shape == (2, 0)


def test_a_part_of_a_gallery_in_memory_is_no_copy(rng):
    gallery = random_gallery(rng, 0.0)
    assert np.shares_memory(gallery.of_regions([1]).store, gallery.store)
    assert gallery.subset(np.array([2, 1])).store is gallery.store


def test_the_weights_of_a_ridge_regression_combine_to_its_prediction(make_cohort, rng):
    targets = rng.uniform(0, 4, (12, 2, 8, 8)).astype(np.float16).astype(np.float32)
    targets[rng.random(targets.shape) < 0.3] = np.nan
    cohort = make_cohort([f"S{row}" for row in range(12)], rng=rng, targets=targets)
    scores, queries = rng.normal(size=(12, 3)), rng.normal(size=(2, 3))
    regression = fit_map_regression(cohort, scores, rng, penalty=0.1)
    centered = scores - scores.mean(axis=0)
    inner = centered.T @ centered
    ridge = inner + 0.1 * np.trace(inner) / 3 * np.eye(3)
    weights = 1 / 12 + (queries - scores.mean(axis=0)) @ np.linalg.solve(ridge, centered.T)
    assert (weights < 0).any()
    gallery = Gallery.of_cohort(cohort)
    close(gallery.images(gallery.combine(weights)), regression.predict(queries))


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_equal_weights_of_all_give_the_mean_map(memory_limit, make_cohort, rng):
    targets = rng.uniform(0, 4, (7, 2, 8, 8)).astype(np.float16).astype(np.float32)
    targets[rng.random(targets.shape) < 0.5] = np.nan
    cohort = make_cohort([f"S{row}" for row in range(7)], rng=rng, targets=targets)
    gallery = Gallery.of_cohort(cohort, memory_limit)
    mean = gallery.average_all(np.ones((1, 7), dtype=np.float32))
    close(gallery.images(mean)[0], MeanMap.fit(cohort).image)
    close(gallery.combine(np.full((1, 7), 1 / 7, dtype=np.float32)), mean)


def test_equal_images_have_no_spread_however_many_they_are():
    gallery = Gallery(np.ones((1, 2, 2), dtype=bool), np.arange(500), np.full((500, 4), 3.7, dtype=np.float32))
    mean, spread = gallery.average(np.arange(500)[None], np.full((1, 500), 1 / 500, dtype=np.float32))
    np.testing.assert_allclose(mean, 3.7, rtol=1e-6)
    assert (spread < 1e-5).all()


def test_rows_and_weights_that_do_not_fit_are_refused(rng):
    gallery = random_gallery(rng, 0.0)
    with pytest.raises(DatabaseError, match=r"rows 0 to 9 are asked for; rows lie in \[0, 9\)"):
        gallery.pixels(np.array([0, 9]))
    with pytest.raises(DatabaseError, match="rows 12 to 12"):
        gallery.average(np.array([[-1, 12]]), np.ones((1, 2), dtype=np.float32))
    with pytest.raises(DatabaseError, match="rows -1 to 2"):
        gallery.subset(np.array([2, -1]))
    with pytest.raises(SettingsError, match=r"weights have shape \(1, 8\) for a gallery of 9; give \(n, 9\)"):
        gallery.combine(np.ones((1, 8), dtype=np.float32))
    with pytest.raises(SettingsError, match="a weight of an average is -1; give 0 or above, or use `combine`"):
        gallery.average_all(-np.ones((1, 9), dtype=np.float32))
    with pytest.raises(SettingsError, match="weights are not all finite"):
        gallery.combine(np.full((1, 9), np.nan, dtype=np.float32))


def test_sums_over_all_rows_leave_the_store_as_it_is(rng):
    gallery = random_gallery(rng, 0.3)
    before = gallery.store.copy()
    gallery.combine(np.ones((1, N), dtype=np.float32))
    gallery.average_all(np.ones((1, N), dtype=np.float32))
    np.testing.assert_array_equal(gallery.store, before)
