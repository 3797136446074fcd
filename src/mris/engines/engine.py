"""`Engine`: what does some work on every item, and hands the results back in order."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Engine(Protocol):
    """Does some work on every item, here or elsewhere."""

    def __call__(self, work: Callable[[_Item], Iterable[_Result]], items: Sequence[_Item], /) -> Iterator[_Result]:
        """Do some work on every item.

        Args:
            work: Gives any number of results of an item. It may be pickled, and done twice on an item whose first
                worker died: what it writes must be the same each time.
            items: What to work on.

        Yields:
            All results, in the order of the items. An error of the work comes after the results before it.
        """


def in_this_process(work: Callable[[_Item], Iterable[_Result]], items: Sequence[_Item], /) -> Iterator[_Result]:
    """Do some work on every item, one after another, as results are asked for: the engine that is always there.

    Example:
        >>> list(in_this_process(range, [2, 3]))
        [0, 1, 0, 1, 2]
    """
    for item in items:
        yield from work(item)
