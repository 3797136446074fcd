"""Readouts: every synthesis is a weighted sum of stored maps, of whoever is in the database now."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mris.choices import ReadoutName
from mris.database.database import EmbeddingDatabase
from mris.errors import SettingsError
from mris.synthesis.readouts import READOUTS, Queries, Readout, SynthesisSettings, choose_readout
from mris.synthesis.readouts.attention import attention_weights
from mris.synthesis.readouts.readout import Penalties
from mris.synthesis.synthesizer import Synthesizer
from mris.types import Embeddings, Features, Sources, Targets

SUBJECTS = [f"S{row // 2:02d}" for row in range(24)]
STORED = Readout(
    name="blend", attention_temperature=0.2, penalties=Penalties(learned=0.3, components=2.0), attention_share=0.4
)


class WithFeatures:
    """An encoder with features: a fixed random map, and three components of the source."""

    def __init__(self, cohort, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        header = cohort.header
        self.regions, self.fingerprint, self.n_learned, self.n_components = header.regions, "f" * 64, 5, 3
        self._source = rng.standard_normal((int(np.prod(header.source_shape)), 5)).astype(np.float32)
        self._target = rng.standard_normal((int(np.prod(header.target_shape)), 5)).astype(np.float32)
        self._components = rng.standard_normal((int(np.prod(header.source_shape)), 3)).astype(np.float32)

    def encode_sources(self, sources: Sources) -> Embeddings:
        return self._unit(sources.reshape(len(sources), -1) - 0.5, self._source)

    def encode_targets(self, targets: Targets) -> Embeddings:
        return self._unit(np.nan_to_num(targets.reshape(len(targets), -1)) - 1, self._target)

    def describe_sources(self, sources: Sources) -> tuple[Embeddings, Features]:
        embeddings = self.encode_sources(sources)
        scores = sources.reshape(len(sources), -1) @ self._components
        return embeddings, np.concatenate([embeddings * 2, scores], axis=1)

    def _unit(self, flat: np.ndarray, matrix: np.ndarray) -> Embeddings:
        mapped = flat.astype(np.float32) @ matrix
        return mapped / np.linalg.norm(mapped, axis=1, keepdims=True)


@pytest.fixture
def cohort(make_cohort, rng):
    return make_cohort(SUBJECTS, rng=rng)


@pytest.fixture
def encoder(cohort):
    return WithFeatures(cohort)


@pytest.fixture
def database(tmp_path: Path, cohort, encoder):
    return EmbeddingDatabase.build(tmp_path / "db.lance", cohort, encoder, progress=False)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("excluded", [None, "S01"])
def test_the_weights_and_the_stored_maps_give_the_synthesis(cohort, encoder, database, readout, excluded) -> None:
    synthesizer = Synthesizer(encoder, database, readout=readout, stored=STORED)
    (synthesis,) = synthesizer.synthesize(cohort.read_sources([3]), [excluded])
    (part,) = synthesis.contributions
    maps = database.read_targets(database.rows_of(part.all_keys))
    summed = np.einsum("n,nrhw->rhw", part.all_weights, maps)
    np.testing.assert_allclose(summed, synthesis.image, atol=1e-4)
    assert float(part.all_weights.sum()) == pytest.approx(1, abs=1e-5)
    assert (part.all_weights.min() < 0) == (readout in ("linear", "blend"))
    assert not any(key.startswith(f"{excluded}/") for key in part.all_keys)
    assert 0 < part.shown_share <= 1 + 1e-6
    order = np.abs(part.weights)
    assert readout == "neighbors" or (np.diff(order) <= 1e-7).all()
    np.testing.assert_allclose(part.weights, part.all_weights[np.searchsorted(part.all_rows, part.neighbors.rows[0])]
                               if readout not in ("neighbors", "few") else part.all_weights, atol=1e-7)  # fmt: skip


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sets(st.integers(0, 7), min_size=1), st.booleans()), min_size=1, max_size=3))
def test_whoever_comes_or_goes_the_readout_is_that_of_a_fresh_database(tmp_path: Path, cohort, encoder, turns) -> None:
    """In each turn some people go who are there, and come who are not; the last four people stay."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    there = {f"S{number:02d}" for number in (0, 1, 2, 8, 9, 10, 11)}
    database = EmbeddingDatabase.build(folder / "db.lance", _of(cohort, there), encoder, progress=False)
    synthesizers = [Synthesizer(encoder, database, readout=readout, stored=STORED) for readout in READOUTS]
    source = cohort.read_sources([0])
    for people, purge in turns:
        for synthesizer in synthesizers:  # so that it has been fitted to what is about to change
            synthesizer.predict(source)
        named = {f"S{number:02d}" for number in people}
        if named - there:
            database.add(_of(cohort, named - there), encoder, progress=False)
        if named & there:
            database.remove(sorted(named & there), purge=purge)
        there ^= named
    fresh = EmbeddingDatabase.build(folder / "fresh.lance", _of(cohort, there), encoder, progress=False)
    for synthesizer in synthesizers:
        expected = Synthesizer(encoder, fresh, readout=synthesizer.readout.name, stored=STORED).predict(source)
        np.testing.assert_allclose(synthesizer.predict(source), expected, atol=1e-5)


