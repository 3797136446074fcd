"""From one number an image to means with intervals, and to paired differences between methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float64, Int64

from mris.evaluation.bootstrap import MIN_SUBJECTS, Resamples, percentile_interval
from mris.evaluation.image_error import METRIC
from mris.evaluation.results import WEIGHTED, Difference, Estimate, PerImage, Prevalence, Stratum
from mris.evaluation.strata import Group

DIFFERENCE_METRICS = tuple(name for name, metric in METRIC.items() if metric.compared)
"""Metrics that methods are compared by."""


def describe_groups(groups: Sequence[Group], codes: Int64[np.ndarray, " n"]) -> tuple[Stratum, ...]:
    """Count images and subjects of each group."""
    return tuple(
        Stratum(group.label, group.name, int(group.member.sum()), len(np.unique(codes[group.member])))
        for group in groups
    )


@dataclass(frozen=True)
class _Part:
    """A stratum's means, over its images and over those of each resample."""

    label: str
    name: str
    means: Float64[np.ndarray, "methods regions metrics"]
    resampled: Float64[np.ndarray, "resamples methods regions metrics"]
    n_images: Int64[np.ndarray, " regions"]
    n_subjects: Int64[np.ndarray, " regions"]


def summarize(
    per_image: PerImage, groups: Sequence[Group], resamples: Resamples, prevalences: Sequence[Prevalence] = ()
) -> tuple[tuple[Estimate, ...], tuple[Difference, ...]]:
    """Average over the images of each group, and compare each pair of methods on the same resamples.

    Args:
        per_image: The numbers of single images.
        groups: Strata, all images among them.
        resamples: Of the images' subjects.
        prevalences: Weights of strata; each adds the stratum `WEIGHTED` of its label, whose mean is
            sum_s w_s mean_s / sum_s w_s over the strata s with images.

    Returns:
        Estimates by group, method, region and metric; differences, earlier method minus later one. Ends of intervals
        are NaN for fewer than `MIN_SUBJECTS` people (in any stratum of a weighted mean). A resample without an image
        of a weighted stratum is left out of the interval of the weighted mean.
    """
    parts = [_part(per_image, group, resamples) for group in groups]
    parts += [_weighted(per_image, parts, groups, resamples.codes, prevalence) for prevalence in prevalences]
    estimates = [row for part in parts for row in _estimates(per_image, part, resamples.confidence)]
    differences = [row for part in parts for row in _differences(per_image, part, resamples.confidence)]
    return tuple(estimates), tuple(differences)


def _part(per_image: PerImage, group: Group, resamples: Resamples) -> _Part:
    values = per_image.values[:, :, group.member]
    columns = values.transpose(2, 0, 1, 3).reshape(values.shape[2], -1)
    shape = (values.shape[0], values.shape[1], values.shape[3])
    resampled = resamples.of(group.member).means(columns).reshape(-1, *shape)
    n_images, n_subjects = _sizes(per_image, group.member, resamples.codes)
    resampled[:, :, n_subjects < MIN_SUBJECTS] = np.nan
    return _Part(group.label, group.name, _means(columns).reshape(shape), resampled, n_images, n_subjects)


def _weighted(
    per_image: PerImage,
    parts: Sequence[_Part],
    groups: Sequence[Group],
    codes: Int64[np.ndarray, " n"],
    prevalence: Prevalence,
) -> _Part:
    chosen = [part for part in parts if part.label == prevalence.label and prevalence.weights.get(part.name, 0) > 0]
    member = np.any([g.member for g in groups if any((g.label, g.name) == (p.label, p.name) for p in chosen)], axis=0)
    shares = [prevalence.shares(region) for region in per_image.regions]
    means, resampled = np.zeros_like(chosen[0].means), np.zeros_like(chosen[0].resampled)
    for part in chosen:
        for r, share in enumerate(shares):
            if part.name in share:
                means[:, r] += share[part.name] * part.means[:, r]
                resampled[:, :, r] += share[part.name] * part.resampled[:, :, r]
    nowhere = [r for r, share in enumerate(shares) if not share]
    means[:, nowhere] = resampled[:, :, nowhere] = np.nan
    return _Part(prevalence.label, WEIGHTED, means, resampled, *_sizes(per_image, member, codes))


def _sizes(
    per_image: PerImage, member: Bool[np.ndarray, " n"], codes: Int64[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " regions"], Int64[np.ndarray, " regions"]]:
    """Count images with a pixel to compare, and the people they come from, by region."""
    measured = (per_image.n_pixels > 0) & member
    n_subjects = np.array([len(np.unique(codes[row])) for row in measured], dtype=np.int64)
    return measured.sum(axis=1).astype(np.int64), n_subjects


def _means(columns: Float64[np.ndarray, "n columns"]) -> Float64[np.ndarray, " columns"]:
    finite = np.isfinite(columns)
    n = finite.sum(axis=0)
    means = np.full(columns.shape[1], np.nan)
    np.divide(np.where(finite, columns, 0).sum(axis=0), n, out=means, where=n > 0)
    return means


def _estimates(per_image: PerImage, part: _Part, confidence: float) -> list[Estimate]:
    lows, highs = _interval(part.resampled, confidence)
    rows = []
    for r, region in enumerate(per_image.regions):
        sizes = int(part.n_images[r]), int(part.n_subjects[r])
        for m, method in enumerate(per_image.methods):
            for i, metric in enumerate(per_image.metrics):
                place = (m, r, i)
                ends = float(part.means[place]), float(lows[place]), float(highs[place])
                rows.append(Estimate(method, region, part.label, part.name, metric, *ends, *sizes))
    return rows


def _differences(per_image: PerImage, part: _Part, confidence: float) -> list[Difference]:
    rows = []
    kept = [per_image.metrics.index(name) for name in DIFFERENCE_METRICS]
    means, resampled = part.means[..., kept], part.resampled[..., kept]
    for one, other in combinations(range(len(per_image.methods)), 2):
        gaps = means[one] - means[other], resampled[:, one] - resampled[:, other]
        shares = _ratio(gaps[0], means[other]), _ratio(gaps[1], resampled[:, other])
        ends = [gaps[0], *_interval(gaps[1], confidence), shares[0], *_interval(shares[1], confidence)]
        for r, region in enumerate(per_image.regions):
            for i, metric in enumerate(DIFFERENCE_METRICS):
                names = (per_image.methods[one], per_image.methods[other], region, part.label, part.name, metric)
                rows.append(Difference(*names, *(float(end[r, i]) for end in ends)))
    return rows


def _interval(resampled: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    low, high = percentile_interval(resampled.reshape(len(resampled), -1), confidence)
    return low.reshape(resampled.shape[1:]), high.reshape(resampled.shape[1:])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole != 0)
    return ratio
