"""What a classifier still reads from synthesized targets: its numbers on test images, with intervals by subject.

Classes are ordered (grades), so agreement is also measured by quadratic kappa. In a task of two classes the second one
is the positive one, and its ranking is measured too. Training of classifiers is not in here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from jaxtyping import Float64, Int64

from mris.defaults import CONFIDENCE, N_RESAMPLES
from mris.errors import SettingsError
from mris.evaluation.bootstrap import MIN_SUBJECTS, ResampleCounts, percentile_interval, subject_codes
from mris.study import class_metrics
from mris.study.class_predictions import ClassPredictions, check_same_images
from mris.study.class_results import BINARY_METRICS, MULTICLASS_METRICS, OVERALL_METRICS, ClassEstimate, SeedSpread
from mris.wording import counted

__all__ = [
    "ClassEstimate",
    "ClassPredictions",
    "SeedSpread",
    "compare_seeds",
    "measure_classification",
    "measure_seeds",
]


def measure_classification(
    predictions: ClassPredictions, counts: ResampleCounts, confidence: float = CONFIDENCE
) -> tuple[ClassEstimate, ...]:
    """Measure a classifier on its test images, with intervals by subject.

    Balanced accuracy and the one-vs-rest area are means over the classes that a resample holds. The ends of an interval
    are NaN where the images, or for metrics that give every class the same weight those of one class, come from fewer
    than `MIN_SUBJECTS` people.

    Args:
        predictions: The classifier's answers.
        counts: (resamples, subjects) how often each subject was drawn; subjects in the order of
            `mris.evaluation.bootstrap.subject_codes`.
        confidence: Share of resamples inside an interval.

    Returns:
        Metrics of all classes, then class accuracies, then class shares. A metric that does not exist on these images
        (a class without an image, images of one class only) is NaN and says why.

    Raises:
        SettingsError: The counts are not those of these subjects, or the confidence is out of range.

    Example:
        >>> answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
        >>> answers = ClassPredictions(("a", "b", "c"), ("S1", "S2", "S3"), np.array([0, 1, 0]), answers, ("no", "yes"))
        >>> found = measure_classification(answers, np.ones((1, 3), dtype=np.uint16))
        >>> [(row.metric, round(row.value, 3)) for row in found[:4]]
        [('accuracy', 0.667), ('balanced_accuracy', 0.75), ('kappa', 0.4), ('average_precision', 1.0)]
    """
    return tuple(spread.mean for spread in measure_seeds([predictions], counts, confidence))


def measure_seeds(
    seeds: Sequence[ClassPredictions], counts: ResampleCounts, confidence: float = CONFIDENCE
) -> tuple[SeedSpread, ...]:
    """Average a classifier's metrics over seeds of its training, and give their spread.

    Args:
        seeds: The answers of one training each, on the same images.
        counts: (resamples, subjects) how often each subject was drawn.
        confidence: Share of resamples inside an interval.

    Returns:
        The metrics of `measure_classification` in the same order. An interval covers other people, not other seeds.

    Raises:
        CohortError: The seeds were not tested on the same images.
        SettingsError: There is no seed, the counts are not those of these subjects, or the confidence is out of range.
    """
    measured = _measure(seeds, counts)
    means, (low, high) = measured.values.mean(axis=0), _interval(measured.resampled, measured.columns, confidence)
    sd = measured.values.std(axis=0, ddof=1) if len(seeds) > 1 else np.full(len(means), nan)
    return tuple(
        SeedSpread(
            ClassEstimate(column.metric, column.class_name, *_numbers(column, means[i], low[i], high[i])),
            least=float(measured.values[:, i].min()),
            greatest=float(measured.values[:, i].max()),
            sd=float(sd[i]),
            n_seeds=len(seeds),
        )
        for i, column in enumerate(measured.columns)
    )


def compare_seeds(
    ones: Sequence[ClassPredictions],
    others: Sequence[ClassPredictions],
    counts: ResampleCounts,
    confidence: float = CONFIDENCE,
) -> tuple[ClassEstimate, ...]:
    """Subtract the mean over another classifier's seeds from the mean over those of one.

    Args:
        ones: The first classifier's answers, one training each.
        others: The other's, on the same images; the number of seeds may differ.
        counts: (resamples, subjects) how often each subject was drawn.
        confidence: Share of resamples inside an interval.

    Returns:
        Differences in the order of `measure_classification`, without the class shares, which are the same for both.

    Raises:
        CohortError: They were not tested on the same images.
        SettingsError: A side has no seed, the counts are not those of these subjects, or the confidence is out of
            range.
    """
    _check_seeds([*ones, *others])
    first, second = _measure(ones, counts), _measure(others, counts)
    gaps = first.values.mean(axis=0) - second.values.mean(axis=0)
    low, high = _interval(first.resampled - second.resampled, first.columns, confidence)
    return tuple(
        ClassEstimate(column.metric, column.class_name, *_numbers(column, gaps[i], low[i], high[i]))
        for i, column in enumerate(first.columns)
        if column.metric != "share"
    )


@dataclass(frozen=True)
class _Column:
    """A metric as a column of numbers: what it is called, how much stands behind it, and what it lacks."""

    metric: str
    class_name: str
    n_images: int
    n_subjects: int
    no_value: str
    no_interval: str


@dataclass(frozen=True)
class _Measured:
    columns: tuple[_Column, ...]
    values: Float64[np.ndarray, "seeds columns"]
    resampled: Float64[np.ndarray, "resamples columns"]


def _check_seeds(seeds: Sequence[ClassPredictions]) -> None:
    if not seeds:
        raise SettingsError("no predictions: give those of one training at least")
    for other in seeds[1:]:
        check_same_images(seeds[0], other)


def _measure(seeds: Sequence[ClassPredictions], counts: ResampleCounts) -> _Measured:
    _check_seeds(seeds)
    codes, n_subjects = subject_codes(seeds[0].subjects)
    if counts.ndim != 2 or counts.shape[1] != n_subjects or len(counts) == 0:
        raise SettingsError(
            f"resample counts of shape {counts.shape} do not fit test images of {n_subjects} subjects: "
            f"draw them with resample_counts({n_subjects}, {N_RESAMPLES}, rng)"
        )
    once = np.ones((1, n_subjects), dtype=np.uint16)
    values = np.concatenate([_resample(predictions, codes, once) for predictions in seeds])
    resampled = np.mean([_resample(predictions, codes, counts) for predictions in seeds], axis=0)
    return _Measured(_columns(seeds[0], codes), values, resampled)


def _resample(
    predictions: ClassPredictions, codes: Int64[np.ndarray, " n"], counts: ResampleCounts
) -> Float64[np.ndarray, "resamples columns"]:
    """Compute every metric in each resample, in the order of `_columns`."""
    n_classes, truth = len(predictions.class_names), predictions.truth.astype(np.int64)  # small types would overflow
    confusion = class_metrics.confusion_matrices(truth, predictions.predicted, codes, counts, n_classes)
    ranked = [
        class_metrics.ranking_metrics(truth == place, predictions.probabilities[:, place], codes, counts)
        for place in ([1] if n_classes == 2 else range(n_classes))
    ]
    if n_classes == 2:
        ranking = list(ranked[0])
    else:
        ranking = [class_metrics.mean_of_known(np.stack([area for _, area in ranked], axis=1))]
    overall = [
        class_metrics.accuracy(confusion),
        class_metrics.balanced_accuracy(confusion),
        class_metrics.quadratic_kappa(confusion),
        *ranking,
    ]
    by_class = [class_metrics.class_accuracies(confusion), class_metrics.class_shares(confusion)]
    return np.concatenate([np.stack(overall, axis=1), *by_class], axis=1)


def _columns(predictions: ClassPredictions, codes: Int64[np.ndarray, " n"]) -> tuple[_Column, ...]:
    names = predictions.class_names
    n_images, n_subjects = len(codes), len(np.unique(codes))
    images = [int((predictions.truth == place).sum()) for place in range(len(names))]
    people = [len(np.unique(codes[predictions.truth == place])) for place in range(len(names))]
    present = [place for place in range(len(names)) if images[place]]
    one_class = "" if len(present) > 1 else f"all test images are of class {names[present[0]]!r}"
    few = _too_few("all test images", n_subjects)
    few_of = [_too_few(f"all test images of class {name!r}", n) for name, n in zip(names, people, strict=True)]
    rare = next((few_of[place] for place in present if few_of[place]), "")
    of_ranking = BINARY_METRICS if len(names) == 2 else MULTICLASS_METRICS
    lacks = {"accuracy": ("", few), "balanced_accuracy": ("", few or rare), "kappa": (one_class, few)}
    lacks |= dict.fromkeys(of_ranking, (one_class, few or rare))
    overall = [_Column(metric, "", n_images, n_subjects, *lacks[metric]) for metric in (*OVERALL_METRICS, *of_ranking)]
    accuracies = [
        _Column("class_accuracy", name, n, m, "" if n else f"no test image is of class {name!r}", note)
        for name, n, m, note in zip(names, images, people, few_of, strict=True)
    ]
    shares = [_Column("share", name, n_images, n_subjects, "", few) for name in names]
    return (*overall, *accuracies, *shares)


def _too_few(what: str, n_subjects: int) -> str:
    """Say why images have no interval; nothing where enough people, or none, stand behind them."""
    if not 0 < n_subjects < MIN_SUBJECTS:
        return ""
    return f"{what} come from {counted(n_subjects, 'subject')}; an interval needs {MIN_SUBJECTS}"


def _interval(
    resampled: Float64[np.ndarray, "resamples columns"], columns: Sequence[_Column], confidence: float
) -> tuple[Float64[np.ndarray, " columns"], Float64[np.ndarray, " columns"]]:
    low, high = percentile_interval(resampled, confidence)
    without = np.array([bool(column.no_value or column.no_interval) for column in columns])
    low[without], high[without] = nan, nan
    return low, high


def _numbers(column: _Column, value: float, low: float, high: float) -> tuple[float, float, float, int, int, str]:
    reason = column.no_value or column.no_interval
    if not reason and not isfinite(low):
        reason = "fewer than half of the resamples hold enough images"
    return float(value), float(low), float(high), column.n_images, column.n_subjects, reason
