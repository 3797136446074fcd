"""Indexes of well-kept libraries side by side: at what recall do they find the 20 nearest, how soon, at what cost?

Embeddings are made as an encoder gives them: people in a space of few effective dimensions, visits of a person near
each other, and queries farther from their own target than from others'. A query does not meet its own person. Each
way's effort (lists probed, width of a graph's search) is the least of its ladder whose recall@20 is at least .99; then
all ways answer in turns, in one process. Where codes are kept and not numbers, more are fetched and compared again.

Run: OMP_NUM_THREADS=1 python benchmarks/index.py --entries 100000 --dimensions 512
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import lance
import numpy as np
import pyarrow as pa
from made_database import machine, people_and_queries

from mris.database.search import Groups, exact_search

K, VISITS, QUERIES, ROUNDS, RECALL = 20, 4, 256, 3, 0.99
FETCH = K + VISITS


@dataclass(frozen=True)
class Way:
    """One library's index: how it is built, kept on disk, and asked for rows with some effort."""

    name: str
    build: Callable[[np.ndarray, Path], Any]
    search: Callable[[Any, np.ndarray, int], np.ndarray]
    efforts: Sequence[int]
    save: Callable[[Any, Path], None]
    exact_again: bool = False


def faiss_index(kind: str) -> Callable[[np.ndarray, Path], Any]:
    def build(embeddings: np.ndarray, _: Path) -> Any:
        n, d = embeddings.shape
        lists = max(16, round(2 * n**0.5))
        metric = faiss.METRIC_L2 if "IVF" in kind else faiss.METRIC_INNER_PRODUCT
        index = faiss.index_factory(d, kind.format(lists=lists), metric)
        if "HNSW" in kind:
            faiss.downcast_index(index).hnsw.efConstruction = 100
        index.train(embeddings[:: max(1, n // (64 * lists))])
        index.add(embeddings)
        return index

    return build


def faiss_search(fetch: int) -> Callable[[Any, np.ndarray, int], np.ndarray]:
    def search(index: Any, queries: np.ndarray, effort: int) -> np.ndarray:
        one = faiss.downcast_index(index)
        if isinstance(one, faiss.IndexHNSW):
            one.hnsw.efSearch = max(effort, fetch)
        else:
            one.nprobe = effort
        return index.search(queries, fetch)[1]

    return search


def faiss_save(index: Any, path: Path) -> None:
    faiss.write_index(index, str(path))


def usearch_index(dtype: str) -> Callable[[np.ndarray, Path], Any]:
    def build(embeddings: np.ndarray, _: Path) -> Any:
        from usearch.index import Index

        index = Index(ndim=embeddings.shape[1], metric="ip", dtype=dtype, connectivity=16, expansion_add=100)
        index.add(np.arange(len(embeddings)), embeddings, threads=threads())
        return index

    return build


def usearch_search(fetch: int) -> Callable[[Any, np.ndarray, int], np.ndarray]:
    def search(index: Any, queries: np.ndarray, effort: int) -> np.ndarray:
        index.expansion_search = max(effort, fetch)
        found = index.search(queries, fetch, threads=threads())
        return np.asarray(found.keys).astype(np.int64).reshape(len(queries), -1)

    return search


def lance_index(kind: str) -> Callable[[np.ndarray, Path], Any]:
    def build(embeddings: np.ndarray, folder: Path) -> Any:
        n, d = embeddings.shape
        column = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), d)
        path = folder / f"{kind}.lance"
        table = lance.write_dataset(pa.table({"embedding": column}), str(path))
        options = {"num_sub_vectors": d // 8} if kind == "IVF_PQ" else {"ef_construction": 100, "m": 16}
        lists = max(1, round(n**0.5) // (1 if kind == "IVF_PQ" else 8))
        table.create_index("embedding", kind, metric="cosine", num_partitions=lists, **options)
        return lance.dataset(str(path))

    return build


def lance_search(table: Any, queries: np.ndarray, effort: int) -> np.ndarray:
    rows = np.full((len(queries), FETCH), -1, dtype=np.int64)
    for number, query in enumerate(queries):
        nearest = {
            **{"column": "embedding", "q": query, "k": FETCH, "metric": "cosine", "refine_factor": 4},
            **{"minimum_nprobes": effort, "maximum_nprobes": effort, "ef": 4 * FETCH},
        }
        found = table.to_table(columns=["_distance"], nearest=nearest, with_row_id=True)["_rowid"].to_numpy()
        rows[number, : len(found)] = found
    return rows


LADDER = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
GRAPH = (24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
AGAIN = 3 * FETCH
NOTHING: Callable[[Any, Path], None] = lambda _index, _path: None  # noqa: E731
WAYS = (
    Way("FAISS IVF SQ8", faiss_index("IVF{lists},SQ8"), faiss_search(AGAIN), LADDER, faiss_save, True),
    Way("FAISS IVF flat", faiss_index("IVF{lists},Flat"), faiss_search(FETCH), LADDER, faiss_save),
    Way("FAISS HNSW", faiss_index("HNSW16,Flat"), faiss_search(FETCH), GRAPH, faiss_save),
    Way("usearch HNSW f32", usearch_index("f32"), usearch_search(FETCH), GRAPH, lambda i, p: i.save(str(p))),
    Way("usearch HNSW i8", usearch_index("i8"), usearch_search(AGAIN), GRAPH, lambda i, p: i.save(str(p)), True),
    Way("Lance IVF_HNSW_SQ", lance_index("IVF_HNSW_SQ"), lance_search, (8, 32, 128), NOTHING),
    Way("Lance IVF_PQ", lance_index("IVF_PQ"), lance_search, (8, 32, 128), NOTHING),
)


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", 2))


def rows_held_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmRSS:")[1].split()[0]) / 1024


def answer(way: Way, index: Any, effort: int, embeddings: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Rows of the candidates, best first; of codes after they are compared again."""
    rows = way.search(index, queries, effort)
    if not way.exact_again:
        return rows
    scores = np.matmul(embeddings[np.maximum(rows, 0)], queries[:, :, None])[:, :, 0]
    scores[rows < 0] = -np.inf
    return np.take_along_axis(rows, np.argsort(-scores, axis=1), axis=1)


def recall(rows: np.ndarray, own: np.ndarray, truth: np.ndarray) -> float:
    """Share of the truth among the first 20 of other people."""
    others = [line[(line >= 0) & (line // VISITS != person)][:K] for line, person in zip(rows, own, strict=True)]
    return float(np.mean([np.isin(line, found).mean() for line, found in zip(truth, others, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument(
        "--ways", default="", help="parts of the names of the ways, separated by commas; all by default"
    )
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    made = people_and_queries(rng, given.entries // VISITS, VISITS, given.dimensions, QUERIES)
    embeddings, queries, own = made.embeddings, made.queries, made.own
    faiss.omp_set_num_threads(threads())
    print(f"{len(embeddings):,} x {given.dimensions}, {QUERIES} queries, k = {K}, {threads()} thread(s); {machine()}")
    groups = Groups.of(np.arange(len(embeddings)) // VISITS)

    def exactly(some: slice) -> np.ndarray:
        return exact_search(embeddings, queries[some], K, groups=groups, excluded=own[some]).rows

    truth = exactly(slice(None))
    wanted = [name for name in given.ways.split(",") if name]
    tried, lines = {"exact": exactly}, {}
    with tempfile.TemporaryDirectory() as temporary:
        for way in WAYS:
            if wanted and not any(name.lower() in way.name.lower() for name in wanted):
                continue
            folder = Path(temporary, way.name.replace(" ", "_"))
            folder.mkdir()
            held, wall, worked = rows_held_megabytes(), time.perf_counter(), time.process_time()
            index = way.build(embeddings, folder)
            wall, worked, held = time.perf_counter() - wall, time.process_time() - worked, rows_held_megabytes() - held
            way.save(index, folder / "index")
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            size -= embeddings.nbytes / 1e6 if way.save is NOTHING else 0  # the table itself
            for effort in way.efforts:
                found = recall(answer(way, index, effort, embeddings, queries), own, truth)
                if found >= RECALL:
                    break
            lines[way.name] = f"{effort} | {found:.4f} | {wall:.0f} | {worked:.0f} | {held:.0f} | {size:.0f}"

            def ask(some: slice, way: Way = way, index: Any = index, effort: int = effort) -> np.ndarray:
                return answer(way, index, effort, embeddings, queries[some])

            tried[way.name] = ask
            print_costs(tried, lines)  # the last table has all of them, measured in turns


def print_costs(tried: dict[str, Callable[[slice], np.ndarray]], lines: dict[str, str]) -> None:
    """Let all ways answer in turns, one query at a time and 32 at a time, and print a table."""
    ms: dict[str, dict[int, list[tuple[float, float]]]] = {name: {1: [], 32: []} for name in tried}
    for _ in range(ROUNDS):
        for size, count in ((1, 32), (32, QUERIES)):
            for name, ask in tried.items():
                asked = 8 if name == "exact" and size == 1 else count
                wall, worked = time.perf_counter(), time.process_time()
                for start in range(0, asked, size):
                    ask(slice(start, start + size))
                spent = (time.perf_counter() - wall, time.process_time() - worked)
                ms[name][size].append((1e3 * spent[0] / asked, 1e3 * spent[1] / asked))
    print(
        "| index | effort | recall@20 | build s | build CPU s | memory MB | disk MB | ms alone | CPU | ms of 32 | CPU |"
    )
    print("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |")
    for name in tried:
        cells = [f"{np.median(values):.2f}" for size in (1, 32) for values in zip(*ms[name][size], strict=True)]
        print(f"| {name} | {lines.get(name, ' | 1 | | | | ')} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
