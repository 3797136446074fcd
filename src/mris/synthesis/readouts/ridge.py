"""Ridge regression from features of a source to a target, which is a signed average of a database's targets.

With H the (N, q) features of the database's sources, centered and scaled, Y their (N, p) targets and y_mean the mean:

    y_hat(x) = y_mean + h(x) (H^T H + N I)^-1 H^T (Y - y_mean) = sum_n w_n(x) y_n                                 (P2)
    w_n(x) = 1 / N + h(x) (H^T H + N I)^-1 h_n

The weights sum to 1. The penalty of a group of features is the square of how far their scale is shrunk, so that groups
may have penalties of their own; a group without a penalty stays out, and with none the readout is the mean.

Only H^T H, H^T Y and the means are kept. Those without some rows follow by taking away what these rows have added, so
that leaving out a person costs the solution of q equations, and no pass over the targets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from mris.database.gallery import Gallery
from mris.synthesis.readouts.readout import Penalties
from mris.types import Features, Pixels

_BLOCK_ROWS = 8192
"""Features held in double precision at a time."""

_SUPPRESSED = 1e6
"""By how much the penalty of a group grows that does not vary any more among those who are left."""


@dataclass(frozen=True)
class Regression:
    """A ridge regression fitted to a database, which can also be solved without some of its rows; see `fit_regression`.

    Features stand in coordinates in which H^T H and the penalties add up to the unit matrix: sums of products of these
    are of moderate size, whatever the penalty, and single precision suffices for them.

    Attributes:
        center: (q,) mean of the features of the groups that have a penalty.
        basis: (q, q) leads from these features, centered, to coordinates.
        inverse: (q, q) leads back.
        features: (N, q) coordinates of the entries.
        squares: (q,) sum over entries of each centered feature's square.
        groups: (q,) number of each feature's group.
        penalties: (g,) of each group.
        strengths: (g,) what is added to the squares of a group's features.
        units: (g, q, q) the diagonal matrix of a group, in coordinates.
        gallery: The entries' targets.
        cross: (q, p) products of coordinates and targets; a missing value is the mean of its pixel.
        mean: (p,) the mean target.
        missing: (q, p) sums of the coordinates of entries without a value; None where none is missing.
        counts: (p,) entries that have a value.
    """

    center: Float64[np.ndarray, " q"]
    basis: Float64[np.ndarray, "q q"]
    inverse: Float64[np.ndarray, "q q"]
    features: Float32[np.ndarray, "N q"]
    squares: Float64[np.ndarray, " q"]
    groups: Int64[np.ndarray, " q"]
    penalties: Float64[np.ndarray, " g"]
    strengths: Float64[np.ndarray, " g"]
    units: Float64[np.ndarray, "g q q"]
    gallery: Gallery
    cross: Float32[np.ndarray, "q p"]
    mean: Float32[np.ndarray, " p"]
    missing: Float32[np.ndarray, "q p"] | None
    counts: Float32[np.ndarray, " p"]

    def answer(self, features: Features) -> tuple[Pixels, Float32[np.ndarray, "n N"]]:
        """Give the pixels of each query, (n, p), and each entry's signed weight, (n, N), which sum to 1.

        Args:
            features: (n, q) of the queries, of the groups that have a penalty.
        """
        solved = ((features - self.center) @ self.basis).astype(np.float32)
        weights = solved @ self.features.T
        weights += np.float32(1 / len(self.features))
        return np.asarray(self.mean + solved @ self.cross), np.asarray(weights)

    def answer_without(
        self, rows: Int64[np.ndarray, " m"], features: Features
    ) -> tuple[Pixels, Float32[np.ndarray, "n N"]]:
        """Answer as a regression would that is fitted to all entries but some; see `answer`.

        Args:
            rows: Which of the N entries stay out: at least one, and not all.
            features: (n, q) of the queries, of the groups that have a penalty.

        Raises:
            DatabaseError: The database is damaged.
        """
        out = self.features[rows].astype(np.float64)
        n_left = len(self.features) - len(rows)
        shift = -out.sum(axis=0) / n_left  # of the center
        strengths = self._strengths_without(out @ self.inverse, n_left)
        system = np.eye(len(shift)) + np.tensordot(strengths - self.strengths, self.units, axes=1)
        system -= out.T @ out + n_left * np.outer(shift, shift)
        solved = np.linalg.solve(system, ((features - self.center) @ self.basis - shift).T).T
        own, moved = (solved @ out.T).astype(np.float32), (solved @ shift).astype(np.float32)[:, None]
        solved = solved.astype(np.float32)
        pixels = self.gallery.pixels(rows)
        known = np.isfinite(pixels)
        gone = np.where(known, pixels - self.mean, np.float32(0))
        left = self.counts - known.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):  # nobody is left who knows the pixel
            mean = np.where(left > 0, -gone.sum(axis=0) / left, np.float32(np.nan)).astype(np.float32)
        found = self.mean + mean + solved @ self.cross - own @ gone + moved * gone.sum(axis=0)
        if self.missing is not None:  # a missing value counts as the mean, which is another one now
            found += (solved @ self.missing + own @ known.astype(np.float32) + moved * left) * mean
        weights = solved @ self.features.T
        weights += np.float32(1 / n_left) - moved
        weights[:, rows] = 0
        return np.asarray(found, dtype=np.float32), np.asarray(weights, dtype=np.float32)

    def _strengths_without(self, out: Float64[np.ndarray, "m q"], n_left: int) -> Float64[np.ndarray, " g"]:
        """What is added to the squares of each group's features where some entries, centered as all are, stay out."""
        squares = self.squares - np.square(out).sum(axis=0) - np.square(out.sum(axis=0)) / n_left
        squares[squares < 1e-6 * self.squares] = 0  # a rounding error of what does not vary any more
        strengths = _strengths(squares, self.groups, self.penalties)
        return np.where(strengths > 0, strengths, _SUPPRESSED * self.strengths)


