"""Intervals from resampling subjects.

Both sides of one person, and two visits of one side, are alike: resampling images would count them as independent and
give intervals that are too narrow. Here the subject is drawn with all its images (cluster bootstrap). A resample is a
vector of counts, one a subject, so a thousand resamples of a mean are one matrix product with the subjects' sums.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt16

from mris.defaults import CONFIDENCE, N_RESAMPLES
from mris.errors import SettingsError

ResampleCounts = UInt16[np.ndarray, "resamples subjects"]
"""How often each subject was drawn in each resample."""

MIN_SUBJECTS = 6
"""People without whom there is no 95 % interval.

Even the widest that n people allow, from their least to their greatest value, misses the population's median with
probability 2 / 2^n: 6.2 % for 5, 3.1 % for 6. (Resamples of 2 or 3 people give just that range, of one a range of 0.)
"""

_BLOCK_BYTES = 64 * 2**20


def subject_codes(subjects: Sequence[str]) -> tuple[Int64[np.ndarray, " n"], int]:
    """Number the subjects in sorted order; return the number of each row's subject and how many subjects there are."""
    names, codes = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    return codes.astype(np.int64), len(names)


def resample_counts(n_subjects: int, n_resamples: int, rng: np.random.Generator) -> ResampleCounts:
    """Draw subjects with replacement, as many as there are, again and again.

    Args:
        n_subjects: Number of subjects, 1 to 65,535.
        n_resamples: Number of resamples, at least 1.
        rng: Source of randomness.

    Returns:
        (n_resamples, n_subjects) counts; each row sums to n_subjects.

    Raises:
        SettingsError: A number is out of range.
    """
    if not 1 <= n_subjects <= np.iinfo(np.uint16).max:
        raise SettingsError(f"{n_subjects} subjects: the bootstrap resamples 1 to {np.iinfo(np.uint16).max}")
    if n_resamples < 1:
        raise SettingsError(f"{n_resamples} bootstrap resamples: at least 1 is needed, {N_RESAMPLES} is usual")
    counts = np.empty((n_resamples, n_subjects), dtype=np.uint16)
    for row in range(n_resamples):
        drawn = rng.integers(0, n_subjects, size=n_subjects)
        counts[row] = np.bincount(drawn, minlength=n_subjects)
    return counts


def resampled_means(
    values: Float[np.ndarray, "n columns"], codes: Int64[np.ndarray, " n"], counts: ResampleCounts
) -> Float[np.ndarray, "resamples columns"]:
    """Compute the mean of each column in each resample; NaN entries are left out of their column.

    Args:
        values: (n, columns) one row an image.
        codes: (n,) the number of each image's subject (see `subject_codes`).
        counts: (resamples, subjects) how often each subject was drawn.

    Returns:
        (resamples, columns) means over images; NaN where a resample holds no finite value of a column.
    """
    n_subjects = counts.shape[1]
    finite = np.isfinite(values)
    sums = _sum_by_subject(np.where(finite, values, 0.0), codes, n_subjects)
    sizes = _sum_by_subject(finite.astype(np.float64), codes, n_subjects)
    means = np.full((len(counts), values.shape[1]), np.nan)
    block = max(1, _BLOCK_BYTES // (8 * n_subjects))
    for start in range(0, len(counts), block):
        weights = counts[start : start + block].astype(np.float64)
        drawn = weights @ sizes
        np.divide(weights @ sums, drawn, out=means[start : start + block], where=drawn > 0)
    return means


def percentile_interval(
    resampled: Float[np.ndarray, "resamples columns"], confidence: float = CONFIDENCE
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Return the lower and upper percentile of each column; NaN where fewer than half of the resamples have a value.

    Args:
        resampled: (resamples, columns) a statistic in each resample.
        confidence: Share of resamples between the two ends, in (0, 1).

    Returns:
        (columns,) lower ends and (columns,) upper ends.

    Raises:
        SettingsError: The confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise SettingsError(f"confidence {confidence}: give a share between 0 and 1, such as 0.95")
    low, high = np.full((2, resampled.shape[1]), np.nan)
    usable = np.isfinite(resampled).mean(axis=0) >= 0.5
    if usable.any():
        tail = (1 - confidence) / 2
        low[usable], high[usable] = np.nanquantile(resampled[:, usable], [tail, 1 - tail], axis=0)
    return low, high


@dataclass(frozen=True)
class Resamples:
    """Resamples of the people that some images come from.

    Attributes:
        codes: (n,) the number of each image's subject (see `subject_codes`).
        counts: (resamples, subjects) how often each subject was drawn.
        confidence: Share of resamples inside an interval.
    """

    codes: Int64[np.ndarray, " n"]
    counts: ResampleCounts
    confidence: float = CONFIDENCE

    @classmethod
    def draw(
        cls, subjects: Iterable[str], n_resamples: int, rng: np.random.Generator, confidence: float = CONFIDENCE
    ) -> "Resamples":
        """Draw the subjects of some images again and again; see `resample_counts`."""
        codes, n_subjects = subject_codes(list(subjects))
        return cls(codes, resample_counts(n_subjects, n_resamples, rng), confidence)

    def of(self, rows: Int64[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "Resamples":
        """Give the same resamples of some of the images."""
        return replace(self, codes=self.codes[rows])

    @property
    def n_subjects(self) -> int:
        """How many people the images come from."""
        return len(np.unique(self.codes))

    def means(self, values: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, "resamples columns"]:
        """Compute the mean of each column in each resample; see `resampled_means`."""
        return resampled_means(values, self.codes, self.counts)

    def interval(
        self, values: Float[np.ndarray, "n columns"]
    ) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
        """Give the ends of the interval of each column's mean; NaN for fewer than `MIN_SUBJECTS` people."""
        if self.n_subjects < MIN_SUBJECTS:
            low, high = np.full((2, values.shape[1]), np.nan)
            return low, high
        return percentile_interval(self.means(values), self.confidence)


def _sum_by_subject(
    values: Float[np.ndarray, "n columns"], codes: Int64[np.ndarray, " n"], n_subjects: int
) -> Float[np.ndarray, "subjects columns"]:
    sums = np.zeros((n_subjects, values.shape[1]))
    np.add.at(sums, codes, values)
    return sums
