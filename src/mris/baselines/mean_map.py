"""The mean map: the answer of who knows nothing about the query."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from mris.cohort.cohort import Cohort
from mris.errors import CohortError, SettingsError
from mris.types import Sources, TargetMap, Targets

BATCH = 64


@dataclass(frozen=True)
class MeanMap:
    """The mean training target at each pixel, the same answer to every query.

    Args:
        image: (r, h, w) the mean of the finite training values, NaN where there is none.
    """

    image: TargetMap

    @classmethod
    def fit(cls, training: Cohort) -> "MeanMap":
        """Average the targets of a training cohort, each image once, batch by batch.

        Raises:
            CohortError: The cohort is empty.
        """
        check_not_empty(training)
        total = np.zeros(training.header.target_shape)
        count = np.zeros(training.header.target_shape, dtype=np.int64)
        for start in range(0, len(training), BATCH):
            targets = training.read_targets(range(start, min(start + BATCH, len(training))))
            finite = np.isfinite(targets)
            total += np.where(finite, targets, 0).sum(axis=0, dtype=np.float64)
            count += finite.sum(axis=0)
        mean = np.full(total.shape, np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        return cls(mean.astype(np.float32))

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Answer (n, r, h, w) copies of the mean map."""
        check_subjects(sources, subjects)
        return np.broadcast_to(self.image, (len(sources), *self.image.shape)).copy()

    def without_gaps(self) -> TargetMap:
        """Return the mean map with a value at every pixel: a region's mean where no training target has one.

        A region without any training value is 0.
        """
        filled = self.image.copy()
        for region in filled:
            known = np.isfinite(region)
            region[~known] = region[known].mean() if known.any() else 0
        return filled


def evenly_spaced(n: int, at_most: int) -> Int64[np.ndarray, " m"]:
    """Return all positions 0..n-1, or `at_most` of them spread evenly."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(np.int64))


def check_not_empty(training: Cohort) -> None:
    """Refuse a training cohort without pairs."""
    if len(training) == 0:
        raise CohortError(f"the training cohort (a view of {str(training.path)!r}) has no pairs; name another split")


def check_subjects(sources: Sources, subjects: Sequence[str]) -> None:
    """Refuse queries whose subjects are not all named."""
    if len(sources) != len(subjects):
        raise SettingsError(f"{len(sources)} sources, {len(subjects)} subjects: give the subject of each query")