def _strengths(
    squares: Float64[np.ndarray, " q"], groups: Int64[np.ndarray, " q"], penalties: Float64[np.ndarray, " g"]
) -> Float64[np.ndarray, " g"]:
    """Multiply each group's mean sum of squares by its penalty."""
    count = len(penalties)
    sizes = np.maximum(np.bincount(groups, minlength=count), 1)
    return np.asarray(penalties * np.bincount(groups, squares, minlength=count) / sizes)


def fit_regression(features: Features, n_learned: int, gallery: Gallery, penalties: Penalties) -> Regression:
    """Fit the regression from features of a database's sources to its targets, in one pass over these.

    A missing value of a target counts as the mean of its pixel (`mris.database.gallery.Gallery.combine`).

    Args:
        features: (N, q) of the entries, in the gallery's order: what was learned, then principal components.
        n_learned: how many of the q were learned.
        gallery: the entries' targets.
        penalties: see `Penalties`.

    Raises:
        DatabaseError: The database is damaged.
    """
    chosen = trusted(penalties, n_learned, features.shape[1])
    groups, by_group = (chosen >= n_learned).astype(np.int64), (penalties.learned, penalties.components)
    center = features.mean(axis=0, dtype=np.float64)[chosen]
    inner = np.zeros((len(chosen), len(chosen)))
    for part in _blocks(len(features)):
        centered = features[part, chosen] - center
        inner += centered.T @ centered
    squares = np.diag(inner)
    given = np.array([penalty or 0.0 for penalty in by_group])
    strengths = _strengths(squares, groups, given)
    strengths[strengths <= 0] = 1.0  # equal sources: any weights do
    lower = np.linalg.cholesky(inner + np.diag(strengths[groups]))
    basis = np.linalg.inv(lower).T
    coordinates = np.ones((len(features), len(chosen) + 1), dtype=np.float32)  # the last gives the mean target
    for part in _blocks(len(features)):
        coordinates[part, :-1] = (features[part, chosen] - center) @ basis
    units = np.stack([(basis.T[:, groups == group]) @ basis[groups == group] for group in range(len(given))])
    total, missing = gallery.sums(coordinates.T)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is known
        mean = total[-1] / (len(features) - missing[-1])
    return Regression(
        center=center,
        basis=basis,
        inverse=lower.T,
        features=coordinates[:, :-1],
        squares=squares,
        groups=groups,
        penalties=given,
        strengths=strengths,
        units=units,
        gallery=gallery,
        cross=total[:-1] + missing[:-1] * mean,
        mean=mean,
        missing=missing[:-1] if missing[-1].any() else None,
        counts=len(features) - missing[-1],
    )


def trusted(penalties: Penalties, n_learned: int, n_features: int) -> Int64[np.ndarray, " q"]:
    """Tell which features belong to a group that has a penalty."""
    places = np.arange(n_features)
    given = np.where(places < n_learned, penalties.learned is not None, penalties.components is not None)
    return np.flatnonzero(given)


def predictions_by_penalty(
    features: Features,
    n_learned: int,
    gallery: Gallery,
    queries: Features,
    ladder: Sequence[Penalties],
) -> Iterator[Pixels]:
    """Predict the queries with each of some penalties, in one pass over the targets.

    Yields:
        (n, p) predictions for each of `ladder`, as `fit_regression` would give them.
    """
    plain = Penalties(learned=1.0, components=1.0)
    center, unit = _standards(features, n_learned, plain)
    standard = np.full((len(features), len(center) + 1), 1 / len(features), dtype=np.float32)
    inner = np.zeros((len(center), len(center)))
    for part in _blocks(len(features)):
        block = (features[part] - center) * unit
        inner += block.T @ block
        standard[part, :-1] = block
    combined = gallery.combine(standard.T)
    cross, mean_pixels = combined[:-1].astype(np.float64), combined[-1]
    for penalties in ladder:
        shrink = _standards(features, n_learned, penalties)[1] / np.where(unit > 0, unit, 1.0)
        system = inner * np.outer(shrink, shrink) + len(standard) * np.eye(len(shrink))
        # Solved for the queries, not for the pixels, which are many more.
        scaled = np.linalg.solve(system, ((queries - center) * unit * shrink).T).T * shrink
        yield (mean_pixels + scaled @ cross).astype(np.float32)


def _blocks(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK_ROWS) for start in range(0, n_rows, _BLOCK_ROWS))


def _standards(
    features: Features, n_learned: int, penalties: Penalties
) -> tuple[Float64[np.ndarray, " q"], Float64[np.ndarray, " q"]]:
    """Center and scale of each feature: a group's features have a variance of 1 / its penalty on average."""
    center = features.mean(axis=0, dtype=np.float64)
    variance = np.zeros(len(center))
    for rows in _blocks(len(features)):
        variance += np.square(features[rows] - center).sum(axis=0) / len(features)
    scale = np.zeros(len(center))
    for part, penalty in (
        (slice(0, n_learned), penalties.learned),
        (slice(n_learned, None), penalties.components),
    ):
        mean_variance = variance[part].mean() if len(variance[part]) else 0.0
        if penalty is not None and mean_variance > 0:
            scale[part] = 1 / np.sqrt(penalty * mean_variance)
    return center, scale
