"""The index against the exact search; additions, removals, damage and age; no trace of a removed person in its file."""

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from mris.database.approximate import open_index
from mris.database.build import ALONE, commit_first, write_entries
from mris.database.commit import write_commit
from mris.database.database import EmbeddingDatabase
from mris.database.header import DatabaseHeader
from mris.database.table import METADATA, Entries
from mris.database.vector_index import VectorIndex
from mris.errors import DatabaseError, OutputError, SettingsError

pytest.importorskip("faiss", reason="the extra 'index' is not installed")


def unit(rng, n, d):
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def clustered():
    """Embeddings in clusters, as people are: pure noise has no neighbors worth finding."""
    rng = np.random.default_rng(3)
    centers = unit(rng, 100, 32)
    points = centers[rng.integers(0, 100, 2000)] + 0.25 * unit(rng, 2000, 32)
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def database_of(folder, embeddings):
    """A database of some embeddings, four entries a person."""
    n = len(embeddings)
    header = DatabaseHeader(
        fingerprint="f" * 64,
        embedding_dim=embeddings.shape[1],
        regions=("one",),
        target_shape=(1, 1, 2),
        target_spacing=None,
        unit="mm",
        mirror_targets=False,
        created="now",
        software="mris test",
    )
    metadata = {name: np.full(n, "{}" if name == "labels" else "") for name in METADATA}
    metadata["subject"] = np.array([f"S{row // 4:04d}" for row in range(n)])
    metadata["key"] = np.array([f"S{row // 4:04d}/{row % 4}" for row in range(n)])
    entries = Entries(metadata, embeddings, np.empty((n, 0), np.float32), np.ones((n, 2), np.float16))
    folder.mkdir()
    commit_first(folder, {ALONE: write_entries(folder, header, iter([entries]))})
    return EmbeddingDatabase.open(folder)


@pytest.fixture(scope="module")
def indexed_database(tmp_path_factory, clustered):
    database = database_of(tmp_path_factory.mktemp("indexed") / "database", clustered)
    database.create_index()
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
    database.create_index()
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    exact, found = (database.search(query, 4, one_per_subject=True, exact=exact) for exact in (True, False))
    assert exact.counts.tolist() == [4]
    assert found.rows.tolist() == exact.rows.tolist()


def test_a_small_database_is_searched_exactly_even_with_an_index(indexed_database, monkeypatch):
    monkeypatch.setattr("mris.database.approximate.indexed_search", lambda *_, **__: pytest.fail("used the index"))
    assert indexed_database.search(indexed_database.embeddings[:3], 1).rows[:, 0].tolist() == [0, 1, 2]
    monkeypatch.setattr("mris.database.database.EXACT_BYTES", 2000 * 32 * 4 - 1)
    with pytest.raises(pytest.fail.Exception, match="used the index"):
        indexed_database.search(indexed_database.embeddings[:3], 1)


@pytest.fixture
def copy(indexed_database, tmp_path):
    """A copy of the indexed database, to be changed."""
    return EmbeddingDatabase.open(shutil.copytree(indexed_database.path, tmp_path / "copy"))


def index_file(database):
    return database.path / database.state.index.file


@pytest.mark.parametrize("one_per_subject", [False, True])
@pytest.mark.parametrize("k", [1, 30, 2100])
def test_an_index_gives_as_many_neighbors_as_the_exact_search(indexed_database, k, one_per_subject):
    queries, own = indexed_database.embeddings[:8], indexed_database.subjects[:8].tolist()
    found = {
        exact: indexed_database.search(
            queries, k, exact=exact, exclude_subjects=own, one_per_subject=one_per_subject
        ).counts.tolist()
        for exact in (True, False)
    }
    assert found[True] == found[False]


def test_an_index_that_looks_into_every_list_is_the_exact_search(indexed_database):
    index = open_index(indexed_database)
    everywhere = replace(index, index=replace(index.index, n_probes=index.index.n_lists))
    indexed_database._index = indexed_database.state, everywhere
    queries = indexed_database.embeddings[5::100]
    exact, found = (indexed_database.search(queries, 20, exact=exact) for exact in (True, False))
    indexed_database._index = None
    assert (exact.rows == found.rows).mean() > 0.99, "ties may swap"
    np.testing.assert_allclose(exact.similarities, found.similarities, atol=1e-6)


def test_an_index_read_from_disk_gives_what_embeddings_in_memory_give(indexed_database):
    queries = indexed_database.embeddings[::50]
    held = indexed_database.search(queries, 9, exact=False)
    fresh = EmbeddingDatabase.open(indexed_database.path)
    found = fresh.search(queries, 9, exact=False)
    assert fresh._embedded is None, "the embeddings were not all read"
    np.testing.assert_array_equal(found.rows, held.rows)


def test_a_removed_person_is_not_found_and_others_take_the_places(copy):
    query, gone = copy.embeddings[400:401], copy.subjects[400]
    copy.remove([gone])
    found = copy.search(query, 20, exact=False)
    assert found.counts.tolist() == [20] and gone not in found.subjects[0].tolist()
    assert copy.verify().ok and copy.verify().recall > 0.99


def test_a_database_of_which_everybody_was_removed_is_whole_and_has_no_index(copy):
    copy.remove(sorted(set(copy.subjects.tolist())))
    assert copy.verify().ok and not copy.has_index
    with pytest.raises(DatabaseError, match="has no index"):
        copy.search(np.eye(32, dtype=np.float32)[:1], 1, exact=False)


