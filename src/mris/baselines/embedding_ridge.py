"""Ridge regression from the frozen retrieval embedding: what the embedding knows, without retrieving."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mris.baselines.export import FINISHED, write_baseline
from mris.baselines.predictor import Baseline, open_baseline
from mris.baselines.ridge import MapRegression, fit_map_regression, penalty_for_others
from mris.cohort.cohort import Cohort
from mris.cohort.origin import Origin
from mris.cohort.training_subjects import TrainingSubjects
from mris.training.recipe import Recipe
from mris.training.run import Run, run_card
from mris.types import Embeddings, Sources

METHOD = "embedding-ridge"
_BATCH = 64


class SourceEncoder(Protocol):
    """A trained source encoder, such as `mris.DualEncoder`."""

    source: nn.Module

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of weights and settings."""

    @property
    def origin(self) -> Origin:
        """Whether it was trained on images of people or simulated ones."""

    @property
    def training_subjects(self) -> TrainingSubjects | None:
        """Whom it was trained on; None where that is unknown."""

    def encode_sources(self, sources: Sources) -> Embeddings:
        """Embed prepared sources as unit vectors (n, d)."""


class _RegressedEmbedding(nn.Module):
    """The source encoders, unit vectors, one linear layer, as one graph."""

    def __init__(self, sources: Sequence[nn.Module], regression: MapRegression, scale: float) -> None:
        super().__init__()
        self.sources = nn.ModuleList(sources)
        self.shape = regression.mean.image.shape
        coefficients = regression.coefficients.reshape(len(regression.center), -1) / scale
        offset = regression.mean.without_gaps().reshape(-1) / scale - regression.center @ coefficients
        self.linear = nn.Linear(*coefficients.shape)
        self.linear.weight = nn.Parameter(torch.from_numpy(coefficients.T.astype(np.float32).copy()))
        self.linear.bias = nn.Parameter(torch.from_numpy(offset.astype(np.float32)))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n r H W"]:
        embedded = [nn.functional.normalize(source(images), dim=1) for source in self.sources]  # (n, d) each
        mapped: Tensor = self.linear(torch.cat(embedded, dim=1))  # (n, r H W)
        return mapped.reshape(-1, *self.shape)


def train_embedding_ridge(
    cohort: Cohort,
    run: str | Path,
    encoders: Sequence[SourceEncoder],
    *,
    target_scale: float = 3.0,
    seed: int = 0,
    resume: bool = False,
) -> Baseline:
    """Fit a ridge regression from frozen embeddings of the training sources to their targets.

    The penalty is chosen on the split "val", whose people the encoders were not fitted to, or without such a split by
    five folds of training subjects (`mris.baselines.ridge`). The encoders and the regression are exported as one graph.

    Args:
        cohort: prepared pairs with a split "train".
        run: a new folder.
        encoders: trained encoders; embeddings of several (one a region) stand side by side.
        target_scale: unit of the exported answer, see `mris.baselines.predictor.BaselineCard`.
        seed: divides the subjects into folds.
        resume: keep a finished run as it is.

    Returns:
        The baseline, ready to predict.

    Raises:
        TrainingError: the folder holds another run.
        CohortError: there is no split "train".
    """
    started = time.perf_counter()
    recipe = Recipe.model_validate({"target_scale": target_scale, "epochs": 1})
    card = run_card(METHOD, cohort, recipe, cohort.regions, seed)
    card = card.model_copy(update={"encoders": tuple(encoder.fingerprint for encoder in encoders)})
    fitting = Run.open(run, card, result=FINISHED, resume=resume)
    if fitting.finished:
        return open_baseline(fitting.folder)
    training = cohort.split("train")
    scores, penalty = _embedded(training, encoders), None
    if "val" in cohort.splits:
        others = cohort.split("val")
        penalty = penalty_for_others(training, scores, others, _embedded(others, encoders))
    regression = fit_map_regression(training, scores, np.random.default_rng(seed), penalty=penalty)
    network = _RegressedEmbedding([encoder.source for encoder in encoders], regression, target_scale)
    seconds = time.perf_counter() - started
    fitting.begin()
    fitting.finish(
        lambda: write_baseline(
            fitting.folder,
            network,
            cohort,
            METHOD,
            target_scale=target_scale,
            training_seconds=seconds,
            trained_before=[e.training_subjects for e in encoders if e.training_subjects is not None],
            made_from=[encoder.origin for encoder in encoders],
        )
    )
    return open_baseline(fitting.folder)


def _embedded(view: Cohort, encoders: Sequence[SourceEncoder]) -> Embeddings:
    """Embeddings of all encoders side by side, (n, d); a batch of sources in memory at a time."""
    parts = [range(start, min(start + _BATCH, len(view))) for start in range(0, len(view), _BATCH)]
    return np.concatenate(
        [
            np.concatenate([encoder.encode_sources(sources) for encoder in encoders], axis=1)
            for sources in map(view.read_sources, parts)
        ]
    )
