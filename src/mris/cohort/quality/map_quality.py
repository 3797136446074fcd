"""Which target maps stand out from their cohort, by how much, and why: each is compared with all others.

A score is judged by how many robust standard deviations it lies from the cohort's median. A map's outlier score is its
largest such deviation, so that there is always one reason to name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from mris.cohort.quality.map_measures import OWN_NUMBERS, MapMeasures
from mris.cohort.quality.nearest_maps import least_change, nearest_of_others
from mris.defaults import QC_THRESHOLD
from mris.errors import SettingsError

LEAST_SUBJECTS = 10
"""Fewer people are no reference: nothing is judged."""

_LEAST_MAPS = 10  # of which a score must be known


@dataclass(frozen=True)
class Score:
    """One score and how it is judged.

    Attributes:
        name: One word.
        meaning: What it is, in words.
        kind: "value" (in the unit of the targets), "size" (in the unit, positive: judged by its logarithm), or "share".
        bad: Which side of the median can be a fault.
        floor: Least standard deviation that is assumed: of a share as it is, of a size in its logarithm, of a value
            in the cohort's typical range of values.
    """

    name: str
    meaning: str
    kind: Literal["value", "size", "share"]
    bad: Literal["low", "high", "both"]
    floor: float


SCORES = (
    Score("coverage", "share of the cohort's usual pixels that have a value", "share", "low", 0.005),
    Score("outside", "pixels with a value that the cohort lacks, as a share of the usual", "share", "high", 0.005),
    Score("roughness", "mean absolute Laplacian", "size", "both", 0.05),
    Score("edges", "99th percentile of the absolute Laplacian", "size", "high", 0.2),
    Score("lowest", "least value", "value", "both", 0.03),
    Score("low", "5th percentile of the values", "value", "both", 0.03),
    Score("middle", "median of the values", "value", "both", 0.03),
    Score("high", "95th percentile of the values", "value", "both", 0.03),
    Score("highest", "largest value", "value", "both", 0.03),
    Score("negative", "share of the values below 0", "share", "high", 0.01),
    Score("zero", "share of the values that are 0", "share", "high", 0.03),
    Score("distance", "mean absolute difference to the nearest maps of other subjects", "size", "high", 0.15),
    Score("change", "mean absolute difference to the least different other visit", "size", "high", 0.3),
    Score("copy", "1 where another subject has the very same map", "share", "high", 0.01),
)
"""All scores, in the order of every table."""

_PLACE = {score.name: place for place, score in enumerate(SCORES)}


@dataclass(frozen=True, eq=False)
class MapQuality:
    """The judgment on the targets of a cohort: n maps (rows) of r regions, s scores.

    Attributes:
        keys: Key of each row.
        subjects: Subject of each row.
        regions: Names of the regions.
        unit: Unit of the targets.
        threshold: From which outlier score on a map is flagged.
        scores: Value of each of `SCORES`; shape (n, r, s), NaN where there is none (a single visit has no change).
        deviations: How many robust standard deviations a score lies from the cohort's median, positive above it, 0
            on the side that is no fault; shape (n, r, s), NaN where it is not judged.
        medians: Median of each score; shape (r, s).
        nearest: Rows of the nearest maps of other subjects, -1 where there is none; shape (n, r, k).
    """

    keys: tuple[str, ...]
    subjects: tuple[str, ...]
    regions: tuple[str, ...]
    unit: str
    threshold: float
    scores: Float64[np.ndarray, "n r s"]
    deviations: Float64[np.ndarray, "n r s"]
    medians: Float64[np.ndarray, "r s"]
    nearest: Int64[np.ndarray, "n r k"]

    @property
    def n_subjects(self) -> int:
        """Number of people."""
        return len(set(self.subjects))

    @property
    def judged(self) -> bool:
        """Whether there are enough people to judge a map by."""
        return self.n_subjects >= LEAST_SUBJECTS

    @property
    def outlier(self) -> Float64[np.ndarray, " n"]:
        """Largest absolute deviation of each row, NaN where nothing is judged; shape (n,)."""
        sizes = np.abs(self.deviations)
        largest = np.nan_to_num(sizes).max(axis=(1, 2), initial=0.0)
        return np.where(np.isnan(sizes).all(axis=(1, 2)), np.nan, largest)

    @property
    def flagged(self) -> Bool[np.ndarray, " n"]:
        """Whether a row's outlier score reaches the threshold; shape (n,)."""
        return np.asarray(np.nan_to_num(self.outlier) >= self.threshold)

    @property
    def ranking(self) -> list[int]:
        """All rows, the most conspicuous first; equal ones in the order of their keys."""
        outlier = np.nan_to_num(self.outlier)
        return sorted(range(len(self.keys)), key=lambda row: (-outlier[row], self.keys[row]))

    def summary(self) -> str:
        """Tell in one line how many maps stand out."""
        if not self.judged:
            return (
                f"map quality: {len(self.keys)} maps of {self.n_subjects} people are not judged; "
                f"a reference needs at least {LEAST_SUBJECTS} people"
            )
        n_flagged = int(np.count_nonzero(self.flagged))
        return (
            f"map quality: {n_flagged} of {len(self.keys)} maps stand out "
            f"({self.threshold:g} robust SDs or more from the cohort's median)"
        )

    def worst(self, row: int) -> tuple[int, int]:
        """Give the region and the score (their places) that stand out most in a row."""
        region, score = divmod(int(np.nan_to_num(np.abs(self.deviations[row])).argmax()), len(SCORES))
        return region, score

    def reasons(self, row: int) -> list[str]:
        """Say in words why a row is flagged, at most three reasons, the strongest first; none for a row that is not."""
        sizes = np.nan_to_num(np.abs(self.deviations[row])).ravel()
        places = [int(place) for place in np.argsort(-sizes, kind="stable")[:3] if sizes[place] >= self.threshold]
        return [self._reason(row, *divmod(place, len(SCORES))) for place in places]

    def _reason(self, row: int, region: int, score: int) -> str:
        where = f"{self.regions[region]}: " if len(self.regions) > 1 else ""
        if SCORES[score].name == "copy":
            return f"{where}the very same map as {self.keys[self.nearest[row, region, 0]]}"
        deviation = float(self.deviations[row, region, score])
        value, median = (self.written(score, array[region, score]) for array in (self.scores[row], self.medians))
        side = "above" if deviation > 0 else "below"
        return (
            f"{where}{SCORES[score].name} {value}, {abs(deviation):.1f} robust SDs {side} the cohort's median {median}"
        )

    def written(self, score: int, value: float) -> str:
        """Write a score's value with its unit, a dash where there is none."""
        if not np.isfinite(value):
            return "–"
        return f"{100 * value:.1f} %" if SCORES[score].kind == "share" else f"{value:.3g} {self.unit}"


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that flags everything.

    Raises:
        SettingsError: It is not above 0.
    """
    if not threshold > 0:
        raise SettingsError(
            f"the threshold of map quality is {threshold!r}; give a number above 0, such as {QC_THRESHOLD:g}"
        )


def judge_maps(
    measures: Sequence[MapMeasures],
    *,
    keys: Sequence[str],
    subjects: Sequence[str],
    sides: Sequence[str],
    regions: Sequence[str],
    unit: str,
    threshold: float = QC_THRESHOLD,
    n_neighbors: int = 5,
) -> MapQuality:
    """Compare every target with all others of its cohort.

    The usual map has in each cell the median of the maps' shares of valid pixels; coverage and outside compare a map's
    shares with these. Above the median and below it a score's standard deviation is taken apart, since many scores are
    skew. It is the largest of 1.4826 times the median absolute deviation, the distance to the 90th (10th) percentile
    divided by 1.2816, and the score's floor: so up to a tenth of the maps may be faulty at either end.

    Args:
        measures: `measure_map` of each target.
        keys: Key of each row, all different.
        subjects: Subject of each row: all its maps are left out when nearest maps are looked for.
        sides: Side of each row; rows of one subject and side are visits of one.
        regions: Names of the regions.
        unit: Unit of the targets.
        threshold: Flag from so many robust standard deviations on; above 0.
        n_neighbors: Number of nearest maps.

    Returns:
        The judgment; it does not depend on the order of the rows. With fewer than `LEAST_SUBJECTS` people scores are
        given and nothing is judged.

    Raises:
        SettingsError: The threshold is not above 0.
    """
    check_threshold(threshold)
    n, enough = len(measures), len(set(subjects)) >= LEAST_SUBJECTS
    scores = np.full((n, len(regions), len(SCORES)), np.nan)
    deviations, medians = np.full(scores.shape, np.nan), np.full(scores.shape[1:], np.nan)
    nearest = np.full((n, len(regions), n_neighbors), -1, dtype=np.int64)
    visits = list(zip(subjects, sides, strict=True))
    for region in range(len(regions) if n else 0):
        values = np.stack([measured.values[region] for measured in measures])
        shares = np.stack([measured.shares[region] for measured in measures])
        found = nearest_of_others(values, shares, subjects, keys, k=n_neighbors)
        nearest[:, region] = found.rows
        own = np.stack([measured.numbers[region] for measured in measures])
        columns = dict(zip(OWN_NUMBERS, own.T, strict=True))
        columns["coverage"], columns["outside"] = _coverage(shares)
        columns["distance"] = _row_means(found.differences)
        columns["copy"] = np.where((found.differences == 0).any(axis=1), 1.0, 0.0)
        columns["change"] = np.full(n, np.nan)
        typical_range = float(np.median(columns["high"]) - np.median(columns["low"]))
        sound = np.ones(n, dtype=np.bool_)
        for score in sorted(SCORES, key=lambda score: score.name == "change"):
            if score.name == "change":
                # Last: beside a map that is broken by its other scores a sound visit would seem to jump.
                columns["change"] = least_change(values, shares, visits, sound)
            column, place = columns[score.name], _PLACE[score.name]
            scores[:, region, place] = column
            if np.isfinite(column).any():
                medians[region, place] = np.nanmedian(column)
            if enough and np.count_nonzero(np.isfinite(column)) >= _LEAST_MAPS:
                deviations[:, region, place] = _deviations(column, score, typical_range)
                sound &= ~(np.abs(deviations[:, region, place]) >= threshold)
    return MapQuality(
        tuple(keys), tuple(subjects), tuple(regions), unit, threshold, scores, deviations, medians, nearest
    )


def _coverage(shares: np.ndarray) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    usual = np.median(shares, axis=0)
    total = max(float(usual.sum(dtype=np.float64)), 1e-9)
    inside = np.minimum(shares, usual).sum(axis=1, dtype=np.float64)
    return inside / total, np.maximum(shares - usual, 0).sum(axis=1, dtype=np.float64) / total


def _row_means(differences: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
    known = np.isfinite(differences)
    counts = known.sum(axis=1)
    return np.where(counts > 0, np.where(known, differences, 0).sum(axis=1) / np.maximum(counts, 1), np.nan)


def _deviations(column: Float64[np.ndarray, " n"], score: Score, typical_range: float) -> Float64[np.ndarray, " n"]:
    floor = score.floor
    if score.kind == "size":
        middle = float(np.nanmedian(column))
        column = np.log(np.maximum(column, 0) + 1e-3 * middle + 1e-30)
    elif score.kind == "value":
        floor *= max(typical_range, 1e-30)
    known = column[np.isfinite(column)]
    middle = float(np.median(known))
    apart = column - middle
    above = _spread(apart[apart >= 0], floor)
    below = _spread(-apart[apart <= 0], floor)
    deviations = np.where(apart > 0, apart / above, apart / below)
    if score.bad == "high":
        return np.maximum(deviations, 0.0)
    return np.minimum(deviations, 0.0) if score.bad == "low" else deviations


def _spread(one_side: Float64[np.ndarray, " m"], floor: float) -> float:
    """Standard deviation by the half of the values on one side of the median, as if they were normal.

    The median of a half is the quartile of the whole, and its 80th percentile is the 90th of the whole.
    """
    quartile, decile = np.quantile(one_side, [0.5, 0.8])
    return max(1.4826 * float(quartile), float(decile) / 1.2816, floor)
