"""Is a query's own target among its nearest? Recall measures identity, not the error of a synthesis.

The query's own target is known by its position in the gallery, never by a name, so the other side of the same person
is a distractor like any other.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from mris.errors import SettingsError
from mris.types import Embeddings

RECALL_AT = (1, 5, 10, 20)
"""The ranks the paper reports."""

_BLOCK_BYTES = 64 * 2**20
_TIE = np.float32(1e-6)


def own_ranks(queries: Embeddings, gallery: Embeddings, own: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Rank each query's own target among the whole gallery by cosine similarity; 1 is the nearest.

    Ties count against the query: the rank is the number of gallery targets at least as similar as the own one, itself
    included; similarities within 1e-6, which a float32 product cannot tell apart, are ties. An encoder that maps
    everything to one point therefore recalls nothing.

    Args:
        queries: (n, d) embeddings of sources, of norm 1.
        gallery: (N, d) embeddings of targets, of norm 1.
        own: (n,) position in the gallery of each query's own target.

    Returns:
        (n,) ranks from 1 to N.

    Raises:
        SettingsError: Shapes do not fit, a position is outside the gallery, or an embedding is not finite.

    Example:
        >>> circle = np.eye(3, dtype=np.float32)
        >>> own_ranks(circle, circle, np.arange(3)).tolist()
        [1, 1, 1]
    """
    _check(queries, gallery, own)
    ranks = np.empty(len(queries), dtype=np.int64)
    block = max(1, _BLOCK_BYTES // (4 * len(gallery)))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        similarities = queries[part] @ gallery.T
        mine = np.take_along_axis(similarities, own[part, None], axis=1)
        ranks[part] = np.count_nonzero(similarities >= mine - _TIE, axis=1)
    return ranks


def usable_ks(gallery_size: int, ks: Sequence[int] = RECALL_AT) -> tuple[int, ...]:
    """Return the k that say something about a gallery: at most its size."""
    return tuple(k for k in ks if 1 <= k <= gallery_size)


def recall_hits(ranks: Int64[np.ndarray, " n"], ks: Sequence[int]) -> Bool[np.ndarray, "n ks"]:
    """Say for each query and k whether its own target is among the k nearest; the mean over queries is recall at k."""
    return ranks[:, None] <= np.asarray(ks, dtype=np.int64)[None, :]


def recall_at_k(
    queries: Embeddings, gallery: Embeddings, own: Int64[np.ndarray, " n"], ks: Sequence[int] = RECALL_AT
) -> dict[int, float]:
    """Compute the share of queries whose own target is among their k nearest, for each k up to the gallery's size.

    Args:
        queries: (n, d) embeddings of sources, of norm 1.
        gallery: (N, d) embeddings of targets, of norm 1.
        own: (n,) position in the gallery of each query's own target.
        ks: Numbers of neighbors; those above N are left out.

    Returns:
        Recall in [0, 1] by k.

    Raises:
        SettingsError: See `own_ranks`.
    """
    kept = usable_ks(len(gallery), ks)
    hits = recall_hits(own_ranks(queries, gallery, own), kept)
    return {k: float(share) for k, share in zip(kept, hits.mean(axis=0), strict=True)}


def chance_recall(k: int, gallery_size: int) -> float:
    """Return what guessing gives: k / N."""
    return min(k / gallery_size, 1.0)


def _check(queries: Embeddings, gallery: Embeddings, own: Int64[np.ndarray, " n"]) -> None:
    if len(queries) == 0 or len(gallery) == 0:
        raise SettingsError(
            f"{len(queries)} queries, {len(gallery)} gallery targets: retrieval needs at least one of each"
        )
    if queries.shape[1] != gallery.shape[1]:
        raise SettingsError(
            f"queries have {queries.shape[1]} dimensions, the gallery {gallery.shape[1]}: embed both with one encoder"
        )
    if own.shape != (len(queries),) or own.min() < 0 or own.max() >= len(gallery):
        raise SettingsError(
            f"own positions of shape {own.shape} reach from {own.min()} to {own.max()}: give one a query, "
            f"from 0 to {len(gallery) - 1}"
        )
    for name, embeddings in (("queries", queries), ("gallery", gallery)):
        bad = ~np.isfinite(embeddings).all(axis=1)
        if bad.any():
            raise SettingsError(
                f"{name}: {int(bad.sum())} embeddings are not finite (first at position {int(bad.argmax())}); "
                "the encoder is broken, train or export it again"
            )


def median_rank(ranks: Int64[np.ndarray, " n"]) -> float:
    """Return the median of the ranks: half of the queries find their target this near or nearer."""
    return float(np.median(np.asarray(ranks, dtype=float)))
