"""Search of some queries in many entries beside the bare matrix product and partial sort: at most 1.3 times as long.

Run: python benchmarks/search.py
     python benchmarks/search.py --entries 200000 --queries 256
"""

import argparse

import numpy as np
from made_database import alternate, machine, unit_vectors

from mris.database.search import Groups, exact_search

D, K, LARGEST_RATIO = 512, 20, 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=13_616)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    gallery, queries = unit_vectors(rng, given.entries, D), unit_vectors(rng, given.queries, D)
    groups = Groups.of(np.arange(given.entries) // 4)
    own = groups.codes[rng.integers(0, given.entries, given.queries)]

    def bare() -> np.ndarray:
        similarities = queries @ gallery.T
        return np.argpartition(similarities, given.entries - K, axis=1)[:, given.entries - K :]

    ways = [
        bare,
        lambda: exact_search(gallery, queries, K),
        lambda: exact_search(gallery, queries, K, groups=groups, excluded=own),
        lambda: exact_search(gallery, queries, K, groups=groups, excluded=own, one_per_group=True),
    ]
    wall, worked = alternate(ways, rounds=given.rounds), alternate(ways, rounds=given.rounds, worked=True)
    print(f"search: {given.queries:,} queries, {given.entries:,} x {D}, k = {K}; {machine()}")
    names = ("bare product + argpartition", "exact_search (sorted, ties by row)", "... own subject excluded")
    for name, seconds, processor in zip((*names, "... and one neighbor a subject"), wall, worked, strict=True):
        ratios = f"ratio {seconds / wall[0]:.2f}, of processor time {processor / worked[0]:.2f}"
        print(f"{name:36s} {1e3 * seconds:8.1f} ms, processor {1e3 * processor:8.1f} ms; {ratios}")
    print(f"asked: at most {LARGEST_RATIO}")


if __name__ == "__main__":
    main()
