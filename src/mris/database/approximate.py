"""Search by an index, for databases too large for one matrix product; making the index and measuring what it finds.

Candidates come from the index; they are compared again by their embeddings, as `mris.database.search.exact_search`
does with all: what is found is in the right order, has the right similarity, and is never of an excluded person. Where
too few are left, more are fetched, in the end all; so there are as many neighbors as an exact search finds.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from mris.database.commit import IndexState
from mris.database.search import SearchResult, first_of_group, top_k
from mris.database.stored import StoredEntries
from mris.database.vector_index import ANEW, ROWS_A_LIST, VectorIndex, n_lists_for
from mris.defaults import N_NEIGHBORS
from mris.errors import DatabaseError
from mris.types import Embeddings

ENOUGH_RECALL = 0.99
"""Share of the nearest that an index must find."""

_RECALL_WHEN_MADE = 0.995
"""What it must find of sampled entries when it is made: entries that are added later are not quite like these."""

_PROBES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_N_SAMPLED = 256

_TIE = np.float32(1e-6)
"""What two products of the same numbers may differ by."""

_AGAIN = 3
"""Candidates compared again for each neighbor asked for: the codes' order is not quite that of the embeddings."""


@dataclass(frozen=True)
class OpenIndex:
    """An index, and the rows of its identifiers today.

    Attributes:
        index: The index.
        ids: (N,) identifiers of the entries, ascending.
        rows: (N,) row of each of them.
    """

    index: VectorIndex
    ids: Int64[np.ndarray, " N"]
    rows: Int64[np.ndarray, " N"]

    @classmethod
    def of(cls, index: VectorIndex, entries: StoredEntries) -> "OpenIndex":
        """Join an index and what it was made of."""
        rows = np.argsort(entries.row_ids, kind="stable")
        return cls(index, entries.row_ids[rows], rows)

    def nearest(self, queries: Embeddings, count: int, n_probes: int) -> Int64[np.ndarray, "n count"]:
        """Give rows of about the nearest; -1 for those who were removed, and where the lists held no more."""
        found = self.index.nearest(queries, count, n_probes)
        places = np.minimum(np.searchsorted(self.ids, found), len(self.ids) - 1)
        return np.where(self.ids[places] == found, self.rows[places], -1)


def open_index(entries: StoredEntries) -> OpenIndex:
    """Open the committed index of a database.

    Raises:
        DatabaseError: There is none, or it is damaged, absent or older than its table.
        SettingsError: FAISS is not installed.
    """
    state = entries.state.index
    if state is None:
        raise DatabaseError(f"database {entries.path} has no index; make one with `mris bundle index`")
    index = VectorIndex.read(entries.path, state)
    lacking = int(np.count_nonzero(~np.isin(entries.row_ids, index.ids)))
    if lacking:
        raise DatabaseError(
            f"the index {entries.path / state.file} is older than its table: it lacks {lacking:,} of {len(entries):,} "
            f"entries; {ANEW}"
        )
    return OpenIndex.of(index, entries)


def indexed_search(
    index: OpenIndex,
    entries: StoredEntries,
    queries: Embeddings,
    k: int,
    *,
    excluded: Int64[np.ndarray, " n"] | None = None,
    one_per_group: bool = False,
) -> SearchResult:
    """Find about the k nearest embeddings of each query.

    Args:
        index: The index of the entries.
        entries: The database.
        queries: (n, d) vectors of norm 1.
        k: Neighbors asked for.
        excluded: (n,) code of the subject that a query must not meet; -1 excludes nobody.
        one_per_group: Keep the best row of each subject only.

    Returns:
        Like `exact_search`, with as many neighbors; a true one may be missing.

    Raises:
        DatabaseError: The table is damaged.
    """
    n = len(queries)
    rows = np.full((n, k), -1, dtype=np.int64)
    similarities = np.full((n, k), np.nan, dtype=np.float32)
    counts = np.zeros(n, dtype=np.int64)
    codes = entries.groups.codes
    left_out = np.full(n, -1, dtype=np.int64) if excluded is None else excluded
    of_excluded = np.diff(entries.groups.starts)[left_out[left_out >= 0]]
    fetch, probes = _AGAIN * k + int(of_excluded.max(initial=0)), index.index.n_probes
    pending = np.arange(n)
    while len(pending):
        fetch = min(fetch, len(index.index))
        candidates = index.nearest(queries[pending], fetch, probes)
        candidates[(candidates >= 0) & (codes[candidates] == left_out[pending][:, None])] = -1
        found = _compared(entries, queries[pending], candidates)
        kept = found.rows >= 0 if not one_per_group else first_of_group(found.rows, codes)
        everything = fetch == len(index.index) and probes >= index.index.n_lists
        done = (kept.sum(axis=1) >= k) | everything
        for place in np.flatnonzero(done):
            chosen, query = np.flatnonzero(kept[place])[:k], pending[place]
            counts[query] = len(chosen)
            rows[query, : len(chosen)] = found.rows[place, chosen]
            similarities[query, : len(chosen)] = found.similarities[place, chosen]
        pending = pending[~done]
        fetch, probes = 4 * fetch, 4 * probes
    return SearchResult(rows, np.clip(similarities, -1.0, 1.0), counts)


