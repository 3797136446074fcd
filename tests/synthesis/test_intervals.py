"""Intervals: calibrated by person, against plain loops; and what a bundle makes of a calibration split."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.cohort.training_subjects import TrainingSubjects, write_training_subjects
from mris.database.database import EmbeddingDatabase
from mris.errors import BundleError, SettingsError, SubjectLeakError
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.bundle import Bundle
from mris.synthesis.calibrate import calibrate
from mris.synthesis.calibration_record import STALE_SHARE, PeopleSample
from mris.synthesis.intervals import FACTORS, risk_curves, smallest_factor, strata_limits, width
from mris.synthesis.synthesizer import Synthesizer

TRAIN, CALIBRATION = 12, 40
SUBJECTS = [f"P{row // 2:02d}" for row in range(2 * (TRAIN + CALIBRATION))]
SPLITS = ["train"] * (2 * TRAIN) + ["calibration"] * (2 * CALIBRATION)


@pytest.fixture
def cohort(make_cohort, rng):
    return make_cohort(SUBJECTS, rng=rng, split=SPLITS)


@pytest.fixture
def bundle(tmp_path, cohort, export_linear):
    return build_bundle([export_linear(cohort)], cohort, tmp_path / "calibrated.bundle", progress=False)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([0.5, 0.8, 0.9]))
@settings(max_examples=40, deadline=None)
def test_a_factor_is_the_first_whose_corrected_miss_by_person_is_small_enough(seed, n_people, level):
    rng = np.random.default_rng(seed)
    people = np.concatenate([np.arange(n_people), rng.integers(0, n_people, 5)])
    ratios = rng.exponential(1, (len(people), 7))
    ratios[rng.random(ratios.shape) < 0.2] = np.nan
    found = smallest_factor(risk_curves(ratios, people), level)
    images: dict[int, list[list[float]]] = {}
    for person, line in zip(people.tolist(), ratios, strict=True):
        if known := [value for value in line.tolist() if not np.isnan(value)]:
            images.setdefault(person, []).append(known)

    def corrected(factor: float) -> float:
        missed = [[sum(value > factor for value in image) / len(image) for image in own] for own in images.values()]
        return (sum(sum(own) / len(own) for own in missed) + 1) / (len(missed) + 1)

    allowed = 1 - level + 1e-9
    place = len(FACTORS) if found is None else int(np.flatnonzero(found == FACTORS)[0])
    assert found is None or corrected(found) <= allowed
    assert place == 0 or corrected(float(FACTORS[place - 1])) > allowed


def test_of_one_number_a_person_a_factor_is_the_split_conformal_quantile(rng):
    scores = rng.exponential(1, 99)
    found = smallest_factor(risk_curves(scores[:, None], np.arange(99)), 0.9)
    quantile = np.sort(scores)[int(np.ceil(0.9 * 100)) - 1]
    assert quantile <= found <= quantile * 1.003


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(20, 200), level=st.sampled_from([0.5, 0.75, 0.9, 0.95]))
@settings(max_examples=15, deadline=None)
def test_of_one_number_a_person_a_factor_is_that_of_mapie(conformal_half_width, seed, n, level):
    errors = np.random.default_rng(seed).standard_normal(n)
    found = smallest_factor(risk_curves(np.abs(errors)[:, None], np.arange(n)), level)
    expected = conformal_half_width(errors, level)
    assert expected <= found <= expected * 1.003  # the next of the factors that are tried


@given(st.integers(0, 2**32 - 1), st.sampled_from([15, 30, 60]))
@settings(max_examples=10, deadline=None)
def test_new_exchangeable_people_are_missed_no_more_than_stated_on_average(seed, n_people):
    rng = np.random.default_rng(seed)
    covered = []
    for _ in range(100):
        own = rng.gamma(2, 1, n_people + 20)[:, None] * rng.exponential(1, (n_people + 20, 9))
        factor = smallest_factor(risk_curves(own[:n_people], np.arange(n_people)), 0.8)
        covered.append((own[n_people:] <= factor).mean())
    assert np.mean(covered) >= 0.8 - 1 / (n_people + 1) - 3 * np.std(covered) / 10


def test_too_few_people_have_no_factor():
    assert smallest_factor(risk_curves(np.full((8, 1), 1.0), np.arange(8)), 0.9) is None
    assert smallest_factor(risk_curves(np.full((9, 1), 1.0), np.arange(9)), 0.9) is not None


def test_no_stratum_has_fewer_than_thirty_people():
    means, people = np.arange(120.0), np.arange(120) // 2  # two images a person
    place = np.searchsorted(strata_limits(means, people), means, side="right")
    assert place.max() == 1
    assert all(len(set(people[place == stratum])) >= 30 for stratum in range(2))


def test_a_width_is_the_root_mean_square_of_usual_error_and_scaled_spread():
    assert width(np.float32([3.0, 3.0]), np.float32([2.0, 0.0]), 2.0) == pytest.approx(
        [np.sqrt((9 + 16) / 2), np.sqrt(9 / 2)]
    )


def test_a_map_has_bounds_and_its_whole_mean_where_none_of_the_nearest_has_a_value(
    make_cohort, projection_encoder, tmp_path, rng
):
    targets = rng.uniform(0.5, 3.0, (len(SUBJECTS), 1, 8, 8)).astype(np.float32)
    targets[1 : 2 * TRAIN, :, 3, 3] = np.nan  # of the database one map alone has a value there
    cohort = make_cohort(SUBJECTS, rng=rng, split=SPLITS, regions=["one"], targets=targets)
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "database.lance", cohort.split("train"), encoder, progress=False)
    synthesizer = Synthesizer(encoder, database, readout="attention")
    calibrated = calibrate(synthesizer, cohort)
    sources = cohort.split("calibration").read_sources()
    farthest = (encoder.encode_sources(sources) @ database.embeddings[0]).argmin()
    synthesis = synthesizer(sources[farthest])
    assert np.isfinite(synthesis.image).all() and not np.isfinite(synthesis.spread[0, 3, 3])
    half, facts = calibrated.intervals(synthesis.image, synthesis.spread, stale=False)
    assert np.isfinite(half).all()
    assert facts.means[0].mean == pytest.approx(synthesis.image.mean())


def test_a_synthesis_of_a_calibrated_bundle_has_bounds_round_its_image(bundle, cohort):
    source = cohort.split("calibration").read_sources([0])[0]
    (synthesis,) = bundle.synthesizer().stream([source])
    known = np.isfinite(synthesis.image)
    assert synthesis.level == 0.9 and not synthesis.stale
    assert (np.isfinite(synthesis.lower) == known).all()
    assert (synthesis.lower[known] < synthesis.image[known]).all()
    np.testing.assert_allclose(synthesis.upper + synthesis.lower, 2 * synthesis.image, rtol=1e-5)
    facts = synthesis.contributions[0].intervals
    assert (facts.split, facts.n_people, facts.n_strata) == ("calibration", CALIBRATION, 1)
    for mean, region in zip(facts.means, synthesis.image, strict=True):
        assert (mean.lower + mean.upper) / 2 == pytest.approx(np.nanmean(region), rel=1e-4)


def test_members_are_calibrated_each_and_their_bounds_stand_region_by_region(tmp_path, cohort, export_linear):
    folders = [export_linear(cohort, regions=[name], seed=seed, name=name) for seed, name in enumerate(cohort.regions)]
    separate = build_bundle(folders, cohort, tmp_path / "separate.bundle", progress=False)
    source = cohort.split("calibration").read_sources([0])
    (joined,) = separate.synthesizer().synthesize(source)
    parts = [member.synthesize(source)[0] for member in separate.synthesizer().members]
    np.testing.assert_array_equal(joined.lower, np.concatenate([part.lower for part in parts]))


def test_calibration_people_are_covered_as_stated(bundle, cohort):
    pairs = cohort.split("calibration")
    shares = []
    for subject, truth, synthesis in zip(
        pairs.subjects,
        pairs.read_targets(range(len(pairs))),
        bundle.synthesizer().stream(pairs.read_sources(range(len(pairs)))),
        strict=True,
    ):
        known = np.isfinite(truth) & np.isfinite(synthesis.lower)
        inside = (synthesis.lower <= truth) & (truth <= synthesis.upper)
        shares.append((subject, inside[known].mean()))
    assert np.mean([share for _, share in shares]) == pytest.approx(0.9, abs=0.04)


def test_another_readout_than_the_calibrated_one_has_no_interval(bundle, cohort):
    source = cohort.read_sources([0])[0]
    (synthesis,) = bundle.synthesizer(3).stream([source])
    assert synthesis.lower is None and synthesis.level is None


def test_a_bundle_without_people_to_calibrate_on_works_without_intervals(tmp_path, cohort, export_linear):
    split = np.where(cohort.splits == "calibration", "test", cohort.splits)
    bare = build_bundle([export_linear(cohort)], cohort.with_splits(split), tmp_path / "bare.bundle", progress=False)
    (synthesis,) = bare.synthesizer().stream([cohort.read_sources([0])[0]])
    assert bare.header.members[0].calibration is None
    assert (synthesis.lower, synthesis.upper, synthesis.level, synthesis.strangeness) == (None,) * 4


def test_validation_people_calibrate_where_there_is_no_such_split(tmp_path, cohort, export_linear):
    split = np.where(cohort.splits == "calibration", "val", cohort.splits)
    made = build_bundle([export_linear(cohort)], cohort.with_splits(split), tmp_path / "val.bundle", progress=False)
    assert made.header.members[0].calibration.split == "val"


def test_a_calibration_split_that_shares_a_person_with_training_is_refused(tmp_path, cohort, export_linear):
    encoder = export_linear(cohort)
    write_training_subjects(encoder, TrainingSubjects.of(["P00", f"P{TRAIN + 1}"]))
    told = f"the encoder was trained on 1 subject of the calibration people: P{TRAIN + 1}; index with the splits"
    with pytest.raises(SubjectLeakError, match=told):
        build_bundle([encoder], cohort, tmp_path / "b", progress=False)
    assert not (tmp_path / "b").exists()


def test_validation_people_whom_the_encoder_has_seen_choose_no_readout(tmp_path, cohort, export_linear):
    seen = str(cohort.split("calibration").subjects[0])
    split = np.where(cohort.subjects == seen, "val", cohort.splits)
    encoder = export_linear(cohort)
    write_training_subjects(encoder, TrainingSubjects.of([seen]))
    with pytest.raises(SubjectLeakError, match=f"trained on 1 subject of the validation people: {seen}; index with"):
        build_bundle([encoder], cohort.with_splits(split), tmp_path / "b", progress=False)


@given(st.integers(20, 2000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_the_share_of_people_who_came_or_went_is_known_whatever_their_number(n, gone, come):
    names = [f"S{i}" for i in range(n)]
    sample = PeopleSample.of(names)
    left, new = names[round(gone * n) :], [f"N{i}" for i in range(round(come * n))]
    true = max(n - len(left), len(new)) / n
    spread = math.sqrt((true + true**2) / 256)  # of the count of newcomers below the 256th least hash, over 256
    assert sample.changed([*new, *left]) == pytest.approx(true, abs=1e-9 if n <= 256 else 6 * spread + 0.02)


def test_a_database_of_as_many_other_people_makes_intervals_stale(bundle):
    record = bundle.header.members[0].calibration
    people = bundle.subjects.tolist()
    assert not record.is_stale(people)
    swapped = {name: f"new {name}" for name in sorted(set(people))[: len(set(people)) // 5]}
    assert record.is_stale([swapped.get(name, name) for name in people])
    before = record.model_copy(update={"people": None})  # of a bundle from before people were counted
    assert not before.is_stale([swapped.get(name, name) for name in people])


def test_a_database_that_changed_much_makes_intervals_stale(bundle, cohort):
    source = cohort.read_sources([2 * TRAIN])[0]
    one_in_ten = int(STALE_SHARE * 2 * TRAIN) + 1
    for removed, stale in ((0, False), (one_in_ten, True)):
        if removed:
            bundle.remove(sorted(set(bundle.subjects.tolist()))[:removed])
        (synthesis,) = bundle.synthesizer().stream([source])
        assert synthesis.stale == stale == synthesis.contributions[0].intervals.stale


def test_parts_of_regions_get_intervals_of_their_own(tmp_path, cohort, export_linear):
    height, breadth = cohort.header.target_shape[1:]
    upper = np.zeros((height, breadth), dtype=bool)
    upper[: height // 2] = True
    region = cohort.regions[0]
    made = build_bundle(
        [export_linear(cohort)], cohort, tmp_path / "b", parts={region: {"upper": upper}}, progress=False
    )
    (synthesis,) = made.synthesizer().stream([cohort.read_sources([0])[0]])
    mean = synthesis.contributions[0].intervals.means[1]
    assert (mean.region, mean.part) == (region, "upper")
    assert (mean.lower + mean.upper) / 2 == pytest.approx(np.nanmean(synthesis.image[0][upper]), rel=1e-4)


def test_parts_of_another_shape_are_refused_before_any_work(tmp_path, cohort, export_linear):
    wrong = {cohort.regions[0]: {"upper": np.ones((2, 3), dtype=bool)}}
    with pytest.raises(SettingsError, match=r"part 'upper' of region .* has \(2, 3\) pixels, but maps have"):
        build_bundle([export_linear(cohort)], cohort, tmp_path / "b", parts=wrong, progress=False)


def test_a_replaced_calibration_is_refused(bundle):
    (bundle.path / "members" / bundle.members[0].name / "calibration.npz").write_bytes(b"no")
    assert not bundle.verify().ok
    with pytest.raises(BundleError, match=r"calibration\.npz is not the file that was indexed"):
        Bundle.open(bundle.path).synthesizer()
