"""Batches of a cohort as networks see them, read ahead of the step that needs them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mris.cohort.cohort import Cohort
from mris.errors import TrainingError
from mris.training.recipe import Recipe
from mris.training.sampling import check_subjects, epoch_batches, share

Read = TypeVar("Read")


class Batch(NamedTuple):
    """Pairs as the networks see them: targets scaled, 0 where they have no value; subjects as integer codes."""

    sources: Float[Tensor, "n c h w"]
    targets: Float[Tensor, "n r h w"]
    valid: Bool[Tensor, "n r h w"]
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
                sources, targets = cohort.read_pairs(rows, self.regions)
                self.sources[rows] = torch.from_numpy(sources).half()
                self.targets[rows] = torch.from_numpy(targets).half()

    def read(self, positions: Int[np.ndarray, " n"]) -> Batch:
        """Read one batch."""
        rows = torch.from_numpy(positions)
        if self.cached:
            sources, targets = self.sources[rows].float(), self.targets[rows].float()
        else:
            sources, targets = map(torch.from_numpy, self.cohort.read_pairs(positions, self.regions))
        return Batch(sources, scale_targets(targets, self.scale), targets.isfinite(), self.subjects[rows])


@dataclass(frozen=True)
class PrefetchedBatches(Generic[Read]):
    """The planned batches of one epoch; while one is used the next is read in a thread."""

    read: Callable[[Int[np.ndarray, " n"]], Read]
    plan: Sequence[Int[np.ndarray, " n"]]

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Read]:
        with ThreadPoolExecutor(1) as thread:
            upcoming = thread.submit(self.read, self.plan[0])
            for positions in self.plan[1:]:
                ready, upcoming = upcoming.result(), thread.submit(self.read, positions)
                yield ready
            last = upcoming.result()
        yield last  # after the thread: a finalizer that waits for it would swallow Ctrl-C


def train_and_val(cohort: Cohort) -> tuple[Cohort, Cohort]:
    """Views of the splits that every training on pairs needs.

    Raises:
        TrainingError: a split has no pairs, or "train" has those of a single subject.
        CohortError: the cohort has no sources.
    """
    cohort.require_sources()
    train, val = (cohort.select(np.asarray(cohort.splits == name)) for name in ("train", "val"))
    for name, view in (("train", train), ("val", val)):
        if len(view) == 0:
            raise TrainingError(
                f"cohort {cohort.path} has no pairs in split {name!r}; prepare it with fractions for train and val"
            )
    check_subjects(train.subjects)
    return train, val


def planned_batches(
    reader: PairReader, recipe: Recipe, seed: int, *, epoch: int, rank: int, world_size: int
) -> PrefetchedBatches[Batch]:
    """Training batches of one epoch for one process; they depend on the seed and the epoch only."""
    subjects = reader.cohort.subjects
    size, sampler = recipe.batch_size, recipe.sampler
    plan = epoch_batches(subjects, size, sampler=sampler, seed=seed, epoch=epoch, rank=rank, world_size=world_size)
    return PrefetchedBatches(reader.read, plan)


def validation_batches(
    reader: PairReader, rows: Int[np.ndarray, " n"], batch_size: int, *, rank: int, world_size: int
) -> PrefetchedBatches[Batch]:
    """A process's share of rows that are validated, in order; `mris.training.processes.gathered` joins the answers."""
    own = rows[share(len(rows), rank=rank, world_size=world_size)]
    return PrefetchedBatches(reader.read, [own[part] for part in in_order(len(own), batch_size)])


def in_order(n: int, batch_size: int) -> list[Int[np.ndarray, " n"]]:
    """Plan batches that hold each of `n` positions once; the last may be smaller, none is dropped."""
    return np.array_split(np.arange(n), range(batch_size, n, batch_size))


def scale_targets(targets: Float[Tensor, "n r h w"], scale: float) -> Float[Tensor, "n r h w"]:
    """Targets as the network sees them: divided by `scale`, 0 where they have no value."""
    return torch.nan_to_num(targets, nan=0.0) / scale


def step_chance(seed: int, epoch: int, step: int, rank: int) -> int:
    """Seed of one training step: a function of the run's seed, the epoch, the step and the process, nothing else."""
    return int(np.random.SeedSequence([seed, epoch, step, rank]).generate_state(1)[0])
