"""Databases and timings that the benchmarks of search and synthesis share."""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mris.database.build import ALONE, commit_first, write_entries
from mris.database.database import EmbeddingDatabase
from mris.database.header import DatabaseHeader
from mris.database.table import METADATA, Entries


def unit_vectors(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    vectors = rng.standard_normal((n, d), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass(frozen=True)
class Made:
    """Embeddings, entry i of person i // visits; queries, and the person whose target each one has."""

    embeddings: np.ndarray
    queries: np.ndarray
    own: np.ndarray


def people_and_queries(rng: np.random.Generator, people: int, visits: int, d: int, n_queries: int) -> Made:
    """Unit vectors as trained encoders give them: some 14 effective dimensions, a mean of length .5.

    Visits of a person have a cosine of about .9; a query one of about .7 with its own target, as the encoders of the
    demo give (128 dimensions, 2,800 entries).
    """
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    scales = np.sqrt((1 + np.arange(d) / 5) ** -1.8).astype(np.float32)
    scales /= np.linalg.norm(scales)

    def spread(n: int) -> np.ndarray:
        return (rng.standard_normal((n, d), dtype=np.float32) * scales) @ axes

    def unit(vectors: np.ndarray) -> np.ndarray:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    mean = np.float32(0.5) * axes[-1]
    persons = spread(people)
    own = rng.integers(0, people, n_queries)
    queries = unit(mean + np.float32(0.55) * persons[own] + np.float32(0.5) * spread(n_queries))
    embeddings = np.empty((people * visits, d), dtype=np.float32)
    for start in range(0, people, 10_000):
        part = np.repeat(persons[start : start + 10_000], visits, axis=0)
        part += np.float32(0.35) * spread(len(part)) + mean
        embeddings[start * visits : start * visits + len(part)] = unit(part)
    return Made(embeddings, queries, own)


def make_database(
    folder: Path, rng: np.random.Generator, *, n: int, d: int, target_shape: tuple[int, int, int], fingerprint: str
) -> EmbeddingDatabase:
    """Random unit vectors and targets, two entries a subject; half of the pixels lie outside the atlas."""
    header = DatabaseHeader(
        fingerprint=fingerprint,
        embedding_dim=d,
        regions=tuple(f"region{i}" for i in range(target_shape[0])),
        target_shape=target_shape,
        target_spacing=(0.5, 0.5),
        unit="mm",
        mirror_targets=False,
        created="2026-01-01T00:00:00+00:00",
        software="benchmark",
    )
    mask = np.zeros(target_shape, dtype=bool)
    mask[:, : target_shape[1] // 2] = True
    folder.mkdir(parents=True)

    def batches() -> Iterator[Entries]:
        for start in range(0, n, 256):
            rows = np.arange(start, min(start + 256, n))
            metadata = {name: np.full(len(rows), "{}" if name == "labels" else "") for name in METADATA}
            metadata["subject"] = np.array([f"S{row // 2:06d}" for row in rows])
            metadata["key"] = np.array([f"S{row // 2:06d}/{row % 2}" for row in rows])
            targets = rng.uniform(0, 4, (len(rows), mask.size)).astype(np.float16)
            targets[:, ~mask.ravel()] = np.nan
            yield Entries(metadata, unit_vectors(rng, len(rows), d), np.empty((len(rows), 0), np.float32), targets)

    commit_first(folder, {ALONE: write_entries(folder, header, batches())})
    return EmbeddingDatabase.open(folder)


def alternate(ways: Sequence[Callable[[], object]], rounds: int, *, worked: bool = False) -> list[float]:
    """Best time in seconds of each way; taken in turns, so that a busy moment hits all of them.

    Processor time, of all threads, if `worked`: it tells the work where other programs take their turns.
    """
    clock = time.process_time if worked else time.perf_counter
    best = [float("inf")] * len(ways)
    for _ in range(rounds):
        for i, way in enumerate(ways):
            start = clock()
            way()
            best[i] = min(best[i], clock() - start)
    return best


def machine() -> str:
    return (
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
    )
