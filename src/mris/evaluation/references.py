"""What learning must beat: the mean map, and neighbors or a ridge regression on raw principal components.

The three see only prepared sources and targets of the training cohort, and answer to the same ``predict`` as every
other method. Principal components are fitted on at most `MAX_PCA_ROWS` training sources, spread evenly over the
training cohort; everything else uses all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Float64, Int64
from sklearn.utils.extmath import randomized_svd

from mris.cohort.cohort import Cohort
from mris.errors import CohortError, SettingsError
from mris.evaluation.bootstrap import subject_codes
from mris.synthesis.average import average_rows
from mris.types import Sources, TargetMap, Targets

MAX_PCA_ROWS = 5000
N_COMPONENTS = 64
N_NEIGHBORS = 20
N_FOLDS = 5

REFERENCE_NAMES = ("mean map", "PCA k-NN", "PCA ridge")
"""Names of the references in tables."""

RIDGE_LADDER = tuple(10.0**power for power in range(-4, 3))
"""Penalties tried, as multiples of (number of rows) x (mean variance of the components)."""

_BATCH = 64
_BLOCK_BYTES = 64 * 2**20
_CV_PIXELS = 4096


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
        _check_not_empty(training)
        total = np.zeros(training.header.target_shape)
        count = np.zeros(training.header.target_shape, dtype=np.int64)
        for start in range(0, len(training), _BATCH):
            targets = training.read_targets(range(start, min(start + _BATCH, len(training))))
            finite = np.isfinite(targets)
            total += np.where(finite, targets, 0).sum(axis=0, dtype=np.float64)
            count += finite.sum(axis=0)
        mean = np.full(total.shape, np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        return cls(mean.astype(np.float32))

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Answer (n, r, h, w) copies of the mean map."""
        _check_subjects(sources, subjects)
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


@dataclass(frozen=True)
class SourceComponents:
    """Principal components of the flattened sources.

    Args:
        mean: (p,) the mean source, p = c h w.
        directions: (d, p) orthonormal directions.
    """

    mean: Float32[np.ndarray, " p"]
    directions: Float32[np.ndarray, "d p"]

    @classmethod
    def fit(cls, training: Cohort, rng: np.random.Generator, n_components: int = N_COMPONENTS) -> "SourceComponents":
        """Fit by randomized SVD on at most `MAX_PCA_ROWS` training sources.

        Fewer components are kept where there are fewer rows or pixels.

        Raises:
            CohortError: The cohort is empty.
        """
        _check_not_empty(training)
        rows = evenly_spaced(len(training), MAX_PCA_ROWS)
        sources = _flat(training.read_sources(rows))
        kept = min(n_components, *sources.shape)
        seed = int(rng.integers(2**31))
        mean = sources.mean(axis=0, dtype=np.float64).astype(np.float32)
        _, _, directions = randomized_svd(sources - mean, kept, n_oversamples=10, n_iter="auto", random_state=seed)
        return cls(mean, directions.astype(np.float32))

    def scores(self, sources: Sources) -> Float32[np.ndarray, "n d"]:
        """Project sources, (n, c, h, w) -> (n, d)."""
        return np.asarray((_flat(sources) - self.mean) @ self.directions.T)

    def training_scores(self, training: Cohort) -> Float32[np.ndarray, "N d"]:
        """Project a whole cohort, batch by batch."""
        starts = range(0, len(training), _BATCH)
        return np.concatenate(
            [self.scores(training.read_sources(range(i, min(i + _BATCH, len(training))))) for i in starts]
        )