def _of(cohort, people: set[str]):
    return cohort.select(np.flatnonzero(np.isin(cohort.subjects, sorted(people))))


@pytest.mark.parametrize("readout", ["linear", "blend", "attention", "few"])
def test_an_excluded_person_counts_no_more_than_one_who_was_never_there(
    tmp_path: Path, cohort, encoder, database, readout
) -> None:
    source = cohort.read_sources([0])
    answers = Synthesizer(encoder, database, readout=readout, stored=STORED)
    without = answers.predict(source, exclude_subjects=["S00"])
    rest = cohort.select(np.arange(2, 24))
    others = EmbeddingDatabase.build(tmp_path / "others.lance", rest, encoder, progress=False)
    never = Synthesizer(encoder, others, readout=readout, stored=STORED).predict(source)
    np.testing.assert_allclose(without, never, atol=1e-5)


@pytest.mark.parametrize("readout", READOUTS)
def test_a_database_on_disk_gives_what_one_in_memory_gives(cohort, encoder, database, readout) -> None:
    sources = cohort.read_sources()
    memory, disk = (
        Synthesizer(encoder, database, readout=readout, stored=STORED, memory_limit=limit).predict(sources)
        for limit in (1 << 30, 0)
    )
    np.testing.assert_allclose(disk, memory, atol=1e-5)


@pytest.mark.parametrize("n_few", [1, 3, 24, 10**12])
def test_few_people_come_as_near_to_the_regression_as_they_can(cohort, encoder, database, n_few) -> None:
    """They are found by going through all mixtures of a grid, of as many people."""
    sources = cohort.read_sources([3])
    few, linear = (
        Synthesizer(encoder, database, readout=readout, stored=STORED.model_copy(update={"n_few": n_few}))
        for readout in ("few", "linear")
    )
    (synthesis,), (wanted,) = (one.synthesize(sources, ["S01"]) for one in (few, linear))
    assert len(synthesis.contributions[0].all_keys) <= n_few
    assert synthesis.contributions[0].all_weights.min() > 0
    maps = database.read_targets(np.flatnonzero(database.is_other("S01")))
    gap = _distance(synthesis.image, wanted.image)
    singles = [_distance(one, wanted.image) for one in maps]
    assert gap <= min(singles) + 1e-5
    if n_few > 1:
        pairs = [_distance(a * x + (1 - a) * y, wanted.image) for a in (0.3, 0.5, 0.7) for x in maps for y in maps]
        assert gap <= min(pairs) * 1.05


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((one - other) ** 2)))


def test_attention_is_a_softmax_over_those_admitted() -> None:
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(3, 4)), rng.normal(size=(6, 4))
    admitted = np.array([True, False, True, True, True, True])[None].repeat(3, axis=0)
    weights = attention_weights(queries, keys, 0.5, admitted)
    raw = np.exp(queries @ keys.T / 0.5) * admitted
    np.testing.assert_allclose(weights, raw / raw.sum(axis=1, keepdims=True), atol=1e-5)
    assert (weights[:, 1] == 0).all()