def _compared(entries: StoredEntries, queries: Embeddings, candidates: Int64[np.ndarray, "n m"]) -> SearchResult:
    """Sort candidates by the similarity of their embeddings, ties by row; -1 is none."""
    n_candidates = candidates.shape[1]
    distinct = np.unique(candidates[candidates >= 0])
    embeddings = entries.embeddings_of(distinct)
    candidates = np.sort(candidates, axis=1)  # so that columns tied are taken by row
    places = np.searchsorted(distinct, candidates)
    scores = np.full((len(queries), n_candidates), -np.inf, dtype=np.float32)
    for query, (line, place) in enumerate(zip(candidates, places, strict=True)):
        known = line >= 0
        scores[query, known] = embeddings[place[known]] @ queries[query]
    best = top_k(scores, n_candidates)
    rows = np.where(best.rows >= 0, np.take_along_axis(candidates, np.maximum(best.rows, 0), axis=1), -1)
    return SearchResult(rows, best.similarities, best.counts)


def build_index(entries: StoredEntries, path: Path) -> IndexState:
    """Make the index of a database's entries, and choose how many lists a query looks into by what it then finds.

    Raises:
        DatabaseError: The database is damaged.
        OutputError: The disk refuses.
        SettingsError: FAISS is not installed.
    """
    n_lists = n_lists_for(len(entries))
    sample = np.linspace(0, len(entries) - 1, min(len(entries), n_lists * ROWS_A_LIST)).astype(np.int64)
    index = VectorIndex.learned(entries.embeddings_of(sample), n_lists)
    for part, embeddings, _ in entries.vector_blocks():
        index.add(entries.row_ids[part], embeddings)
    truth = sampled_truth(entries)
    for probes in [*(probes for probes in _PROBES if probes < n_lists), n_lists]:
        index = replace(index, n_probes=probes)
        found = recall(OpenIndex.of(index, entries), entries, truth)
        if found >= _RECALL_WHEN_MADE:
            break
    return index.write(path, found)


@dataclass(frozen=True)
class Truth:
    """How similar the nearest are of some entries of a database, by an exact search; nobody meets the own person.

    Attributes:
        queries: (n, d) embeddings of the entries.
        excluded: (n,) code of their subjects.
        similarities: (n, k) of the nearest, in any order; minus infinity where there are fewer.
    """

    queries: Embeddings
    excluded: Int64[np.ndarray, " n"]
    similarities: Float32[np.ndarray, "n k"]


def sampled_truth(entries: StoredEntries, n: int = _N_SAMPLED, k: int = N_NEIGHBORS) -> Truth:
    """Search exactly for entries spread evenly over a database, in one pass over its embeddings.

    Raises:
        DatabaseError: The database is damaged.
    """
    sample = np.unique(np.linspace(0, len(entries) - 1, n).astype(np.int64))
    queries, own = entries.embeddings_of(sample), entries.groups.codes[sample]
    best = np.full((len(sample), k), -np.inf, dtype=np.float32)
    for part, embeddings, _ in entries.vector_blocks():
        similarities = queries @ embeddings.T
        similarities[own[:, None] == entries.groups.codes[part]] = -np.inf
        best = np.partition(np.concatenate([best, similarities], axis=1), -k, axis=1)[:, -k:]
    return Truth(queries, own, best)


def recall(index: OpenIndex, entries: StoredEntries, truth: Truth) -> float:
    """Tell which share of the nearest an index finds: those as similar as the last of the truth; 1 if there is nobody.

    Raises:
        DatabaseError: The database is damaged.
    """
    k = truth.similarities.shape[1]
    found = indexed_search(index, entries, truth.queries, k, excluded=truth.excluded)
    there = truth.similarities > -np.inf
    least = np.min(truth.similarities, axis=1, initial=2.0, where=there)
    hits = np.count_nonzero(found.similarities >= least[:, None] - _TIE)
    return float(hits / there.sum()) if there.any() else 1.0
