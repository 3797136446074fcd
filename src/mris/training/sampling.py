"""Which pairs make the batches of an epoch: a function of the seed and the epoch's number, nothing else."""

from typing import Literal

import numpy as np
from jaxtyping import Int

from mris.errors import TrainingError

Sampler = Literal["subject", "pair"]


def one_pair_per_subject(subjects: np.ndarray, rng: np.random.Generator) -> Int[np.ndarray, " n_subjects"]:
    """Draw one pair (timepoint and side) of each subject, in random order (Eq. 3).

    Args:
        subjects: ``(n,)`` subject of each pair.
        rng: the source of chance.

    Returns:
        Positions into `subjects`, one for each distinct subject.

    Example:
        >>> drawn = one_pair_per_subject(np.array(["a", "a", "b"]), np.random.default_rng(0))
        >>> sorted(np.array(["a", "a", "b"])[drawn].tolist())
        ['a', 'b']
    """
    shuffled = rng.permutation(len(subjects))
    _, first = np.unique(np.asarray(subjects)[shuffled], return_index=True)
    drawn: Int[np.ndarray, " n_subjects"] = shuffled[rng.permutation(first)]
    return drawn


def check_subjects(subjects: np.ndarray) -> None:
    """Refuse pairs of a single person, which no batch can compare with another's.

    Raises:
        TrainingError: fewer than two subjects.
    """
    n_subjects = len(np.unique(subjects))
    if n_subjects < 2:
        raise TrainingError(
            f"training needs pairs of at least 2 subjects (a negative is another subject's target), found {n_subjects}"
        )


def epoch_batches(
    subjects: np.ndarray,
    batch_size: int,
    *,
    sampler: Sampler,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
) -> list[Int[np.ndarray, " batch"]]:
    """Plan one epoch's training batches for one process.

    Every process draws the same order and takes its own slice of each global batch of ``batch_size * world_size``
    pairs. A remainder smaller than a batch is left for another epoch, unless it is all there is: normalization over
    a batch of a few pairs would be noise.

    Args:
        subjects: ``(n,)`` subject of each pair.
        batch_size: pairs of one process in one step.
        sampler: "subject" draws one pair a subject an epoch (Eq. 3), so that no batch holds a subject twice;
            "pair" uses every pair, and the loss masks pairs of one subject (Eq. 2).
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        rank: this process.
        world_size: how many processes train together.

    Returns:
        Positions into `subjects`, one array a step.

    Raises:
        TrainingError: fewer than two subjects, so that no pair has a negative.
    """
    check_subjects(subjects)
    rng = np.random.default_rng([seed, epoch])
    order = one_pair_per_subject(subjects, rng) if sampler == "subject" else rng.permutation(len(subjects))
    step = min(batch_size * world_size, len(order) - len(order) % world_size)
    if step < world_size * 2:
        raise TrainingError(f"{len(order)} pairs are too few for {world_size} processes; train with fewer devices")
    batches = [order[start : start + step] for start in range(0, len(order) - step + 1, step)]
    return [batch[rank::world_size] for batch in batches]


def share(n: int, *, rank: int, world_size: int) -> Int[np.ndarray, " m"]:
    """Positions of `n` that one process validates: every `world_size`-th, or the last where there are too few.

    Example:
        >>> share(5, rank=1, world_size=2).tolist(), share(2, rank=3, world_size=4).tolist()
        ([1, 3], [1])
    """
    positions: Int[np.ndarray, " m"] = np.arange(min(rank, n - 1), n, world_size)
    return positions
