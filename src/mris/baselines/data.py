"""Batches of a cohort for the baselines: the pairs, the order and the reading ahead of metric learning."""

from mris.baselines.settings import BaselineSettings
from mris.cohort.cohort import Cohort
from mris.training.lightning_library import lightning
from mris.training.pairs import Batch, PairReader, PrefetchedBatches, in_order, planned_batches, train_and_val


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
        trainer = self.trainer
        assert trainer is not None
        process = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        return planned_batches(self.reader, self.settings, self.seed, epoch=trainer.current_epoch, **process)

    def val_dataloader(self) -> PrefetchedBatches[Batch]:
        """All validation pairs, in order."""
        plan = in_order(len(self.val_reader.cohort), self.settings.batch_size)
        return PrefetchedBatches(self.val_reader.read, plan)