def test_a_database_without_features_refuses_a_linear_readout(tmp_path: Path, cohort, projection_encoder) -> None:
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "plain.lance", cohort, encoder, progress=False)
    with pytest.raises(SettingsError, match="made without the sources of its entries; index again, or take"):
        Synthesizer(encoder, database, readout="linear", stored=STORED)


def test_a_readout_that_was_never_chosen_for_a_regression_is_refused(encoder, database) -> None:
    with pytest.raises(SettingsError, match="made without validation people to choose by"):
        Synthesizer(encoder, database, readout="blend")


def test_features_are_stored_checked_and_survive_a_purge(cohort, encoder, database) -> None:
    np.testing.assert_array_equal(database.features, encoder.describe_sources(cohort.read_sources())[1])
    database.remove(["S00"], purge=True)
    np.testing.assert_array_equal(database.features, encoder.describe_sources(cohort.read_sources(range(2, 24)))[1])
    assert database.verify().ok


class TestSettings:
    """What is asked for, laid over what was chosen."""

    def test_nothing_asked_for_is_what_was_chosen(self) -> None:
        assert SynthesisSettings().applied_to(STORED) == STORED

    def test_nothing_chosen_is_the_paper(self) -> None:
        readout = SynthesisSettings().applied_to(None)
        assert (readout.name, readout.n_neighbors, readout.weights) == ("neighbors", 20, "similarity")

    def test_a_number_of_neighbors_alone_is_the_way_of_the_paper(self) -> None:
        chosen = STORED.model_copy(update={"n_neighbors": 50, "weights": "softmax"})
        readout = SynthesisSettings(n_neighbors=20).applied_to(chosen)
        assert (readout.name, readout.n_neighbors, readout.weights) == ("neighbors", 20, "similarity")

    def test_neighbors_by_name_have_the_number_that_was_chosen(self) -> None:
        chosen = STORED.model_copy(update={"n_neighbors": 50})
        assert SynthesisSettings(readout="neighbors").applied_to(chosen).n_neighbors == 50

    def test_a_temperature_alone_is_that_of_the_readout_that_was_chosen(self) -> None:
        readout = SynthesisSettings(temperature=0.02).applied_to(STORED)
        assert (readout.name, readout.attention_temperature) == ("blend", 0.02)

    def test_neighbors_and_another_readout_contradict_each_other(self) -> None:
        with pytest.raises(SettingsError, match="the readout 'linear' has no number of neighbors"):
            SynthesisSettings(readout="linear", n_neighbors=5)

    def test_few_are_as_many_as_are_asked_for(self) -> None:
        assert SynthesisSettings(readout="few").applied_to(STORED).n_few == 20
        readout = SynthesisSettings(readout="few", n_neighbors=5).applied_to(STORED)
        assert (readout.name, readout.n_few, readout.n_neighbors) == ("few", 5, 20)

    def test_few_are_told_as_the_most_and_of_a_synthesis_as_they_are(self) -> None:
        few = SynthesisSettings(readout="few").applied_to(STORED)
        assert few.describe().startswith("at most 20 entries, by") and few.describe(13).startswith("13 entries, by")

    def test_few_have_no_weights_to_choose(self) -> None:
        with pytest.raises(SettingsError, match="the readout 'few' has no weights to choose; leave them out, or take"):
            SynthesisSettings(readout="few", weights="softmax")

    @pytest.mark.parametrize("name", ["linear", "few"])
    def test_a_temperature_of_a_readout_that_has_none_is_refused(self, name: ReadoutName) -> None:
        with pytest.raises(SettingsError, match=f"the readout '{name}' has no temperature; leave it out"):
            SynthesisSettings(readout=name, temperature=0.1)
        with pytest.raises(SettingsError, match=f"the readout '{name}' has no temperature; leave it out"):
            SynthesisSettings(temperature=0.1).applied_to(STORED.model_copy(update={"name": name}))

    @pytest.mark.parametrize("asked", [{"n_neighbors": 5}, {"weights": "uniform"}, {}])
    def test_a_temperature_of_weights_that_have_none_is_refused(self, asked: dict) -> None:
        stored = STORED.model_copy(update={"name": "neighbors", "weights": "similarity"})
        with pytest.raises(SettingsError, match=f"by '{asked.get('weights', 'similarity')}' have no temperature"):
            SynthesisSettings(temperature=0.1, **asked).applied_to(stored)
        assert SynthesisSettings(temperature=0.1, weights="softmax").applied_to(stored).temperature == 0.1

    @pytest.mark.parametrize("name", [name for name in READOUTS if name != STORED.name])
    def test_a_readout_that_was_asked_for_says_so_and_not_why_another_was_chosen(self, name: ReadoutName) -> None:
        assert (
            SynthesisSettings(readout=name).applied_to(STORED).reason == f"asked for; otherwise blend: {STORED.reason}"
        )
        assert SynthesisSettings(readout="blend").applied_to(STORED) == STORED

    def test_a_word_that_is_no_readout_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="readout is 'best'; give one of neighbors, attention, linear"):
            SynthesisSettings(readout="best")  # type: ignore[arg-type]