@dataclass(frozen=True)
class PcaNeighbors:
    """Unweighted mean of the k training targets whose sources are nearest in principal components.

    Targets stay on disk and are read for the neighbors only. The query's own subject is never a neighbor.

    Args:
        training: The gallery.
        components: Projection of the sources.
        scores: (N, d) the gallery's projections.
        n_neighbors: k.
    """

    training: Cohort
    components: SourceComponents
    scores: Float32[np.ndarray, "N d"]
    n_neighbors: int = N_NEIGHBORS

    @classmethod
    def fit(
        cls,
        training: Cohort,
        rng: np.random.Generator,
        *,
        n_neighbors: int = N_NEIGHBORS,
        n_components: int = N_COMPONENTS,
    ) -> "PcaNeighbors":
        """Fit the components and project the training cohort.

        Raises:
            SettingsError: There are fewer training targets than neighbors asked for.
            CohortError: The cohort is empty.
        """
        _check_not_empty(training)
        if not 1 <= n_neighbors <= len(training):
            raise SettingsError(
                f"n_neighbors is {n_neighbors}, the training cohort has {len(training)} targets; "
                f"give 1 to {len(training)}"
            )
        components = SourceComponents.fit(training, rng, n_components)
        return cls(training, components, components.training_scores(training), n_neighbors)

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Average the neighbors' targets at each pixel over those that have a value there; (n, r, h, w)."""
        _check_subjects(sources, subjects)
        rows = self.neighbors(sources, subjects)
        shape = self.training.header.target_shape
        result = np.empty((len(sources), *shape), dtype=np.float32)
        block = max(1, _BLOCK_BYTES // (4 * int(np.prod(shape)) * self.n_neighbors))
        for start in range(0, len(sources), block):
            wanted, places = np.unique(rows[start : start + block], return_inverse=True)
            targets = self.training.read_targets(wanted).reshape(len(wanted), -1)
            for query, own in enumerate(places.reshape(-1, rows.shape[1])):
                mean, _ = average_rows(targets, own.astype(np.int64), np.ones(len(own), dtype=np.float32))
                result[start + query] = mean.reshape(shape)
        return result

    def neighbors(self, sources: Sources, subjects: Sequence[str]) -> Int64[np.ndarray, "n k"]:
        """Find the k nearest gallery rows by Euclidean distance, nearest first, ties by row.

        Raises:
            SettingsError: Without the query's own subject the gallery holds fewer than k targets.
        """
        queries = self.components.scores(sources).astype(np.float64)
        gallery = self.scores.astype(np.float64)
        squared = (queries**2).sum(axis=1)[:, None] - 2 * queries @ gallery.T + (gallery**2).sum(axis=1)
        squared[np.asarray(subjects)[:, None] == self.training.subjects[None, :]] = np.inf
        admitted = np.isfinite(squared).sum(axis=1)
        if admitted.min(initial=self.n_neighbors) < self.n_neighbors:
            raise SettingsError(
                f"n_neighbors is {self.n_neighbors}; without the query's own subject the gallery has {admitted.min()} "
                "targets; ask for fewer neighbors"
            )
        return np.argsort(squared, axis=1, kind="stable")[:, : self.n_neighbors].astype(np.int64)


@dataclass(frozen=True)
class PcaRidge:
    """Ridge regression from principal components of the source to every pixel of the target.

    A missing value of a training target counts as the mean map's value there. The penalty is the one of
    `RIDGE_LADDER` with the least squared error in 5 folds of subjects inside the training cohort (on at most 4,096
    evenly spaced pixels).

    Args:
        components: Projection of the sources.
        center: (d,) mean training projection.
        coefficients: (d, r, h, w) change of each pixel per unit of a component.
        mean: The mean map, which the regression departs from.
        penalty: The penalty chosen, as a multiple (see `RIDGE_LADDER`).
    """

    components: SourceComponents
    center: Float64[np.ndarray, " d"]
    coefficients: Float32[np.ndarray, "d r h w"]
    mean: MeanMap
    penalty: float

    @classmethod
    def fit(
        cls,
        training: Cohort,
        rng: np.random.Generator,
        *,
        n_components: int = N_COMPONENTS,
        penalty: float | None = None,
    ) -> "PcaRidge":
        """Fit in one pass over the targets: only sums of products are kept.

        Args:
            training: The training cohort.
            rng: Source of randomness (components, folds).
            n_components: Number of principal components.
            penalty: A penalty to use as it is; None chooses one.

        Raises:
            SettingsError: The penalty is not positive, or there are fewer than two subjects to choose one by.
            CohortError: The cohort is empty.
        """
        _check_not_empty(training)
        components = SourceComponents.fit(training, rng, n_components)
        scores = components.training_scores(training).astype(np.float64)
        center = scores.mean(axis=0)
        scores -= center
        codes, n_subjects = subject_codes(list(training.subjects))
        if penalty is None and n_subjects < 2:
            raise SettingsError(f"{n_subjects} training subject: choosing a penalty needs 2 or more; give the penalty")
        folds = rng.permutation(n_subjects)[codes] % min(N_FOLDS, n_subjects)
        mean = MeanMap.fit(training)
        filled = mean.without_gaps().reshape(-1)
        pixels = evenly_spaced(filled.size, _CV_PIXELS)
        sums = _RidgeSums.empty(int(folds.max()) + 1, scores.shape[1], len(pixels))
        cross = np.zeros((scores.shape[1], filled.size))
        for start in range(0, len(training), _BATCH):
            part = slice(start, min(start + _BATCH, len(training)))
            targets = training.read_targets(range(part.start, part.stop)).reshape(-1, filled.size)
            deviation = np.where(np.isfinite(targets), targets - filled, np.float32(0))
            cross += scores[part].T @ deviation
            sums.add(folds[part], scores[part], deviation[:, pixels].astype(np.float64))
        scale = float(np.trace(sums.inner.sum(axis=0))) / scores.shape[1]
        chosen = sums.best_penalty(RIDGE_LADDER) if penalty is None else penalty
        if not chosen > 0:
            raise SettingsError(f"penalty is {chosen}; give a number above 0, such as 0.01")
        solved = _solve(sums.inner.sum(axis=0), cross, chosen * scale)
        coefficients = solved.astype(np.float32).reshape(-1, *training.header.target_shape)
        return cls(components, center, coefficients, mean, chosen)

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Regress, (n, r, h, w); NaN where no training target has a value."""
        _check_subjects(sources, subjects)
        scores = (self.components.scores(sources) - self.center).astype(np.float32)
        return self.mean.image + np.tensordot(scores, self.coefficients, axes=1)


@dataclass(frozen=True)
class _RidgeSums:
    """Sums of products by fold, from which the error of any penalty on any held-out fold follows."""

    inner: Float64[np.ndarray, "folds d d"]
    cross: Float64[np.ndarray, "folds d p"]
    squares: Float64[np.ndarray, " folds"]

    @classmethod
    def empty(cls, n_folds: int, n_components: int, n_pixels: int) -> "_RidgeSums":
        inner = np.zeros((n_folds, n_components, n_components))
        return cls(inner, np.zeros((n_folds, n_components, n_pixels)), np.zeros(n_folds))

    def add(self, folds: Int64[np.ndarray, " n"], scores: np.ndarray, values: np.ndarray) -> None:
        for fold in np.unique(folds):
            member = folds == fold
            self.inner[fold] += scores[member].T @ scores[member]
            self.cross[fold] += scores[member].T @ values[member]
            self.squares[fold] += float((values[member] ** 2).sum())

    def best_penalty(self, ladder: Sequence[float]) -> float:
        return min(ladder, key=lambda penalty: sum(self._held_out(fold, penalty) for fold in range(len(self.inner))))

    def _held_out(self, fold: int, penalty: float) -> float:
        """|Y - Z W|^2 = |Y|^2 - 2 tr(W' Z'Y) + tr(W' Z'Z W) of one fold, W fitted on the others."""
        inner = self.inner.sum(axis=0) - self.inner[fold]
        cross = self.cross.sum(axis=0) - self.cross[fold]
        weights = _solve(inner, cross, penalty * float(np.trace(inner)) / len(inner))
        explained = np.sum(weights * self.cross[fold])
        return float(self.squares[fold] - 2 * explained + np.sum(weights * (self.inner[fold] @ weights)))


class Reference(Protocol):
    """One of the predictors of this module."""

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Synthesize one target a source, (n, r, h, w)."""


def reference_predictors(
    training: Cohort, rng: np.random.Generator, *, n_neighbors: int = N_NEIGHBORS
) -> dict[str, Reference]:
    """Fit the three references on a training cohort, by the names the tables show.

    Raises:
        SettingsError: There are fewer training targets than neighbors.
        CohortError: The cohort is empty.
    """
    fitted: tuple[Reference, ...] = (
        MeanMap.fit(training),
        PcaNeighbors.fit(training, rng, n_neighbors=n_neighbors),
        PcaRidge.fit(training, rng),
    )
    return dict(zip(REFERENCE_NAMES, fitted, strict=True))


def evenly_spaced(n: int, at_most: int) -> Int64[np.ndarray, " m"]:
    """Return all positions 0..n-1, or `at_most` of them spread evenly."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(np.int64))


def _solve(inner: np.ndarray, cross: np.ndarray, ridge: float) -> Float64[np.ndarray, "d p"]:
    # A cohort of equal sources has inner = 0: any weights do, and the least are none.
    floor = max(ridge, np.finfo(np.float64).tiny)
    return np.asarray(np.linalg.solve(inner + floor * np.eye(len(inner)), cross))


def _flat(sources: Sources) -> Float32[np.ndarray, "n p"]:
    return sources.reshape(len(sources), -1)


def _check_not_empty(training: Cohort) -> None:
    if len(training) == 0:
        raise CohortError(f"the training cohort (a view of {str(training.path)!r}) has no pairs; name another split")


def _check_subjects(sources: Sources, subjects: Sequence[str]) -> None:
    if len(sources) != len(subjects):
        raise SettingsError(f"{len(sources)} sources, {len(subjects)} subjects: give the subject of each query")
