"""Exact search against a full sort in plain Python and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from mris.database import search as search_module
from mris.database.search import Groups, exact_search, first_of_group, top_k


def unit(rng, n, d):
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def plain_search(similarities, k, codes, excluded, one_per_group):
    """Sort everything, then walk down the list."""
    answer = []
    for query, line in enumerate(similarities):
        taken, met = [], set()
        for row in sorted(range(len(line)), key=lambda row: (-line[row], row)):
            if codes[row] == excluded[query] or (one_per_group and codes[row] in met):
                continue
            met.add(codes[row])
            taken.append(row)
        answer.append((taken + [-1] * k)[:k])
    return np.array(answer)


def test_neighbors_are_those_of_scikit_learn(rng):
    gallery, queries = unit(rng, 300, 16), unit(rng, 40, 16)
    distances, rows = NearestNeighbors(n_neighbors=7, metric="cosine").fit(gallery).kneighbors(queries)
    found = exact_search(gallery, queries, 7)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.similarities, 1 - distances, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_gallery=st.integers(1, 30),
    k=st.integers(1, 12),
    n_groups=st.integers(1, 8),
    one_per_group=st.booleans(),
    block_bytes=st.sampled_from([1, 40, 300, 1 << 20]),
    tile_rows=st.sampled_from([1, 5, 1 << 20]),
)
def test_exclusion_and_one_per_subject_are_a_walk_down_the_full_sort(
    seed, n_gallery, k, n_groups, one_per_group, block_bytes, tile_rows
):
    rng = np.random.default_rng(seed)
    # Entries of +-1 and 0 make exact sums, hence many exact ties.
    gallery = rng.integers(-1, 2, (n_gallery, 4)).astype(np.float32)
    queries = rng.integers(-1, 2, (5, 4)).astype(np.float32)
    gallery, queries = gallery / 2, queries / 2
    codes = np.unique(rng.integers(0, n_groups, n_gallery), return_inverse=True)[1]
    excluded = rng.integers(-1, codes.max() + 1, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "_BLOCK_BYTES", block_bytes)
        patch.setattr(search_module, "_TILE_ROWS", tile_rows)
        found = exact_search(
            gallery, queries, k, groups=Groups.of(codes), excluded=excluded, one_per_group=one_per_group
        )
    expected = plain_search(queries @ gallery.T, k, codes, excluded, one_per_group)
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.counts, (expected >= 0).sum(axis=1))
    np.testing.assert_array_equal(np.isnan(found.similarities), expected < 0)


def test_equal_similarities_stand_in_the_order_of_rows():
    gallery = np.tile(np.eye(2, dtype=np.float32), (50, 1))  # rows 0, 2, 4 ... are equal
    found = exact_search(gallery, np.eye(2, dtype=np.float32), 4)
    np.testing.assert_array_equal(found.rows, [[0, 2, 4, 6], [1, 3, 5, 7]])


def test_a_gallery_smaller_than_k_is_told_by_the_counts(rng):
    found = exact_search(unit(rng, 3, 4), unit(rng, 2, 4), 5)
    assert found.counts.tolist() == [3, 3] and (found.rows[:, 3:] == -1).all()
    assert (np.diff(found.similarities[:, :3]) <= 0).all()


def test_an_empty_gallery_or_no_query_gives_an_empty_answer(rng):
    assert exact_search(unit(rng, 1, 4)[:0], unit(rng, 2, 4), 3).counts.tolist() == [0, 0]
    assert exact_search(unit(rng, 5, 4), unit(rng, 1, 4)[:0], 3).rows.shape == (0, 3)


def test_similarities_never_leave_the_range_of_a_cosine(rng):
    gallery = unit(rng, 2000, 3) * np.float32(1.0000004)
    assert exact_search(gallery, gallery[:50], 1).similarities.max() == 1


def test_batched_is_one_by_one(rng):
    gallery, queries = unit(rng, 200, 8), unit(rng, 20, 8)
    whole = exact_search(gallery, queries, 5)
    for query in range(20):
        np.testing.assert_array_equal(whole.rows[query], exact_search(gallery, queries[query : query + 1], 5).rows[0])


def test_minus_infinity_is_never_an_answer():
    scores = np.array([[0.5, -np.inf, 0.25, -np.inf]], dtype=np.float32)
    for k in (1, 2, 3, 4, 9):
        found = top_k(scores, k)
        assert found.rows[0][: found.counts[0]].tolist() == [0, 2][:k]
        assert found.counts[0] == min(k, 2)


def test_the_first_of_each_group_is_marked_and_padding_never():
    codes = np.array([0, 0, 1, 2, 1])
    rows = np.array([[4, 2, 0, 1, -1], [3, 3, -1, -1, -1]])
    assert first_of_group(rows, codes).tolist() == [[True, False, True, False, False], [True] + [False] * 4]
