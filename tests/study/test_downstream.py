from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, cohen_kappa_score, recall_score, roc_auc_score

from mris.errors import CohortError, SettingsError
from mris.evaluation.bootstrap import percentile_interval, resample_counts, subject_codes
from mris.study.class_results import (
    BINARY_METRICS,
    CLASS_METRICS,
    MULTICLASS_METRICS,
    OVERALL_METRICS,
    chance_level,
    class_names_of,
    find_estimate,
)
from mris.study.downstream import ClassPredictions, compare_seeds, measure_classification, measure_seeds

GRADES = ("0-1", "2", "3", "4")
RISE = ("stays", "rises")


def knees(
    rng: np.random.Generator, names: tuple[str, ...] = GRADES, n_subjects: int = 40, skill: float = 1.5
) -> ClassPredictions:
    """Two knees a person; a classifier that is right more often than not."""
    n, c = 2 * n_subjects, len(names)
    truth = np.concatenate([np.arange(c), rng.integers(0, c, n - c)])
    logits = rng.normal(size=(n, c)) + skill * np.eye(c)[truth]
    return ClassPredictions(
        keys=tuple(f"S{i // 2:03d}/{'LR'[i % 2]}" for i in range(n)),
        subjects=tuple(f"S{i // 2:03d}" for i in range(n)),
        truth=truth,
        probabilities=np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        class_names=names,
    )


