"""What learning must beat: the mean map, and neighbors or a ridge regression on raw principal components.

The three see only prepared sources and targets of the training cohort, and answer to the same ``predict`` as every
other method. Principal components are fitted on at most `MAX_PCA_ROWS` training sources, spread evenly over the
training cohort; everything else uses all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from sklearn.utils.extmath import randomized_svd

from mris.baselines.mean_map import BATCH, MeanMap, check_not_empty, check_subjects, evenly_spaced
from mris.baselines.ridge import MapRegression, fit_map_regression
from mris.cohort.cohort import Cohort
from mris.database.gallery import Gallery
from mris.defaults import N_NEIGHBORS
from mris.errors import SettingsError
from mris.evaluation.predictor import Predictor
from mris.types import Sources, Targets

MAX_PCA_ROWS = 5000
N_COMPONENTS = 64
REFERENCE_NAMES = ("mean map", "PCA k-NN", "PCA ridge")
"""Names of the references in tables, in their order."""


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
        check_not_empty(training)
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
        starts = range(0, len(training), BATCH)
        return np.concatenate(
            [self.scores(training.read_sources(range(i, min(i + BATCH, len(training))))) for i in starts]
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
        check_not_empty(training)
        if not 1 <= n_neighbors <= len(training):
            raise SettingsError(
                f"n_neighbors is {n_neighbors}, the training cohort has {len(training)} targets; "
                f"give 1 to {len(training)}"
            )
        components = SourceComponents.fit(training, rng, n_components)
        return cls(training, components, components.training_scores(training), n_neighbors)

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Average the neighbors' targets at each pixel over those that have a value there; (n, r, h, w)."""
        check_subjects(sources, subjects)
        gallery = Gallery.of_cohort(self.training, memory_limit=0)
        rows = self.neighbors(sources, subjects)
        means, _ = gallery.average(rows, np.ones(rows.shape, dtype=np.float32))
        return gallery.images(means)

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

    Args:
        components: Projection of the sources.
        regression: What follows from it.
    """

    components: SourceComponents
    regression: MapRegression

    @classmethod
    def fit(
        cls,
        training: Cohort,
        rng: np.random.Generator,
        *,
        n_components: int = N_COMPONENTS,
        penalty: float | None = None,
    ) -> "PcaRidge":
        """Fit in one pass over the targets; see `mris.baselines.ridge.fit_map_regression`.

        Args:
            training: The training cohort.
            rng: Source of randomness (components, folds).
            n_components: Number of principal components.
            penalty: A penalty to use as it is; None chooses one.

        Raises:
            SettingsError: The penalty is not positive, or there are fewer than two subjects to choose one by.
            CohortError: The cohort is empty.
        """
        components = SourceComponents.fit(training, rng, n_components)
        scores = components.training_scores(training)
        return cls(components, fit_map_regression(training, scores, rng, penalty=penalty))

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Regress, (n, r, h, w); NaN where no training target has a value."""
        check_subjects(sources, subjects)
        return self.regression.predict(self.components.scores(sources))


def reference_predictors(
    training: Cohort, rng: np.random.Generator, *, n_neighbors: int = N_NEIGHBORS
) -> dict[str, Predictor]:
    """Fit the three references on a training cohort, by the names the tables show.

    A training cohort with fewer than `n_neighbors` targets gives all it has, as a database does.

    Raises:
        CohortError: The cohort is empty.
    """
    fitted: tuple[Predictor, ...] = (
        MeanMap.fit(training),
        PcaNeighbors.fit(training, rng, n_neighbors=min(n_neighbors, len(training))),
        PcaRidge.fit(training, rng),
    )
    return dict(zip(REFERENCE_NAMES, fitted, strict=True))


def _flat(sources: Sources) -> Float32[np.ndarray, "n p"]:
    return sources.reshape(len(sources), -1)
