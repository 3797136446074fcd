"""What can be evaluated: anything with ``predict``; and how a synthesizer becomes one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float32
from numpy import ndarray

from mris.types import Sources, TargetMap, Targets


class Predictor(Protocol):
    """A method: prepared sources in, targets out."""

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Synthesize one target a source, (n, r, h, w), NaN where the method says nothing.

        The subjects of the queries come along so that a method that retrieves can leave out a query's own subject.
        """


@dataclass(frozen=True)
class Explanation:
    """Why a synthesis looks as it does; what a method cannot say stays empty.

    Args:
        spread: (r, h, w) disagreement of the neighbors at each pixel, in the target's unit.
        neighbors: (k, r, h, w) the neighbors' targets, nearest first, NaN where a neighbor has no such region.
        captions: k short texts, one a neighbor (its weight, its key).
    """

    spread: TargetMap | None = None
    neighbors: Float32[ndarray, "k r h w"] | None = None
    captions: tuple[str, ...] = field(default=())


@runtime_checkable
class Explainer(Protocol):
    """A method that can also say where its synthesis comes from."""

    def explain(self, source: Float32[ndarray, "c h w"], *, subject: str) -> Explanation:
        """Explain the synthesis for one prepared source, leaving out the query's own subject."""


PredictorTable = Mapping[str, Predictor]
"""Methods by the name that tables and figures show."""
