"""Ridge regression from a few numbers of a source to every pixel of the target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from mris.baselines.mean_map import BATCH, MeanMap, check_not_empty, evenly_spaced
from mris.cohort.cohort import Cohort
from mris.errors import SettingsError
from mris.types import Targets

N_FOLDS = 5
RIDGE_LADDER = tuple(10.0**power for power in range(-4, 3))
"""Penalties tried, as multiples of (number of rows) x (mean variance of the predictors)."""

_CV_PIXELS = 4096


@dataclass(frozen=True)
class MapRegression:
    """A linear map from d numbers to a target.

    Args:
        center: (d,) mean of the training predictors.
        coefficients: (d, r, h, w) change of each pixel per unit of a predictor.
        mean: The mean map, which the regression departs from.
        penalty: The penalty chosen, as a multiple (see `RIDGE_LADDER`).
    """

    center: Float64[np.ndarray, " d"]
    coefficients: Float32[np.ndarray, "d r h w"]
    mean: MeanMap
    penalty: float

    def predict(self, scores: Float[np.ndarray, "n d"]) -> Targets:
        """Regress, (n, r, h, w); NaN where no training target has a value."""
        centered = (scores - self.center).astype(np.float32)
        return np.asarray(self.mean.image + np.tensordot(centered, self.coefficients, axes=1))


def fit_map_regression(
    training: Cohort, scores: Float[np.ndarray, "N d"], rng: np.random.Generator, *, penalty: float | None = None
) -> MapRegression:
    """Fit in one pass over the targets: only sums of products are kept.

    A missing value of a training target counts as the mean map's value there. The penalty is the one of
    `RIDGE_LADDER` with the least squared error in 5 folds of subjects inside the training cohort (on at most 4,096
    evenly spaced pixels).

    Args:
        training: The training cohort.
        scores: (N, d) predictors of each of its pairs, such as principal components or embeddings.
        rng: Divides the subjects into folds.
        penalty: A penalty to use as it is; None chooses one.

    Raises:
        SettingsError: The penalty is not positive, or there are fewer than two subjects to choose one by.
        CohortError: The cohort is empty.
    """
    check_not_empty(training)
    scores = np.asarray(scores, dtype=np.float64)
    center = scores.mean(axis=0)
    scores = scores - center
    subjects, codes = np.unique(training.subjects, return_inverse=True)
    if penalty is None and len(subjects) < 2:
        raise SettingsError(f"{len(subjects)} training subject: choosing a penalty needs 2 or more; give the penalty")
    folds = rng.permutation(len(subjects))[codes] % min(N_FOLDS, len(subjects))
    mean = MeanMap.fit(training)
    filled = mean.without_gaps().reshape(-1)
    pixels = evenly_spaced(filled.size, _CV_PIXELS)
    sums = _RidgeSums.empty(int(folds.max()) + 1, scores.shape[1], len(pixels))
    cross = np.zeros((scores.shape[1], filled.size))
    for start in range(0, len(training), BATCH):
        part = slice(start, min(start + BATCH, len(training)))
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
    return MapRegression(center, coefficients, mean, chosen)


def penalty_for_others(
    training: Cohort, scores: Float[np.ndarray, "N d"], validation: Cohort, validation_scores: Float[np.ndarray, "V d"]
) -> float:
    """Choose the penalty of `RIDGE_LADDER` with the least squared error on people of another split.

    Where the scores were learned on the training people, folds of these would flatter small penalties.

    Args:
        training: The training cohort, on which each penalty is fitted.
        scores: (N, d) predictors of its pairs.
        validation: Pairs of other people.
        validation_scores: (V, d) their predictors.

    Raises:
        CohortError: A cohort is empty.
    """
    check_not_empty(training)
    check_not_empty(validation)
    center = np.asarray(scores, dtype=np.float64).mean(axis=0)
    filled = MeanMap.fit(training).without_gaps().reshape(-1)
    pixels = evenly_spaced(filled.size, _CV_PIXELS)
    sums = _RidgeSums.empty(2, len(center), len(pixels))
    for fold, (view, own) in enumerate(((training, scores), (validation, validation_scores))):
        for start in range(0, len(view), BATCH):
            rows = range(start, min(start + BATCH, len(view)))
            targets = view.read_targets(rows).reshape(len(rows), -1)[:, pixels]
            deviation = np.where(np.isfinite(targets), targets - filled[pixels], 0.0)
            sums.add(np.full(len(rows), fold), own[rows.start : rows.stop] - center, deviation)
    return sums.best_penalty(RIDGE_LADDER, held_out=(1,))


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

    def best_penalty(self, ladder: Sequence[float], held_out: Sequence[int] | None = None) -> float:
        folds = range(len(self.inner)) if held_out is None else held_out
        return min(ladder, key=lambda penalty: sum(self._held_out(fold, penalty) for fold in folds))

    def _held_out(self, fold: int, penalty: float) -> float:
        """|Y - Z W|^2 = |Y|^2 - 2 tr(W' Z'Y) + tr(W' Z'Z W) of one fold, W fitted on the others."""
        inner = self.inner.sum(axis=0) - self.inner[fold]
        cross = self.cross.sum(axis=0) - self.cross[fold]
        weights = _solve(inner, cross, penalty * float(np.trace(inner)) / len(inner))
        explained = np.sum(weights * self.cross[fold])
        return float(self.squares[fold] - 2 * explained + np.sum(weights * (self.inner[fold] @ weights)))


def _solve(inner: np.ndarray, cross: np.ndarray, ridge: float) -> Float64[np.ndarray, "d p"]:
    # A cohort of equal sources has inner = 0: any weights do, and the least are none.
    floor = max(ridge, np.finfo(np.float64).tiny)
    return np.asarray(np.linalg.solve(inner + floor * np.eye(len(inner)), cross))
