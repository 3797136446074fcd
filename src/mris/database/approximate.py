"""Approximate search by the table's own vector index, for databases too large for one matrix product.

The index is an inverted file of product-quantized (or whole) embeddings; candidates are compared again with their
exact embeddings. `mris.database.search.exact_search` is its oracle.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from mris.cohort.lance_library import lance
from mris.database.commit import IndexKind
from mris.database.search import SearchResult, first_of_group
from mris.database.table import reading, subject_filter, writing
from mris.quiet import environment
from mris.types import Embeddings

INDEX_NAME = "embedding_index"

_PROBED = 32
_REFINE_FACTOR = 10


def has_index(table: lance.LanceDataset) -> bool:
    """Tell whether the table has a vector index."""
    if hasattr(table, "describe_indices"):
        return any(index.name == INDEX_NAME for index in table.describe_indices())
    return any(index["name"] == INDEX_NAME for index in table.list_indices())  # Lance before describe_indices


def create_index(table: lance.LanceDataset, path: Path, kind: IndexKind) -> None:
    """Build (or rebuild) the index over all rows.

    Raises:
        OutputError: The disk refuses.
    """
    n_rows = table.count_rows()
    dimensions = table.schema.field("embedding").type.list_size
    options: dict[str, Any] = {"num_partitions": max(1, min(4096, round(n_rows**0.5)))}
    if kind == "IVF_PQ":
        options["num_sub_vectors"] = next(m for m in (dimensions // 8, dimensions // 4, 1) if m and dimensions % m == 0)
    # It sorts embeddings through files, whose place is beside the table: the system's own folder is everybody's.
    with writing(path), environment(TMPDIR=str(path.parent)):
        table.create_index("embedding", kind, name=INDEX_NAME, metric="cosine", replace=True, **options)


def drop_index(table: lance.LanceDataset, path: Path) -> None:
    """Forget the index; its files go when old versions are cleaned up."""
    with writing(path):
        table.drop_index(INDEX_NAME)


def indexed_search(
    table: lance.LanceDataset,
    path: Path,
    row_ids: Int64[np.ndarray, " N"],
    codes: Int64[np.ndarray, " N"],
    queries: Embeddings,
    k: int,
    *,
    excluded: Sequence[Sequence[str]] | None = None,
    one_per_group: bool = False,
) -> SearchResult:
    """Find about the k nearest embeddings of each query.

    Args:
        table: The table with its index.
        path: Where it is, for messages.
        row_ids: Lance's identifier of each row.
        codes: (N,) subject code of each row.
        queries: (n, d) vectors of norm 1.
        k: Neighbors asked for.
        excluded: for each of n queries the subjects, as the table spells them, that it must not meet.
        one_per_group: Keep the best row of each subject only.

    Returns:
        Like `exact_search`; a true neighbor may be missing.

    Raises:
        DatabaseError: The table is damaged.
    """
    n = len(queries)
    rows = np.full((n, k), -1, dtype=np.int64)
    similarities = np.full((n, k), np.nan, dtype=np.float32)
    counts = np.zeros(n, dtype=np.int64)
    by_id = np.argsort(row_ids)
    for query in range(n):
        condition = None
        if excluded is not None and excluded[query]:
            condition = subject_filter(excluded[query])
        fetch = 2 * k if one_per_group else k
        while True:
            ids, scores = _nearest(table, path, queries[query], fetch, condition)
            found = by_id[np.searchsorted(row_ids, ids, sorter=by_id)]
            chosen = np.flatnonzero(first_of_group(found[None], codes)[0]) if one_per_group else np.arange(len(found))
            if not one_per_group or len(chosen) >= k or len(ids) < fetch:
                break
            fetch *= 2
        chosen = chosen[:k]
        rows[query, : len(chosen)], similarities[query, : len(chosen)] = found[chosen], scores[chosen]
        counts[query] = len(chosen)
    return SearchResult(rows, np.clip(similarities, -1.0, 1.0), counts)


def _nearest(
    table: lance.LanceDataset, path: Path, query: np.ndarray, k: int, condition: str | None
) -> tuple[Int64[np.ndarray, " m"], np.ndarray]:
    nearest = {
        "column": "embedding",
        "q": query,
        "k": k,
        "minimum_nprobes": _PROBED,
        "maximum_nprobes": None,
        "refine_factor": _REFINE_FACTOR,
        "metric": "cosine",
    }
    with reading(path):
        found = table.to_table(
            columns=["_distance"], nearest=nearest, filter=condition, prefilter=condition is not None, with_row_id=True
        )
        ids = found["_rowid"].to_numpy().astype(np.int64)
        scores = (1.0 - found["_distance"].to_numpy()).astype(np.float32)
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]
