"""Batches of a cohort for metric learning, read ahead of the step that needs them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import lightning
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mris.cohort.cohort import Cohort
from mris.cohort.sampling import epoch_batches
from mris.errors import TrainingError
from mris.metric.encoders import scale_targets
from mris.metric.settings import TrainSettings

MOST_JUDGED_PIXELS = 8192


class Batch(NamedTuple):
    """Pairs as the networks see them: targets scaled, 0 where they have no value; subjects as integer codes."""

    sources: Float[Tensor, "n c h w"]
    targets: Float[Tensor, "n r h w"]
    subjects: Int[Tensor, " n"]


class PairReader:
    """Read batches of a cohort by position, from memory where the images fit, else from the table.

    In memory images keep the table's half precision, so that a cohort takes there what it takes on disk.
    """

    def __init__(self, cohort: Cohort, regions: Sequence[str], scale: float, *, cache_megabytes: int) -> None:
        self.cohort, self.regions, self.scale = cohort, tuple(regions), scale
        self.subjects = torch.from_numpy(np.unique(cohort.subjects, return_inverse=True)[1].astype(np.int64))
        header = cohort.header
        pixels = np.prod(header.source_shape) + len(self.regions) * np.prod(header.target_shape[1:])
        self.cached = len(cohort) * int(pixels) * 2 <= cache_megabytes * 2**20
        if self.cached:
            self.sources = torch.empty((len(cohort), *header.source_shape), dtype=torch.float16)
            self.targets = torch.empty((len(cohort), len(self.regions), *header.target_shape[1:]), dtype=torch.float16)
            for start in range(0, len(cohort), 256):  # in pieces: the table's reader hands out float32
                rows = np.arange(start, min(start + 256, len(cohort)))
                self.sources[rows] = torch.from_numpy(cohort.read_sources(rows)).half()
                self.targets[rows] = torch.from_numpy(cohort.read_targets(rows, regions=self.regions)).half()

    def read(self, positions: Int[np.ndarray, " n"]) -> Batch:
        """Read one batch."""
        rows = torch.from_numpy(positions)
        if self.cached:
            sources, targets = self.sources[rows].float(), self.targets[rows].float()
        else:
            sources = torch.from_numpy(self.cohort.read_sources(positions))
            targets = torch.from_numpy(self.cohort.read_targets(positions, regions=self.regions))
        return Batch(sources, scale_targets(targets, self.scale), self.subjects[rows])


@dataclass(frozen=True)
class PrefetchedBatches:
    """The planned batches of one epoch; while one is used the next is read in a thread."""

    read: Callable[[Int[np.ndarray, " n"]], Batch]
    plan: Sequence[Int[np.ndarray, " n"]]

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(1) as thread:
            upcoming = thread.submit(self.read, self.plan[0])
            for positions in self.plan[1:]:
                ready, upcoming = upcoming.result(), thread.submit(self.read, positions)
                yield ready
            yield upcoming.result()


def in_order(n: int, batch_size: int) -> list[Int[np.ndarray, " n"]]:
    """Plan batches that hold each of `n` positions once; the last may be smaller, none is dropped."""
    return np.array_split(np.arange(n), range(batch_size, n, batch_size))


@dataclass(frozen=True)
class Judged:
    """Targets that validation compares, at a fixed evenly spaced choice of pixels inside the atlas mask."""

    truths: Float[Tensor, "n p"]
    gallery: Float[Tensor, "m p"]
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
        views = {name: cohort.select(cohort.splits == name) for name in ("train", "val")}
        for name, view in views.items():
            if len(view) == 0:
                raise TrainingError(
                    f"cohort {cohort.path} has no pairs in split {name!r}; prepare it with fractions for train and val"
                )
        self.reader, self.val_reader = (
            PairReader(view, regions, settings.target_scale, cache_megabytes=settings.cache_megabytes)
            for view in views.values()
        )
        baseline = np.flatnonzero(views["train"].is_baseline)
        _, first = np.unique(views["train"].subjects[baseline], return_index=True)
        self.gallery_rows = baseline[first][: settings.gallery_limit]
        indices = [cohort.regions.index(region) for region in regions]
        inside = np.flatnonzero(cohort.atlas_mask[indices].reshape(-1))
        chosen = inside[np.unique(np.linspace(0, len(inside) - 1, MOST_JUDGED_PIXELS).astype(int))]
        self.judged = Judged(
            truths=_pixels(views["val"], np.arange(len(views["val"])), regions, chosen),
            gallery=_pixels(views["train"], self.gallery_rows, regions, chosen),
            mask=torch.ones(len(chosen), dtype=torch.bool),
        )

    def train_dataloader(self) -> PrefetchedBatches:
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

    def val_dataloader(self) -> list[PrefetchedBatches]:
        """Validation pairs first, then the gallery of training targets."""
        size = self.settings.batch_size
        gallery = [self.gallery_rows[rows] for rows in in_order(len(self.gallery_rows), size)]
        return [
            PrefetchedBatches(self.val_reader.read, in_order(len(self.val_reader.cohort), size)),
            PrefetchedBatches(self.reader.read, gallery),
        ]


def _pixels(
    view: Cohort, rows: Int[np.ndarray, " n"], regions: Sequence[str], chosen: Int[np.ndarray, " p"]
) -> Float[Tensor, "n p"]:
    parts = [
        view.read_targets(rows[part], regions=tuple(regions)).reshape(len(part), -1)[:, chosen]
        for part in in_order(len(rows), 256)
    ]
    return torch.from_numpy(np.concatenate(parts))