def test_a_purge_leaves_no_byte_of_a_removed_embedding_in_an_index(copy):
    row, before = 777, open_index(copy).index.codes
    lists = [int(before.quantizer.search(copy.embeddings[row : row + 1], 1)[1][0, 0])]
    code = before.sa_encode(copy.embeddings[row : row + 1])[0, -32:].tobytes()
    assert code in index_file(copy).read_bytes(), (lists, "else the test below can not fail")
    embedding, gone = copy.embeddings[row], copy.subjects[row]
    copy.remove([gone])
    assert code in index_file(copy).read_bytes(), "removed, and still on the disk"
    copy.purge()
    (file,) = copy.path.glob("index.*.faiss")
    content = file.read_bytes()
    assert code not in content and embedding.tobytes() not in content
    assert all(embedding[place : place + 4].tobytes() not in content for place in range(29))
    assert copy.has_index and len(open_index(copy).index) == 1996 and copy.verify().recall > 0.99


def test_an_addition_is_taken_into_the_index(tmp_path, make_cohort, projection_encoder, rng):
    cohort = make_cohort([f"S{i:02d}" for i in range(40)], rng=rng)
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "d", cohort.select(range(10)), encoder, progress=False)
    database.create_index()
    for start in (10, 20, 30):
        database.add(cohort.select(range(start, start + 10)), encoder, progress=False)
        assert len(list(database.path.glob("index.*.faiss"))) == 2, "that of the state before, and that of this one"
    found = database.search(database.embeddings, 1, exact=False)
    assert found.rows[:, 0].tolist() == list(range(40))
    assert database.state.index.n_entries == 40 and database.verify().ok
    database.purge()
    assert [file.name for file in database.path.glob("index.*")] == [database.state.index.file]


def test_an_index_older_than_its_table_is_noticed_and_made_anew(tmp_path, make_cohort, projection_encoder, rng):
    cohort = make_cohort([f"S{i:02d}" for i in range(20)], rng=rng)
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "d", cohort.select(range(10)), encoder, progress=False)
    database.create_index()
    older = index_file(database).read_bytes()
    database.add(cohort.select(range(10, 20)), encoder, progress=False)
    index_file(database).write_bytes(older)
    with pytest.raises(DatabaseError, match=r"older than its table.*`mris bundle index` makes it anew"):
        database.search(database.embeddings[:1], 1, exact=False)
    assert "older than its table" in database.verify().summary()
    database.create_index()
    assert database.search(database.embeddings[15:16], 1, exact=False).rows.tolist() == [[15]] and database.verify().ok


def test_an_index_that_lacks_entries_is_refused_with_their_number(copy):
    index = VectorIndex.learned(copy.embeddings[:500], 4)
    index.add(copy.row_ids[:500], copy.embeddings[:500])
    state = copy.state.model_copy(update={"index": index.write(copy.path / "index.2.faiss", 1.0)})
    write_commit(copy.path, copy.commit.model_copy(update={"tables": {ALONE: state}}))
    opened = EmbeddingDatabase.open(copy.path)
    with pytest.raises(DatabaseError, match=r"older than its table: it lacks 1,500 of 2,000 entries; `mris bundle"):
        opened.search(copy.embeddings[:1], 1, exact=False)


@pytest.mark.parametrize("damage", ["absent", "bit"])
def test_a_damaged_index_is_one_clear_line_and_can_be_dropped(copy, damage):
    file = index_file(copy)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink() if damage == "absent" else file.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"index\.\d+\.faiss (cannot be read|is damaged)") as caught:
        copy.search(copy.embeddings[:1], 1, exact=False)
    assert "\n" not in str(caught.value) and not copy.verify().ok
    copy.drop_index()
    assert not copy.has_index and copy.verify().ok and not list(copy.path.glob("index.*"))


def test_without_faiss_an_index_is_refused_and_the_exact_search_goes_on(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SettingsError, match=r"pip install 'mris\[index\]'"):
        copy.search(copy.embeddings[:1], 1, exact=False)
    assert copy.search(copy.embeddings[:1], 1).rows.tolist() == [[0]]
    copy.drop_index()
    assert not copy.has_index


def test_without_faiss_nothing_of_a_change_that_needs_it_is_done(
    tmp_path, make_cohort, projection_encoder, rng, monkeypatch
):
    cohort = make_cohort([f"S{i:02d}" for i in range(20)], rng=rng)
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "d", cohort.select(range(10)), encoder, progress=False)
    database.create_index()
    before = database.commit
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(type(encoder), "encode_targets", lambda *_: pytest.fail("work before the refusal"))
    for change in (
        lambda: database.add(cohort.select(range(10, 20)), encoder, progress=False),
        lambda: database.remove(["S01"], purge=True),
        database.purge,
    ):
        with pytest.raises(SettingsError, match=r"pip install 'mris\[index\]'"):
            change()
    assert EmbeddingDatabase.open(database.path).commit == before
    database.remove(["S01"])
    assert "S01" not in database.subjects


def test_a_full_disk_leaves_the_database_without_a_new_index(copy, monkeypatch):
    def full(*_):
        raise RuntimeError("write error: No space left on device")

    before = copy.state
    monkeypatch.setattr("faiss.write_index", full)
    with pytest.raises(OutputError, match=r"cannot write .*index.*No space left"):
        copy.create_index()
    assert EmbeddingDatabase.open(copy.path).state == before and copy.verify().ok


@pytest.mark.parametrize("n", [1, 3, 200])
def test_equal_embeddings_make_an_index_too(tmp_path, n):
    database = database_of(tmp_path / "same", np.tile(np.eye(16, dtype=np.float32)[:1], (n, 1)))
    database.create_index()
    assert database.verify().recall == 1
    assert database.search(database.embeddings[:1], 5, exact=False).counts.tolist() == [min(n, 5)]
