"""A training that is killed in the middle, as by a power cut, in a process of its own."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

_TRAINERS = ["mris.baselines.train", "mris.metric.train"]


def train_until_killed(train: Callable[..., object], cohort: object, run: Path, **options: object) -> None:
    """Train, and kill -9 the process as soon as the run has its first checkpoint.

    The processes are forked from one that has loaded torch and has not computed yet: that costs seconds, but once.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(_TRAINERS)
    process = context.Process(target=train, args=(cohort, run), kwargs=options)
    process.start()
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -9, f"the training ended before it was killed: {process.exitcode}"
