"""Building, changing, purging and verifying a database."""

import json
import os
import time

import numpy as np
import pytest

from mris.database.database import EmbeddingDatabase
from mris.errors import DatabaseError, EncoderMismatchError, OutputError, SettingsError

PEOPLE = ["S01", "S01", "S02", "S03", "S03", "S04"]


@pytest.fixture
def cohort(make_cohort, rng):
    return make_cohort(PEOPLE, rng=rng, grades=[0, 1, None, 3, 4, 2])


@pytest.fixture
def encoder(cohort, projection_encoder):
    return projection_encoder.of(cohort)


@pytest.fixture
def database(tmp_path, cohort, encoder):
    return EmbeddingDatabase.build(tmp_path / "knees.lance", cohort, encoder, batch_size=4, progress=False)


def files_with(folder, pattern):
    return [path for path in folder.rglob("*") if path.is_file() and pattern in path.read_bytes()]


def test_saved_and_opened_again_it_holds_what_the_cohort_holds(database, cohort, encoder):
    opened = EmbeddingDatabase.open(database.path, fingerprint=encoder.fingerprint)
    assert len(opened) == 6
    assert opened.keys.tolist() == cohort.keys.tolist()
    assert opened.subjects.tolist() == PEOPLE
    assert opened.timepoints.tolist() == ["0", "12", "0", "0", "12", "0"]
    assert set(opened.splits) == {"train"} and set(opened.sides) == {""}
    assert [labels["klg"] for labels in opened.labels] == [0, 1, None, 3, 4, 2]
    targets = cohort.read_targets()
    np.testing.assert_array_equal(opened.read_targets(np.arange(6)), targets)
    np.testing.assert_array_equal(opened.embeddings, encoder.encode_targets(targets))
    np.testing.assert_array_equal(opened.atlas_mask, ~np.isnan(targets).all(axis=0))
    assert opened.header.unit == "mm" and opened.header.target_spacing == (0.5, 0.5)


def test_targets_are_read_in_the_order_asked_even_twice(database, cohort):
    rows = [4, 0, 4, 2]
    np.testing.assert_array_equal(database.read_targets(rows), cohort.read_targets(rows))


def test_the_gallery_holds_the_targets_inside_the_mask_in_memory_or_on_disk(database, cohort):
    expected = cohort.read_targets()[:, database.atlas_mask]
    held, streamed = database.gallery(memory_limit=1 << 20), database.gallery(memory_limit=10)
    for gallery in (held, streamed):
        np.testing.assert_array_equal(gallery.pixels(np.array([5, 1, 5])), expected[[5, 1, 5]])
    assert held.store is database.gallery(1 << 20).store, "what is in memory is read once"
    assert callable(streamed.store)


def test_each_member_finds_itself_first(database):
    neighbors = database.search(database.embeddings, 3)
    assert neighbors.rows[:, 0].tolist() == list(range(6))
    np.testing.assert_allclose(neighbors.similarities[:, 0], 1, atol=1e-6)
    assert neighbors.keys[:, 0].tolist() == database.keys.tolist()


def test_a_query_does_not_meet_its_own_subject(database):
    neighbors = database.search(database.embeddings, 6, exclude_subjects=PEOPLE)
    for subject, found, count in zip(PEOPLE, neighbors.subjects, neighbors.counts, strict=True):
        assert subject not in found.tolist()
        assert count == 6 - PEOPLE.count(subject)
        assert set(found[count:].tolist()) == {""}


def test_an_unknown_or_absent_exclusion_excludes_nobody(database):
    neighbors = database.search(database.embeddings[:2], 6, exclude_subjects=["nobody", None])
    assert neighbors.counts.tolist() == [6, 6]


def test_one_region_of_a_cohort_makes_a_database_of_that_region(tmp_path, cohort, projection_encoder):
    whole = projection_encoder.of(cohort)
    half = projection_encoder(whole.source_matrix, whole.target_matrix[64:], regions=("tibial",))
    database = EmbeddingDatabase.build(tmp_path / "tibial.lance", cohort, half, progress=False)
    np.testing.assert_array_equal(database.read_targets([3]), cohort.read_targets([3], regions=["tibial"]))


