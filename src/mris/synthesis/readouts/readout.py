"""What every readout takes and gives, and the parameters of all of them for one database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import Field

from mris.choices import ReadoutName, WeightRule
from mris.database.neighbors import Neighbors
from mris.defaults import N_NEIGHBORS, TEMPERATURE, WEIGHTS
from mris.errors import SettingsError
from mris.records import Record
from mris.types import Embeddings, Features
from mris.wording import counted

READOUTS: tuple[ReadoutName, ...] = get_args(ReadoutName)
"""Names of all readouts."""


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
    """What a readout gives for one query: pixels inside the atlas mask, and whose targets they are made of.

    Attributes:
        pixels: (p,) the synthesis, NaN where there is no value.
        spread: (p,) weighted standard deviation of the targets of the nearest.
        rows: (m,) rows of the database that count.
        weights: (m,) their weights: signed, summing to 1.
        shown: The people who count most (n = 1), most first.
        shown_weights: (k,) their weights.
    """

    pixels: Float32[np.ndarray, " p"]
    spread: Float32[np.ndarray, " p"]
    rows: Int64[np.ndarray, " m"]
    weights: Float32[np.ndarray, " m"]
    shown: Neighbors
    shown_weights: Float32[np.ndarray, " k"]


class OpenReadout(Protocol):
    """A readout of one state of a database."""

    def answer(self, queries: Queries) -> list[Answer]:
        """Synthesize each of the queries.

        Raises:
            DatabaseError: The database is damaged, or nobody is left for a query.
        """


class Penalties(Record):
    """How little each group of features is trusted: a smaller penalty trusts more, None not at all.

    Attributes:
        learned: Of what the encoder learned: the multiple of N times a feature's variance that is added to it.
        components: Of the source's principal components, where the encoder gives them.
    """

    learned: float | None = Field(gt=0)
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
        n_few: Most entries that "few" averages, at least 1.
        reason: Why this one, in a sentence.
    """

    name: ReadoutName = "neighbors"
    n_neighbors: int = Field(default=N_NEIGHBORS, ge=1)
    weights: WeightRule = WEIGHTS
    temperature: float = Field(default=TEMPERATURE, gt=0)
    one_per_subject: bool = False
    attention_temperature: float = Field(default=TEMPERATURE, gt=0)
    penalties: Penalties | None = None
    attention_share: float = Field(default=0.5, ge=0, le=1)
    n_few: int = Field(default=N_NEIGHBORS, ge=1)
    reason: str = "the numbers of the paper"

    def describe(self, n_found: int | None = None) -> str:
        """Say how people are chosen and weighed, in a few words.

        Args:
            n_found: How many neighbors there were, where a database could not give as many as were asked for.
        """
        match self.name:
            case "neighbors":
                softmax = f" of temperature {self.temperature:g}" if self.weights == "softmax" else ""
                once = ", at most one map of a person" if self.one_per_subject else ""
                return f"{counted(n_found or self.n_neighbors, 'neighbor')}, {self.weights} weights{softmax}{once}"
            case "attention":
                return f"all entries, by attention of temperature {self.attention_temperature:.3g}"
            case "linear" if self.penalties is not None and self.penalties.learned is None:
                if self.penalties.components is None:
                    return "all entries alike: the mean map"
                return "all entries, by the signed weights of a linear regression from pixels alone"
            case "linear":
                return "all entries, by the signed weights of a linear regression"
            case "few":
                entries = counted(n_found, "entry") if n_found else f"at most {counted(self.n_few, 'entry')}"
                return f"{entries}, by the positive weights that come nearest to a linear regression"
            case _:
                share = round(100 * self.attention_share)
                return (
                    f"all entries, {share} % by attention and {100 - share} % by a linear regression (signed weights)"
                )


