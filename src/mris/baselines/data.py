"""Batches of a cohort for the baselines: the pairs, the order and the reading ahead of metric learning."""

import numpy as np

from mris.baselines.settings import BaselineSettings
from mris.cohort.cohort import Cohort
from mris.training.lightning_library import lightning
from mris.training.pairs import Batch, PairReader, PrefetchedBatches, planned_batches, train_and_val, validation_batches
from mris.training.processes import process_of


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
        self.reader, self.val_reader = (
            PairReader(view, cohort.regions, settings.target_scale, cache_megabytes=settings.cache_megabytes)
            for view in train_and_val(cohort)
        )

    def train_dataloader(self) -> PrefetchedBatches[Batch]:
        """Plan the current epoch."""
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        return planned_batches(self.reader, self.settings, self.seed, epoch=epoch, **process_of(self.trainer))

    def val_dataloader(self) -> PrefetchedBatches[Batch]:
        """This process's share of the validation pairs."""
        rows = np.arange(self.n_validated)
        return validation_batches(self.val_reader, rows, self.settings.batch_size, **process_of(self.trainer))

    @property
    def n_validated(self) -> int:
        """Validation pairs of all processes together."""
        return len(self.val_reader.cohort)