def answered(base: ClassPredictions, rng: np.random.Generator, skill: float = 1.0) -> ClassPredictions:
    """Another classifier's answers on the same knees."""
    c = len(base.class_names)
    logits = rng.normal(size=base.probabilities.shape) + skill * np.eye(c)[base.truth]
    return replace(base, probabilities=np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def relabeled(base: ClassPredictions, truth: np.ndarray) -> ClassPredictions:
    return replace(base, truth=truth)


def draws(predictions: ClassPredictions, rng: np.random.Generator, n_resamples: int = 60) -> np.ndarray:
    return resample_counts(len(set(predictions.subjects)), n_resamples, rng)


def _expected(predictions: ClassPredictions, weights: np.ndarray) -> dict[tuple[str, str], float]:
    truth, predicted, scores = predictions.truth, predictions.predicted, predictions.probabilities
    names = predictions.class_names
    labels = list(range(len(names)))
    recall = recall_score(truth, predicted, labels=labels, average=None, sample_weight=weights)
    found = {("class_accuracy", name): recall[c] for c, name in enumerate(names)}
    found |= {("share", name): weights[truth == c].sum() / weights.sum() for c, name in enumerate(names)}
    found["accuracy", ""] = weights[truth == predicted].sum() / weights.sum()
    found["balanced_accuracy", ""] = recall.mean()
    found["kappa", ""] = cohen_kappa_score(truth, predicted, weights="quadratic", sample_weight=weights)
    if len(names) == 2:
        found["average_precision", ""] = average_precision_score(truth, scores[:, 1], sample_weight=weights)
        found["roc_auc", ""] = roc_auc_score(truth, scores[:, 1], sample_weight=weights)
    else:
        areas = [roc_auc_score(truth == c, scores[:, c], sample_weight=weights) for c in labels]
        found["macro_roc_auc", ""] = float(np.mean(areas))
    return found


@pytest.mark.parametrize("names", [RISE, GRADES])
def test_values_and_intervals_are_those_of_scikit_learn_with_the_draws_as_weights(
    rng: np.random.Generator, names: tuple[str, ...]
) -> None:
    predictions = knees(rng, names)
    codes, _ = subject_codes(predictions.subjects)
    counts = draws(predictions, rng, 8)
    found = measure_classification(predictions, counts, confidence=0.8)
    value = _expected(predictions, np.ones(len(codes)))
    in_resamples = [_expected(predictions, row[codes].astype(float)) for row in counts]
    assert {(row.metric, row.class_name) for row in found} == set(value)
    for row in found:
        place = row.metric, row.class_name
        low, high = percentile_interval(np.array([[numbers[place]] for numbers in in_resamples]), 0.8)
        np.testing.assert_allclose([row.value, row.low, row.high], [value[place], low[0], high[0]])
        assert row.reason == ""


def test_the_metrics_are_those_that_the_task_has(rng: np.random.Generator) -> None:
    for names, own in ((RISE, BINARY_METRICS), (GRADES, MULTICLASS_METRICS)):
        predictions = knees(rng, names)
        found = measure_classification(predictions, draws(predictions, rng))
        of_classes = [metric for metric in CLASS_METRICS for _ in names]
        assert [row.metric for row in found] == [*OVERALL_METRICS, *own, *of_classes]
        assert class_names_of(found) == names


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), n_classes=st.integers(2, 4))
def test_accuracy_is_the_class_accuracies_weighted_by_the_class_shares(seed: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    predictions = knees(rng, GRADES[:n_classes], n_subjects=10)
    found = measure_classification(predictions, draws(predictions, rng, 5))
    parts = [
        find_estimate(found, "class_accuracy", name).value * find_estimate(found, "share", name).value
        for name in predictions.class_names
    ]
    assert find_estimate(found, "accuracy").value == pytest.approx(sum(parts))


def test_a_perfect_classifier_has_one_everywhere(rng: np.random.Generator) -> None:
    for names in (RISE, GRADES):
        base = knees(rng, names)
        perfect = replace(base, probabilities=np.eye(len(names))[base.truth])
        for row in measure_classification(perfect, draws(base, rng)):
            if row.metric != "share":
                assert (row.value, row.low, row.high) == (1.0, 1.0, 1.0)


def test_a_classifier_that_always_says_the_same_is_at_the_chance_level(rng: np.random.Generator) -> None:
    for names in (RISE, GRADES):
        base = knees(rng, names)
        common = np.bincount(base.truth).argmax()
        constant = replace(base, probabilities=np.tile(np.eye(len(names))[common], (len(base.keys), 1)))
        found = measure_classification(constant, draws(base, rng))
        for row in found:
            if row.metric not in CLASS_METRICS:
                assert row.value == pytest.approx(chance_level(found, row.metric), abs=1e-12), row.metric


def test_the_order_of_images_does_not_matter(rng: np.random.Generator) -> None:
    base = knees(rng)
    order = rng.permutation(len(base.keys))
    turned = ClassPredictions(
        tuple(base.keys[i] for i in order),
        tuple(base.subjects[i] for i in order),
        base.truth[order],
        base.probabilities[order],
        base.class_names,
    )
    counts = draws(base, rng)
    for one, other in zip(measure_classification(base, counts), measure_classification(turned, counts), strict=True):
        np.testing.assert_allclose([one.value, one.low, one.high], [other.value, other.low, other.high])


def test_more_images_of_the_same_people_narrow_no_interval_by_being_copies(rng: np.random.Generator) -> None:
    base = knees(rng, RISE)
    copies = ClassPredictions(
        tuple(f"{key}/{visit}" for visit in range(4) for key in base.keys),
        base.subjects * 4,
        np.tile(base.truth, 4),
        np.tile(base.probabilities, (4, 1)),
        base.class_names,
    )
    counts = draws(base, rng)
    for one, four in zip(measure_classification(base, counts), measure_classification(copies, counts), strict=True):
        np.testing.assert_allclose([four.value, four.low, four.high], [one.value, one.low, one.high])
        assert (four.n_images, four.n_subjects) == (4 * one.n_images, one.n_subjects)


def test_a_truth_in_eight_bits_does_not_overflow(rng: np.random.Generator) -> None:
    base = knees(rng, tuple(map(str, range(20))), n_subjects=60)
    counts = draws(base, rng)
    small = relabeled(base, base.truth.astype(np.uint8))
    assert repr(measure_classification(small, counts)) == repr(measure_classification(base, counts))


def test_images_and_people_of_a_class_are_counted(rng: np.random.Generator) -> None:
    base = knees(rng, n_subjects=20)
    found = measure_classification(base, draws(base, rng))
    assert (find_estimate(found, "kappa").n_images, find_estimate(found, "kappa").n_subjects) == (40, 20)
    for c, name in enumerate(GRADES):
        row = find_estimate(found, "class_accuracy", name)
        inside = base.truth == c
        people = {subject for subject, here in zip(base.subjects, inside, strict=True) if here}
        assert (row.n_images, row.n_subjects) == (inside.sum(), len(people))


def test_a_class_without_a_test_image_has_no_accuracy_and_the_others_stay(rng: np.random.Generator) -> None:
    base = knees(rng)
    without = relabeled(base, np.minimum(base.truth, 2))
    found = measure_classification(without, draws(base, rng))
    absent = find_estimate(found, "class_accuracy", "4")
    assert np.isnan([absent.value, absent.low, absent.high]).all()
    assert (absent.n_images, absent.reason) == (0, "no test image is of class '4'")
    assert find_estimate(found, "share", "4").value == 0
    present = [find_estimate(found, "class_accuracy", name).value for name in GRADES[:3]]
    assert find_estimate(found, "balanced_accuracy").value == pytest.approx(np.mean(present))
    assert np.isfinite(find_estimate(found, "macro_roc_auc").value)


def test_images_of_one_class_only_leave_agreement_and_ranking_without_a_value(rng: np.random.Generator) -> None:
    for names, own in ((RISE, BINARY_METRICS), (GRADES, MULTICLASS_METRICS)):
        base = knees(rng, names)
        found = measure_classification(relabeled(base, np.ones_like(base.truth)), draws(base, rng))
        for metric in ("kappa", *own):
            row = find_estimate(found, metric)
            assert np.isnan([row.value, row.low, row.high]).all()
            assert row.reason == f"all test images are of class {names[1]!r}"
        assert find_estimate(found, "accuracy").value == (base.predicted == 1).mean()


@pytest.mark.parametrize(("n_subjects", "who"), [(1, "1 subject"), (5, "5 subjects")])
def test_few_subjects_have_values_without_intervals(rng: np.random.Generator, n_subjects: int, who: str) -> None:
    base = replace(knees(rng, n_subjects=10), subjects=tuple(f"S{i % n_subjects}" for i in range(20)))
    found = measure_classification(base, draws(base, rng))
    for row in found:
        assert np.isfinite(row.value)
        assert np.isnan([row.low, row.high]).all()
        assert row.reason.endswith("; an interval needs 6")
    assert find_estimate(found, "accuracy").reason == f"all test images come from {who}; an interval needs 6"


def test_a_class_of_one_person_gives_no_interval_where_it_weighs_as_much_as_a_common_one(
    rng: np.random.Generator,
) -> None:
    base = knees(rng, RISE)
    truth = np.zeros_like(base.truth)
    truth[:2] = 1  # both knees of the first person
    found = measure_classification(relabeled(base, truth), draws(base, rng))
    for metric, class_name in (("class_accuracy", "rises"), ("roc_auc", ""), ("balanced_accuracy", "")):
        row = find_estimate(found, metric, class_name)
        assert np.isfinite(row.value)
        assert np.isnan([row.low, row.high]).all()
        assert row.reason == "all test images of class 'rises' come from 1 subject; an interval needs 6"
    assert np.isfinite(find_estimate(found, "accuracy").low)
    assert np.isfinite(find_estimate(found, "class_accuracy", "stays").low)


def test_resamples_that_mostly_miss_a_class_give_no_interval(rng: np.random.Generator) -> None:
    base = knees(rng, RISE, n_subjects=12)
    truth = np.zeros(24, dtype=np.int64)
    truth[:12:2] = 1  # one knee of each of the first six people, none of whom is drawn
    counts = np.tile(np.array([0] * 6 + [2] * 6, dtype=np.uint16), (9, 1))
    row = find_estimate(measure_classification(relabeled(base, truth), counts), "average_precision")
    assert np.isfinite(row.value)
    assert np.isnan(row.low)
    assert row.reason == "fewer than half of the resamples hold enough images"


@pytest.mark.parametrize("names", [RISE, GRADES])
def test_a_difference_is_paired_knee_by_knee_and_resample_by_resample(
    rng: np.random.Generator, names: tuple[str, ...]
) -> None:
    one = knees(rng, names)
    other = answered(one, rng)
    codes, _ = subject_codes(one.subjects)
    counts = draws(one, rng, 8)
    gaps = []
    for weights in (np.ones(len(codes)), *(row[codes].astype(float) for row in counts)):
        first, second = _expected(one, weights), _expected(other, weights)
        gaps.append({place: first[place] - second[place] for place in first})
    found = compare_seeds([one], [other], counts)
    assert {row.metric for row in found}.isdisjoint({"share"})
    for row in found:
        place = row.metric, row.class_name
        low, high = percentile_interval(np.array([[gap[place]] for gap in gaps[1:]]))
        np.testing.assert_allclose([row.value, row.low, row.high], [gaps[0][place], low[0], high[0]], atol=1e-12)


def test_a_classifier_does_not_differ_from_itself(rng: np.random.Generator) -> None:
    base = knees(rng)
    for row in compare_seeds([base], [base], draws(base, rng)):
        assert (row.value, row.low, row.high) == (0.0, 0.0, 0.0)


def test_turning_a_difference_round_turns_its_sign(rng: np.random.Generator) -> None:
    one = knees(rng)
    other, counts = answered(one, rng), draws(one, rng)
    there, back = compare_seeds([one], [other], counts), compare_seeds([other], [one], counts)
    for forth, turned in zip(there, back, strict=True):
        np.testing.assert_allclose([turned.value, turned.low, turned.high], [-forth.value, -forth.high, -forth.low])


def test_a_difference_that_does_not_exist_says_why(rng: np.random.Generator) -> None:
    one = relabeled(base := knees(rng), np.minimum(base.truth, 2))
    rows = compare_seeds([one], [answered(one, rng)], draws(one, rng))
    (absent,) = [row for row in rows if row.class_name == "4"]
    assert np.isnan(absent.value)
    assert absent.reason == "no test image is of class '4'"


def test_seeds_are_averaged_and_their_spread_is_told(rng: np.random.Generator) -> None:
    base = knees(rng)
    seeds = [base, answered(base, rng), answered(base, rng)]
    counts = draws(base, rng)
    single = [measure_classification(one, counts) for one in seeds]
    for i, spread in enumerate(measure_seeds(seeds, counts)):
        values = np.array([rows[i].value for rows in single])
        assert spread.mean.value == pytest.approx(values.mean())
        assert (spread.least, spread.greatest) == (values.min(), values.max())
        assert spread.sd == pytest.approx(np.std(values, ddof=1))
        assert spread.n_seeds == 3


def test_the_interval_of_the_mean_over_seeds_draws_the_same_people_for_all(rng: np.random.Generator) -> None:
    base = knees(rng)
    counts = draws(base, rng)
    (accuracy, *_) = measure_seeds([base] * 3, counts)
    (alone, *_) = measure_classification(base, counts)
    assert (accuracy.mean.low, accuracy.mean.high) == pytest.approx((alone.low, alone.high))
    assert accuracy.sd == pytest.approx(0, abs=1e-12)


def test_one_seed_has_no_spread(rng: np.random.Generator) -> None:
    base = knees(rng)
    assert all(np.isnan(spread.sd) for spread in measure_seeds([base], draws(base, rng)))


def test_a_difference_of_seeds_is_that_of_their_means(rng: np.random.Generator) -> None:
    base = knees(rng)
    ones, others = [base, answered(base, rng)], [answered(base, rng) for _ in range(3)]
    counts = draws(base, rng)
    means = [
        {(s.mean.metric, s.mean.class_name): s.mean.value for s in measure_seeds(p, counts)} for p in (ones, others)
    ]
    for row in compare_seeds(ones, others, counts):
        place = row.metric, row.class_name
        assert row.value == pytest.approx(means[0][place] - means[1][place])


def _swap(items: tuple[str, ...]) -> tuple[str, ...]:
    return (items[1], items[0], *items[2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: replace(p, keys=_swap(p.keys)), r"test image 0 is 'S000/L' for one classifier and 'S000/R' for"),
        (lambda p: replace(p, class_names=_swap(p.class_names)), r"knows the classes \('0-1', '2'.*compare classif"),
        (lambda p: replace(p, subjects=("S9", *p.subjects[1:])), "'S000/L' has subject S000 for one .* and S9 for"),
        (lambda p: relabeled(p, np.roll(p.truth, 1)), "'S000/L' has true class 0 for one classifier and . for the"),
        (
            lambda p: ClassPredictions(p.keys[:-1], p.subjects[:-1], p.truth[:-1], p.probabilities[:-1], p.class_names),
            "tested on 80 images, the other on 79",
        ),
    ],
)
def test_classifiers_of_other_images_are_not_compared(
    rng: np.random.Generator, change: Callable[[ClassPredictions], ClassPredictions], message: str
) -> None:
    base = knees(rng)
    base = relabeled(base, np.concatenate([[0, 1, 2, 3], base.truth[4:-1], [3]]))
    for compare in (
        lambda: compare_seeds([base], [change(base)], draws(base, rng)),
        lambda: measure_seeds([base, change(base)], draws(base, rng)),
    ):
        with pytest.raises(CohortError, match=message):
            compare()


