"""What can be evaluated: anything with ``predict``; and how a synthesizer becomes one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from mris.cohort.origin import Origin
from mris.cohort.training_subjects import TrainingSubjects
from mris.errors import SettingsError
from mris.synthesis.batch_synthesizer import BatchSynthesizer
from mris.synthesis.synthesis import Synthesis
from mris.types import AtlasMask, Sources, TargetMap, Targets

N_SHOWN = 8
"""Neighbors that an explanation shows."""


class Predictor(Protocol):
    """A method: prepared sources in, targets out."""

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Synthesize one target a source, (n, r, h, w), NaN where the method says nothing.

        The subjects of the queries come along so that a method that retrieves can leave out a query's own subject.
        """


@runtime_checkable
class Trained(Protocol):
    """A method that can say whose pairs it was trained on, so that none of them becomes a query."""

    @property
    def training_subjects(self) -> TrainingSubjects | None:
        """Subjects of the training pairs; None where they are unknown."""


@runtime_checkable
class Originated(Protocol):
    """A method that can say whether it was made from images of people or simulated ones."""

    @property
    def origin(self) -> Origin:
        """See `mris.cohort.origin`."""


@runtime_checkable
class Reading(Protocol):
    """A method that reads from disk at its first query; it is asked to do so before the clock runs."""

    def read(self, source: Float32[np.ndarray, "c h w"]) -> None:
        """Read all that an answer needs; the source is one to try it with."""


@dataclass(frozen=True)
class Judgement:
    """How what a method says beside an image stands to the truth.

    Attributes:
        level: What its intervals state; None where it gives none, and then there is no more.
        measured: See `mris.evaluation.coverage`.
        stratum: The calibration's, by what the method itself predicts.
    """

    level: float | None
    measured: tuple[float, ...] = ()
    stratum: str = ""


@runtime_checkable
class Judging(Protocol):
    """A method that says more than an image, and is shown the truths to compare it with."""

    def judge(self, truths: Targets, masks: Sequence[AtlasMask]) -> Sequence[Judgement]:
        """Judge the answers of the last ``predict`` by their truths, (n, r, h, w), where each is judged."""

    def keep(self, judgements: Sequence[Judgement]) -> None:
        """Keep judgements, perhaps of a copy of this method in another process, in the order of the queries."""


@dataclass(frozen=True)
class Explanation:
    """Why a synthesis looks as it does.

    Args:
        spread: (r, h, w) disagreement of the neighbors at each pixel, in the target's unit.
        neighbors: (k, r, h, w) the nearest neighbors' targets, nearest first.
        captions: For each region k short texts, one a neighbor. Regions may have neighbors of their own.
    """

    spread: TargetMap
    neighbors: Float32[np.ndarray, "k r h w"]
    captions: tuple[tuple[str, ...], ...]


@runtime_checkable
class Explainer(Protocol):
    """A method that can also say where its synthesis comes from."""

    def explain(self, source: Float32[np.ndarray, "c h w"], *, subject: str) -> Explanation:
        """Explain the synthesis for one prepared source, leaving out the query's own subject."""


@dataclass(frozen=True)
class SynthesizerPredictor:
    """A synthesizer as a method: the query's own subject never is a neighbor.

    Args:
        synthesizer: A `mris.Synthesizer` or the synthesizer of a bundle.
        regions: Regions wanted, in the order wanted.
    """

    synthesizer: BatchSynthesizer
    regions: tuple[str, ...]

    @property
    def origin(self) -> Origin:
        """What the synthesizer was made from, where it says so, as that of a bundle does."""
        return self.synthesizer.origin if isinstance(self.synthesizer, Originated) else "unknown"

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Synthesize one target a source, (n, r, h, w).

        Raises:
            SettingsError: The synthesizer has no database with a wanted region.
        """
        return self.images(self.synthesizer.stream(sources, exclude_subjects=subjects))

    def images(self, syntheses: Iterable[Synthesis]) -> Targets:
        """Give the wanted regions of some syntheses, (n, r, h, w), in the order wanted.

        Raises:
            SettingsError: The synthesizer has no database with a wanted region.
        """
        return np.stack([synthesis.image[self._channels(synthesis)] for synthesis in syntheses])

    def read(self, source: Float32[np.ndarray, "c h w"]) -> None:
        """Answer one query in vain, which reads the database."""
        self.synthesizer.synthesize(source[np.newaxis], [None])

    def explain(self, source: Float32[np.ndarray, "c h w"], *, subject: str) -> Explanation:
        """Give spread and neighbors of the synthesis for one prepared source."""
        (synthesis,) = self.synthesizer.synthesize(source[np.newaxis], [subject])
        channels = self._channels(synthesis)
        maps = self.synthesizer.neighbor_maps(synthesis, N_SHOWN)
        shown = min(len(part) for part in maps)
        neighbors = np.concatenate([part[:shown] for part in maps], axis=1)[:, channels]
        captions = [
            tuple(
                f"{similarity:.2f} · {part.weight_text(rank)}"
                for rank, similarity in enumerate(part.neighbors.similarities[0, :shown])
            )
            for part in synthesis.contributions
            for _ in part.regions
        ]
        return Explanation(synthesis.spread[channels], neighbors, tuple(captions[channel] for channel in channels))

    def _channels(self, synthesis: Synthesis) -> list[int]:
        lacking = [region for region in self.regions if region not in synthesis.regions]
        if lacking:
            raise SettingsError(
                f"the synthesizer gives {', '.join(synthesis.regions)}, but the cohort also has {', '.join(lacking)}; "
                "build a bundle with a member for it, or prepare the cohort without it"
            )
        return [synthesis.regions.index(region) for region in self.regions]


def as_predictors(
    methods: Mapping[str, Predictor | BatchSynthesizer], regions: tuple[str, ...]
) -> dict[str, Predictor]:
    """Wrap the synthesizers among some methods, so that all have the same ``predict``."""
    return {
        name: SynthesizerPredictor(method, regions) if isinstance(method, BatchSynthesizer) else method
        for name, method in methods.items()
    }
