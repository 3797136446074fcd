"""Work done by several processes, handed back in order; the pairs of a manifest read so."""

import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.process import parent_process
from types import ModuleType
from typing import ParamSpec, TypeVar

from mris.cohort.manifest import ManifestRow
from mris.cohort.pair import PreparedPair, read_pairs
from mris.cohort.prepare_settings import PrepareSettings
from mris.cores import n_cores
from mris.engines.engine import Engine
from mris.errors import CohortError, MrisError, OutputError, remedy

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Item = TypeVar("_Item")
_HIDING = threading.Lock()
_ROWS_PER_TASK = 8
_ROWS_WORTH_A_WORKER = 32  # to start a process costs as much as to read some dozen images


def prepared_pairs(
    rows: Sequence[ManifestRow],
    regions: Sequence[str],
    settings: PrepareSettings,
    *,
    keep_pixels: bool,
    engine: Engine | None = None,
) -> Generator[PreparedPair, None, None]:
    """Read the pairs of a manifest with all cores; memory does not grow with the number of rows.

    Args:
        rows: Sound rows.
        regions: Names of their regions.
        settings: What to do, and with how many processes.
        keep_pixels: See `read_pairs`.
        engine: What reads instead of this machine's cores.

    Yields:
        One result a row, in the order of the rows.

    Raises:
        CohortError: A process died.
    """
    tasks = [rows[start : start + _ROWS_PER_TASK] for start in range(0, len(rows), _ROWS_PER_TASK)]
    read = partial(read_pairs, regions=regions, settings=settings, keep_pixels=keep_pixels)
    if engine is not None:
        yield from engine(read, tasks)
        return
    workers = settings.workers or max(1, min(n_cores(), len(rows) // _ROWS_WORTH_A_WORKER))
    for pairs in in_processes(read, tasks, workers, CohortError, "reads images"):
        yield from pairs


def in_processes(
    work: Callable[[_Item], _T], items: Sequence[_Item], workers: int, error: type[MrisError], doing: str
) -> Generator[_T, None, None]:
    """Do some work on every item with several processes, or in this one where one is enough.

    Args:
        work: Pickled for each process: a function of a module, not of the user's script.
        items: Each is handed to one process.
        workers: Processes, at least 1.
        error: What is raised if a process dies.
        doing: What the processes do, for its message, such as "reads images".

    Yields:
        One result an item, in their order; only some more than are asked for are worked on.

    Raises:
        MrisError: `error`: a process died.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(work, items)
        return
    pool, pending = WorkerPool(workers), iter(items)
    try:
        waiting = deque(pool.submit(work, item) for item in itertools.islice(pending, 2 * workers))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in itertools.islice(pending, 1))
            yield done
    except BrokenProcessPool as cause:
        raise error(
            f"a process that {doing} died (killed, or out of memory?); run again with fewer workers: it goes on where "
            "it stopped"
        ) from cause
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def bar_is_seen() -> bool:
    """Tell whether standard error leads to a terminal or a notebook, by the signs that Rich goes by."""
    return sys.stderr.isatty() or bool(os.environ.get("FORCE_COLOR")) or "ipykernel" in sys.modules


def shown(items: Iterable[_T], title: str, total: int, progress: bool) -> Iterable[_T]:
    """Count the items on a bar on standard error while they are used, if `progress` and somebody can see it."""
    if not (progress and bar_is_seen()):
        return items
    from rich.console import Console  # only here: loading it takes a twentieth of a second
    from rich.progress import track

    return track(items, title, total, console=Console(stderr=True), transient=True)


class WorkerPool(ProcessPoolExecutor):
    """Processes that leave Ctrl-C to their parent from their first moment on.

    They are spawned, never forked: the parent has Lance open, whose threads do not survive a fork.
    """

    def __init__(self, n_workers: int) -> None:
        """Make a pool of so many processes, each started when it has work.

        Raises:
            OutputError: The system gives no semaphores, which lie in shared memory.
        """
        try:
            super().__init__(n_workers, multiprocessing.get_context("spawn"), initializer=start_worker)
        except OSError as error:
            raise OutputError(
                f"processes cannot be started: {error.strerror or error} in shared memory (/dev/shm), where their "
                f"locks lie; {remedy(error)}, or use one process (--workers 1)"
            ) from error

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Hand on a task, for which a process may start; see `ProcessPoolExecutor.submit`."""
        with _ctrl_c_waits(), _without_main():
            return super().submit(fn, *args, **kwargs)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the user's script from a process that starts meanwhile.

    A spawned process runs the script of its parent again, as it may need what is defined there. Ours need nothing of
    it, and it would do all its work once more, unless it stands under ``if __name__ == "__main__"``; one that came
    through standard input is no file to run.
    """
    with _HIDING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C back; a process that starts meanwhile does so for good, as it begins by loading libraries."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def start_worker() -> None:
    """Make a process of a pool leave Ctrl-C to its parent, and end with it even if it is killed.

    Without it the pool's processes wait forever for a parent that is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
