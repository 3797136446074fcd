"""Search of 1,000 queries in 13,616 x 512 beside the bare matrix product and partial sort: at most 1.3 times as long.

Run: python benchmarks/search.py
"""

import numpy as np
from made_database import alternate, machine, unit_vectors

from mris.database.search import Groups, exact_search

N, D, QUERIES, K, LARGEST_RATIO = 13_616, 512, 1_000, 20, 1.3


def main() -> None:
    rng = np.random.default_rng(0)
    gallery, queries = unit_vectors(rng, N, D), unit_vectors(rng, QUERIES, D)
    groups = Groups.of(np.arange(N) // 4)
    own = groups.codes[rng.integers(0, N, QUERIES)]

    def bare() -> np.ndarray:
        similarities = queries @ gallery.T
        return np.argpartition(similarities, N - K, axis=1)[:, N - K :]

    times = alternate(
        [
            bare,
            lambda: exact_search(gallery, queries, K),
            lambda: exact_search(gallery, queries, K, groups=groups, excluded=own),
            lambda: exact_search(gallery, queries, K, groups=groups, excluded=own, one_per_group=True),
        ],
        rounds=7,
    )
    print(f"search: {QUERIES} queries, {N} x {D}, k = {K}; {machine()}")
    print(f"{'bare product + argpartition':42s} {1e3 * times[0]:7.1f} ms")
    names = ("exact_search (sorted, ties by row)", "... own subject excluded", "... and one neighbor a subject")
    for name, seconds in zip(names, times[1:], strict=True):
        print(f"{name:42s} {1e3 * seconds:7.1f} ms   ratio {seconds / times[0]:.2f}  (at most {LARGEST_RATIO})")


if __name__ == "__main__":
    main()
