"""Pairs read by several processes, handed back in the manifest's order."""

import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import parent_process
from typing import ParamSpec, TypeVar

from mris.cohort.manifest import ManifestRow
from mris.cohort.pair import PreparedPair, PrepareSettings, read_pairs
from mris.errors import CohortError, OutputError, remedy

_P = ParamSpec("_P")
_T = TypeVar("_T")
_ROWS_PER_TASK = 8
_ROWS_WORTH_A_WORKER = 32  # to start a process costs as much as to read some dozen images


def prepared_pairs(
    rows: Sequence[ManifestRow], regions: Sequence[str], settings: PrepareSettings, *, keep_pixels: bool
) -> Generator[PreparedPair, None, None]:
    """Read the pairs of a manifest with all cores; memory does not grow with the number of rows.

    Args:
        rows: Sound rows.
        regions: Names of their regions.
        settings: What to do, and with how many processes.
        keep_pixels: See `read_pairs`.

    Yields:
        One result a row, in the order of the rows.

    Raises:
        CohortError: A process died.
    """
    tasks = [rows[start : start + _ROWS_PER_TASK] for start in range(0, len(rows), _ROWS_PER_TASK)]
    workers = min(settings.workers or _worth(len(rows)), max(len(tasks), 1))
    if workers == 1:
        for task in tasks:
            yield from read_pairs(task, regions, settings, keep_pixels)
        return
    pool = WorkerPool(workers)
    try:
        waiting: deque[Future[list[PreparedPair]]] = deque()
        pending = iter(tasks)
        for task in itertools.islice(pending, 2 * workers):
            waiting.append(pool.submit(read_pairs, task, regions, settings, keep_pixels))
        while waiting:
            done = waiting.popleft().result()
            for task in itertools.islice(pending, 1):
                waiting.append(pool.submit(read_pairs, task, regions, settings, keep_pixels))
            yield from done
    except BrokenProcessPool as error:
        raise CohortError(
            "a process that reads images died (killed, or out of memory?); run again with fewer workers: it resumes. "
            "In a script, the call must stand under `if __name__ == '__main__':`"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _worth(n_rows: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, n_rows // _ROWS_WORTH_A_WORKER))


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
        with _ctrl_c_waits():
            return super().submit(fn, *args, **kwargs)


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
