"""All numbers of an experiment over its seeds: what its page is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from mris.study.class_results import ClassEstimate, SeedSpread
from mris.study.database_size_results import DatabaseSizeCurve
from mris.study.seeds import OverSeeds

TRUE_MAPS = "true maps"
"""What classifiers learn from beside the maps of each method."""

GRADE_ALONE = "baseline grade alone"
"""Name of what the baseline grade says of progression, without a map."""


class MethodCost(BaseModel):
    """What a method costs.

    Attributes:
        n_parameters: trained parameters of all its networks.
        training_seconds: wall time of its training, s.
        ms_single: median wall time of a query that comes alone, ms.
        ms_batched: mean wall time of a query among others, ms.
        peak_megabytes: most memory of a process that predicts, MB (10^6 bytes).
    """

    n_parameters: int
    training_seconds: float
    ms_single: float
    ms_batched: float
    peak_megabytes: float


def read_costs(path: Path) -> dict[str, MethodCost]:
    """Read the costs of the methods of a seed, by title."""
    return TypeAdapter(dict[str, MethodCost]).validate_json(path.read_bytes())


@dataclass(frozen=True)
class TaskResults:
    """The classifiers of one task.

    Args:
        name: Name of the task.
        class_names: Names of its classes.
        counts: Pairs of each class, by split.
        spreads: Metrics by method, first those of `TRUE_MAPS`.
        differences: Metrics by method minus those of `TRUE_MAPS`, same people.
    """

    name: str
    class_names: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    spreads: Mapping[str, tuple[SeedSpread, ...]]
    differences: Mapping[str, tuple[ClassEstimate, ...]]


@dataclass(frozen=True)
class ExperimentFacts:
    """How an experiment was made.

    Args:
        sets: Pairs and people of each split.
        visits: Visits of test people that are judged.
        error: The error that is shown first.
        epochs: Epochs of each training on pairs.
        sampler: How its batches are drawn.
        batch_size: Pairs of a step.
        seconds: Wall time of all stages, s.
        machine: The machine that read the results.
    """

    sets: Mapping[str, tuple[int, int]]
    visits: str
    error: str
    epochs: int
    sampler: str
    batch_size: int
    seconds: float
    machine: str


@dataclass(frozen=True)
class ExperimentResults:
    """All numbers of an experiment.

    Args:
        seeds: The seeds that are done.
        facts: How it was made.
        over: Errors and retrieval.
        tasks: What classifiers read from the maps.
        costs: Means over seeds, by method.
        curve: Error against the size of the database, of the first seed.
        pictures: By name the pictures that the stages of the first seed left.
    """

    seeds: tuple[int, ...]
    facts: ExperimentFacts
    over: OverSeeds
    tasks: tuple[TaskResults, ...]
    costs: Mapping[str, MethodCost]
    curve: DatabaseSizeCurve
    pictures: Mapping[str, Path]
