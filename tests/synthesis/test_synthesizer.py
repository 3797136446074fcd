"""Synthesis from an encoder and a database."""

import numpy as np
import pytest

from mris.database.average import average_rows
from mris.database.database import EmbeddingDatabase
from mris.errors import DatabaseError, EncoderMismatchError, ImageError, SettingsError
from mris.images.image import Image
from mris.images.transforms import SourcePreparation, prepare_source
from mris.synthesis.synthesizer import Synthesizer

SUBJECTS = [f"S{row // 2:02d}" for row in range(24)]


@pytest.fixture
def cohort(make_cohort, rng):
    return make_cohort(SUBJECTS, rng=rng)


@pytest.fixture
def encoder(cohort, projection_encoder):
    return projection_encoder.of(cohort)


@pytest.fixture
def database(tmp_path, cohort, encoder):
    return EmbeddingDatabase.build(tmp_path / "db.lance", cohort, encoder, progress=False)


@pytest.fixture
def synthesizer(encoder, database):
    return Synthesizer(encoder, database, n_neighbors=5)


def test_a_synthesis_is_the_weighted_average_of_its_neighbors(synthesizer, database, encoder, cohort):
    source = cohort.read_sources([3])[0]
    synthesis = synthesizer(source)
    similarities = database.embeddings @ encoder.encode_sources(source[None])[0]
    rows = np.argsort(-similarities)[:5]
    assert synthesis.neighbors.rows[0].tolist() == rows.tolist()
    weights = np.maximum(similarities[rows], 0)
    np.testing.assert_allclose(synthesis.weights, weights / weights.sum(), rtol=1e-5)
    mean, spread = average_rows(cohort.read_targets(rows).reshape(5, -1), np.arange(5), synthesis.weights)
    np.testing.assert_allclose(synthesis.image.ravel(), mean, rtol=1e-6)
    np.testing.assert_allclose(synthesis.spread.ravel(), spread, rtol=1e-4, atol=1e-6)
    assert synthesis.regions == ("femoral", "tibial") and synthesis.unit == "mm" and synthesis.spacing == (0.5, 0.5)
    assert np.isnan(synthesis.image[:, :2]).all() and not np.isnan(synthesis.image[:, 2:]).any()


@pytest.mark.parametrize("at_a_time", [1, 4000, 64 << 20])
def test_reading_rows_from_disk_gives_what_memory_gives(encoder, database, synthesizer, cohort, at_a_time, monkeypatch):
    monkeypatch.setattr("mris.database.gallery._READ_BYTES", at_a_time)
    from_disk = Synthesizer(encoder, database, n_neighbors=5, memory_limit=0)
    sources = cohort.read_sources()
    np.testing.assert_array_equal(from_disk.predict(sources), synthesizer.predict(sources))


def test_streamed_is_one_by_one_in_order(synthesizer, cohort):
    sources = cohort.read_sources()
    streamed = list(synthesizer.stream(iter(sources), exclude_subjects=iter(SUBJECTS), batch_size=7))
    assert len(streamed) == len(sources)
    for source, subject, one in zip(sources, SUBJECTS, streamed, strict=True):
        alone = synthesizer(source, exclude_subject=subject)
        assert one.neighbors.keys.tolist() == alone.neighbors.keys.tolist()
        np.testing.assert_allclose(one.image, alone.image, rtol=1e-5)
        assert one.excluded_subject == subject and subject not in one.neighbors.subjects


def test_a_stream_takes_no_more_than_a_batch_ahead(synthesizer, cohort):
    sources, taken = cohort.read_sources(), []

    def endless():
        while True:
            taken.append(None)
            yield sources[len(taken) % len(sources)]

    stream = synthesizer.stream(endless(), batch_size=4)
    for _ in range(9):
        next(stream)
    assert len(taken) == 12


def test_a_permuted_gallery_gives_the_same_synthesis(tmp_path, cohort, encoder, synthesizer, rng):
    shuffled = cohort.select(rng.permutation(len(cohort)))
    other = EmbeddingDatabase.build(tmp_path / "shuffled.lance", shuffled, encoder, progress=False)
    sources = cohort.read_sources()
    found = Synthesizer(encoder, other, n_neighbors=5).predict(sources)
    np.testing.assert_allclose(found, synthesizer.predict(sources), rtol=1e-5)


def test_without_its_own_subject_a_member_cannot_leak(synthesizer, database, encoder, cohort):
    targets_as_queries = type(encoder)(encoder.target_matrix, encoder.target_matrix)
    leaky = Synthesizer(targets_as_queries, database, n_neighbors=1)
    targets = np.nan_to_num(cohort.read_targets())
    assert [leaky(target).neighbors.keys[0, 0] for target in targets] == cohort.keys.tolist()
    for target, subject in zip(targets, SUBJECTS, strict=True):
        assert subject not in leaky(target, exclude_subject=subject).neighbors.subjects


def test_constant_targets_give_a_constant_synthesis_and_no_spread(tmp_path, make_cohort, projection_encoder, rng):
    cohort = make_cohort(SUBJECTS, rng=rng, name="constant", targets=np.full((24, 2, 8, 8), 1.5, np.float32))
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "constant.lance", cohort, encoder, progress=False)
    synthesis = Synthesizer(encoder, database)(cohort.read_sources([0])[0])
    np.testing.assert_allclose(synthesis.image, 1.5, rtol=1e-6)
    np.testing.assert_allclose(synthesis.spread, 0, atol=1e-6)


