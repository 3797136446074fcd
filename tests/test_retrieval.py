import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from mris import retrieval
from mris.errors import SettingsError
from mris.retrieval import chance_recall, own_ranks, recall_at_k, usable_ks


def _unit(rng: np.random.Generator, n: int, d: int = 6) -> np.ndarray:
    points = rng.normal(size=(n, d)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_ranks_are_those_of_sorted_neighbors(rng: np.random.Generator) -> None:
    gallery = _unit(rng, 80)
    own = rng.permutation(80)[:50]
    noisy = gallery[own] + 2 * _unit(rng, 50)
    queries = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
    order = NearestNeighbors(n_neighbors=80, metric="cosine").fit(gallery).kneighbors(queries, return_distance=False)
    expected = [int(np.flatnonzero(row == mine)[0]) + 1 for row, mine in zip(order, own, strict=True)]
    ranks = own_ranks(queries, gallery, own)
    assert ranks.tolist() == expected
    assert 1 in expected and max(expected) > 20, "the test needs easy and hard queries"
    recalls = recall_at_k(queries, gallery, own)
    assert recalls == {k: sum(rank <= k for rank in expected) / 50 for k in (1, 5, 10, 20)}


@given(seed=st.integers(0, 2**16))
def test_a_permuted_gallery_gives_the_same_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery, own = _unit(rng, 12), _unit(rng, 15), rng.permutation(15)[:12]
    order = rng.permutation(15)
    moved = np.argsort(order)[own]
    assert own_ranks(queries, gallery[order], moved).tolist() == own_ranks(queries, gallery, own).tolist()


def test_a_collapsed_encoder_recalls_nothing(rng: np.random.Generator) -> None:
    same = np.repeat(_unit(rng, 1), 30, axis=0)
    assert recall_at_k(same, same, np.arange(30)) == {1: 0.0, 5: 0.0, 10: 0.0, 20: 0.0}


def test_an_equal_target_counts_against_the_query() -> None:
    gallery = np.eye(3, dtype=np.float32)[[0, 1, 1]]
    assert own_ranks(gallery, gallery, np.arange(3)).tolist() == [1, 2, 2]


def test_the_size_of_blocks_does_not_matter(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, gallery, own = _unit(rng, 23), _unit(rng, 30), np.arange(23)
    whole = own_ranks(queries, gallery, own)
    monkeypatch.setattr(retrieval, "_BLOCK_BYTES", 4 * 30 * 5)
    assert own_ranks(queries, gallery, own).tolist() == whole.tolist()


def test_k_above_the_gallery_is_left_out_and_chance_is_k_of_n() -> None:
    assert usable_ks(7) == (1, 5)
    assert usable_ks(20) == (1, 5, 10, 20)
    assert chance_recall(5, 200) == 0.025


def test_a_random_encoder_recalls_by_chance(rng: np.random.Generator) -> None:
    recalls = recall_at_k(_unit(rng, 2000, 8), _unit(rng, 2000, 8), np.arange(2000), ks=(200,))
    assert recalls[200] == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("queries", "gallery", "own", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), [0, 1], "3 dimensions, the gallery 4"),
        (np.ones((2, 3)), np.ones((2, 3)), [0, 2], "from 0 to 1"),
        (np.ones((2, 3)), np.ones((2, 3)), [0], "give one a query"),
        (np.ones((0, 3)), np.ones((2, 3)), [], "0 queries"),
        (np.array([[1.0, np.nan, 0.0]]), np.ones((2, 3)), [0], "1 embeddings are not finite"),
    ],
)
def test_what_cannot_be_ranked_is_refused(queries, gallery, own, message) -> None:
    with pytest.raises(SettingsError, match=message):
        own_ranks(queries.astype(np.float32), gallery.astype(np.float32), np.asarray(own, dtype=np.int64))
