"""The numbers of one classification task: metrics, differences, and their spread over seeds.

As in `mris.evaluation.results`, everything here is an aggregate: no key, no subject, no image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mris.errors import CohortError, SettingsError

OVERALL_METRICS = ("accuracy", "balanced_accuracy", "kappa")
"""Metrics of all classes together, in any task."""

BINARY_METRICS = ("average_precision", "roc_auc")
"""Metrics of the ranking by the probability of the second class, in a task of two classes."""

MULTICLASS_METRICS = ("macro_roc_auc",)
"""Mean over the classes of the area under the ROC curve of one class against the rest, in a task of more classes."""

CLASS_METRICS = ("class_accuracy", "share")
"""Metrics of one class: the share of its images that are predicted as such, and its share of the test images."""


@dataclass(frozen=True)
class ClassEstimate:
    """One metric of a classifier, or that minus the metric of another, on the same images and the same resamples.

    Args:
        metric: One of `OVERALL_METRICS`, `BINARY_METRICS`, `MULTICLASS_METRICS` and `CLASS_METRICS`.
        class_name: The class of a `CLASS_METRICS`, "" for the others.
        value: The metric on the test images; NaN where it does not exist.
        low: Lower end of the interval; NaN where there are too few people for one. The interval of a difference without
            0 is one that resampling people does not undo.
        high: Upper end of the interval.
        n_images: Images it is computed from (those of the class for a class accuracy).
        n_subjects: People they come from.
        reason: Why there is no value or no interval; "" where there are both.
    """

    metric: str
    class_name: str
    value: float
    low: float
    high: float
    n_images: int
    n_subjects: int
    reason: str = ""


@dataclass(frozen=True)
class SeedSpread:
    """One metric over trainings that differ by their seed only.

    Args:
        mean: The mean over seeds; its interval resamples people, and each resample is averaged over the same seeds.
        least: The least value of a seed.
        greatest: The greatest value of a seed.
        sd: Standard deviation over seeds (n - 1 in the denominator); NaN for one seed.
        n_seeds: Number of trainings.
    """

    mean: ClassEstimate
    least: float
    greatest: float
    sd: float
    n_seeds: int


def find_estimate(estimates: Sequence[ClassEstimate], metric: str, class_name: str = "") -> ClassEstimate:
    """Look up one metric, of one class where it has one.

    Raises:
        CohortError: There is no such estimate.
    """
    for row in estimates:
        if (row.metric, row.class_name) == (metric, class_name):
            return row
    raise CohortError(f"no estimate for (metric, class) = {(metric, class_name)}: the task does not have it")


def class_names_of(estimates: Sequence[ClassEstimate]) -> tuple[str, ...]:
    """Name the classes of a task, in their order."""
    return tuple(row.class_name for row in estimates if row.metric == "share")


def chance_level(estimates: Sequence[ClassEstimate], metric: str) -> float:
    """Return what a classifier gets that gives every image the same answer, the most common class.

    Args:
        estimates: The metrics of any classifier on these images.
        metric: Name of a metric of all classes.

    Returns:
        The share of the most common class for accuracy, 1 / classes present for balanced accuracy, 0 for kappa, the
        share of the positive class for average precision, and 0.5 for an area under the ROC curve.

    Raises:
        SettingsError: The metric has no such level.
    """
    shares = [row.value for row in estimates if row.metric == "share"]
    levels = {
        "accuracy": max(shares),
        "balanced_accuracy": 1 / sum(share > 0 for share in shares),
        "kappa": 0.0,
        "average_precision": shares[-1],
        "roc_auc": 0.5,
        "macro_roc_auc": 0.5,
    }
    if metric not in levels:
        raise SettingsError(f"metric {metric!r} has no chance level; those that have one: {', '.join(levels)}")
    return levels[metric]
