"""Targets as rows of the pixels that can count, in memory where they fit, and the errors of such rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Float64

from mris.cohort.cohort import Cohort
from mris.evaluation.image_error import error_numbers
from mris.types import AtlasMask, Rows, Targets

_BATCH = 64
_READ_BYTES = 64 << 20
"""Target pixels read from disk at a time."""


@dataclass(frozen=True)
class PixelLayout:
    """Which pixels of a target stand in a row: those of the atlas mask, region after region.

    Args:
        mask: (r, h, w) the atlas mask.
    """

    mask: AtlasMask

    @property
    def regions(self) -> tuple[slice, ...]:
        """Places of each region's pixels in a row.

        Example:
            >>> PixelLayout(np.array([[[True, False]], [[True, True]]])).regions
            (slice(0, 1, None), slice(1, 3, None))
        """
        ends = np.cumsum([0, *(int(region.sum()) for region in self.mask)])
        return tuple(slice(int(start), int(end)) for start, end in pairwise(ends))

    def rows(self, targets: Targets) -> Float32[np.ndarray, "n p"]:
        """Take the pixels of (n, r, h, w) targets."""
        return targets[:, self.mask]


@dataclass(frozen=True)
class TargetPixels:
    """The target pixels of a cohort, to average rows of.

    Args:
        cohort: Where they are.
        layout: Which pixels.
        held: (N, p) all of them, None if they are read when they are needed.
    """

    cohort: Cohort
    layout: PixelLayout
    held: Float32[np.ndarray, "N p"] | None

    @classmethod
    def of(cls, cohort: Cohort, memory_limit: int) -> "TargetPixels":
        """Read a cohort's pixels if they take at most some bytes."""
        layout = PixelLayout(cohort.atlas_mask)
        n_pixels = int(cohort.atlas_mask.sum())
        if 4 * len(cohort) * n_pixels > memory_limit:
            return cls(cohort, layout, None)
        held = np.empty((len(cohort), n_pixels), dtype=np.float32)
        for start in range(0, len(cohort), _BATCH):
            part = range(start, min(start + _BATCH, len(cohort)))
            held[part.start : part.stop] = layout.rows(cohort.read_targets(part))
        return cls(cohort, layout, held)

    def blocks(self, rows: Rows) -> Iterator[tuple[int, Float32[np.ndarray, "m p"], Rows]]:
        """Give the pixels that some queries' rows are in, block by block.

        Args:
            rows: (n, k) rows of the cohort, -1 for none.

        Yields:
            The first query of a block, a store of rows, and where in it the rows of the block's queries are.
        """
        if self.held is not None:
            yield 0, self.held, rows
            return
        at_a_time = max(1, _READ_BYTES // max(1, 4 * rows.shape[1] * int(self.layout.mask.sum())))
        for start in range(0, len(rows), at_a_time):
            part = rows[start : start + at_a_time]
            distinct = np.unique(part[part >= 0])
            store = self.layout.rows(self.cohort.read_targets(distinct))
            yield start, store, np.where(part >= 0, np.searchsorted(distinct, part), -1)


def row_errors(
    truth: Float32[np.ndarray, " p"],
    image: Float32[np.ndarray, " p"],
    mask: Bool[np.ndarray, " p"],
    filler: Float32[np.ndarray, " p"],
    regions: Sequence[slice],
) -> Float64[np.ndarray, "parts numbers"]:
    """Measure a synthesis as `mris.evaluation.image_error.image_errors` does, without PSNR and SSIM.

    Args:
        truth: (p,) the true pixels, finite inside the mask.
        image: (p,) the synthesis, NaN where it says nothing.
        mask: (p,) the evaluation mask.
        filler: (p,) what stands in for silence.
        regions: Places of each region's pixels.

    Returns:
        (parts, 5) median, MAD, MAE, RMSE and coverage of each region, and of all together where there are several; NaN
        without a pixel.
    """
    own = np.isfinite(image) & mask
    error = np.abs(np.where(own, image, filler).astype(np.float64) - truth.astype(np.float64))
    parts = [*regions, slice(None)] if len(regions) > 1 else list(regions)
    return np.array(
        [
            (*error_numbers(error[part][mask[part]]), own[part].sum() / n if (n := int(mask[part].sum())) else np.nan)
            for part in parts
        ]
    )
