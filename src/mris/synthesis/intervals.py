"""Intervals by conformal risk control: how wide they must be to miss few pixels of a new person.

The unit is the person. An image's interval at pixel p is

    image(p) - c * width(p) <= y(p) <= image(p) + c * width(p)

and it misses the pixels where |y(p) - image(p)| / width(p) > c. With R_i(c) the share of pixels missed of person i, the
mean over that person's images, and n people whom neither encoder nor readout has seen, c is the smallest one with

    (sum_i R_i(c) + 1) / (n + 1) <= 1 - level

which keeps the expected share of a new, exchangeable person below 1 - level (Angelopoulos et al., Conformal Risk
Control, 2024). With one number an image instead of many pixels it is split conformal prediction.
"""

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

LEVEL = 0.9
"""Share of a person's pixels that intervals hold."""

FEWEST_IN_STRATUM = 30
"""People below whom a stratum is joined to the next one."""

FACTORS = np.geomspace(1 / 64, 64, 4097)
"""The factors c that are tried; each is 0.2 % above the one before."""

RiskCurves = Float64[np.ndarray, "people factors"]
"""For each person the share of pixels missed at each of `FACTORS`."""


def risk_curves(ratios: Float[np.ndarray, "n p"], people: Int64[np.ndarray, " n"]) -> RiskCurves:
    """Tell the share of each person's pixels that every factor misses: the mean over the person's images.

    Args:
        ratios: (n, p) |error| / width of each image's pixels; NaN where there is nothing to compare.
        people: (n,) the number of each image's person, from 0 on.

    Returns:
        (people, factors), a line a person who has a pixel to compare.
    """
    n_people = int(people.max()) + 1 if len(people) else 0
    sums, counts = np.zeros((n_people, len(FACTORS))), np.zeros(n_people)
    for line, person in zip(ratios, people.tolist(), strict=True):
        compared = line[np.isfinite(line) | np.isposinf(line)]
        if len(compared):
            first_held = np.bincount(np.searchsorted(FACTORS, compared), minlength=len(FACTORS) + 1)
            sums[person] += 1 - np.cumsum(first_held)[:-1] / len(compared)
            counts[person] += 1
    judged = counts > 0
    return np.asarray(sums[judged] / counts[judged, None])


def smallest_factor(risks: RiskCurves, level: float) -> float | None:
    """Give the smallest factor whose expected miss of a new person is at most 1 - level.

    Returns:
        The factor; None where so few people cannot show it, whatever they are (n < level / (1 - level)), or where 64
        widths do not suffice.

    Example:
        >>> ratios = np.linspace(0.5, 2.0, 99)[:, None]
        >>> round(smallest_factor(risk_curves(ratios, np.arange(99)), 0.9), 2)
        1.87
    """
    bound = (risks.sum(axis=0) + 1) / (len(risks) + 1)
    enough = np.flatnonzero(bound <= 1 - level + 1e-9)
    return float(FACTORS[enough[0]]) if len(enough) else None


def strata_limits(
    means: Float[np.ndarray, " n"], people: Int64[np.ndarray, " n"], most: int = 3
) -> Float64[np.ndarray, " s"]:
    """Cut images by the mean of their synthesis into at most three strata, none of fewer than 30 people.

    Returns:
        The limits between strata, ascending; none, where there are too few people for two.

    Example:
        >>> strata_limits(np.arange(90.0), np.arange(90)).round(2).tolist()
        [29.67, 59.33]
        >>> strata_limits(np.arange(50.0), np.arange(50)).tolist()
        []
    """
    for count in range(most, 1, -1):
        limits = np.unique(np.quantile(means, np.arange(1, count) / count))
        place = np.searchsorted(limits, means, side="right")
        sizes = [len(np.unique(people[place == stratum])) for stratum in range(len(limits) + 1)]
        if min(sizes) >= FEWEST_IN_STRATUM:
            return np.asarray(limits, dtype=np.float64)
    return np.empty(0)


def width(
    residual: Float32[np.ndarray, "*r"], spread: Float32[np.ndarray, "*n"], spread_scale: float
) -> Float32[np.ndarray, "*n"]:
    """Give the width at each pixel: the root of the mean square of a usual error and of the spread, scaled to errors.

    Where the spread is unknown (everybody is weighed, and none of the nearest has a value), it is the usual error.

    Args:
        residual: Mean absolute error of other people at each pixel.
        spread: Of one synthesis, or of several.
        spread_scale: Mean error over mean spread.
    """
    least = np.float32(1e-3 * np.nanmean(residual))  # where nobody has erred so far, somebody may
    scaled = np.where(np.isnan(spread), residual, np.float32(spread_scale) * spread)
    both = (np.square(residual) + np.square(scaled)) / 2
    return np.asarray(np.maximum(np.sqrt(both), least), dtype=np.float32)
