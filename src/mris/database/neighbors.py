"""The answer of a search: who the nearest database entries are, and how near."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64


@dataclass(frozen=True)
class Neighbors:
    """The nearest entries of each query, nearest first; ties stand in ascending row order.

    A query with fewer than k admissible entries has ``counts`` below k; what is left of its line is padding.

    Attributes:
        keys: (n, k) stable names of the entries (``subject/timepoint[/side]``); "" is padding.
        subjects: (n, k) subjects of the entries; "" is padding.
        rows: (n, k) positions in the database as it is today; -1 is padding.
        similarities: (n, k) cosine similarities in [-1, 1], descending; NaN is padding.
        counts: (n,) how many neighbors each query has.
    """

    keys: np.ndarray
    subjects: np.ndarray
    rows: Int64[np.ndarray, "n k"]
    similarities: Float32[np.ndarray, "n k"]
    counts: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.counts)

    def __iter__(self) -> Iterator["Neighbors"]:
        """The neighbors of each query, as `Neighbors` of one query."""
        return (self.of(query) for query in range(len(self)))

    def of(self, query: int) -> "Neighbors":
        """The neighbors of one query, n = 1."""
        one = slice(query, query + 1 or None)
        return Neighbors(self.keys[one], self.subjects[one], self.rows[one], self.similarities[one], self.counts[one])
