"""The readout "linear": ridge regression from a source's features, whose weights of people are signed (P2)."""

from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int64

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.errors import DatabaseError, SettingsError
from mris.synthesis.readouts.everybody import answers_of_everybody
from mris.synthesis.readouts.readout import Answer, Queries, Readout
from mris.synthesis.readouts.ridge import Regression, fit_regression, trusted
from mris.types import Pixels


class Linear:
    """See `mris.synthesis.readouts.readout.OpenReadout`.

    The regression is fitted when the first query is answered, from what the database holds: entries that come or go
    need no other step. A query whose own person is among them is answered by a regression without that person.
    """

    def __init__(self, readout: Readout, database: EmbeddingDatabase, gallery: Gallery) -> None:
        assert readout.penalties is not None
        self.penalties, self.database, self.gallery = readout.penalties, database, gallery
        self.n_learned = database.header.n_features - database.header.n_components

    def answer(self, queries: Queries) -> list[Answer]:
        """Regress each query."""
        return answers_of_everybody(queries, self.database, self.gallery, *self.regressed(queries))

    def regressed(self, queries: Queries) -> tuple[Pixels, Float32[np.ndarray, "n N"]]:
        """Give the pixels of each query, (n, p), and the signed weights of all entries, (n, N)."""
        if queries.features is None:
            raise SettingsError("the encoder gives no features of a source, which a linear readout reads")
        features = queries.features[:, trusted(self.penalties, self.n_learned, queries.features.shape[1])]
        pixels = np.empty((len(queries.excluded), self.gallery.n_pixels), dtype=np.float32)
        weights = np.zeros((len(pixels), len(self.database)), dtype=np.float32)
        for subject in dict.fromkeys(queries.excluded):
            asked = np.flatnonzero([name == subject for name in queries.excluded])
            # Nobody is called "", which stands for nobody here.
            own = np.flatnonzero(~self.database.is_other(subject)[self._rows])
            if len(own) == len(self._rows):
                raise DatabaseError(
                    f"database {self.database.path} holds no entry with a source"
                    f"{'' if subject is None else f' but those of subject {subject!r}'}; use --readout attention"
                )
            regression = self._regression
            found = regression.answer_without(own, features[asked]) if len(own) else regression.answer(features[asked])
            pixels[asked], weights[np.ix_(asked, self._rows)] = found
        return pixels, weights

    @cached_property
    def _rows(self) -> Int64[np.ndarray, " m"]:
        return np.flatnonzero(np.isfinite(self.database.features.sum(axis=1)))  # NaN where there is no source

    @cached_property
    def _regression(self) -> Regression:
        features, rows = self.database.features, self._rows
        known = features if len(rows) == len(features) else features[rows]  # no copy where nobody stays out
        return fit_regression(known, self.n_learned, self.gallery.subset(rows), self.penalties)