def test_an_existing_place_is_refused_and_left_alone(database, cohort, encoder):
    before = EmbeddingDatabase.open(database.path).keys.tolist()
    with pytest.raises(DatabaseError, match=r"knees\.lance exists"):
        EmbeddingDatabase.build(database.path, cohort, encoder, progress=False)
    assert EmbeddingDatabase.open(database.path).keys.tolist() == before


def test_added_entries_are_found_and_widen_the_mask(database, make_cohort, encoder, rng):
    targets = rng.uniform(0.5, 3, (2, 2, 8, 8)).astype(np.float16).astype(np.float32)  # no NaN: outside the old mask
    more = make_cohort(["S05", "S06"], rng=rng, name="more", targets=targets)
    assert database.add(more, encoder, progress=False) == 2
    opened = EmbeddingDatabase.open(database.path)
    assert opened.atlas_mask.all() and len(opened) == 8
    assert opened.search(encoder.encode_targets(targets), 1).keys[:, 0].tolist() == ["S05/0", "S06/0"]
    np.testing.assert_array_equal(opened.gallery().pixels(np.array([6, 7])), targets.reshape(2, -1))
    assert opened.verify().ok


def test_adding_a_key_twice_changes_nothing(database, cohort, encoder):
    assert database.add(cohort.select([2]), encoder, progress=False) == 0
    assert len(EmbeddingDatabase.open(database.path)) == 6


def test_another_image_or_label_under_a_key_is_refused(database, make_cohort, encoder, rng):
    other = make_cohort(["S02"], rng=rng, name="other", grades=[None])
    same_image = make_cohort(["S02"], rng=rng, name="same", grades=[4], targets=database.read_targets([2]))
    for cohort in (other, same_image):
        with pytest.raises(DatabaseError, match="'S02/0'"):
            database.add(cohort, encoder, progress=False)
    assert len(EmbeddingDatabase.open(database.path)) == 6


def test_a_cohort_of_another_shape_or_spacing_is_refused(database, make_cohort, projection_encoder, encoder, rng):
    other = make_cohort(["S09"], rng=rng, name="large", size=(8, 10))
    with pytest.raises(DatabaseError, match=r"\(2, 8, 10\).*\(2, 8, 8\)"):
        database.add(other, projection_encoder.of(other), progress=False)
    other = make_cohort(["S09"], rng=rng, name="coarse", spacing=(0.7, 0.7))
    with pytest.raises(DatabaseError, match=r"\(0\.7, 0\.7\)"):
        database.add(other, encoder, progress=False)


def test_another_encoder_is_refused_at_open_and_at_add(database, cohort, projection_encoder):
    with pytest.raises(EncoderMismatchError, match="cannot be compared"):
        EmbeddingDatabase.open(database.path, fingerprint="0" * 64)
    with pytest.raises(EncoderMismatchError, match="was made by encoder ffffffffffff"):
        database.add(cohort, projection_encoder.of(cohort, fingerprint="0" * 64), progress=False)


def test_an_encoder_that_gives_no_unit_vectors_leaves_nothing(tmp_path, cohort, encoder):
    class Broken:
        regions, fingerprint = encoder.regions, encoder.fingerprint

        def encode_sources(self, sources):
            return encoder.encode_sources(sources)

        def encode_targets(self, targets):
            return encoder.encode_targets(targets) * np.float32(np.nan)

    with pytest.raises(DatabaseError, match="norm nan, not 1"):
        EmbeddingDatabase.build(tmp_path / "broken.lance", cohort, Broken(), progress=False)
    assert not (tmp_path / "broken.lance").exists()


def test_an_empty_selection_is_refused(tmp_path, cohort, encoder):
    with pytest.raises(DatabaseError, match="no pair"):
        EmbeddingDatabase.build(tmp_path / "none.lance", cohort.select([]), encoder, progress=False)


def test_removing_a_subject_removes_all_its_entries_and_no_others(database):
    assert database.remove(["S01"]).n_entries == 2
    assert EmbeddingDatabase.open(database.path).subjects.tolist() == ["S02", "S03", "S03", "S04"]
    assert database.search(database.embeddings, 1).rows[:, 0].tolist() == [0, 1, 2, 3]


