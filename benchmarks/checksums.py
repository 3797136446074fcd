"""What comparing rows with their checksums costs: a stream read from disk, with and without (at most 3 % of it).

Run: python benchmarks/checksums.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from made_database import machine, make_database

from mris.database.database import EmbeddingDatabase
from mris.database.stored import StoredEntries
from mris.synthesis.onnx_encoder import OnnxEncoder
from mris.synthesis.synthesizer import Synthesizer
from synthesis import QUERIES, SIZES, D, N, export

ROUNDS = 9


def seconds(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def without_checksums(way: Callable[[], object]) -> None:
    unchecked = {"vector_checksums": lambda *_: [], "metadata_checksums": lambda *_: []}
    with mock.patch.multiple("mris.database.stored", **unchecked), mock.patch.object(StoredEntries, "_compare"):
        way()


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
    for name, way in (("stream read from disk", stream), ("open, read all into memory, one query", first_answer)):
        pairs = [(seconds(way), seconds(lambda way=way: without_checksums(way))) for _ in range(ROUNDS)]
        checked, unchecked = (statistics.median(column) for column in zip(*pairs, strict=True))
        share = statistics.median(1 - without / with_ for with_, without in pairs)
        print(
            f"{size} px, {name}: {1e3 * checked:.0f} ms, without {1e3 * unchecked:.0f} ms, share {share:+.1%}",
            flush=True,
        )


def main() -> None:
    print(f"checksums: ResNet-18, {D} dimensions, {N} entries, {QUERIES} queries, k = 20; {machine()}", flush=True)
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
