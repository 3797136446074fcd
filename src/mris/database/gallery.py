"""`Gallery`: the target pixels of many entries by row, in memory or on disk, and what is made of several of them.

Who has rows and weights asks here for pixels: the synthesizer, the references and the size curve alike.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Int64

from mris.cohort.cohort import Cohort
from mris.database.average import average_blocks, average_rows, combine_blocks, sum_blocks
from mris.errors import DatabaseError, SettingsError
from mris.types import AtlasMask, Pixels, Rows

MEMORY_LIMIT = 1 << 30
"""Bytes of target pixels that may be held in memory; larger galleries are read from disk, block by block."""

_READ_BYTES = 64 << 20
"""Target pixels read at a time."""

ReadPixels = Callable[[Int64[np.ndarray, " m"]], Pixels]
"""What reads rows from a disk, in any order."""


@dataclass(frozen=True)
class Gallery:
    """The target pixels of N entries, from which averages and combinations are made.

    Args:
        mask: (r, h, w) which p pixels of an image count.
        rows: (N,) where the entries stand in the store.
        store: (M, p) pixels in memory, or what reads some of its M rows from disk.

    Example:
        >>> store = np.array([[1.0, 2.0], [3.0, np.nan]], dtype=np.float32)
        >>> gallery = Gallery(np.array([[[True, False, True]]]), np.arange(2), store)
        >>> mean, spread = gallery.average(np.array([[0, 1]]), np.array([[0.5, 0.5]], dtype=np.float32))
        >>> mean.tolist(), spread.tolist()
        ([[2.0, 2.0]], [[1.0, 0.0]])
        >>> gallery.images(mean[0]).tolist()
        [[[2.0, nan, 2.0]]]
    """

    mask: AtlasMask
    rows: Int64[np.ndarray, " N"]
    store: Pixels | ReadPixels

    @classmethod
    def of_cohort(cls, cohort: Cohort, memory_limit: int = MEMORY_LIMIT) -> "Gallery":
        """Make the gallery of a cohort's targets inside its atlas mask; row i is the pair at position i.

        Args:
            cohort: A cohort or a view of one.
            memory_limit: Bytes of pixels that may be held in memory; above it, rows are read when they are needed.

        Raises:
            CohortError: The cohort is damaged; reading may raise it later, too.
        """
        gallery = cls(cohort.atlas_mask, np.arange(len(cohort)), partial(_cohort_pixels, cohort))
        return gallery.in_memory() if gallery.n_bytes <= memory_limit else gallery

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_pixels(self) -> int:
        """p, the number of true pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def n_bytes(self) -> int:
        """How many bytes all pixels take in memory."""
        return 4 * len(self) * self.n_pixels

    @property
    def columns(self) -> tuple[slice, ...]:
        """Where the pixels of each region stand in a line of pixels, region after region."""
        ends = np.cumsum([0, *(int(np.count_nonzero(region)) for region in self.mask)])
        return tuple(slice(int(start), int(end)) for start, end in pairwise(ends))

    def places(self, channels: Sequence[int]) -> Int64[np.ndarray, " q"]:
        """Tell where the pixels of some regions stand in a line of pixels, regions in that order."""
        return np.concatenate([np.arange(self.n_pixels)[self.columns[channel]] for channel in channels])

    def in_memory(self) -> "Gallery":
        """Read all pixels into memory: the same gallery, faster."""
        store = np.empty((len(self), self.n_pixels), dtype=np.float32)
        for part, pixels in self._blocks():
            store[part] = pixels
        return Gallery(self.mask, np.arange(len(self)), store)

    def subset(self, rows: Int64[np.ndarray, " m"]) -> "Gallery":
        """Give the gallery of some rows alone, in that order, without reading or copying a pixel.

        Raises:
            DatabaseError: A row is out of range.
        """
        check_rows(rows, len(self))
        return replace(self, rows=self.rows[rows])

    def of_regions(self, channels: Sequence[int]) -> "Gallery":
        """Give the gallery of some regions' pixels alone, regions in that order, without a copy of the pixels."""
        places = self.places(channels)
        if isinstance(self.store, np.ndarray) and _side_by_side(places):
            return Gallery(self.mask[list(channels)], self.rows, self.store[:, places[0] : places[-1] + 1])
        return Gallery(self.mask[list(channels)], np.arange(len(self)), partial(_columns_of, self, places))

    def at_most(self, n_pixels: int) -> "Gallery":
        """Give the gallery at some pixels alone, spread evenly: a few thousand tell methods apart as well as all."""
        if self.n_pixels <= n_pixels:
            return self
        places = np.linspace(0, self.n_pixels - 1, n_pixels).astype(np.int64)
        mask = np.zeros_like(self.mask)
        mask.reshape(-1)[np.flatnonzero(self.mask)[places]] = True
        thinned = Gallery(mask, np.arange(len(self)), partial(_columns_of, self, places))
        return thinned.in_memory() if thinned.n_bytes <= MEMORY_LIMIT else thinned

    def pixels(self, rows: Int64[np.ndarray, " m"]) -> Pixels:
        """Give the pixels of some rows, (m, p), in any order; a row may be asked for twice.

        Raises:
            DatabaseError: A row is out of range, or the database is damaged (CohortError: the cohort is).
        """
        check_rows(rows, len(self))
        places = self.rows[rows]
        return self.store[places] if isinstance(self.store, np.ndarray) else self.store(places)

    def images(self, pixels: Float32[np.ndarray, "*n p"]) -> Float32[np.ndarray, "*n r h w"]:
        """Lay a line of pixels, (p,), or several out as images (r, h, w), NaN outside the mask."""
        images = np.full((*pixels.shape[:-1], *self.mask.shape), np.nan, dtype=np.float32)
        for place in np.ndindex(pixels.shape[:-1]):  # ten times as fast as all of them at once
            images[place][self.mask] = pixels[place]
        return images

    def average(self, rows: Rows, weights: Float32[np.ndarray, "n k"]) -> tuple[Pixels, Pixels]:
        """Average a few rows for each of n queries, weights renormalized at each pixel over rows with a value there.

        See `mris.database.average` for the formula; its work grows with k, that of `average_all` with N.

        Args:
            rows: (n, k) rows; -1 is skipped, and so is a row of weight 0.
            weights: (n, k) weights of 0 and above.

        Returns:
            Mean and spread (weighted standard deviation), (n, p) each, NaN where no row of positive weight has a value.

        Raises:
            DatabaseError: A row is out of range, or the database is damaged (CohortError: the cohort is).
        """
        check_rows(rows[rows >= 0], len(self))
        mean, spread = (np.empty((len(rows), self.n_pixels), dtype=np.float32) for _ in range(2))
        for start, store, places in self._stores(rows):
            for query, place in enumerate(places, start=start):
                mean[query], spread[query] = average_rows(store, place, weights[query])
        return mean, spread

    def average_all(self, weights: Float32[np.ndarray, "n N"]) -> Pixels:
        """Average all rows for each of n queries, as `average` does, in one pass over blocks of rows.

        Args:
            weights: (n, N) weights of 0 and above.

        Returns:
            (n, p) means, NaN where no row of positive weight has a value.

        Raises:
            SettingsError: The weights have another shape, are not finite, or negative.
            DatabaseError: The database is damaged (CohortError: the cohort is).
        """
        weights = self._checked(weights)
        if weights.size and weights.min() < 0:
            raise SettingsError(f"a weight of an average is {weights.min():.4g}; give 0 or above, or use `combine`")
        return average_blocks(self._blocks(), weights, self.n_pixels)

    def combine(self, weights: Float32[np.ndarray, "n N"]) -> Pixels:
        """Combine all rows linearly for each of n queries, sum_i w_i y_i(p), in one pass over blocks of rows.

        Weights may be of any sign and sum, such as those of a linear regression. They cannot be renormalized where a
        value is missing (those left may sum to nothing), so a missing value counts as the gallery's mean at its pixel.
        The result is linear in the weights; where nothing is missing, convex weights give their average.

        Args:
            weights: (n, N) weights.

        Returns:
            (n, p), NaN only where no row of the gallery has a value.

        Raises:
            SettingsError: The weights have another shape or are not finite.
            DatabaseError: The database is damaged (CohortError: the cohort is).
        """
        return combine_blocks(self._blocks(), self._checked(weights), self.n_pixels)

    def sums(self, weights: Float32[np.ndarray, "n N"]) -> tuple[Pixels, Pixels]:
        """Add up all rows for each of n queries: w_i y_i(p) where there is a value, and w_i where there is none.

        What `combine` is made of, for sums from which some rows are to be taken away again.

        Args:
            weights: (n, N) weights of any sign.

        Returns:
            The sums of what is known and the weights of what is missing, (n, p) each.

        Raises:
            SettingsError: The weights have another shape or are not finite.
            DatabaseError: The database is damaged (CohortError: the cohort is).
        """
        return sum_blocks(self._blocks(), self._checked(weights), self.n_pixels)

    def _checked(self, weights: Float32[np.ndarray, "n N"]) -> Float32[np.ndarray, "n N"]:
        if weights.ndim != 2 or weights.shape[1] != len(self):
            raise SettingsError(
                f"weights have shape {weights.shape} for a gallery of {len(self)}; give (n, {len(self)}), one an entry"
            )
        with np.errstate(invalid="ignore"):
            total = weights.sum(axis=0)  # finite where all are, and small beside them
        if not np.isfinite(total).all():
            raise SettingsError("weights are not all finite; give numbers")
        return weights.astype(np.float32, copy=False)

    def _blocks(self) -> Iterator[tuple[slice, Pixels]]:
        """Give the pixels of all rows in turn: a part of the rows, and their pixels."""
        at_a_time = max(1, _READ_BYTES // max(1, 4 * self.n_pixels))
        for start in range(0, len(self), at_a_time):
            part = slice(start, min(start + at_a_time, len(self)))
            rows = self.rows[part]
            if isinstance(self.store, np.ndarray) and _side_by_side(rows):
                yield part, self.store[rows[0] : rows[-1] + 1]  # no copy
            else:
                yield part, self.pixels(np.arange(part.start, part.stop))

    def _stores(self, rows: Rows) -> Iterator[tuple[int, Pixels, Rows]]:
        """Give, for queries in turn: the first one, pixels in memory, and where in them the queries' rows are."""
        if isinstance(self.store, np.ndarray):
            yield 0, self.store, np.append(self.rows, -1)[rows]  # so that -1 leads to -1
            return
        # Several queries at a time: one reading of many rows costs little more than one of a few.
        at_a_time = max(1, _READ_BYTES // max(1, 4 * rows.shape[1] * self.n_pixels))
        for start in range(0, len(rows), at_a_time):
            part = rows[start : start + at_a_time]
            distinct = np.unique(part[part >= 0])
            yield start, self.pixels(distinct), np.where(part >= 0, np.searchsorted(distinct, part), -1)


def check_rows(rows: Int64[np.ndarray, "..."], n: int) -> None:
    """Raise DatabaseError if one of the rows is none of n."""
    if rows.size and not (rows.min() >= 0 and rows.max() < n):
        raise DatabaseError(f"rows {rows.min()} to {rows.max()} are asked for; rows lie in [0, {n})")


def _side_by_side(places: Int64[np.ndarray, " m"]) -> bool:
    return len(places) > 0 and bool((np.diff(places) == 1).all())


def _cohort_pixels(cohort: Cohort, rows: Int64[np.ndarray, " m"]) -> Pixels:
    return cohort.read_targets(rows)[:, cohort.atlas_mask]


def _columns_of(gallery: Gallery, places: Int64[np.ndarray, " q"], rows: Int64[np.ndarray, " m"]) -> Pixels:
    return gallery.pixels(rows)[:, places]
