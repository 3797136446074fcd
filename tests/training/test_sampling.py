"""Batches of an epoch: who is in them, and that they depend on seed and epoch only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.errors import TrainingError
from mris.training.sampling import epoch_batches, one_pair_per_subject

subject_lists = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=40).filter(lambda s: len(set(s)) >= 2)


@given(subject_lists, st.integers(0, 99))
def test_an_epoch_draws_each_subject_exactly_once(subjects: list[str], seed: int) -> None:
    drawn = one_pair_per_subject(np.array(subjects), np.random.default_rng(seed))
    assert sorted(np.array(subjects)[drawn].tolist()) == sorted(set(subjects))


@given(subject_lists, st.integers(2, 10), st.integers(0, 5))
def test_no_batch_holds_a_subject_twice_and_no_pair_comes_twice(subjects: list[str], size: int, epoch: int) -> None:
    array = np.array(subjects)
    batches = epoch_batches(array, size, sampler="subject", seed=0, epoch=epoch)
    assert batches
    for batch in batches:
        assert len(set(array[batch])) == len(batch)
    everything = np.concatenate(batches)
    assert len(set(everything.tolist())) == len(everything)


def test_every_pair_of_a_subject_is_drawn_equally_often() -> None:
    subjects = np.array(["a", "a", "a", "b"])
    counts = np.zeros(4)
    for epoch in range(3000):
        counts[one_pair_per_subject(subjects, np.random.default_rng([1, epoch]))] += 1
    assert counts[3] == 3000
    assert np.all(np.abs(counts[:3] - 1000) < 4 * np.sqrt(3000 * 1 / 3 * 2 / 3))


def test_the_processes_of_a_training_share_each_global_batch_without_overlap() -> None:
    subjects = np.array([f"S{i}" for i in range(40)])
    whole = epoch_batches(subjects, 8, sampler="pair", seed=4, epoch=2)
    parts = [epoch_batches(subjects, 4, sampler="pair", seed=4, epoch=2, rank=r, world_size=2) for r in range(2)]
    for global_batch, left, right in zip(whole, *parts, strict=True):
        assert len(left) == len(right) == 4
        assert set(left) | set(right) == set(global_batch)


def test_epochs_differ_and_the_same_epoch_repeats() -> None:
    subjects = np.array([f"S{i}" for i in range(30)])

    def plan(epoch: int) -> list[int]:
        return np.concatenate(epoch_batches(subjects, 8, sampler="pair", seed=0, epoch=epoch)).tolist()

    assert plan(3) == plan(3) != plan(4)


def test_people_meet_others_in_every_epoch_with_one_pair_a_subject_too() -> None:
    subjects = np.array([f"S{i:02d}" for i in range(24)])
    first = [set(epoch_batches(subjects, 8, sampler="subject", seed=0, epoch=epoch)[0].tolist()) for epoch in range(20)]
    assert len({frozenset(members) for members in first}) == 20
    assert set.union(*first) == set(range(24))


def test_a_cohort_smaller_than_a_batch_is_one_batch_and_one_subject_is_refused() -> None:
    assert len(epoch_batches(np.array(["a", "b", "c"]), 64, sampler="pair", seed=0, epoch=0)) == 1
    with pytest.raises(TrainingError, match="at least 2 subjects"):
        epoch_batches(np.array(["a", "a"]), 64, sampler="pair", seed=0, epoch=0)
