"""Batches of a cohort for the baselines: the pairs, the order and the reading ahead of metric learning."""

import lightning
import numpy as np

from mris.baselines.settings import BaselineSettings
from mris.cohort.cohort import Cohort
from mris.cohort.sampling import check_subjects, epoch_batches
from mris.errors import TrainingError
from mris.training.pairs import Batch, PairReader, PrefetchedBatches, in_order


class TranslationData(lightning.LightningDataModule):
    """Training batches and validation pairs, all regions of the targets together.

    Args:
        cohort: holds the splits "train" and "val".
        settings: see `BaselineSettings`.
        seed: seed of the run; with the epoch it decides the batches, as for the encoders.

    Raises:
        TrainingError: a split is absent.
    """

    def __init__(self, cohort: Cohort, settings: BaselineSettings, seed: int) -> None:
        super().__init__()
        self.settings, self.seed = settings, seed
        views = {name: cohort.select(np.asarray(cohort.splits == name)) for name in ("train", "val")}
        for name, view in views.items():
            if len(view) == 0:
                raise TrainingError(
                    f"cohort {cohort.path} has no pairs in split {name!r}; prepare it with fractions for train and val"
                )
        check_subjects(views["train"].subjects)
        self.reader, self.val_reader = (
            PairReader(view, cohort.regions, settings.target_scale, cache_megabytes=settings.cache_megabytes)
            for view in views.values()
        )

    def train_dataloader(self) -> PrefetchedBatches[Batch]:
        """Plan the current epoch; the plan depends on the seed and the epoch only."""
        assert self.trainer is not None
        plan = epoch_batches(
            self.reader.cohort.subjects,
            self.settings.batch_size,
            sampler=self.settings.sampler,
            seed=self.seed,
            epoch=self.trainer.current_epoch,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return PrefetchedBatches(self.reader.read, plan)

    def val_dataloader(self) -> PrefetchedBatches[Batch]:
        """All validation pairs, in order."""
        plan = in_order(len(self.val_reader.cohort), self.settings.batch_size)
        return PrefetchedBatches(self.val_reader.read, plan)
