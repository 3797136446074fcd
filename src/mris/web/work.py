"""Who works on a request: a bounded number of places, threads that read, and one thread a bundle that synthesizes.

Queries that wait are synthesized together: a batch costs little more than one of them.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from mris.defaults import N_NEIGHBORS
from mris.synthesis.synthesis import Synthesis
from mris.web.errors import RETRY_SECONDS, BusyError
from mris.web.served import ServedBundle, State, warm

MOST_TOGETHER = 32
"""Queries that are synthesized together."""

_LULL = 0.1
"""Where several ask, so much of a batch's time is waited after it, at most, for as many to ask again: they would else
be in another batch than those who waited meanwhile, and each batch wait for the other."""

N_SHOWN = N_NEIGHBORS
"""People whose maps come with a result."""


class Places:
    """How many requests may be worked on or wait; who comes beyond is sent away."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Take a place for a while.

        Raises:
            BusyError: All are taken.
        """
        if self._taken >= self._count:
            raise BusyError(f"{self._taken} requests are waiting; try again in {RETRY_SECONDS} s")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


@dataclass(frozen=True, eq=False)
class Answer:
    """A synthesis, still without doubts, the state of the bundle that it came from, and maps of its first people."""

    state: State
    synthesis: Synthesis
    neighbor_maps: tuple[Float32[np.ndarray, "m r h w"], ...]


@dataclass(frozen=True, eq=False)
class _Query:
    source: Float32[np.ndarray, "c h w"]
    exclude_subject: str | None
    answer: "Future[Answer]" = field(default_factory=Future)


class SynthesisThread:
    """The thread that synthesizes from one bundle."""

    def __init__(self, served: ServedBundle) -> None:
        self._served = served
        self._waiting: queue.SimpleQueue[_Query | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"synthesis of {served.name}", daemon=True)
        self._thread.start()

    def submit(self, source: Float32[np.ndarray, "c h w"], exclude_subject: str | None = None) -> "Future[Answer]":
        """Synthesize from a prepared source, together with others that wait."""
        query = _Query(source, exclude_subject)
        self._waiting.put(query)
        return query.answer

    def close(self) -> None:
        """End the thread, after what it is doing."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        with contextlib.suppress(Exception):  # who asks is told; the thread must live
            warm(self._served)
        n_expected, until = 1, 0.0
        while (first := self._waiting.get()) is not None:
            batch, started = [first, *self._others(n_expected, until)], time.monotonic()
            for alike in _by_shape(batch):
                self._answer(alike)
            ended = time.monotonic()
            n_expected, until = len(batch) + self._waiting.qsize(), ended + _LULL * (ended - started)

    def _others(self, n_expected: int, until: float) -> Iterator[_Query]:
        """Give what waits besides a first, in the order of arrival; until a time, wait for as many as are expected."""
        for place in range(1, MOST_TOGETHER):
            patience = max(0.0, until - time.monotonic()) if place < n_expected else 0.0
            try:
                query = self._waiting.get(timeout=patience)
            except queue.Empty:
                return
            if query is None:
                self._waiting.put(None)
                return
            yield query

    def _answer(self, batch: list[_Query]) -> None:
        try:
            state = self._served.use()
            sources = np.stack([query.source for query in batch])
            syntheses = state.synthesizer.synthesize_without_doubts(sources, [query.exclude_subject for query in batch])
            for query, synthesis in zip(batch, syntheses, strict=True):
                query.answer.set_result(Answer(state, synthesis, state.synthesizer.neighbor_maps(synthesis, N_SHOWN)))
        except Exception as error:  # noqa: BLE001 - told to whom it concerns
            waiting = [query for query in batch if not query.answer.done()]
            if len(waiting) == 1:
                waiting[0].answer.set_exception(error)
            elif waiting:  # one of them alone may be at fault
                for query in waiting:
                    self._answer([query])


def _by_shape(queries: list[_Query]) -> list[list[_Query]]:
    groups: dict[tuple[int, ...], list[_Query]] = {}
    for query in queries:
        groups.setdefault(query.source.shape, []).append(query)
    return list(groups.values())