def test_at_most_one_neighbor_of_each_subject(encoder, database, cohort):
    synthesizer = Synthesizer(encoder, database, n_neighbors=12, one_per_subject=True)
    synthesis = synthesizer(cohort.read_sources([0])[0])
    assert len(set(synthesis.neighbors.subjects[0])) == 12


def test_more_neighbors_than_entries_are_all_entries(encoder, database, cohort):
    synthesis = Synthesizer(encoder, database, n_neighbors=100)(cohort.read_sources([0])[0], exclude_subject="S00")
    assert synthesis.neighbors.counts.tolist() == [22]
    assert synthesis.weights.shape == (100,) and (synthesis.weights[22:] == 0).all()
    assert synthesis.weights.sum() == pytest.approx(1)


def test_an_image_is_prepared_as_the_encoder_says(encoder, database, rng):
    preparation = SourcePreparation(size=(8, 8), mirror_sides=("right",))
    synthesizer = Synthesizer(encoder, database, n_neighbors=3, preparation=preparation)
    image = Image.from_array(rng.uniform(0, 900, (20, 30)))
    prepared = prepare_source(image, preparation, side="right")
    np.testing.assert_array_equal(synthesizer(image, side="right").image, synthesizer(prepared).image)
    with pytest.raises(ImageError, match="side"):
        synthesizer(image)


def test_a_synthesis_of_an_image_tells_what_deserves_a_look_in_it(encoder, database, rng):
    preparation = SourcePreparation(size=(8, 8), region_mm=40.0)
    synthesizer = Synthesizer(encoder, database, preparation=preparation)
    small = Image.from_array(rng.uniform(0, 900, (20, 30)), spacing=(1.0, 1.0))
    (note,) = synthesizer(small).notes
    assert "62% of the 40 mm that the encoders see lie outside" in note
    assert synthesizer(prepare_source(small, preparation)).notes == ()


def test_an_encoder_without_preparation_takes_only_prepared_arrays(synthesizer):
    with pytest.raises(SettingsError, match="preparation"):
        synthesizer(Image.from_array(np.arange(64.0).reshape(8, 8)))


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (np.zeros((8, 8), np.float32), r"float32 \(8, 8\)"),
        (np.full((1, 8, 8), np.nan, np.float32), "NaN"),
        (np.full((1, 8, 8), "a"), r"\(1, 8, 8\)"),
    ],
)
def test_an_array_that_is_no_prepared_source_is_refused(synthesizer, source, match):
    with pytest.raises(ImageError, match=match):
        synthesizer(source)


def test_a_source_that_embeds_to_nothing_is_refused(synthesizer):
    with np.errstate(invalid="ignore"), pytest.raises(DatabaseError, match="norm nan"):
        synthesizer(np.zeros((1, 8, 8), np.float32))


def test_sources_of_different_shapes_cannot_share_a_stream(synthesizer):
    with pytest.raises(ImageError, match=r"\(1, 8, 8\), \(1, 8, 9\)"):
        list(synthesizer.stream([np.ones((1, 8, 8), np.float32), np.ones((1, 8, 9), np.float32)]))


@pytest.mark.parametrize("excluded", [["S00"], ["S00", "S01", "S02"]])
def test_exclusions_must_be_as_many_as_sources(synthesizer, cohort, excluded):
    with pytest.raises(SettingsError, match="exclude_subjects"):
        list(synthesizer.stream(cohort.read_sources([0, 1]), exclude_subjects=excluded))


def test_a_number_in_place_of_a_subject_is_refused_by_a_stream_too(synthesizer, cohort):
    with pytest.raises(SettingsError, match=r"exclude_subjects has 7, no text"):
        list(synthesizer.stream(cohort.read_sources([0]), exclude_subjects=[7]))


def test_nobody_left_to_ask_is_an_error_not_an_empty_image(tmp_path, cohort, encoder):
    database = EmbeddingDatabase.build(tmp_path / "one.lance", cohort.select([0, 1]), encoder, progress=False)
    with pytest.raises(DatabaseError, match=r"no neighbor is left.*'S00'"):
        Synthesizer(encoder, database)(cohort.read_sources([0])[0], exclude_subject="S00")


@pytest.mark.parametrize("excluded", [None, "S00"])
def test_an_empty_database_is_called_empty_whoever_is_excluded(synthesizer, database, cohort, excluded):
    database.remove(sorted(set(SUBJECTS)))
    with pytest.raises(DatabaseError, match=r"is empty; add targets with `mris bundle add`$"):
        synthesizer(cohort.read_sources([0])[0], exclude_subject=excluded)


def test_a_foreign_encoder_is_refused(database, cohort, projection_encoder):
    with pytest.raises(EncoderMismatchError, match="cannot be compared"):
        Synthesizer(projection_encoder.of(cohort, fingerprint="e" * 64), database)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_neighbors": 0}, "n_neighbors is 0"),
        ({"n_neighbors": 2.5}, r"n_neighbors is 2\.5"),
        ({"weights": "best"}, "weights is 'best'"),
        ({"weights": "softmax", "temperature": 0.0}, r"temperature is 0\.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(encoder, database, options, match):
    with pytest.raises(SettingsError, match=match):
        Synthesizer(encoder, database, **options)


def test_predicting_from_no_source_is_refused(synthesizer):
    with pytest.raises(ImageError, match="no source"):
        synthesizer.predict(np.empty((0, 1, 8, 8), np.float32))
