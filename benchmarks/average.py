"""The weighted average of 20 maps of 2 x 256 x 256 beside reading their bytes from memory: at most 3 times as long.

Rows are drawn anew each time from a store much larger than the processor's caches.

Processor time of all threads beside that of the reading, and how often a thread has waited for another: small products
that are shared between threads wait for the slower one when the machine has other work.

Run: python benchmarks/average.py
"""

import resource

import numpy as np
from made_database import alternate, machine

from mris.database.average import average_rows
from mris.database.gallery import Gallery

N, PIXELS, K, QUERIES, LARGEST_RATIO = 1_500, 2 * 256 * 256, 20, 32, 3.0


def main() -> None:
    rng = np.random.default_rng(0)
    store = rng.standard_normal((N, PIXELS), dtype=np.float32)
    holed = store.copy()
    holed[::4, :: PIXELS // 1000] = np.nan
    weights = np.full(K, 1 / K, dtype=np.float32)
    gallery = Gallery(np.ones((2, 256, 256), dtype=bool), np.arange(N), store)
    signed = rng.standard_normal((QUERIES, N), dtype=np.float32)

    def rows() -> np.ndarray:
        return rng.choice(N, K, replace=False)

    def read() -> float:
        return sum(float(store[row].sum()) for row in rows())

    def gathered_read() -> float:
        return float(store[rows()].sum())

    def mean_alone() -> list[np.ndarray]:
        chosen = rows()
        return [weights @ store[chosen, start : start + 8192] for start in range(0, PIXELS, 8192)]

    def plain() -> tuple[np.ndarray, np.ndarray]:
        maps = store[rows()]
        mean = weights @ maps
        return mean, np.sqrt(weights @ (maps - mean) ** 2)

    times = alternate(
        [
            read,
            gathered_read,
            plain,
            mean_alone,
            lambda: average_rows(store, rows(), weights),
            lambda: average_rows(holed, rows(), weights),
            lambda: gallery.average(rows()[None], weights[None]),
        ],
        rounds=40,
        worked=True,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    for _ in range(20):
        average_rows(store, rows(), weights)
    waits = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
    print(f"average: {K} float32 maps of 2 x 256 x 256 ({K * PIXELS * 4 / 1e6:.1f} MB); {machine()}")
    names = (
        *("reading the rows (a sum of each)", "gathering the rows, then a sum", "plain NumPy mean and spread"),
        "the mean's share of average_rows",
        *("average_rows: mean and spread", "... with NaN in a quarter of the maps"),
        "gallery.average of one query",
    )
    for name, seconds in zip(names, times, strict=True):
        print(f"{name:42s} {1e3 * seconds:6.2f} ms   ratio {seconds / times[0]:.2f}")
    (seconds,) = alternate([lambda: gallery.combine(signed)], rounds=3)
    print(f"gallery.combine: {QUERIES} queries, signed weights of all {N} maps: {seconds:.2f} s")
    print(
        f"asked: average_rows at most {LARGEST_RATIO} times the reading; 20 averages waited {waits} times for a thread"
    )


if __name__ == "__main__":
    main()
