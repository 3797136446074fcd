"""Exact nearest neighbors by cosine similarity: one matrix product in tiles, each followed by a partial sort.

It is the oracle of every approximate search. Memory is bounded: one tile of similarities, never the whole matrix.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from mris.types import Embeddings

_BLOCK_BYTES = 32 << 20
"""Similarities held at a time: few enough to stay near the processor's cache, where the partial sort reads them."""

_TILE_ROWS = 32_768
"""Gallery rows compared at a time, or more where queries are few: each is read once for hundreds of queries."""


@dataclass(frozen=True)
class SearchResult:
    """Rows and similarities of the nearest gallery vectors, best first, padded with -1 and NaN.

    Attributes:
        rows: (n, k) gallery rows.
        similarities: (n, k) cosine similarities.
        counts: (n,) how many of the k are real.
    """

    rows: Int64[np.ndarray, "n k"]
    similarities: Float32[np.ndarray, "n k"]
    counts: Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class Groups:
    """Which gallery rows belong to one subject, by integer code.

    Attributes:
        codes: (N,) code of each gallery row, 0 to n_groups - 1.
        order: (N,) gallery rows sorted by code.
        starts: (n_groups + 1,) where each code begins in ``order``.
    """

    codes: Int64[np.ndarray, " N"]
    order: Int64[np.ndarray, " N"]
    starts: Int64[np.ndarray, " g"]

    @classmethod
    def of(cls, codes: Int64[np.ndarray, " N"]) -> "Groups":
        """Index gallery rows by their code (codes from 0, as `np.unique` with inverse gives)."""
        codes = np.asarray(codes, dtype=np.int64)
        n_groups = int(codes.max()) + 1 if len(codes) else 0
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(n_groups + 1))
        return cls(codes, order.astype(np.int64), starts.astype(np.int64))

    def rows(self, code: int) -> Int64[np.ndarray, " m"]:
        """Gallery rows of one code, ascending."""
        return self.order[self.starts[code] : self.starts[code + 1]]


