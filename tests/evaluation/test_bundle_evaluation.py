import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mris.baselines.mean_map import MeanMap
from mris.cohort.cohort import Cohort
from mris.cohort.training_subjects import TrainingSubjects
from mris.database.build import build_entries, commit_first
from mris.database.changes import Writable
from mris.database.database import EmbeddingDatabase
from mris.errors import BundleError, CohortError, SettingsError, SubjectLeakError
from mris.evaluation.bundle_evaluation import evaluate_bundle, queried_subjects
from mris.evaluation.evaluate import Evaluation, evaluate
from mris.evaluation.image_error import METRICS
from mris.evaluation.predictor import SynthesizerPredictor
from mris.evaluation.results import Cost
from mris.synthesis.bundle import Bundle, Member
from mris.synthesis.readouts import SynthesisSettings
from mris.types import Embeddings, Sources, Targets

CheapBundle = Callable[..., Bundle]


class PixelEncoder:
    """Embeds the pixels of a source and of a target by fixed random directions; knows how its cohort was prepared."""

    def __init__(self, cohort: Cohort, regions: Sequence[str], seed: int) -> None:
        header, rng = cohort.header, np.random.default_rng(seed)
        self.regions, self.fingerprint, self.folder = tuple(regions), f"{seed:064x}", Path("encoder")
        self.training_subjects = TrainingSubjects.of(cohort.split("train").subjects)
        self._source = rng.normal(size=(int(np.prod(header.source_shape)), 12)).astype(np.float32)
        self._target = rng.normal(size=(len(regions) * int(np.prod(header.target_shape[1:])), 12)).astype(np.float32)
        self.card = SimpleNamespace(
            regions=self.regions,
            source_shape=header.source_shape,
            preparation=header.source,
            target_shape=(len(regions), *header.target_shape[1:]),
            unit=header.unit,
        )

    def encode_sources(self, sources: Sources) -> Embeddings:
        return self._unit(sources - np.float32(0.5), self._source)

    def encode_targets(self, targets: Targets) -> Embeddings:
        return self._unit(np.nan_to_num(targets - np.float32(2)), self._target)

    @staticmethod
    def _unit(images: np.ndarray, matrix: np.ndarray) -> Embeddings:
        vectors = images.reshape(len(images), -1) @ matrix
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def bundle_of(knees: Cohort, tmp_path_factory: pytest.TempPathFactory) -> CheapBundle:
    """Make an open bundle with a member for each tuple of regions, without networks."""

    def make(*members: Sequence[str], seed: int = 0) -> Bundle:
        folder, training = tmp_path_factory.mktemp("bundle"), knees.split("train")
        encoders = {str(i): PixelEncoder(knees, regions, seed + i) for i, regions in enumerate(members)}
        states = {}
        for name, encoder in encoders.items():
            (folder / name).mkdir()
            states[name] = build_entries(folder / name, training, encoder, batch_size=64, progress=False)
        commit = commit_first(folder, states)
        opened = [
            Member("_".join(encoder.regions), encoder, EmbeddingDatabase.of_folder(folder, name, commit))  # type: ignore[arg-type]
            for name, encoder in encoders.items()
        ]
        plain = [SimpleNamespace(readout=None, calibration=None)] * len(opened)
        header = SimpleNamespace(id="bundle", origin="unknown", members=plain)
        return Bundle(folder, header, tuple(opened))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="module")
def combined(bundle_of: CheapBundle) -> Bundle:
    return bundle_of(("femoral", "tibial"))


@pytest.fixture(scope="module")
def separate(bundle_of: CheapBundle) -> Bundle:
    return bundle_of(("tibial",), ("femoral",), seed=7)


@pytest.fixture(scope="module")
def evaluation(knees: Cohort, combined: Bundle, separate: Bundle) -> Evaluation:
    return evaluate_bundle(
        combined,
        knees,
        name="MRIS-C",
        bundles={"MRIS-S": separate},
        others={"still": MeanMap.fit(knees.split("train"))},
        costs={"MRIS-S": Cost(n_parameters=24)},
        synthesis=SynthesisSettings(5),
        n_bootstrap=20,
        progress=False,
    )


def test_all_methods_stand_in_one_report_in_the_order_they_were_given(evaluation: Evaluation) -> None:
    names = [method.name for method in evaluation.results.methods]
    assert names == ["MRIS-C", "MRIS-S", "still", "mean map", "PCA k-NN", "PCA ridge"]
    assert [method.n_parameters for method in evaluation.results.methods] == [None, 24, None, None, None, None]
    pairs = {(row.method, row.reference) for row in evaluation.results.differences}
    assert ("MRIS-C", "MRIS-S") in pairs and ("MRIS-S", "still") in pairs
    still, mean = (evaluation.results.estimate(name, "rmse").value for name in ("still", "mean map"))
    assert still == mean


