"""How the cost grows: entries, people, pixels and queries, each made ten times as many, twice.

Processor time of all threads, the least of three: on a busy machine, that is what the work costs. Data are random;
128 dimensions, 256 features, 1,024 pixels, k = 20, 32 queries at a time, unless a column says otherwise. A region is
so many pixels more.

Run: OMP_NUM_THREADS=1 python benchmarks/scale.py
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from made_database import alternate, machine, make_database, unit_vectors

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.database.search import Groups, exact_search
from mris.synthesis.readouts.attention import attention_weights
from mris.synthesis.readouts.readout import Penalties
from mris.synthesis.readouts.ridge import fit_regression

D, Q, K, QUERIES, PIXELS = 128, 256, 20, 32, 1024
ENTRIES, SMALL = (1_000, 10_000, 100_000), 2_000


def gallery_of(rng: np.random.Generator, n: int, pixels: int) -> Gallery:
    return Gallery(np.ones((1, 1, pixels), dtype=bool), np.arange(n), rng.random((n, pixels), dtype=np.float32))


def by_entries(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(0)
    embeddings, queries = unit_vectors(rng, n, D), unit_vectors(rng, QUERIES, D)
    features, gallery = rng.standard_normal((n, Q), dtype=np.float32), gallery_of(rng, n, PIXELS)
    groups, own = Groups.of(np.arange(n) // 4), np.arange(QUERIES)
    admitted = np.ones((QUERIES, n), dtype=bool)
    penalties = Penalties(learned=0.1)
    regression = fit_regression(features, Q, gallery, penalties)
    yield "exact search", lambda: exact_search(embeddings, queries, K, groups=groups, excluded=own)
    yield "linear readout: fit", lambda: fit_regression(features, Q, gallery, penalties)
    yield "linear readout: answer", lambda: regression.answer(features[:QUERIES])
    yield "attention: weights", lambda: attention_weights(queries, embeddings, 0.05, admitted)
    weights = attention_weights(queries, embeddings, 0.05, admitted)
    yield "attention: average of all", lambda: gallery.average_all(weights)


def by_stored(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    with tempfile.TemporaryDirectory() as folder:
        path, rng = Path(folder, "database"), np.random.default_rng(0)
        make_database(path, rng, n=n, d=64, target_shape=(1, 4, 4), fingerprint="f" * 64)
        yield "open a database", lambda: EmbeddingDatabase.open(path)


def by_pixels(pixels: int) -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(0)
    gallery = gallery_of(rng, 200, pixels)
    rows = np.stack([rng.choice(200, K, replace=False) for _ in range(QUERIES)])
    weights, everybody = np.full(rows.shape, 1 / K, np.float32), np.full((QUERIES, 200), 1 / 200, np.float32)
    yield "average of 20, with spread", lambda: gallery.average(rows, weights)
    yield "average of all 200", lambda: gallery.average_all(everybody)


def by_queries(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(0)
    embeddings, queries = unit_vectors(rng, SMALL, D), unit_vectors(rng, n, D)
    yield f"exact search in {SMALL:,} entries", lambda: exact_search(embeddings, queries, K)


def by_people(people: int) -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(0)
    embeddings, queries = unit_vectors(rng, 10_000, D), unit_vectors(rng, QUERIES, D)
    groups = Groups.of(np.arange(10_000) % people)
    yield (
        "exact search in 10,000 entries, one of each person",
        lambda: exact_search(embeddings, queries, K, groups=groups, one_per_group=True),
    )


CURVES: Mapping[str, tuple[tuple[int, ...], Callable[[int], Iterator[tuple[str, Callable[[], object]]]]]] = {
    "entries": (ENTRIES, by_entries),
    "stored entries": ((10_000, 100_000, 1_000_000), by_stored),
    "people": ((100, 1_000, 10_000), by_people),
    "pixels": ((1_000, 10_000, 100_000), by_pixels),
    "queries": ((10, 100, 1_000), by_queries),
}


def main() -> None:
    print(f"processor time in ms; {machine()}")
    for name, (sizes, ways) in CURVES.items():
        rows: dict[str, list[float]] = {}
        for size in sizes:
            for what, work in ways(size):
                rows.setdefault(what, []).extend(alternate([work], rounds=3, worked=True))
        print(f"| {name} | {' | '.join(f'{size:,}' for size in sizes)} |\n| --- {'| ---: ' * len(sizes)}|")
        for what, seconds in rows.items():
            print(f"| {what} | {' | '.join(f'{1e3 * value:.4g}' for value in seconds)} |", flush=True)


if __name__ == "__main__":
    main()