def exact_search(
    gallery: Embeddings,
    queries: Embeddings,
    k: int,
    *,
    groups: Groups | None = None,
    excluded: Int64[np.ndarray, " n"] | None = None,
    one_per_group: bool = False,
) -> SearchResult:
    """Find the k gallery vectors of highest cosine similarity to each query.

    Args:
        gallery: (N, d) vectors of norm 1.
        queries: (n, d) vectors of norm 1.
        k: Neighbors asked for, at least 1.
        groups: Subjects of the gallery rows; needed by the next two.
        excluded: (n,) code of the subject that a query must not meet; -1 excludes nobody.
        one_per_group: Keep the best row of each subject only.

    Returns:
        The result; ties are broken by ascending gallery row.
    """
    n, k = len(queries), int(k)
    rows = np.full((n, k), -1, dtype=np.int64)
    similarities = np.full((n, k), np.nan, dtype=np.float32)
    counts = np.zeros(n, dtype=np.int64)
    entries = _BLOCK_BYTES // 4
    block = max(1, entries // max(1, min(len(gallery), _TILE_ROWS)))
    tile = max(1, entries // max(1, min(n, block)))
    of_groups = groups if one_per_group else None
    for start in range(0, n, block):
        part = slice(start, min(start + block, n))
        found = []
        for first in range(0, max(1, len(gallery)), tile):
            product = queries[part] @ gallery[first : first + tile].T
            if excluded is not None and groups is not None:
                _exclude(product, first, groups, excluded[part])
            found.append(_best(product, k, first, of_groups))
        best = _merged(found, k, of_groups)
        width = best.rows.shape[1]
        rows[part, :width], similarities[part, :width], counts[part] = best.rows, best.similarities, best.counts
    np.clip(similarities, -1.0, 1.0, out=similarities)  # rounding alone leads beyond 1; NaN stays
    return SearchResult(rows, similarities, counts)


def top_k(similarities: Float32[np.ndarray, "n N"], k: int) -> SearchResult:
    """The k largest entries of each row, descending, ties by ascending column; -inf is never an answer.

    Args:
        similarities: (n, N) scores.
        k: Entries asked for; the result is min(k, N) wide.

    Returns:
        Columns as ``rows``, scores, and how many were above -inf.
    """
    n_columns = similarities.shape[1]
    width = min(k, n_columns)
    if width < n_columns:
        # One candidate more than asked: when it equals the last one taken, the border is tied and rows must decide.
        candidates = np.argpartition(similarities, n_columns - width - 1, axis=1)[:, n_columns - width - 1 :]
        runner_up = np.take_along_axis(similarities, candidates[:, :1], axis=1)[:, 0]
        candidates = candidates[:, 1:].astype(np.int64)
        scores = np.take_along_axis(similarities, candidates, axis=1)
        for query in np.flatnonzero((scores.min(axis=1) == runner_up) & (runner_up > -np.inf)):
            candidates[query], scores[query] = _tied_row(similarities[query], runner_up[query], width)
    else:
        candidates = np.broadcast_to(np.arange(n_columns, dtype=np.int64), similarities.shape).copy()
        scores = similarities
    order = np.lexsort((candidates, -scores), axis=1)
    candidates = np.take_along_axis(candidates, order, axis=1)
    scores = np.take_along_axis(scores, order, axis=1)
    admissible = scores > -np.inf
    return SearchResult(
        np.where(admissible, candidates, -1), np.where(admissible, scores, np.nan), admissible.sum(axis=1)
    )


def _tied_row(
    scores: Float32[np.ndarray, " N"], border: np.float32, width: int
) -> tuple[Int64[np.ndarray, " w"], Float32[np.ndarray, " w"]]:
    """All columns above the border, then the first of those that equal it."""
    above = np.flatnonzero(scores > border)
    tied = np.flatnonzero(scores == border)[: width - len(above)]
    columns = np.concatenate([above, tied])
    return columns, scores[columns]


def _exclude(
    similarities: Float32[np.ndarray, "n m"], first: int, groups: Groups, excluded: Int64[np.ndarray, " n"]
) -> None:
    for query in np.flatnonzero(excluded >= 0):
        rows = groups.rows(int(excluded[query])) - first
        similarities[query, rows[(rows >= 0) & (rows < similarities.shape[1])]] = -np.inf


def _best(similarities: Float32[np.ndarray, "n m"], k: int, first: int, groups: Groups | None) -> SearchResult:
    """The k best of the gallery rows from `first` on, of different groups if there are groups."""
    if groups is None:
        found = top_k(similarities, k)
    else:
        found = _best_of_groups(similarities, k, groups.codes[first : first + similarities.shape[1]])
    return SearchResult(np.where(found.rows >= 0, found.rows + first, -1), found.similarities, found.counts)


def _merged(parts: list[SearchResult], k: int, groups: Groups | None) -> SearchResult:
    """The k best of what was found in tiles, which stand in the order of their rows."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([part.rows for part in parts], axis=1)
    scores = np.nan_to_num(np.concatenate([part.similarities for part in parts], axis=1), nan=-np.inf)
    # Equal scores stand in the order of their columns, which is that of the rows.
    found = top_k(scores, k if groups is None else scores.shape[1])
    taken = np.where(found.rows >= 0, np.take_along_axis(rows, np.maximum(found.rows, 0), axis=1), -1)
    if groups is None:
        return SearchResult(taken, found.similarities, found.counts)
    # A group that is among the k best is so in the tile of its best row: nobody who counts is missing here.
    first = first_of_group(taken, groups.codes)
    order = np.argsort(~first, axis=1, kind="stable")[:, :k]
    counts = np.minimum(first.sum(axis=1), k)
    real = np.arange(order.shape[1]) < counts[:, None]
    return SearchResult(
        np.where(real, np.take_along_axis(taken, order, axis=1), -1),
        np.where(real, np.take_along_axis(found.similarities, order, axis=1), np.float32(np.nan)),
        counts,
    )


def _best_of_groups(similarities: Float32[np.ndarray, "n N"], k: int, codes: Int64[np.ndarray, " N"]) -> SearchResult:
    """The k best groups, each by its best row: fetch more and more rows until k groups are among them."""
    n = len(similarities)
    rows = np.full((n, k), -1, dtype=np.int64)
    scores = np.full((n, k), np.nan, dtype=np.float32)
    counts = np.zeros(n, dtype=np.int64)
    pending = np.arange(n)
    fetch = 2 * k
    while len(pending):
        part = similarities if len(pending) == n else similarities[pending]
        found = top_k(part, fetch)
        first = first_of_group(found.rows, codes)
        enough = (first.sum(axis=1) >= k) | (found.counts < fetch)
        for position in np.flatnonzero(enough):
            chosen = np.flatnonzero(first[position])[:k]
            query = pending[position]
            rows[query, : len(chosen)] = found.rows[position, chosen]
            scores[query, : len(chosen)] = found.similarities[position, chosen]
            counts[query] = len(chosen)
        pending = pending[~enough]
        fetch *= 2
    return SearchResult(rows, scores, counts)


def first_of_group(rows: Int64[np.ndarray, "n m"], codes: Int64[np.ndarray, " N"]) -> Bool[np.ndarray, "n m"]:
    """True where a row is the first of its group in its line; padding (-1) is never first.

    Args:
        rows: (n, m) gallery rows, best first, padded with -1.
        codes: (N,) group of each gallery row.
    """
    if not rows.size:
        return np.zeros(rows.shape, dtype=bool)
    group = np.where(rows >= 0, codes[rows], -1)
    order = np.argsort(group, axis=1, kind="stable")
    ordered = np.take_along_axis(group, order, axis=1)
    new = np.ones(rows.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new & (ordered >= 0), axis=1)
    return first