def test_removing_an_unknown_subject_names_it_and_removes_nobody(database):
    with pytest.raises(DatabaseError, match="'S99'"):
        database.remove(["S01", "S99"])
    assert len(EmbeddingDatabase.open(database.path)) == 6
    with pytest.raises(SettingsError, match="list"):
        database.remove("S01")


def test_everyone_can_be_removed_and_searching_then_finds_nobody(database):
    queries = database.embeddings
    database.remove(sorted(set(PEOPLE)))
    database.purge()
    neighbors = database.search(queries, 2)
    assert neighbors.counts.tolist() == [0] * 6 and set(neighbors.rows.ravel().tolist()) == {-1}
    assert database.verify().ok


@pytest.mark.parametrize("indexed", [False, True])
def test_a_purged_subject_is_gone_from_every_file(tmp_path, make_cohort, projection_encoder, rng, indexed):
    subjects = [f"PATIENT{i:02d}" for i in range(30)]
    cohort = make_cohort(subjects, rng=rng)
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "db.lance", cohort.select(range(15)), encoder, progress=False)
    database.add(cohort.select(range(15, 30)), encoder, progress=False)
    if indexed:
        database.create_index()
    embedding = database.embeddings[7].tobytes()
    target = cohort.read_targets([7]).astype(np.float16).reshape(-1)[16:60].tobytes()
    traces = [b"PATIENT07", embedding, target]
    assert all(files_with(database.path, trace) for trace in traces)
    database.remove(["PATIENT07"])
    database.purge()
    assert [files_with(database.path, trace) for trace in traces] == [[], [], []]
    assert len(EmbeddingDatabase.open(database.path)) == 29 and database.verify().ok
    assert database.has_index is indexed


@pytest.mark.parametrize("leaving", [[], ["S04"], sorted(set(PEOPLE))])
def test_a_purged_subject_is_gone_also_where_whole_fragments_go(database, make_cohort, encoder, rng, leaving):
    database.add(make_cohort(["NEWCOMER"], rng=rng, name="alone"), encoder, progress=False)
    database.remove(["NEWCOMER", *leaving])
    assert files_with(database.path, b"NEWCOMER")
    database.purge()
    assert not any(files_with(database.path, name.encode()) for name in ["NEWCOMER", *leaving])
    opened = EmbeddingDatabase.open(database.path)
    assert opened.subjects.tolist() == [name for name in PEOPLE if name not in leaving] and opened.verify().ok


def test_a_purged_subject_is_gone_from_a_disk_whose_clock_is_ahead(database):
    database.remove(["S04"])
    later = time.time() + 3600
    for path in database.path.rglob("*"):
        os.utime(path, (later, later))
    database.purge()
    assert files_with(database.path, b"S04") == []


def test_an_unpurged_removal_is_still_on_disk_so_the_purge_test_can_fail(database):
    database.remove(["S04"])
    assert files_with(database.path, b"S04")


def test_names_with_quotes_are_only_names(tmp_path, make_cohort, projection_encoder, rng):
    cohort = make_cohort(["O'Neil", "x' OR '1'='1", "plain"], rng=rng)
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "db.lance", cohort, encoder, progress=False)
    assert database.remove(["x' OR '1'='1"]).n_entries == 1
    assert database.subjects.tolist() == ["O'Neil", "plain"]


def test_a_whole_database_verifies(database):
    report = database.verify()
    assert report.ok and (report.n_entries, report.n_subjects) == (6, 4)
    assert "whole" in report.summary()


def test_a_flipped_byte_is_found_or_changes_nothing(database, rng):
    """Lance checks no checksum of its own: ours must tell every change that reaches a value."""
    (file,) = (database.path / "entries.lance" / "data").glob("*.lance")
    pristine = file.read_bytes()
    embeddings, targets = database.embeddings, database.read_targets(np.arange(6))
    found = 0
    for position in rng.integers(0, len(pristine), 60):
        damaged = bytearray(pristine)
        damaged[position] ^= 0xFF
        file.write_bytes(damaged)
        try:
            opened = EmbeddingDatabase.open(database.path)
            report = opened.verify()
        except DatabaseError:
            found += 1
            continue
        if report.ok:
            np.testing.assert_array_equal(opened.embeddings, embeddings)
            np.testing.assert_array_equal(opened.read_targets(np.arange(6)), targets)
            assert opened.keys.tolist() == database.keys.tolist()
        else:
            found += 1
    assert found > 10


