"""One fold: learn from some pairs, answer for others; the same for real knees and for digital ones."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mris.baselines.ridge import fit_map_regression
from mris.cohort.cohort import Cohort
from mris.database.average import average_rows
from mris.database.search import exact_search
from mris.evaluation.references import reference_predictors
from mris.metric.encoders import DualEncoder
from mris.metric.settings import TrainSettings, preset
from mris.metric.train import train_encoders
from mris.synthesis.weights import similarity_weights
from mris.types import Embeddings, Targets

SIZE = 96
"""Rows and columns of sources and targets."""
N_NEIGHBORS = (3, 5, 10, 20)
SHORT, LONG, FEW = 100, 300, 64
"""Steps of a training with at most FEW pairs, and with more."""

Predictions = dict[str, Targets]


def recipe(n_pairs: int, **changes: object) -> TrainSettings:
    """Give the preset "small-paper" with a fixed number of steps; few pairs leave no epoch to choose by.

    Args:
        n_pairs: Training subjects, one pair of each an epoch.
        changes: Settings that differ, such as starting weights.
    """
    batch = min(FEW, max(2, n_pairs))
    epochs = round((SHORT if n_pairs <= FEW else LONG) / (n_pairs / batch))
    fixed = {"sampler": "subject", "batch_size": batch, "epochs": epochs, "validate_every": epochs, "devices": 1}
    return TrainSettings.model_validate(preset("small-paper").model_dump() | fixed | changes)


def references(training: Cohort, test: Cohort, seed: int) -> Predictions:
    """Mean map, and neighbors (5 for few pairs, else 20) and ridge regression on principal components."""
    sources, subjects = test.read_sources(), [str(name) for name in test.subjects]
    k = 5 if len(training) <= FEW else 20
    methods = reference_predictors(training, np.random.default_rng(seed), n_neighbors=k)
    return {name: method.predict(sources, subjects=subjects) for name, method in methods.items()}


def encoder_of(cohort: Cohort, settings: TrainSettings, seed: int) -> DualEncoder:
    """Train on the splits "train" and "val" of a cohort; the last epoch counts."""
    with tempfile.TemporaryDirectory() as folder:
        return train_encoders(cohort, Path(folder) / "run", settings=settings, seed=seed, progress=False)


def retrieval(
    encoder: DualEncoder, training: Cohort, test: Cohort, n_neighbors: Sequence[int] = N_NEIGHBORS
) -> Predictions:
    """Eq. 4 with several numbers of neighbors, and a ridge regression from the same embedding."""
    keys, targets = encoder.encode_targets(training.read_targets()), training.read_targets()
    queries = encoder.encode_sources(test.read_sources())
    found = {f"MRIS, k = {k}": neighbor_average(queries, keys, targets, k) for k in n_neighbors}
    known = encoder.encode_sources(training.read_sources())
    regression = fit_map_regression(training, known, np.random.default_rng(0))
    return found | {"ridge on the embedding": regression.predict(queries)}


def neighbor_average(queries: Embeddings, keys: Embeddings, targets: Targets, n_neighbors: int) -> Targets:
    """Weighted average of the nearest targets (Eq. 4)."""
    result = exact_search(keys, queries, min(n_neighbors, len(keys)))
    weights = similarity_weights(result.similarities, result.rows)
    flat = targets.reshape(len(targets), -1)
    averages = [average_rows(flat, rows, weight)[0] for rows, weight in zip(result.rows, weights, strict=True)]
    return np.stack(averages).reshape(len(queries), *targets.shape[1:])


def region_errors(truth: Targets, predicted: Targets) -> np.ndarray:
    """Median absolute error of each region of each image; (n, r), in the target's unit."""
    gap = np.abs(predicted - truth).reshape(*truth.shape[:2], -1)
    return np.asarray(np.nanmedian(gap, axis=2))


def median_errors(truth: Targets, predicted: Targets) -> np.ndarray:
    """Mean over regions of `region_errors`; (n,)."""
    return region_errors(truth, predicted).mean(axis=1)