@pytest.mark.parametrize("shape", [(3, 39), (0, 40), (40,)])
def test_counts_of_other_people_are_refused(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    base = knees(rng)
    with pytest.raises(SettingsError, match=r"do not fit test images of 40 subjects: .*resample_counts\(40, "):
        measure_classification(base, np.ones(shape, dtype=np.uint16))


def test_no_seed_is_refused_on_either_side(rng: np.random.Generator) -> None:
    base = knees(rng)
    counts = draws(base, rng)
    for attempt in (
        lambda: measure_seeds([], counts),
        lambda: compare_seeds([base], [], counts),
        lambda: compare_seeds([], [base], counts),
    ):
        with pytest.raises(SettingsError, match="no predictions"):
            attempt()


def test_a_confidence_in_percent_is_refused(rng: np.random.Generator) -> None:
    base = knees(rng)
    with pytest.raises(SettingsError, match="confidence 95"):
        measure_classification(base, draws(base, rng), confidence=95)


def test_a_metric_that_the_task_does_not_have_is_not_found(rng: np.random.Generator) -> None:
    base = knees(rng)
    found = measure_classification(base, draws(base, rng))
    with pytest.raises(CohortError, match="'average_precision'"):
        find_estimate(found, "average_precision")
    with pytest.raises(SettingsError, match="'share' has no chance level; those that have one: accuracy, "):
        chance_level(found, "share")
