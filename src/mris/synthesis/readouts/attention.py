"""The readout "attention": everybody in the database, weighed by a softmax of the similarity (P1)."""

import numpy as np
from jaxtyping import Float32

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.errors import DatabaseError
from mris.synthesis.readouts.everybody import answers_of_everybody
from mris.synthesis.readouts.readout import Answer, Queries
from mris.types import Embeddings

_FAINTEST = 1e-6
"""Weights below this share of the greatest one are 0: all of them together change nothing that could be seen."""


class Attention:
    """See `mris.synthesis.readouts.readout.OpenReadout`."""

    def __init__(self, temperature: float, database: EmbeddingDatabase, gallery: Gallery) -> None:
        self.temperature, self.database, self.gallery = temperature, database, gallery

    def answer(self, queries: Queries) -> list[Answer]:
        """Average everybody for each query."""
        weights = self.weights(queries)
        return answers_of_everybody(queries, self.database, self.gallery, self.gallery.average_all(weights), weights)

    def weights(self, queries: Queries) -> Float32[np.ndarray, "n N"]:
        """Weigh everybody for each query.

        Raises:
            DatabaseError: Nobody is left for a query.
        """
        admitted = np.stack([self.database.is_other(subject) for subject in queries.excluded])
        if not admitted.any(axis=1).all():
            alone = int(np.argmin(admitted.any(axis=1)))
            raise DatabaseError(
                f"no neighbor is left for query {alone}: database {self.database.path} holds {len(self.database)} "
                f"entries, and subject {queries.excluded[alone]!r} was excluded; add other subjects"
            )
        return attention_weights(queries.embeddings, self.database.embeddings, self.temperature, admitted)


def attention_weights(
    queries: Embeddings, keys: Embeddings, temperature: float, admitted: np.ndarray
) -> Float32[np.ndarray, "n N"]:
    """Weigh by a_i = exp(s_i / T) / sum_j exp(s_j / T) over those that are admitted, (n, N).

    Example:
        >>> weights = attention_weights(np.eye(2), np.eye(2), 0.1, np.ones((2, 2), dtype=bool))
        >>> weights.round(3).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    weights = np.asarray(queries @ keys.T, dtype=np.float32)
    for line, others in zip(weights, admitted, strict=True):  # a line at a time: doubles of all would be the most held
        scores = np.where(others, line, -np.inf) / temperature
        raw = np.exp(scores - scores.max())
        raw[raw < _FAINTEST] = 0
        line[...] = raw / raw.sum()
    return weights
