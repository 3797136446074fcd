"""The readout "blend": a mean of "attention" and "linear"."""

import numpy as np

from mris.synthesis.readouts.attention import Attention, most
from mris.synthesis.readouts.linear import Linear
from mris.synthesis.readouts.readout import Answer, Queries


class Blend:
    """See `mris.synthesis.readouts.readout.OpenReadout`."""

    def __init__(self, attention: Attention, linear: Linear, attention_share: float) -> None:
        self.attention, self.linear, self.share = attention, linear, attention_share

    def answer(self, queries: Queries) -> Answer:
        """Take the mean of both; the spread is that of attention."""
        convex, signed = self.attention.answer(queries), self.linear.answer(queries)
        n_entries, share = len(self.attention.database), self.share
        rows, weights = [], []
        for query in range(len(queries.excluded)):
            dense = np.zeros(n_entries, dtype=np.float32)
            dense[convex.rows[query]] = share * convex.weights[query]
            dense[signed.rows[query]] += (1 - share) * signed.weights[query]
            rows.append(np.flatnonzero(dense))
            weights.append(dense[rows[-1]])
        pixels = share * convex.pixels + (1 - share) * signed.pixels
        return Answer(pixels, convex.spread, tuple(rows), tuple(weights), tuple(map(most, rows, weights)))
