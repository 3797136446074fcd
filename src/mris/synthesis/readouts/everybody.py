"""Answers of the readouts that weigh everybody in a database: who is shown, and how far the nearest are apart."""

import numpy as np
from jaxtyping import Float32

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.synthesis.readouts.neighbors import NearestNeighbors
from mris.synthesis.readouts.readout import Answer, Queries, Readout
from mris.types import Pixels

N_SHOWN = 20
"""People that an answer shows."""

NEAREST = Readout(n_neighbors=20, weights="similarity")
"""Whose spread it tells. That of everybody makes intervals hardly narrower and a query several times as dear."""


def answers_of_everybody(
    queries: Queries,
    database: EmbeddingDatabase,
    gallery: Gallery,
    pixels: Pixels,
    weights: Float32[np.ndarray, "n N"],
) -> list[Answer]:
    """Make the answers from syntheses, (n, p), and the weight of each entry in them.

    Raises:
        DatabaseError: Nobody is left for a query.
    """
    nearest = NearestNeighbors(NEAREST, database, gallery).answer(queries)
    answers = []
    for embedding, own_pixels, own_weights, near in zip(queries.embeddings, pixels, weights, nearest, strict=True):
        rows = np.flatnonzero(own_weights)
        kept = own_weights[rows]
        first = _greatest(np.abs(kept))
        shown = database.neighbors_at(rows[first], embedding)
        answers.append(Answer(own_pixels, near.spread, rows, kept, shown, kept[first]))
    return answers


def _greatest(sizes: Float32[np.ndarray, " m"]) -> np.ndarray:
    """Places of the `N_SHOWN` greatest, greatest first; of equal ones the first."""
    # All that weigh as much as the last one shown take part in the sort.
    least = np.partition(sizes, -N_SHOWN)[-N_SHOWN] if len(sizes) > N_SHOWN else 0
    candidates = np.flatnonzero(sizes >= least)
    return np.asarray(candidates[np.argsort(-sizes[candidates], kind="stable")[:N_SHOWN]])
