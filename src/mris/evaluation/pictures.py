"""Images worth keeping from an evaluation: a few examples, and the mean error at each pixel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from mris.cohort.cohort import Cohort
from mris.evaluation.image_error import error_numbers
from mris.evaluation.mask import evaluation_mask, fill_missing
from mris.evaluation.predictor import Explainer, Explanation, Predictor
from mris.evaluation.strata import Group
from mris.types import AtlasMask, TargetMap


@dataclass(frozen=True)
class MethodPicture:
    """What one method made of one query.

    Args:
        method: Name of the method.
        image: (r, h, w) its synthesis as judged: NaN outside the mask, gaps filled from the mean map.
        error: (r, h, w) absolute error, NaN outside the mask.
        median_error: Median of the error over the mask, all regions together.
        region_errors: Median of the error over each region's mask, NaN where a region has no pixel.
        explanation: Spread and neighbors, None for a method that cannot say.
    """

    method: str
    image: TargetMap
    error: TargetMap
    median_error: float
    region_errors: tuple[float, ...]
    explanation: Explanation | None


@dataclass(frozen=True)
class Example:
    """One query with its truth and every method's synthesis.

    Args:
        title: Why it was chosen: "best", "median", "worst", or "label = value".
        key: The image's key.
        source: (c, h, w) the prepared source.
        truth: (r, h, w) the target, NaN outside the mask.
        pictures: One a method.
    """

    title: str
    key: str
    source: Float32[np.ndarray, "c h w"]
    truth: TargetMap
    pictures: tuple[MethodPicture, ...]


@dataclass(frozen=True)
class ErrorMaps:
    """Mean error of each method at each pixel, over the images that were compared there.

    Args:
        methods: Names along the first axis.
        regions: Names along the second axis.
        absolute: (methods, r, h, w) mean absolute error, NaN where no image was compared.
        signed: (methods, r, h, w) mean of synthesis minus truth.
        n_images: (r, h, w) images compared.
    """

    methods: tuple[str, ...]
    regions: tuple[str, ...]
    absolute: Float32[np.ndarray, "methods r h w"]
    signed: Float32[np.ndarray, "methods r h w"]
    n_images: Int64[np.ndarray, "r h w"]


class ErrorSums:
    """Running sums behind `ErrorMaps`: memory does not grow with the number of images."""

    def __init__(self, n_methods: int, shape: tuple[int, int, int]) -> None:
        self._absolute: Float64[np.ndarray, "methods r h w"] = np.zeros((n_methods, *shape))
        self._signed: Float64[np.ndarray, "methods r h w"] = np.zeros((n_methods, *shape))
        self._n: Int64[np.ndarray, "r h w"] = np.zeros(shape, dtype=np.int64)

    def count(self, mask: AtlasMask) -> None:
        """Count one image's mask, once for all methods."""
        self._n += mask

    def add(self, method: int, truth: TargetMap, prediction: TargetMap, mask: AtlasMask) -> None:
        """Add one image of one method."""
        difference = np.where(mask, prediction - truth, np.float32(0))
        self._signed[method] += difference
        self._absolute[method] += np.abs(difference)

    def merge(self, other: "ErrorSums") -> None:
        """Add what another one has added up, of other images of the same methods."""
        self._signed += other._signed
        self._absolute += other._absolute
        self._n += other._n

    def maps(self, methods: Sequence[str], regions: Sequence[str]) -> ErrorMaps:
        """Divide the sums by the counts."""
        n = np.where(self._n > 0, self._n, np.nan)
        return ErrorMaps(
            tuple(methods),
            tuple(regions),
            (self._absolute / n).astype(np.float32),
            (self._signed / n).astype(np.float32),
            self._n.copy(),
        )


def choose_examples(errors: Float64[np.ndarray, " n"], groups: Sequence[Group]) -> list[tuple[str, int]]:
    """Choose the images to show by one method's error: best, median and worst of all, the median one of each stratum.

    The choice depends on nothing else, so that nobody picks the pretty ones. Ties go to the earlier image. Only the
    first label's strata are shown.

    Args:
        errors: (n,) error of each image, NaN where there was nothing to compare.
        groups: The strata.

    Returns:
        Title and position of each example.
    """
    labels = [group.label for group in groups if group.label]
    chosen = []
    for group in groups:
        ranked = [int(i) for i in np.argsort(errors, kind="stable") if group.member[i] and np.isfinite(errors[i])]
        if not ranked:
            continue
        middle = ranked[(len(ranked) - 1) // 2]
        if not group.label:
            chosen += [("best", ranked[0]), ("median", middle), ("worst", ranked[-1])][: len(ranked)]
        elif group.label == labels[0]:
            chosen.append((f"{group.label} = {group.name}", middle))
    return chosen


def collect_examples(
    chosen: Sequence[tuple[str, int]],
    predictors: Mapping[str, Predictor],
    cohort: Cohort,
    atlas_mask: AtlasMask,
    filler: TargetMap,
) -> tuple[Example, ...]:
    """Read the chosen queries again and synthesize them with every method."""
    return tuple(_collect(title, position, predictors, cohort, atlas_mask, filler) for title, position in chosen)


def _collect(
    title: str,
    position: int,
    predictors: Mapping[str, Predictor],
    cohort: Cohort,
    atlas_mask: AtlasMask,
    filler: TargetMap,
) -> Example:
    sources, targets = cohort.read_sources([position]), cohort.read_targets([position])
    subject, truth = str(cohort.subjects[position]), targets[0]
    mask: Bool[np.ndarray, "r h w"] = evaluation_mask(truth, atlas_mask)
    pictures = []
    for name, predictor in predictors.items():
        image, _ = fill_missing(predictor.predict(sources, subjects=[subject])[0], mask, filler)
        error = np.abs(image - truth)
        medians = tuple(error_numbers(part[inside])[0] for part, inside in zip(error, mask, strict=True))
        explanation = predictor.explain(sources[0], subject=subject) if isinstance(predictor, Explainer) else None
        pictures.append(MethodPicture(name, image, error, float(np.median(error[mask])), medians, explanation))
    shown = np.where(mask, truth, np.float32(np.nan))
    return Example(title, str(cohort.keys[position]), sources[0], shown, tuple(pictures))
