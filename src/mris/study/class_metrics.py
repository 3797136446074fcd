"""Numbers of a classifier in every resample of subjects at once.

What depends on the predicted class alone follows from a confusion matrix, and the confusion matrix of a resample is the
sum of the subjects' own, each as often as the subject was drawn. What depends on the order of the scores (average
precision, area under the ROC curve) follows from sums along the sorted images, each weighted in the same way. Where a
number does not exist in a resample it is NaN.

scikit-learn has the same numbers, one resample a call: for 1,000 resamples of 750 images 50 to 350 times as long. It is
the oracle of the tests.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from mris.evaluation.bootstrap import ResampleCounts

_BLOCK_BYTES = 64 * 2**20


def confusion_matrices(
    truth: Int64[np.ndarray, " n"],
    predicted: Int64[np.ndarray, " n"],
    codes: Int64[np.ndarray, " n"],
    counts: ResampleCounts,
    n_classes: int,
) -> Float64[np.ndarray, "resamples c c"]:
    """Count the images of each true class (row) and predicted class (column) in each resample.

    Args:
        truth: (n,) true classes, from 0 to n_classes - 1.
        predicted: (n,) predicted classes in the same range.
        codes: (n,) number of each image's subject.
        counts: (resamples, subjects) how often each subject was drawn.
        n_classes: Number of classes c.

    Returns:
        (resamples, c, c) counts of images.

    Example:
        >>> drawn_twice = np.array([[0, 2]], dtype=np.uint16)
        >>> confusion_matrices(np.array([0, 1]), np.array([1, 1]), np.arange(2), drawn_twice, 2)[0].tolist()
        [[0.0, 0.0], [0.0, 2.0]]
    """
    n_subjects = counts.shape[1]
    own = np.zeros((n_subjects, n_classes * n_classes))
    np.add.at(own, (codes, truth * n_classes + predicted), 1.0)
    sums = np.empty((len(counts), n_classes * n_classes))
    block = max(1, _BLOCK_BYTES // (8 * n_subjects))
    for start in range(0, len(counts), block):
        sums[start : start + block] = counts[start : start + block].astype(np.float64) @ own
    return sums.reshape(-1, n_classes, n_classes)


def accuracy(confusion: Float64[np.ndarray, "resamples c c"]) -> Float64[np.ndarray, " resamples"]:
    """Return the share of images whose predicted class is the true one."""
    return _ratio(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2)))


def class_accuracies(confusion: Float64[np.ndarray, "resamples c c"]) -> Float64[np.ndarray, "resamples c"]:
    """Return the share of each class that is predicted as such (its recall); NaN where no image is of the class."""
    return _ratio(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))


def class_shares(confusion: Float64[np.ndarray, "resamples c c"]) -> Float64[np.ndarray, "resamples c"]:
    """Return the share of images that are of each class (its base rate)."""
    return _ratio(confusion.sum(axis=2), confusion.sum(axis=(1, 2))[:, None])


def balanced_accuracy(confusion: Float64[np.ndarray, "resamples c c"]) -> Float64[np.ndarray, " resamples"]:
    """Return the mean of the class accuracies over the classes that are there."""
    return mean_of_known(class_accuracies(confusion))


def quadratic_kappa(confusion: Float64[np.ndarray, "resamples c c"]) -> Float64[np.ndarray, " resamples"]:
    """Return Cohen's kappa of ordered classes with quadratic weights (Cohen 1968).

    kappa = 1 - sum_ij (i - j)^2 O_ij / sum_ij (i - j)^2 E_ij, with O the confusion matrix and E the one that the same
    rows and columns would give by chance. It is NaN where all images are of one true class, since then every classifier
    has 0, whatever it says.

    Args:
        confusion: (resamples, c, c) counts, true classes in rows.

    Returns:
        (resamples,) values of at most 1.

    Example:
        >>> float(quadratic_kappa(np.array([[[2.0, 0.0], [0.0, 3.0]]]))[0])
        1.0
    """
    places = np.arange(confusion.shape[1], dtype=np.float64)
    penalty = (places[:, None] - places[None, :]) ** 2
    rows, columns = confusion.sum(axis=2), confusion.sum(axis=1)
    observed = (confusion * penalty).sum(axis=(1, 2))
    by_chance = _ratio(np.einsum("ri,ij,rj->r", rows, penalty, columns), rows.sum(axis=1))
    kappa: Float64[np.ndarray, " resamples"] = 1.0 - _ratio(observed, by_chance)
    kappa[(rows > 0).sum(axis=1) < 2] = np.nan
    return kappa


def ranking_metrics(
    positive: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    codes: Int64[np.ndarray, " n"],
    counts: ResampleCounts,
) -> tuple[Float64[np.ndarray, " resamples"], Float64[np.ndarray, " resamples"]]:
    """Measure in each resample how well scores put the positive images first; equal scores are one step.

    Average precision is sum_k (R_k - R_(k-1)) P_k over the distinct scores, with precision P and recall R of all images
    that score at least as high. The area under the ROC curve is the chance that a positive image scores higher than a
    negative one, half of the ties included.

    Args:
        positive: (n,) images of the positive class.
        scores: (n,) finite scores, higher for a surer positive.
        codes: (n,) number of each image's subject.
        counts: (resamples, subjects) how often each subject was drawn.

    Returns:
        (resamples,) average precision and (resamples,) area under the ROC curve, in [0, 1]; NaN where a resample holds
        positive or negative images only.

    Example:
        >>> each_once = np.ones((1, 3), dtype=np.uint16)
        >>> ranking_metrics(np.array([True, False, True]), np.array([0.9, 0.5, 0.1]), np.arange(3), each_once)
        (array([0.83333333]), array([0.5]))
    """
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    is_positive, drawn_as = positive[order], codes[order]
    precision_mean, area = np.full((2, len(counts)), np.nan)
    block = max(1, _BLOCK_BYTES // (8 * len(scores)))
    for start in range(0, len(counts), block):
        part = slice(start, start + block)
        weights = counts[part][:, drawn_as].astype(np.float64)
        true = np.cumsum(weights * is_positive, axis=1)[:, last_of_tie]
        false = np.cumsum(weights * ~is_positive, axis=1)[:, last_of_tie]
        precision = np.divide(true, true + false, out=np.zeros_like(true), where=true + false > 0)
        true_step, false_step = np.diff(true, axis=1, prepend=0.0), np.diff(false, axis=1, prepend=0.0)
        n_true, n_false = true[:, -1], false[:, -1]
        both = (n_true > 0) & (n_false > 0)
        won = (false_step * (true - true_step / 2)).sum(axis=1)
        np.divide((true_step * precision).sum(axis=1), n_true, out=precision_mean[part], where=both)
        np.divide(won, n_true * n_false, out=area[part], where=both)
    return precision_mean, area


def mean_of_known(values: Float64[np.ndarray, "resamples c"]) -> Float64[np.ndarray, " resamples"]:
    """Return the mean of each row over its finite values; NaN where there is none."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _ratio(part: Float64[np.ndarray, "*shape"], whole: Float64[np.ndarray, "*wider"]) -> Float64[np.ndarray, "*shape"]:
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=np.broadcast_to(whole, part.shape) != 0)
    return ratio
