"""The numbers of a resample against scikit-learn, which gets the draws as weights of single images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    roc_auc_score,
)

from mris.evaluation.bootstrap import resample_counts
from mris.study import class_metrics


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    n_classes=st.integers(2, 5),
    n_subjects=st.integers(1, 30),
    n_scores=st.sampled_from([2, 4, 1000]),
)
def test_every_resample_gives_the_numbers_of_scikit_learn(
    seed: int, n_classes: int, n_subjects: int, n_scores: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_subjects), rng.integers(1, 5, n_subjects))
    truth, predicted = rng.integers(0, n_classes, (2, len(codes)))
    positive, scores = truth == 1, rng.integers(0, n_scores, len(codes)) / n_scores  # few scores make ties
    counts = resample_counts(n_subjects, 4, rng)
    confusion = class_metrics.confusion_matrices(truth, predicted, codes, counts, n_classes)
    ours = class_metrics.accuracy(confusion), class_metrics.balanced_accuracy(confusion)
    kappa = class_metrics.quadratic_kappa(confusion)
    recall, share = class_metrics.class_accuracies(confusion), class_metrics.class_shares(confusion)
    precision, area = class_metrics.ranking_metrics(positive, scores, codes, counts)
    labels = list(range(n_classes))
    for r in range(4):
        drawn = counts[r][codes].astype(int)
        kept = drawn > 0  # scikit-learn counts an image of weight 0 among the classes that are there
        t, p, w = truth[kept], predicted[kept], drawn[kept]
        np.testing.assert_array_equal(confusion[r], confusion_matrix(t, p, labels=labels, sample_weight=w))
        assert ours[0][r] == pytest.approx(accuracy_score(t, p, sample_weight=w))
        present = np.unique(t)
        for c in labels:
            assert share[r, c] == pytest.approx(w[t == c].sum() / w.sum())
            expected = accuracy_score(t[t == c], p[t == c], sample_weight=w[t == c]) if c in present else np.nan
            assert recall[r, c] == pytest.approx(expected, nan_ok=True)
        if len(present) < 2:
            assert np.isnan(kappa[r])
        else:
            assert ours[1][r] == pytest.approx(balanced_accuracy_score(t, p, sample_weight=w))
            expected = cohen_kappa_score(t, p, weights="quadratic", labels=labels, sample_weight=w)
            assert kappa[r] == pytest.approx(expected)
        if len(np.unique(positive[kept])) < 2:
            assert np.isnan([precision[r], area[r]]).all()
        else:
            y, s = positive[kept], scores[kept]
            assert precision[r] == pytest.approx(average_precision_score(y, s, sample_weight=w))
            assert area[r] == pytest.approx(roc_auc_score(y, s, sample_weight=w))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16))
def test_a_weight_is_the_same_as_an_image_written_down_that_often(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(8), 2)
    positive, scores = rng.random(16) < 0.4, rng.integers(0, 5, 16) / 5
    positive[:2] = True, False
    counts = resample_counts(8, 5, rng)
    counts[:, 0] = np.maximum(counts[:, 0], 1)
    fast = np.stack(class_metrics.ranking_metrics(positive, scores, codes, counts))
    for r in range(5):
        rows = np.repeat(np.arange(16), counts[r][codes])
        each_once = np.ones((1, len(rows)), dtype=np.uint16)
        written = class_metrics.ranking_metrics(positive[rows], scores[rows], np.arange(len(rows)), each_once)
        np.testing.assert_allclose(fast[:, r], np.concatenate(written))


def test_the_area_is_the_share_of_pairs_in_the_right_order_with_half_of_the_ties(rng: np.random.Generator) -> None:
    positive, scores = rng.random(40) < 0.3, rng.integers(0, 6, 40) / 6
    counts = resample_counts(40, 3, rng)
    _, area = class_metrics.ranking_metrics(positive, scores, np.arange(40), counts)
    for r in range(3):
        won = pairs = 0.0
        for i in np.flatnonzero(positive):
            for j in np.flatnonzero(~positive):
                weight = float(counts[r, i]) * float(counts[r, j])
                won += weight * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
                pairs += weight
        assert area[r] == pytest.approx(won / pairs)


@given(seed=st.integers(0, 2**16))
def test_only_the_order_of_the_scores_counts_and_turning_it_round_turns_the_area(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, scores = np.arange(20) % 3 == 0, rng.integers(-8, 8, 20).astype(float)
    counts, codes = resample_counts(20, 4, rng), np.arange(20)
    usual = np.stack(class_metrics.ranking_metrics(positive, scores, codes, counts))
    np.testing.assert_array_equal(
        np.stack(class_metrics.ranking_metrics(positive, 3 * scores + 7, codes, counts)), usual
    )
    _, turned = class_metrics.ranking_metrics(positive, -scores, codes, counts)
    np.testing.assert_allclose(turned, 1 - usual[1])


def test_equal_scores_give_the_base_rate_and_one_half(rng: np.random.Generator) -> None:
    positive = np.arange(50) < 10
    counts = resample_counts(50, 6, rng)
    precision, area = class_metrics.ranking_metrics(positive, np.full(50, 0.3), np.arange(50), counts)
    np.testing.assert_allclose(precision, counts[:, :10].sum(axis=1) / 50)
    np.testing.assert_allclose(area, 0.5)


def test_quadratic_kappa_forgives_a_neighboring_grade_more_than_a_far_one() -> None:
    near, far = np.diag([5.0, 5, 5, 5]), np.diag([5.0, 5, 5, 5])
    near[0, 1] = far[0, 3] = 4
    kappa = class_metrics.quadratic_kappa(np.stack([near, far]))
    assert 1 > kappa[0] > kappa[1]
    assert class_metrics.accuracy(near[None]) == class_metrics.accuracy(far[None])


def test_what_fits_into_no_block_gives_the_same_in_many(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.repeat(np.arange(10), 3)
    truth, predicted, scores = rng.integers(0, 2, 30), rng.integers(0, 2, 30), rng.random(30)
    counts = resample_counts(10, 25, rng)

    def numbers() -> tuple[np.ndarray, np.ndarray]:
        ranked = class_metrics.ranking_metrics(truth == 1, scores, codes, counts)
        return class_metrics.confusion_matrices(truth, predicted, codes, counts, 2), np.stack(ranked)

    whole = numbers()
    monkeypatch.setattr(class_metrics, "_BLOCK_BYTES", 8 * 70)
    for part, all_at_once in zip(numbers(), whole, strict=True):
        np.testing.assert_array_equal(part, all_at_once)