def _queries(encoder, cohort) -> Queries:
    sources = cohort.read_sources()
    return Queries(*encoder.describe_sources(sources), cohort.subjects.tolist())


def _without_features(encoder, cohort) -> Queries:
    return Queries(encoder.encode_sources(cohort.read_sources()), None, cohort.subjects.tolist())


def _mean_error(readout: Readout, encoder, database, asked) -> tuple[float, float]:
    """Error of a readout and of the mean map on other people, where all of them have a value."""
    found = Synthesizer(encoder, database, stored=readout).predict(asked.read_sources())[:, :, 2:]
    truth, known = asked.read_targets()[:, :, 2:], database.read_targets(np.arange(len(database)))[:, :, 2:]
    return float(np.abs(found - truth).mean()), float(np.abs(known.mean(axis=0) - truth).mean())


@pytest.mark.parametrize("n_asked", [30, 4], ids=["enough to choose by", "too few to choose by"])
def test_where_sources_tell_nothing_the_choice_is_no_worse_than_the_mean(
    make_cohort, rng, tmp_path: Path, n_asked: int
) -> None:
    known, asked, new = (
        make_cohort([f"{name}{i}" for i in range(count)], rng=rng, name=name)
        for name, count in (("train", 60), ("val", n_asked), ("test", 60))
    )
    encoder = WithFeatures(known)
    database = EmbeddingDatabase.build(tmp_path / "db.lance", known, encoder, progress=False)
    readout = choose_readout(_queries(encoder, asked), asked, database, database.gallery())
    error, mean_error = _mean_error(readout, encoder, database, new)
    assert error <= 1.005 * mean_error
    assert n_asked < 10 or readout.reason.endswith("; not better than the mean map")


@pytest.fixture
def linear_world(make_cohort, rng, tmp_path: Path):
    """An encoder and 60, 30 and 30 people, whose targets follow the components of their sources, and nothing else."""
    sources = rng.uniform(0, 1, (120, 1, 8, 8)).astype(np.float32)
    encoder = WithFeatures(make_cohort(["x", "y"], rng=rng, name="shape"))
    scores = encoder.describe_sources(sources)[1][:, 5:]
    targets = (2 + np.einsum("nq,qp->np", scores, rng.normal(size=(3, 128))) * 0.02).reshape(-1, 2, 8, 8)
    targets = targets.astype(np.float32)
    known, asked, new = (
        make_cohort(
            [f"{name}{i}" for i in range(*rows.indices(120))],
            **{"rng": rng, "name": name, "sources": sources[rows], "targets": targets[rows]},
        )
        for name, rows in (("train", slice(0, 60)), ("val", slice(60, 90)), ("test", slice(90, 120)))
    )
    database = EmbeddingDatabase.build(tmp_path / "db.lance", known, encoder, progress=False)
    return encoder, database, asked, new


def test_where_targets_follow_sources_linearly_the_regression_is_chosen(linear_world) -> None:
    encoder, database, asked, _ = linear_world
    readout = choose_readout(_queries(encoder, asked), asked, database, database.gallery())
    assert readout.name == "linear"
    assert "least MAE on 30 validation subjects" in readout.reason
    mean = database.read_targets(np.arange(60)).mean(axis=0)
    assert f", mean map {float(np.abs(asked.read_targets() - mean).mean()):.4g} mm" in readout.reason


