"""The readout "linear": ridge regression from a source's features, whose weights of people are signed (P2)."""

from functools import lru_cache

import numpy as np

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.errors import DatabaseError, SettingsError
from mris.synthesis.readouts.attention import most
from mris.synthesis.readouts.neighbors import NearestNeighbors
from mris.synthesis.readouts.readout import Answer, Queries, Readout
from mris.synthesis.readouts.ridge import Regression, fit_regression

_FITS_KEPT = 8
"""Regressions without one of the people that are kept: queries of one person come one after the other."""


class Linear:
    """See `mris.synthesis.readouts.readout.OpenReadout`.

    The regression is fitted when the first query is answered, from what the database holds: entries that come or go
    need no other step. A query whose own person is among them is answered by a regression without that person.
    """

    def __init__(self, readout: Readout, database: EmbeddingDatabase, gallery: Gallery) -> None:
        if readout.penalties is None or not database.header.n_features:
            raise SettingsError(
                f"database {database.path} cannot give a linear readout: it was made without the sources of its "
                "entries, or without people to choose a penalty by; index again, or use --readout attention"
            )
        self.penalties, self.database, self.gallery = readout.penalties, database, gallery
        self.nearest = NearestNeighbors(readout, database, gallery)
        self._fitted = lru_cache(_FITS_KEPT)(self._fit)

    def answer(self, queries: Queries) -> Answer:
        """Regress each query; the spread is that of the nearest neighbors."""
        if queries.features is None:
            raise SettingsError("the encoder gives no features of a source, which a linear readout reads")
        spread = self.nearest.answer(queries).spread
        pixels = np.empty_like(spread)
        rows, weights = [], []
        for query, subject in enumerate(queries.excluded):
            known = subject is not None and not self.database.is_other(subject).all()
            kept, regression = self._fitted(subject if known else None)
            features = queries.features[query : query + 1]
            pixels[query] = regression.predict(features)[0]
            rows.append(kept)
            weights.append(regression.weights(features)[0])
        return Answer(pixels, spread, tuple(rows), tuple(weights), tuple(map(most, rows, weights)))

    def _fit(self, without: str | None) -> tuple[np.ndarray, Regression]:
        features = self.database.features
        rows = np.flatnonzero(self.database.is_other(without) & np.isfinite(features).all(axis=1))
        if not len(rows):
            raise DatabaseError(
                f"database {self.database.path} holds no entry with a source"
                f"{'' if without is None else f' but those of subject {without!r}'}; use --readout attention"
            )
        n_embedding = self.database.header.embedding_dim
        return rows, fit_regression(features[rows], n_embedding, self.gallery.subset(rows), self.penalties)
