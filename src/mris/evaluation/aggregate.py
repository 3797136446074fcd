"""From one number an image to means with intervals, and to paired differences between methods."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float64, Int64

from mris.evaluation.bootstrap import ResampleCounts, percentile_interval, resampled_means
from mris.evaluation.results import Difference, Estimate, PerImage, Stratum
from mris.evaluation.strata import Group

DIFFERENCE_METRICS = ("median", "mae", "rmse", "psnr", "ssim")
"""Metrics that methods are compared by."""

MIN_SUBJECTS = 2
"""With fewer people a resample always holds the same ones: an interval of no width would look like certainty."""


def describe_groups(groups: Sequence[Group], codes: Int64[np.ndarray, " n"]) -> tuple[Stratum, ...]:
    """Count images and subjects of each group."""
    return tuple(
        Stratum(group.label, group.name, int(group.member.sum()), len(np.unique(codes[group.member])))
        for group in groups
    )


def summarize(
    per_image: PerImage,
    groups: Sequence[Group],
    codes: Int64[np.ndarray, " n"],
    counts: ResampleCounts,
    confidence: float,
) -> tuple[tuple[Estimate, ...], tuple[Difference, ...]]:
    """Average over the images of each group, and compare each pair of methods on the same resamples.

    Args:
        per_image: The numbers of single images.
        groups: Strata, all images among them.
        codes: (n,) number of each image's subject.
        counts: (resamples, subjects) how often each subject was drawn.
        confidence: Share of resamples inside an interval.

    Returns:
        Estimates by group, method, region and metric; differences, earlier method minus later one. Ends of intervals
        are NaN for fewer than `MIN_SUBJECTS` people.
    """
    estimates: list[Estimate] = []
    differences: list[Difference] = []
    for group in groups:
        values = per_image.values[:, :, group.member]
        inside = codes[group.member]
        columns = values.transpose(2, 0, 1, 3).reshape(values.shape[2], -1)
        shape = (values.shape[0], values.shape[1], values.shape[3])
        means = _means(columns).reshape(shape)
        resampled = resampled_means(columns, inside, counts).reshape(len(counts), *shape)
        for r, pixels in enumerate(per_image.n_pixels[:, group.member]):
            if len(np.unique(inside[pixels > 0])) < MIN_SUBJECTS:
                resampled[:, :, r] = np.nan
        estimates += _estimates(per_image, group, means, resampled, inside, confidence)
        differences += _differences(per_image, group, means, resampled, confidence)
    return tuple(estimates), tuple(differences)


def _means(columns: Float64[np.ndarray, "n columns"]) -> Float64[np.ndarray, " columns"]:
    finite = np.isfinite(columns)
    n = finite.sum(axis=0)
    means = np.full(columns.shape[1], np.nan)
    np.divide(np.where(finite, columns, 0).sum(axis=0), n, out=means, where=n > 0)
    return means


def _estimates(
    per_image: PerImage,
    group: Group,
    means: Float64[np.ndarray, "methods regions metrics"],
    resampled: Float64[np.ndarray, "resamples methods regions metrics"],
    codes: Int64[np.ndarray, " members"],
    confidence: float,
) -> list[Estimate]:
    lows, highs = _interval(resampled, confidence)
    rows = []
    for r, region in enumerate(per_image.regions):
        measured = per_image.n_pixels[r, group.member] > 0
        n_images, n_subjects = int(measured.sum()), len(np.unique(codes[measured]))
        for m, method in enumerate(per_image.methods):
            for i, metric in enumerate(per_image.metrics):
                place = (m, r, i)
                ends = float(means[place]), float(lows[place]), float(highs[place])
                rows.append(Estimate(method, region, group.label, group.name, metric, *ends, n_images, n_subjects))
    return rows


def _differences(
    per_image: PerImage,
    group: Group,
    means: Float64[np.ndarray, "methods regions metrics"],
    resampled: Float64[np.ndarray, "resamples methods regions metrics"],
    confidence: float,
) -> list[Difference]:
    rows = []
    kept = [per_image.metrics.index(name) for name in DIFFERENCE_METRICS]
    means, resampled = means[..., kept], resampled[..., kept]
    for one, other in combinations(range(len(per_image.methods)), 2):
        gaps = means[one] - means[other], resampled[:, one] - resampled[:, other]
        shares = _ratio(gaps[0], means[other]), _ratio(gaps[1], resampled[:, other])
        ends = [gaps[0], *_interval(gaps[1], confidence), shares[0], *_interval(shares[1], confidence)]
        for r, region in enumerate(per_image.regions):
            for i, metric in enumerate(DIFFERENCE_METRICS):
                names = (per_image.methods[one], per_image.methods[other], region, group.label, group.name, metric)
                rows.append(Difference(*names, *(float(end[r, i]) for end in ends)))
    return rows


def _interval(resampled: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    low, high = percentile_interval(resampled.reshape(len(resampled), -1), confidence)
    return low.reshape(resampled.shape[1:]), high.reshape(resampled.shape[1:])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole != 0)
    return ratio
