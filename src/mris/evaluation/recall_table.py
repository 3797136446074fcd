"""Retrieval of every encoder over one and the same gallery, with intervals by subject."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Bool, Int64

from mris.cohort.cohort import Cohort
from mris.engines.engine import Engine, in_this_process
from mris.evaluation.bootstrap import Resamples
from mris.evaluation.results import Recall
from mris.evaluation.strata import Group
from mris.retrieval import chance_recall, median_rank, own_ranks, recall_hits, usable_ks
from mris.types import Embeddings, Encoder


def measure_recall(
    encoders: Mapping[str, Encoder],
    cohort: Cohort,
    has_target: Bool[np.ndarray, " n"],
    groups: Sequence[Group],
    resamples: Resamples,
    batch_size: int,
    *,
    engine: Engine | None = None,
) -> tuple[tuple[Recall, ...], dict[str, Int64[np.ndarray, " n"]]]:
    """Rank each baseline query's own target among the targets of all baseline visits of the cohort.

    Queries and gallery are the same for every encoder, also for one that reads a single region: the baseline visits
    that have a target in every region. Strata split the queries, never the gallery. The other side of a person is in
    the gallery, as a distractor.

    Args:
        encoders: Encoders by name.
        cohort: The test cohort.
        has_target: (n,) images with at least one pixel to compare in every region.
        groups: Strata of the images.
        resamples: Of the images' subjects.
        batch_size: Images embedded at once.
        engine: What embeds; this process if None.

    Returns:
        Recall by encoder, stratum and k (k above the gallery's size are left out), and each image's rank by encoder, 0
        where it was no query. Nothing where no baseline visit has a target in every region.

    Raises:
        CohortError: The cohort lacks a region of an encoder.
    """
    positions = np.flatnonzero(cohort.is_baseline & has_target)
    if len(positions) == 0:
        return (), {}
    recalls: list[Recall] = []
    ranks: dict[str, Int64[np.ndarray, " n"]] = {}
    for name, encoder in encoders.items():
        queries, gallery = embed_pairs(encoder, cohort, positions, batch_size, engine)
        ranks[name] = np.zeros(len(cohort), dtype=np.int64)
        ranks[name][positions] = own_ranks(queries, gallery, np.arange(len(positions), dtype=np.int64))
        for group in groups:
            asked = positions[group.member[positions]]
            if len(asked):
                recalls += _recalls(name, encoder, group, ranks[name][asked], len(positions), resamples.of(asked))
    return tuple(recalls), ranks


def embed_pairs(
    encoder: Encoder,
    cohort: Cohort,
    positions: Int64[np.ndarray, " m"],
    batch_size: int,
    engine: Engine | None = None,
) -> tuple[Embeddings, Embeddings]:
    """Embed sources and targets of some pairs; row i of both is the pair at ``positions[i]``.

    Returns:
        (m, d) source embeddings and (m, d) target embeddings.
    """
    parts = [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
    sources, targets = zip(*(engine or in_this_process)(partial(_embedded, encoder, cohort), parts), strict=True)
    return np.concatenate(sources), np.concatenate(targets)


def _embedded(
    encoder: Encoder, cohort: Cohort, positions: Int64[np.ndarray, " b"]
) -> Iterator[tuple[Embeddings, Embeddings]]:
    targets = encoder.encode_targets(cohort.read_targets(positions, regions=encoder.regions))
    yield encoder.encode_sources(cohort.read_sources(positions)), targets


def _recalls(
    name: str, encoder: Encoder, group: Group, ranks: Int64[np.ndarray, " q"], gallery_size: int, resamples: Resamples
) -> list[Recall]:
    ks = usable_ks(gallery_size)
    hits = recall_hits(ranks, ks).astype(np.float64)
    low, high = resamples.interval(hits)
    return [
        Recall(
            encoder=name,
            regions=tuple(encoder.regions),
            label=group.label,
            stratum=group.name,
            k=k,
            value=float(hits[:, i].mean()),
            low=float(low[i]),
            high=float(high[i]),
            chance=chance_recall(k, gallery_size),
            n_queries=len(ranks),
            gallery_size=gallery_size,
            median_rank=median_rank(ranks),
        )
        for i, k in enumerate(ks)
    ]