def elsewhere(work, items):
    """An engine that gives each item to a copy of the work that knows of no other, as workers of a cluster do."""
    for item in items:
        yield from pickle.loads(pickle.dumps(work))(item)  # noqa: S301 - our own


def test_copies_that_know_nothing_of_each_other_measure_the_same(evaluation: Evaluation, knees, combined, separate):
    asked = {"name": "MRIS-C", "bundles": {"MRIS-S": separate}, "costs": {"MRIS-S": Cost(n_parameters=24)}}
    still = {"still": MeanMap.fit(knees.split("train"))}
    settings = {"synthesis": SynthesisSettings(5), "n_bootstrap": 20, "progress": False}
    found = evaluate_bundle(combined, knees, **asked, others=still, **settings, engine=elsewhere)
    np.testing.assert_array_equal(found.per_image.values, evaluation.per_image.values)
    np.testing.assert_array_equal(found.error_maps.signed, evaluation.error_maps.signed)
    for name in ("estimates", "differences", "recalls", "intervals"):
        assert getattr(found.results, name) == getattr(evaluation.results, name), name


def test_every_encoder_of_every_bundle_is_audited_for_sites_where_asked(
    knees: Cohort, combined: Bundle, separate: Bundle
) -> None:
    results = evaluate_bundle(
        combined, knees, bundles={"S": separate}, site="site", references=False, n_bootstrap=10, progress=False
    ).results
    assert results.site_audit is not None
    assert results.site_audit.encoders == ("MRIS", "S tibial", "S femoral")
    assert {row.n_queries for row in results.site_audit.recalls} == {results.recalls[0].n_queries}
    with pytest.raises(CohortError, match="has no label 'clinic'"):
        evaluate_bundle(combined, knees, site="clinic", progress=False)


def test_a_bundle_gives_its_reason_unless_a_readout_was_asked_for(
    knees: Cohort, combined: Bundle, evaluation: Evaluation
) -> None:
    own = evaluate_bundle(combined, knees, references=False, n_bootstrap=10, progress=False).results
    assert own.settings.reasons == {"MRIS": "the numbers of the paper"}
    assert [row.method for row in own.people_shown] == ["MRIS"]
    assert evaluation.results.settings.reasons == {}


def test_each_bundle_has_the_numbers_it_has_alone(evaluation: Evaluation, knees: Cohort, separate: Bundle) -> None:
    alone = evaluate(
        {"it": SynthesizerPredictor(separate.synthesizer(5), knees.regions)},
        knees.split("test"),
        training=knees.split("train"),
        n_bootstrap=20,
        progress=False,
    )
    np.testing.assert_allclose(alone.per_image.values[0], evaluation.per_image.values[1], atol=1e-6)


