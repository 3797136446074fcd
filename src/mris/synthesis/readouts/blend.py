"""The readout "blend": a mean of "attention" and "linear"."""

from mris.synthesis.readouts.attention import Attention
from mris.synthesis.readouts.everybody import answers_of_everybody
from mris.synthesis.readouts.linear import Linear
from mris.synthesis.readouts.readout import Answer, Queries


class Blend:
    """See `mris.synthesis.readouts.readout.OpenReadout`."""

    def __init__(self, attention: Attention, linear: Linear, attention_share: float) -> None:
        self.attention, self.linear, self.share = attention, linear, attention_share

    def answer(self, queries: Queries) -> list[Answer]:
        """Take the mean of both for each query."""
        attended, database, gallery = self.attention.weights(queries), self.attention.database, self.attention.gallery
        regressed, signed = self.linear.regressed(queries)
        pixels = self.share * gallery.average_all(attended) + (1 - self.share) * regressed
        weights = self.share * attended + (1 - self.share) * signed
        return answers_of_everybody(queries, database, gallery, pixels, weights)