def test_a_value_changed_in_an_embedding_is_named(database):
    (file,) = (database.path / "entries.lance" / "data").glob("*.lance")
    content = bytearray(file.read_bytes())
    start = content.index(database.embeddings[3].tobytes())
    content[start + 2] ^= 0x10
    file.write_bytes(content)
    report = EmbeddingDatabase.open(database.path).verify()
    assert not report.ok and "'S03/0'" in report.findings[0] and "checksum" in report.findings[0]


@pytest.mark.parametrize("damage", ["truncate", "empty", "list", "version", "field"])
def test_a_damaged_header_costs_one_clear_line(database, damage):
    path = database.path / "database.json"
    values = json.loads(path.read_text())
    text = {
        "truncate": path.read_text()[:40],
        "empty": "",
        "list": "[]",
        "version": json.dumps(values | {"format_version": 99}),
        "field": json.dumps({name: value for name, value in values.items() if name != "unit"}),
    }[damage]
    path.write_text(text)
    with pytest.raises(DatabaseError, match=r"database\.json") as caught:
        EmbeddingDatabase.open(database.path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_database_says_what_makes_one(tmp_path):
    with pytest.raises(DatabaseError, match="mris index"):
        EmbeddingDatabase.open(tmp_path)


def test_a_missing_table_or_mask_is_told(database):
    mask = database.path / "atlas_mask.1.npz"
    right = mask.read_bytes()
    mask.write_bytes(b"PK")
    with pytest.raises(DatabaseError, match=r"atlas_mask\.1\.npz is damaged"):
        EmbeddingDatabase.open(database.path)
    assert "atlas_mask.1.npz" in database.verify().summary()
    mask.write_bytes(right)
    (database.path / "entries.lance").rename(database.path / "elsewhere")
    with pytest.raises(DatabaseError, match=r"entries\.lance"):
        EmbeddingDatabase.open(database.path)


@pytest.mark.parametrize(
    ("queries", "match"),
    [
        (np.ones((2, 7), np.float32), r"\(2, 7\)"),
        (np.ones(16, np.float32), r"\(16,\)"),
        (np.zeros((1, 16), np.float32), "norm 0"),
        (np.full((1, 16), np.nan, np.float32), "norm nan"),
    ],
)
def test_queries_that_are_no_embeddings_are_refused(database, queries, match):
    with pytest.raises(DatabaseError, match=match):
        database.search(queries)


def test_settings_that_cannot_work_are_refused(database):
    with pytest.raises(SettingsError, match="n_neighbors is 0"):
        database.search(database.embeddings, 0)
    with pytest.raises(SettingsError, match="1 entries for 6 queries"):
        database.search(database.embeddings, 2, exclude_subjects=["S01"])
    with pytest.raises(DatabaseError, match="bundle index"):
        database.search(database.embeddings, 2, exact=False)
    with pytest.raises(DatabaseError, match="rows lie in"):
        database.read_targets([6])


@pytest.mark.parametrize("name", [9000099, np.int64(9000099), b"S01", float("nan")])
def test_an_exclusion_that_is_no_text_is_refused_because_it_would_exclude_nobody(database, name):
    with pytest.raises(SettingsError, match="no text, and would exclude nobody"):
        database.search(database.embeddings[:2], 2, exclude_subjects=[None, name])


def test_a_full_disk_while_adding_leaves_the_database_as_it_was(database, make_cohort, encoder, rng, monkeypatch):
    more = make_cohort(["S05", "S06"], rng=rng, name="more")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lance.fragment.write_fragments", full)
    with pytest.raises(OutputError, match="No space left"):
        database.add(more, encoder, progress=False)
    opened = EmbeddingDatabase.open(database.path)
    assert len(opened) == 6 and opened.verify().ok
