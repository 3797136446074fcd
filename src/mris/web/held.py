"""`Held`: what a page may come back to, in bounded memory; the oldest goes first, and nothing is ever on a disk."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from mris.web.errors import GoneError

T = TypeVar("T")


class Held(Generic[T]):
    """Things by an id that nobody can guess.

    Example:
        >>> held = Held[str]("picture", 10)
        >>> first, second = held.put("one", 6), held.put("two", 6)
        >>> held.get(second), len(held)
        ('two', 1)
    """

    def __init__(self, what: str, most_bytes: int) -> None:
        """Hold at most so many bytes, or one thing.

        Args:
            what: Name of the things, for messages.
            most_bytes: Bound of their bytes, as `put` is told them.
        """
        self._what = what
        self._most = most_bytes
        self._lock = threading.Lock()
        self._things: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._things)

    def new_id(self) -> str:
        """An id for a thing that is not there yet."""
        return f"{self._what[:3]}-{secrets.token_urlsafe(15)}"

    def put(self, thing: T, n_bytes: int, name: str | None = None) -> str:
        """Hold a thing; return its id."""
        name = name or self.new_id()
        with self._lock:
            self._drop(name)
            self._things[name] = thing, n_bytes
            self.n_bytes += n_bytes
            while self.n_bytes > self._most and len(self._things) > 1:
                self._drop(next(iter(self._things)))
        return name

    def get(self, name: str) -> T:
        """Give a thing.

        Raises:
            GoneError: It is not held, or not any more.
        """
        with self._lock:
            if name not in self._things:
                raise GoneError(f"the {self._what} is not held any more; send the file again")
            self._things.move_to_end(name)
            return self._things[name][0]

    def drop(self, name: str) -> None:
        """Forget a thing; nothing happens where there is none."""
        with self._lock:
            self._drop(name)

    def drop_where(self, condition: Callable[[T], bool]) -> None:
        """Forget all things of a kind."""
        with self._lock:
            for name in [name for name, (thing, _) in self._things.items() if condition(thing)]:
                self._drop(name)

    def _drop(self, name: str) -> None:
        _, n_bytes = self._things.pop(name, (None, 0))
        self.n_bytes -= n_bytes