def test_every_encoder_of_every_bundle_has_its_recall_over_one_gallery(
    evaluation: Evaluation, knees: Cohort, separate: Bundle
) -> None:
    rows = [row for row in evaluation.results.recalls if row.k == 5]
    assert [(row.encoder, row.regions) for row in rows] == [
        ("MRIS-C", ("femoral", "tibial")),
        ("MRIS-S tibial", ("tibial",)),
        ("MRIS-S femoral", ("femoral",)),
    ]
    test = knees.split("test")
    queries = np.flatnonzero(test.is_baseline)
    assert {(row.n_queries, row.gallery_size) for row in rows} == {(len(queries), len(queries))}
    assert {row.chance for row in rows} == {5 / len(queries)}
    encoder = separate.members[0].encoder
    sources = encoder.encode_sources(test.read_sources(queries))
    targets = encoder.encode_targets(test.read_targets(queries, regions=["tibial"]))
    hits = [sum(source @ targets.T >= source @ own - 1e-6) <= 5 for source, own in zip(sources, targets, strict=True)]
    assert rows[1].value == pytest.approx(np.mean(hits))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "  "}, "a method has the empty name '  '; name each method"),
        ({"others": {"": None}}, "a method has the empty name ''"),
        ({"others": {"MRIS": None}}, "two methods are named 'MRIS'; their numbers could not be told apart"),
        ({"others": {"mean map": None}}, "two methods are named 'mean map'"),
        ({"name": "S", "bundles": {"S": None}}, "two methods are named 'S'"),
    ],
)
def test_names_that_a_table_cannot_tell_apart_are_refused(
    knees: Cohort, combined: Bundle, settings, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        evaluate_bundle(combined, knees, progress=False, **settings)


def test_a_reference_may_have_its_name_taken_when_it_is_left_out(knees: Cohort, combined: Bundle) -> None:
    mean = {"mean map": MeanMap.fit(knees.split("train"))}
    evaluation = evaluate_bundle(combined, knees, others=mean, references=False, n_bootstrap=5, progress=False)
    assert [method.name for method in evaluation.results.methods] == ["MRIS", "mean map"]


def test_encoders_of_two_bundles_that_would_share_a_name_are_refused(
    knees: Cohort, combined: Bundle, separate: Bundle
) -> None:
    with pytest.raises(SettingsError, match="two encoders are named 'S tibial'"):
        evaluate_bundle(separate, knees, name="S", bundles={"S tibial": combined}, progress=False)


def test_a_second_bundle_of_another_preparation_is_refused(
    knees: Cohort, combined: Bundle, bundle_of: CheapBundle
) -> None:
    other = bundle_of(("femoral", "tibial"))
    other.members[0].encoder.card.unit = "cm"  # type: ignore[misc]
    with pytest.raises(BundleError, match="differ in unit: cm and mm"):
        evaluate_bundle(combined, knees, bundles={"other": other}, progress=False)


def test_a_bundle_that_lacks_a_region_is_refused(knees: Cohort, combined: Bundle, bundle_of: CheapBundle) -> None:
    with pytest.raises(SettingsError, match="gives femoral, but the cohort also has tibial"):
        evaluate_bundle(
            combined, knees, bundles={"femur": bundle_of(("femoral",))}, references=False, n_bootstrap=5, progress=False
        )


def test_queries_of_people_whom_a_bundle_was_trained_on_are_refused_by_name(
    knees: Cohort, combined: Bundle, bundle_of: CheapBundle
) -> None:
    """The same pairs under other splits: no subject is in two of them, and yet the encoders know the queries."""
    swapped = np.where(knees.splits == "train", "test", np.where(knees.splits == "test", "train", knees.splits))
    others = knees.with_splits(swapped)
    seen = sorted(set(knees.split("train").subjects.tolist()))
    message = f"bundle 'MRIS' was made with training pairs of {len(seen)} subjects of the queries: {seen[0]}, {seen[1]}"
    with pytest.raises(SubjectLeakError, match=message):
        evaluate_bundle(combined, others, references=False, progress=False)


class TrainedMean:
    """The mean map of a cohort, which says whom it was averaged over, or does not know."""

    def __init__(self, knees: Cohort, training_subjects: TrainingSubjects | None) -> None:
        self._mean, self.training_subjects = MeanMap.fit(knees.split("train")), training_subjects

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        return self._mean.predict(sources, subjects=subjects)


def test_queries_of_people_whom_another_method_was_trained_on_are_refused_in_the_same_words(
    knees: Cohort, combined: Bundle
) -> None:
    seen = sorted(set(knees.split("test").subjects.tolist()))[1]
    leaky = TrainedMean(knees, TrainingSubjects.of([seen, *knees.split("train").subjects.tolist()]))
    message = (
        f"method 'mean' was made with training pairs of 1 subject of the queries: {seen}; evaluate it on the splits"
    )
    with pytest.raises(SubjectLeakError, match=message):
        evaluate_bundle(combined, knees, others={"mean": leaky}, references=False, progress=False)


def test_a_method_that_saw_only_others_or_does_not_know_whom_is_judged(knees: Cohort, combined: Bundle) -> None:
    others = {
        "saw others": TrainedMean(knees, TrainingSubjects.of(knees.split("train").subjects.tolist())),
        "does not know": TrainedMean(knees, None),
    }
    evaluation = evaluate_bundle(combined, knees, others=others, references=False, n_bootstrap=5, progress=False)
    assert [method.name for method in evaluation.results.methods] == ["MRIS", *others]


def test_a_removed_person_whom_the_encoder_was_trained_on_still_is_no_query(
    knees: Cohort, bundle_of: CheapBundle
) -> None:
    bundle, seen = bundle_of(("femoral", "tibial")), sorted(set(knees.split("train").subjects.tolist()))
    Writable(bundle.path).remove(seen[:1], purge=True)
    bundle.refresh()
    assert seen[0] not in bundle.subjects
    others = knees.with_splits(np.where(knees.subjects == seen[0], "test", "train"))
    with pytest.raises(SubjectLeakError, match=f"of 1 subject of the queries: {seen[0]}"):
        evaluate_bundle(bundle, others, references=False, progress=False)


def test_people_added_to_a_bundle_after_training_may_be_queries_and_never_answer_themselves(
    knees: Cohort, bundle_of: CheapBundle
) -> None:
    bundle, test = bundle_of(("femoral", "tibial")), knees.split("test")
    assert queried_subjects(bundle, test) == frozenset()
    Writable(bundle.path).add(test, {member.database.folder: member.encoder for member in bundle.members})
    bundle.refresh()
    assert queried_subjects(bundle, test) == set(test.subjects.tolist())
    nearest = SynthesisSettings(1)
    evaluation = evaluate_bundle(bundle, knees, references=False, synthesis=nearest, n_bootstrap=5, progress=False)
    assert evaluation.results.cohort.n_images == len(test)
    assert (evaluation.per_image.values[..., METRICS.index("mae")] > 0.01).all(), "its own map would have error 0"