@dataclass(frozen=True)
class SynthesisSettings:
    """Which readout is wanted; what is None stays as the bundle has it, or else as in the paper (Eq. 4, k = 20).

    Attributes:
        n_neighbors: k, at least 1, of "neighbors" or "few".
        weights: "similarity" (Eq. 4), "softmax" or "uniform".
        temperature: Of the softmax of neighbors, or of the attention; above 0, in units of cosine similarity.
        one_per_subject: At most one neighbor of each subject.
        readout: One of `READOUTS`. Where it is None and anything of neighbors is asked for, "neighbors".

    Raises:
        SettingsError: A value cannot work.
    """

    n_neighbors: int | None = None
    weights: WeightRule | None = None
    temperature: float | None = None
    one_per_subject: bool = False
    readout: ReadoutName | None = None

    def __post_init__(self) -> None:
        if self.readout is not None and self.readout not in READOUTS:
            raise SettingsError(f"readout is {self.readout!r}; give one of {', '.join(READOUTS)}")
        k = self.n_neighbors
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise SettingsError(f"n_neighbors is {k!r}; give a whole number from 1 on, such as 20")
        if self.weights not in (None, "similarity", "softmax", "uniform"):
            raise SettingsError(f"weights is {self.weights!r}; give 'similarity', 'softmax' or 'uniform'")
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise SettingsError(f"temperature is {self.temperature!r}; give a finite number above 0, such as 0.1")
        if self.readout not in (None, "neighbors", "few") and self.n_neighbors is not None:
            raise SettingsError(
                f"the readout {self.readout!r} has no number of neighbors; leave it out, or take 'neighbors' or 'few'"
            )
        if self.readout not in (None, "neighbors") and (self.weights is not None or self.one_per_subject):
            raise SettingsError(
                f"the readout {self.readout!r} has no weights to choose; leave them out, or take 'neighbors'"
            )
        self._check_temperature(self.readout)

    @property
    def of_neighbors(self) -> bool:
        """Whether neighbors are asked for, by name or by what only they have."""
        told = self.n_neighbors is not None or self.weights is not None or self.one_per_subject
        return self.readout == "neighbors" or (self.readout is None and told)

    def applied_to(self, stored: Readout | None) -> Readout:
        """Give the readout that answers, from what is wanted and what is stored with a bundle.

        Raises:
            SettingsError: A temperature is wanted, and what answers has none.
        """
        known = stored or Readout()
        if self.readout not in (None, known.name):
            known = known.model_copy(update={"reason": f"asked for; otherwise {known.name}: {known.reason}"})
        if not self.of_neighbors:
            name = known.name if self.readout is None else self.readout
            self._check_temperature(name)
            heat = known.attention_temperature if self.temperature is None else self.temperature
            softmax = known.temperature if self.temperature is None else self.temperature
            few = known.n_few if self.n_neighbors is None else self.n_neighbors
            update = {"name": name, "attention_temperature": heat, "temperature": softmax, "n_few": few}
            return self._with_its_temperature(known.model_copy(update=update))
        if self.readout is None:  # by its numbers: those that are not given are the paper's
            known = known.model_copy(update=dict(Readout(penalties=known.penalties)))
        wanted = {"n_neighbors": self.n_neighbors, "weights": self.weights, "temperature": self.temperature}
        given = {name: value for name, value in wanted.items() if value is not None}
        found = known.model_copy(update={"name": "neighbors", "one_per_subject": self.one_per_subject, **given})
        return self._with_its_temperature(found)

    def _with_its_temperature(self, readout: Readout) -> Readout:
        if readout.name == "neighbors" and readout.weights != "softmax" and self.temperature is not None:
            raise SettingsError(
                f"weights of neighbors by {readout.weights!r} have no temperature; leave it out, or take 'softmax'"
            )
        return readout

    def _check_temperature(self, readout: ReadoutName | None) -> None:
        if readout in ("linear", "few") and self.temperature is not None:
            raise SettingsError(f"the readout {readout!r} has no temperature; leave it out")
