"""The readout "blend": a mean of "attention" and "linear"."""

from mris.synthesis.readouts.attention import Attention
from mris.synthesis.readouts.linear import Linear
from mris.synthesis.readouts.readout import Answer, Queries


class Blend:
    """See `mris.synthesis.readouts.readout.OpenReadout`."""

    def __init__(self, attention: Attention, linear: Linear, attention_share: float) -> None:
        self.attention, self.linear, self.share = attention, linear, attention_share

    def answer(self, queries: Queries) -> list[Answer]:
        """Take the mean of both for each query; the spread is that of attention."""
        attended = self.attention.weights(queries)
        averages, spread = self.attention.gallery.average_all(attended)
        regressed, signed = self.linear.regressed(queries)
        pixels = self.share * averages + (1 - self.share) * regressed
        weights = self.share * attended + (1 - self.share) * signed
        return [
            Answer.of_many(self.attention.database, *of_query)
            for of_query in zip(queries.embeddings, pixels, spread, weights, strict=True)
        ]
