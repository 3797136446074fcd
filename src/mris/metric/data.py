"""Batches of a cohort for metric learning, read ahead of the step that needs them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mris.cohort.cohort import Cohort
from mris.metric.candidates import candidate_pool, fitting_rows
from mris.metric.components import ComponentEncoder
from mris.metric.encoders import DualEncoder
from mris.metric.objective import SynthesisObjective
from mris.metric.settings import TrainSettings
from mris.training.lightning_library import lightning
from mris.training.pairs import (
    Batch,
    PairReader,
    PrefetchedBatches,
    in_order,
    planned_batches,
    train_and_val,
    validation_batches,
)
from mris.training.processes import process_of

MOST_JUDGED_PIXELS = 8192


@dataclass(frozen=True)
class Judged:
    """Targets that validation compares, at a fixed evenly spaced choice of pixels inside the atlas mask.

    Attributes:
        truths: targets of the validation pairs, NaN where they have no value.
        gallery: training targets that a synthesis is averaged from, one of each subject, who are drawn by the run's
            seed where there are more than `gallery_limit`.
        mean_map: mean of the finite values of all training targets, the answer of who knows nothing about a query.
        mask: where a target can have a value.
    """

    truths: Float[Tensor, "n p"]
    gallery: Float[Tensor, "m p"]
    mean_map: Float[Tensor, " p"]
    mask: Bool[Tensor, " p"]


class PairsData(lightning.LightningDataModule):
    """Training batches, validation pairs, and validation's gallery of training targets.

    Args:
        cohort: holds the splits "train" and "val".
        regions: target regions to read.
        settings: see `TrainSettings`.
        seed: seed of the run.

    Raises:
        TrainingError: a split is absent or too small.
    """

    def __init__(self, cohort: Cohort, regions: Sequence[str], settings: TrainSettings, seed: int) -> None:
        super().__init__()
        self.settings, self.seed = settings, seed
        train, val = train_and_val(cohort)
        self.reader, self.val_reader = (
            PairReader(view, regions, settings.target_scale, cache_megabytes=settings.cache_megabytes)
            for view in (train, val)
        )
        baseline = np.flatnonzero(train.is_baseline)
        _, first = np.unique(train.subjects[baseline], return_index=True)
        # Drawn, not the first names: where names begin with a site, those are people of one site.
        drawn = np.random.default_rng(seed).permutation(len(first))[: settings.gallery_limit]
        self.gallery_rows = baseline[first[np.sort(drawn)]]
        indices = [cohort.regions.index(region) for region in regions]
        inside = np.flatnonzero(cohort.atlas_mask[indices].reshape(-1))
        chosen = inside[np.unique(np.linspace(0, len(inside) - 1, MOST_JUDGED_PIXELS).astype(int))]
        self.pixels = chosen
        self.judged = Judged(
            truths=_pixels(val, np.arange(len(val)), regions, chosen),
            gallery=_pixels(train, self.gallery_rows, regions, chosen),
            mean_map=_mean_pixels(train, regions, chosen),
            mask=torch.ones(len(chosen), dtype=torch.bool),
        )

    def fit_components(self, encoder: DualEncoder) -> None:
        """Fit the directions of an encoder's principal components on training pairs."""
        rows = fitting_rows(self.reader.cohort.subjects, self.seed)
        batches = [self.reader.read(rows[part]) for part in in_order(len(rows), 256)]
        if isinstance(encoder.target, ComponentEncoder):
            targets = torch.cat([one.targets.flatten(1) for one in batches]).numpy()
            encoder.target.components.fit(targets, self.seed, whitened=True)
        if encoder.components is not None:
            sources = torch.cat([one.sources.flatten(1) for one in batches]).numpy()
            encoder.components.fit(sources, self.seed, whitened=False)

    def objective(self, encoder: DualEncoder) -> SynthesisObjective | None:
        """What a synthesis is asked for, once the components are fitted; None where the triplets alone are."""
        if self.settings.objective == "triplet" or not isinstance(encoder.target, ComponentEncoder):
            return None
        pool = candidate_pool(encoder.target, self.reader, self.pixels)
        pixels = torch.from_numpy(self.pixels)
        return SynthesisObjective(encoder.target, pool, pixels, encoder.n_learned)

    def train_dataloader(self) -> PrefetchedBatches[Batch]:
        """Plan the current epoch; the plan depends on the seed and the epoch only."""
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        return planned_batches(self.reader, self.settings, self.seed, epoch=epoch, **process_of(self.trainer))

    def val_dataloader(self) -> list[PrefetchedBatches[Batch]]:
        """This process's share of the validation pairs first, then of the gallery of training targets."""
        pairs = np.arange(len(self.val_reader.cohort))
        shares = ((self.val_reader, pairs), (self.reader, self.gallery_rows))
        return [
            validation_batches(reader, rows, self.settings.batch_size, **process_of(self.trainer))
            for reader, rows in shares
        ]


def _pixels(
    view: Cohort, rows: Int[np.ndarray, " n"], regions: Sequence[str], chosen: Int[np.ndarray, " p"]
) -> Float[Tensor, "n p"]:
    parts = [
        view.read_targets(rows[part], regions=tuple(regions)).reshape(len(part), -1)[:, chosen]
        for part in in_order(len(rows), 256)
    ]
    return torch.from_numpy(np.concatenate(parts))


def _mean_pixels(view: Cohort, regions: Sequence[str], chosen: Int[np.ndarray, " p"]) -> Float[Tensor, " p"]:
    """Mean over all images of the values that are finite, 0 where there is none; never all images in memory."""
    total = torch.zeros(len(chosen), dtype=torch.float64)
    count = torch.zeros(len(chosen), dtype=torch.int64)
    for rows in in_order(len(view), 256):
        pixels = _pixels(view, rows, regions, chosen)
        known = pixels.isfinite()
        total += torch.where(known, pixels, 0.0).sum(dim=0, dtype=torch.float64)
        count += known.sum(dim=0)
    return (total / count.clamp(min=1)).float()
