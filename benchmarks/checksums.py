"""What comparing rows with their checksums costs: its share of a stream read from disk (at most 3 %), and of a start.

The time inside the comparison is added up while a stream is synthesized, so that a busy machine slows both alike.

Run: python benchmarks/checksums.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from made_database import machine, make_database

from mris.database import stored
from mris.database.database import EmbeddingDatabase
from mris.synthesis.onnx_encoder import OnnxEncoder
from mris.synthesis.synthesizer import Synthesizer
from synthesis import QUERIES, SIZES, D, N, export

ROUNDS = 7


class Clock:
    """Adds up the time spent inside some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def share(way: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of a way, and the share of them inside comparisons."""
    clock = Clock()
    hashing = {name: clock.around(getattr(stored, name)) for name in ("vector_checksums", "metadata_checksums")}
    comparing = clock.around(stored.StoredEntries._compare)
    with mock.patch.multiple(stored, **hashing), mock.patch.object(stored.StoredEntries, "_compare", comparing):
        start = time.perf_counter()
        way()
        seconds = time.perf_counter() - start
    return 1e3 * seconds, clock.seconds / seconds


def measure(folder: Path, size: int) -> None:
    encoder = OnnxEncoder(folder / "encoder")
    synthesizer = Synthesizer(encoder, EmbeddingDatabase.open(folder / "database"), memory_limit=0)
    sources = np.random.default_rng(0).uniform(0, 1, (QUERIES, 1, size, size)).astype(np.float32)

    def stream() -> None:
        for _ in synthesizer.stream(sources):
            pass

    def first_answer() -> None:
        database = EmbeddingDatabase.open(folder / "database")
        Synthesizer(encoder, database, memory_limit=4 << 30).synthesize(sources[:1])

    stream()
    for name, way in ((f"{QUERIES} queries, rows from disk", stream), ("open, all rows, one query", first_answer)):
        milliseconds, shares = zip(*(share(way) for _ in range(ROUNDS)), strict=True)
        median = statistics.median(milliseconds)
        print(f"{size} px, {name}: {median:.0f} ms, {statistics.median(shares):.1%} of it comparing", flush=True)


def main() -> None:
    print(f"checksums: ResNet-18, {D} dimensions, {N} entries, k = 20; {machine()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for size in SIZES:
            folder = Path(temporary, str(size))
            export(folder / "encoder", size)
            fingerprint = OnnxEncoder(folder / "encoder").fingerprint
            rng = np.random.default_rng(0)
            make_database(folder / "database", rng, n=N, d=D, target_shape=(2, size, size), fingerprint=fingerprint)
            measure(folder, size)


if __name__ == "__main__":
    main()
