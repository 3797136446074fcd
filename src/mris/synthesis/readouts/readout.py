"""What every readout takes and gives, and the parameters of all of them for one database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import Field

from mris.records import Record
from mris.synthesis.defaults import N_NEIGHBORS, TEMPERATURE, WEIGHTS, WeightRule
from mris.types import Embeddings, Features, Pixels

ReadoutName = Literal["neighbors", "attention", "linear", "blend"]

READOUTS: tuple[ReadoutName, ...] = get_args(ReadoutName)
"""Names of all readouts."""

N_SHOWN = 20
"""People that an answer shows where it averages more."""


@dataclass(frozen=True)
class Queries:
    """Embedded sources.

    Attributes:
        embeddings: (n, d) of norm 1.
        features: (n, q) what a linear readout reads; None where the encoder gives none.
        excluded: for each query the subject whose entries must not be used, or None.
    """

    embeddings: Embeddings
    features: Features | None
    excluded: Sequence[str | None]


@dataclass(frozen=True)
class Answer:
    """What a readout gives for n queries: pixels inside the atlas mask, and whose targets they are made of.

    Attributes:
        pixels: (n, p) the syntheses, NaN where there is no value.
        spread: (n, p) weighted standard deviation of the targets that were averaged; for a linear readout, which
            averages nobody in particular, that of the nearest.
        rows: for each query (m,) rows of the database that count.
        weights: for each query (m,) their weights: signed, summing to 1.
        shown: for each query (k,) rows that count most, most first.
    """

    pixels: Pixels
    spread: Pixels
    rows: tuple[Int64[np.ndarray, " m"], ...]
    weights: tuple[Float32[np.ndarray, " m"], ...]
    shown: tuple[Int64[np.ndarray, " k"], ...]


class OpenReadout(Protocol):
    """A readout of one state of a database."""

    def answer(self, queries: Queries) -> Answer:
        """Synthesize the queries.

        Raises:
            DatabaseError: The database is damaged, or nobody is left for a query.
        """


class Penalties(Record):
    """How little each group of features is trusted: a smaller penalty trusts more, None not at all.

    Attributes:
        embedding: Of the embedding: the multiple of N times a feature's variance that is added to it.
        components: Of the source's principal components, where the encoder gives them.
    """

    embedding: float | None = Field(gt=0)
    components: float | None = Field(default=None, gt=0)


class Readout(Record):
    """The parameters of every readout of a database, and which one is used.

    Attributes:
        name: The one that is used.
        n_neighbors: k of "neighbors", at least 1.
        weights: "similarity" (Eq. 4), "softmax" or "uniform", of "neighbors".
        temperature: Of the softmax of "neighbors", in units of cosine similarity.
        one_per_subject: At most one neighbor of each subject.
        attention_temperature: Of "attention".
        penalties: Of "linear"; None where the database knows no features of sources.
        attention_share: Share of "attention" in "blend"; the rest is "linear".
        reason: Why this one, in a sentence.
    """

    name: ReadoutName = "neighbors"
    n_neighbors: int = Field(N_NEIGHBORS, ge=1)
    weights: WeightRule = WEIGHTS
    temperature: float = Field(TEMPERATURE, gt=0)
    one_per_subject: bool = False
    attention_temperature: float = Field(TEMPERATURE, gt=0)
    penalties: Penalties | None = None
    attention_share: float = Field(0.5, ge=0, le=1)
    reason: str = "the numbers of the paper"
