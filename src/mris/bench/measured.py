"""How fast an operation of the software is, beside the bare one that it cannot do without."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Rates of an operation and of the bare one.

    Attributes:
        name: What was done.
        unit: What is counted, such as "images".
        rate: How many a second.
        bare: How many a second by the bare operation.
        ratio: The first as a share of the second, the median of the rounds.
        usual: Share below which something is wrong with the installation, or the machine is busy.
    """

    name: str
    unit: str
    rate: float
    bare: float
    ratio: float
    usual: float

    @property
    def sound(self) -> bool:
        """Whether the software is as fast as it should be on a machine like this."""
        return self.ratio >= self.usual


def beside(
    name: str,
    unit: str,
    count: int,
    work: Callable[[], object],
    bare: Callable[[], object],
    *,
    usual: float,
    rounds: int,
) -> Measured:
    """Measure an operation and the bare one in turns, so that a busy moment hits both.

    Args:
        name: What is done.
        unit: What is counted.
        count: How many of them a call does.
        work: The operation.
        bare: The bare one.
        usual: See `Measured`.
        rounds: How often both are done, after once for nothing.

    Example:
        >>> found = beside("add", "numbers", 100, lambda: sum(range(100)), lambda: sum(range(100)), usual=0.1, rounds=9)
        >>> found.sound
        True
    """
    pairs = [(_seconds(work), _seconds(bare)) for _ in range(rounds + 1)][1:]
    return Measured(
        name,
        unit,
        count / statistics.median(ours for ours, _ in pairs),
        count / statistics.median(theirs for _, theirs in pairs),
        statistics.median(theirs / ours for ours, theirs in pairs),
        usual,
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return max(time.perf_counter() - started, 1e-9)
