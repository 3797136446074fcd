"""Exact search against a full sort in plain Python and against scikit-learn; approximate search against exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from mris.database import search as search_module
from mris.database.database import EmbeddingDatabase
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
    block_bytes=st.sampled_from([1, 300, 1 << 20]),
)
def test_exclusion_and_one_per_subject_are_a_walk_down_the_full_sort(
    seed, n_gallery, k, n_groups, one_per_group, block_bytes
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


@pytest.fixture(scope="module")
def clustered():
    """Embeddings in clusters, as people are: pure noise has no neighbors worth finding."""
    rng = np.random.default_rng(3)
    centers = unit(rng, 100, 32)
    points = centers[rng.integers(0, 100, 2000)] + 0.25 * unit(rng, 2000, 32)
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def indexed_database(tmp_path_factory, clustered):
    from mris.database.build import ALONE, commit_first, write_entries
    from mris.database.header import DatabaseHeader
    from mris.database.table import METADATA, Entries

    folder = tmp_path_factory.mktemp("indexed")
    header = DatabaseHeader(
        fingerprint="f" * 64,
        embedding_dim=32,
        regions=("one",),
        target_shape=(1, 1, 2),
        target_spacing=None,
        unit="mm",
        mirror_targets=False,
        created="now",
        software="mris test",
    )
    subjects = np.array([f"S{row // 4:04d}" for row in range(2000)])
    metadata = {name: np.full(2000, "{}" if name == "labels" else "") for name in METADATA}
    metadata |= {"subject": subjects, "key": np.array([f"S{row // 4:04d}/{row % 4}" for row in range(2000)])}
    targets = np.ones((2000, 2), np.float16)
    commit_first(
        folder,
        {
            ALONE: write_entries(
                folder, header, iter([Entries(metadata, clustered, np.empty((2000, 0), np.float32), targets)])
            )
        },
    )
    database = EmbeddingDatabase.open(folder)
    database.create_index("IVF_PQ")
    return database


@pytest.mark.parametrize("options", [{}, {"one_per_subject": True}, {"exclude": True}])
def test_the_index_finds_nearly_all_that_the_exact_search_finds(indexed_database, options):
    queries = indexed_database.embeddings[::40]
    own = indexed_database.subjects[::40].tolist() if options.get("exclude") else None
    options = {"exclude_subjects": own, "one_per_subject": options.get("one_per_subject", False)}
    exact = indexed_database.search(queries, 10, exact=True, **options)
    approximate = indexed_database.search(queries, 10, exact=False, **options)
    shared = [len(set(a) & set(b)) for a, b in zip(exact.rows.tolist(), approximate.rows.tolist(), strict=True)]
    assert np.mean(shared) / 10 > 0.95
    if own is not None:
        assert not any(s in line for s, line in zip(own, approximate.subjects.tolist(), strict=True))
    if options["one_per_subject"]:
        assert all(len(set(line)) == 10 for line in approximate.subjects.tolist())
    both = exact.rows == approximate.rows
    np.testing.assert_allclose(exact.similarities[both], approximate.similarities[both], atol=1e-5)


def test_one_of_each_subject_looks_on_where_the_nearest_are_all_of_one_person(tmp_path, make_cohort, rng):
    """Of 60 entries the 40 nearest are one person's: twice as many as asked for are not enough."""
    angles = np.concatenate([rng.uniform(0, 0.2, 40), rng.uniform(1, 1.5, 20)])
    targets = np.stack([np.cos(angles), np.sin(angles)], axis=1).reshape(60, 1, 1, 2)

    class Plane:
        fingerprint, regions = "f" * 64, ("one",)

        def encode_targets(self, targets):
            flat = targets.reshape(len(targets), -1)
            return (flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float32)

    subjects = ["S00"] * 40 + [f"S{i:02d}" for i in range(1, 21)]
    cohort = make_cohort(subjects, rng=rng, regions=["one"], size=(1, 2), targets=targets.astype(np.float32))
    database = EmbeddingDatabase.build(tmp_path / "d", cohort, Plane(), progress=False)
    database.create_index("IVF_FLAT")
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    exact, found = (database.search(query, 4, one_per_subject=True, exact=exact) for exact in (True, False))
    assert exact.counts.tolist() == [4]
    assert found.rows.tolist() == exact.rows.tolist()


def test_a_small_database_is_searched_exactly_even_with_an_index(indexed_database, monkeypatch):
    monkeypatch.setattr("mris.database.approximate.indexed_search", lambda *_, **__: pytest.fail("used the index"))
    assert indexed_database.search(indexed_database.embeddings[:3], 1).rows[:, 0].tolist() == [0, 1, 2]
    monkeypatch.setattr("mris.database.database.EXACT_ROWS", 1999)
    with pytest.raises(pytest.fail.Exception, match="used the index"):
        indexed_database.search(indexed_database.embeddings[:3], 1)
