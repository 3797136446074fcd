"""The readout "linear": ridge regression from a source's features, whose weights of people are signed (P2)."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.errors import DatabaseError, SettingsError
from mris.synthesis.readouts.neighbors import NearestNeighbors
from mris.synthesis.readouts.readout import Answer, Queries, Readout
from mris.synthesis.readouts.ridge import Regression, fit_regression
from mris.types import Pixels

_FITS_KEPT = 8
"""Regressions without one of the people that are kept: queries of one person come one after the other."""


class Linear:
    """See `mris.synthesis.readouts.readout.OpenReadout`.

    The regression is fitted when the first query is answered, from what the database holds: entries that come or go
    need no other step. A query whose own person is among them is answered by a regression without that person.
    """

    def __init__(self, readout: Readout, database: EmbeddingDatabase, gallery: Gallery) -> None:
        assert readout.penalties is not None
        self.penalties, self.database, self.gallery = readout.penalties, database, gallery
        self.nearest = NearestNeighbors(readout, database, gallery)
        self._fitted = lru_cache(_FITS_KEPT)(self._fit)

    def answer(self, queries: Queries) -> list[Answer]:
        """Regress each query; the spread is that of the nearest neighbors."""
        pixels, weights = self.regressed(queries)
        spread = [answer.spread for answer in self.nearest.answer(queries)]
        return [
            Answer.of_many(self.database, *of_query)
            for of_query in zip(queries.embeddings, pixels, spread, weights, strict=True)
        ]

    def regressed(self, queries: Queries) -> tuple[Pixels, Float32[np.ndarray, "n N"]]:
        """Give the pixels of each query, (n, p), and the signed weights of all entries, (n, N)."""
        if queries.features is None:
            raise SettingsError("the encoder gives no features of a source, which a linear readout reads")
        pixels = np.empty((len(queries.excluded), self.gallery.n_pixels), dtype=np.float32)
        weights = np.zeros((len(pixels), len(self.database)), dtype=np.float32)
        for subject in dict.fromkeys(queries.excluded):
            asked = np.flatnonzero([name == subject for name in queries.excluded])
            known = subject is not None and not self.database.is_other(subject).all()
            rows, regression = self._fitted(subject if known else None)
            pixels[asked] = regression.predict(queries.features[asked])
            weights[np.ix_(asked, rows)] = regression.weights(queries.features[asked])
        return pixels, weights

    def _fit(self, without: str | None) -> tuple[np.ndarray, Regression]:
        features = self.database.features
        rows = np.flatnonzero(self.database.is_other(without) & np.isfinite(features).all(axis=1))
        if not len(rows):
            raise DatabaseError(
                f"database {self.database.path} holds no entry with a source"
                f"{'' if without is None else f' but those of subject {without!r}'}; use --readout attention"
            )
        header = self.database.header
        n_learned = header.n_features - header.n_components
        return rows, fit_regression(features[rows], n_learned, self.gallery.subset(rows), self.penalties)
