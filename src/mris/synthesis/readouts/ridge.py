"""Ridge regression from features of a source to a target, which is a signed average of a database's targets.

With H the (N, q) features of the database's sources, centered and scaled, Y their (N, p) targets and y_mean the mean:

    y_hat(x) = y_mean + h(x) (H^T H + N I)^-1 H^T (Y - y_mean) = sum_n w_n(x) y_n                                 (P2)
    w_n(x) = 1 / N + h(x) (H^T H + N I)^-1 h_n

The weights sum to 1. The penalty of a group of features is the square of how far their scale is shrunk, so that groups
may have penalties of their own; a group without a penalty stays out, and with none the readout is the mean.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from mris.database.gallery import Gallery
from mris.synthesis.readouts.readout import Penalties
from mris.types import Features, Pixels


@dataclass(frozen=True)
class Regression:
    """A ridge regression fitted to a database; see `fit_regression`.

    Attributes:
        center: (q,) mean of the database's features.
        scale: (q,) what a centered feature is multiplied by.
        dual: (q, N) H (H^T H + N I)^-1, transposed: weights of the entries for each feature.
        coefficients: (q, p) change of each pixel for each feature.
        mean: (p,) the mean target.
    """

    center: Float64[np.ndarray, " q"]
    scale: Float64[np.ndarray, " q"]
    dual: Float32[np.ndarray, "q N"]
    coefficients: Float32[np.ndarray, "q p"]
    mean: Float32[np.ndarray, " p"]

    def predict(self, features: Features) -> Pixels:
        """Give the pixels for each query, (n, p), NaN only where no entry has a value."""
        return np.asarray(self.mean + self._scaled(features) @ self.coefficients)

    def weights(self, features: Features) -> Float32[np.ndarray, "n N"]:
        """Give each entry's signed weight for each query; a line sums to 1."""
        n_entries = self.dual.shape[1]
        return np.asarray(np.float32(1 / n_entries) + self._scaled(features) @ self.dual)

    def _scaled(self, features: Features) -> Float32[np.ndarray, "n q"]:
        return np.asarray((features - self.center) * self.scale, dtype=np.float32)


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
    center, scale = _standards(features, n_learned, penalties)
    scaled = (features - center) * scale
    dual = np.linalg.solve(scaled.T @ scaled + len(scaled) * np.eye(len(scale)), scaled.T)
    mean = np.full((1, len(scaled)), 1 / len(scaled))
    combined = gallery.combine(np.concatenate([dual, mean]).astype(np.float32))
    return Regression(center, scale, dual.astype(np.float32), combined[:-1], combined[-1])


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
    standard = (features - center) * unit
    mean = np.full((1, len(standard)), 1 / len(standard))
    combined = gallery.combine(np.concatenate([standard.T, mean]).astype(np.float32))
    cross, mean_pixels = combined[:-1].astype(np.float64), combined[-1]
    inner = standard.T @ standard
    for penalties in ladder:
        shrink = _standards(features, n_learned, penalties)[1] / np.where(unit > 0, unit, 1.0)
        solved = np.linalg.solve(
            inner * np.outer(shrink, shrink) + len(standard) * np.eye(len(shrink)), shrink[:, None] * cross
        )
        scaled = (queries - center) * unit * shrink
        yield (mean_pixels + scaled @ solved).astype(np.float32)


def _standards(
    features: Features, n_learned: int, penalties: Penalties
) -> tuple[Float64[np.ndarray, " q"], Float64[np.ndarray, " q"]]:
    """Center and scale of each feature: a group's features have a variance of 1 / its penalty on average."""
    center = features.mean(axis=0, dtype=np.float64)
    variance = features.var(axis=0, dtype=np.float64)
    scale = np.zeros(len(center))
    for part, penalty in (
        (slice(0, n_learned), penalties.learned),
        (slice(n_learned, None), penalties.components),
    ):
        mean_variance = variance[part].mean() if len(variance[part]) else 0.0
        if penalty is not None and mean_variance > 0:
            scale[part] = 1 / np.sqrt(penalty * mean_variance)
    return center, scale
