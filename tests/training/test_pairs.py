"""Batches read ahead."""

import threading

import numpy as np

from mris.training.pairs import PrefetchedBatches, in_order


def test_batches_come_in_their_order_whatever_their_number() -> None:
    for n in (1, 2, 7):
        found = list(PrefetchedBatches(lambda positions: positions.tolist(), in_order(n, 2)))
        assert [one for batch in found for one in batch] == list(range(n))


def test_no_thread_waits_once_the_last_batch_is_out() -> None:
    """Lightning asks for no more than there are; a finalizer that waits for a thread swallows Ctrl-C."""
    before = threading.active_count()
    batches = iter(PrefetchedBatches(np.copy, in_order(6, 2)))
    taken = [next(batches) for _ in range(3)]
    assert len(taken) == 3 and threading.active_count() == before
