"""The readout "neighbors": the k nearest people, weighed by similarity (Eq. 4) or a softmax."""

import numpy as np

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.errors import DatabaseError
from mris.synthesis.readouts.readout import Answer, Queries, Readout
from mris.synthesis.weights import neighbor_weights


class NearestNeighbors:
    """See `mris.synthesis.readouts.readout.OpenReadout`."""

    def __init__(self, readout: Readout, database: EmbeddingDatabase, gallery: Gallery) -> None:
        self.readout, self.database, self.gallery = readout, database, gallery

    def answer(self, queries: Queries) -> list[Answer]:
        """Average the neighbors of each query."""
        readout, database = self.readout, self.database
        found = database.search(
            queries.embeddings,
            readout.n_neighbors,
            exclude_subjects=queries.excluded,
            one_per_subject=readout.one_per_subject,
        )
        if (found.counts == 0).any():
            alone = int(np.argmin(found.counts))
            raise DatabaseError(
                f"no neighbor is left for query {alone}: database {database.path} holds {len(database)} entries, and "
                f"subject {queries.excluded[alone]!r} was excluded; add other subjects"
            )
        weights = neighbor_weights(readout.weights, found.similarities, found.rows, readout.temperature)
        pixels, spread = self.gallery.average(found.rows, weights)
        answers = []
        for query, count in enumerate(found.counts.tolist()):
            rows, shares = found.rows[query, :count], weights[query, :count]
            answers.append(Answer(pixels[query], spread[query], rows, shares, found.of(query), weights[query]))
        return answers