def test_number_and_weights_of_neighbors_have_the_least_error_on_validation_people(linear_world) -> None:
    encoder, database, asked, _ = linear_world
    readout = choose_readout(_queries(encoder, asked), asked, database, database.gallery())

    def error(k: int, weights: str, temperature: float) -> float:
        found = Synthesizer(encoder, database, k, weights=weights, temperature=temperature).predict(
            asked.read_sources()
        )
        return float(np.abs(found - asked.read_targets()).mean())

    rules = [(k, "softmax", heat) for k in (5, 10, 20, 50, 100) for heat in (0.02, 0.05, 0.1)]
    errors = {rule: error(*rule) for rule in rules}
    best = min(errors, key=lambda rule: errors[rule])
    paper = min(
        float(np.abs(Synthesizer(encoder, database, k).predict(asked.read_sources()) - asked.read_targets()).mean())
        for k in (5, 10, 20, 50, 100)
    )
    assert errors[best] < paper
    assert (readout.n_neighbors, readout.weights, readout.temperature) == best


def test_a_readout_can_be_chosen_by_the_root_of_the_mean_square_of_each_person(linear_world) -> None:
    encoder, database, asked, _ = linear_world
    readout = choose_readout(_queries(encoder, asked), asked, database, database.gallery(), error_name="rmse")
    mean = database.read_targets(np.arange(60)).mean(axis=0)
    by_person = [float(np.sqrt(np.mean((target - mean) ** 2))) for target in asked.read_targets()]
    assert "least RMSE on 30 validation subjects" in readout.reason
    assert f", mean map {np.mean(by_person):.4g} mm" in readout.reason


def test_what_learning_does_not_better_is_left_to_pixels_alone(linear_world) -> None:
    encoder, database, asked, _ = linear_world
    readout = choose_readout(_queries(encoder, asked), asked, database, database.gallery())
    assert readout.penalties is not None and readout.penalties.learned is None
    assert readout.describe().endswith("of a linear regression from pixels alone")
    assert readout.reason.endswith("nothing learned is better than pixels alone by more than a standard error")


def test_with_too_few_validation_people_pixels_alone_still_beat_the_mean(linear_world) -> None:
    encoder, database, asked, new = linear_world
    few = asked.select(np.arange(2))
    readout = choose_readout(_queries(encoder, few), few, database, database.gallery())
    assert readout.reason.startswith(
        "2 validation subjects are too few to choose by (10 are needed): a regression from"
    )
    error, mean_error = _mean_error(readout, encoder, database, new)
    assert error < 0.1 * mean_error


def test_too_few_validation_people_leave_the_way_of_the_paper_where_pixels_are_unknown(
    tmp_path: Path, make_cohort, rng, cohort, projection_encoder
) -> None:
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "plain.lance", cohort, encoder, progress=False)
    asked = make_cohort(["V0", "V1"], rng=rng, name="val")
    readout = choose_readout(_without_features(encoder, asked), asked, database, database.gallery())
    assert readout.name == "neighbors" and readout.n_neighbors == 20
    assert readout.reason.startswith("2 validation subjects are too few to choose by")


def test_the_mean_map_that_a_choice_is_compared_with_leaves_out_the_own_targets(
    tmp_path: Path, make_cohort, rng
) -> None:
    asked = make_cohort([f"V{i}" for i in range(12)], rng=rng, name="val")
    encoder = WithFeatures(asked)
    database = EmbeddingDatabase.build(tmp_path / "db.lance", asked, encoder, progress=False)
    readout = choose_readout(_queries(encoder, asked), asked, database, database.gallery())
    targets = asked.read_targets()[:, database.atlas_mask]
    errors = [np.abs(np.delete(targets, i, axis=0).mean(axis=0) - targets[i]).mean() for i in range(12)]
    assert f"mean map {np.mean(errors):.4g} mm" in readout.reason


def test_a_database_of_validation_people_alone_still_gets_a_readout(make_cohort, rng, tmp_path: Path) -> None:
    asked = make_cohort([f"V{i}" for i in range(12)], rng=rng, name="val")
    encoder = WithFeatures(asked)
    database = EmbeddingDatabase.build(tmp_path / "db.lance", asked, encoder, progress=False)
    readout = choose_readout(_queries(encoder, asked), asked, database, database.gallery())
    assert readout.name in ("neighbors", "attention") and readout.penalties is None
