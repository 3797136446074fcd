"""What the new methods cost beside the paper's: training for the synthesis, and the linear readout.

Training: an epoch by each objective beside one by the triplet loss, with the same encoders, pairs and steps.
Queries: each readout of a bundle beside 20 neighbors by Eq. 4, encoding counted or not; in batches and one by one; the
result alone and with its intervals. All ways are taken in turns, in one process, and a ratio is the median over turns.

Run: python benchmarks/costs.py BUNDLE COHORT
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from made_database import machine

from mris.bench.training import random_cohort, train_an_epoch, trained_on
from mris.choices import Objective
from mris.cohort.cohort import Cohort
from mris.synthesis.bundle import Bundle
from mris.synthesis.calibrate import calibrate
from mris.synthesis.readouts import SynthesisSettings
from mris.synthesis.synthesizer import Synthesizer
from mris.types import Sources

OBJECTIVES: tuple[Objective, ...] = ("triplet", "synthesis", "both")
SLOWEST_TRAINING, SLOWEST_QUERY = 1.3, 1.0
"""Times of the triplet loss and of 20 neighbors that were asked for."""

READOUTS = {
    "20 neighbors": SynthesisSettings(n_neighbors=20),
    "attention": SynthesisSettings(readout="attention"),
    "linear": SynthesisSettings(readout="linear"),
    "blend": SynthesisSettings(readout="blend"),
    "few": SynthesisSettings(readout="few"),
}
QUERIES, BATCH = 32, 32


def in_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every way in every round; each round takes all of them, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = way()
            if number:
                taken[name].append(seconds)
    return taken


def ratio(taken: Mapping[str, list[float]], name: str, reference: str) -> float:
    return statistics.median(ours / theirs for ours, theirs in zip(taken[name], taken[reference], strict=True))


def training_costs(folder: Path, people: int, size: int, rounds: int) -> None:
    """Print the time of an epoch by each objective, with the encoders of the preset "small"."""
    cohort = random_cohort(folder, people, size)

    def epoch(objective: Objective) -> Callable[[], float]:
        module, data = trained_on(cohort, objective)
        return lambda: train_an_epoch(module, data)

    taken = in_turns({name: epoch(name) for name in OBJECTIVES}, rounds)
    print(f"training: preset small, {people} people, {size} px, medians of {rounds} turns")
    print("| objective | ms per pair | of the triplet's |\n| --- | ---: | ---: |")
    for name, seconds in taken.items():
        each = 1000 * statistics.median(seconds) / people
        print(f"| {name} | {each:.2f} | {ratio(taken, name, 'triplet'):.2f} |")
    print(f"(asked: synthesis at most {SLOWEST_TRAINING})")


def query_costs(bundle: Bundle, cohort: Cohort, rounds: int) -> None:
    """Print the time of a query by each readout of a bundle's first member."""
    test = cohort.split("test")
    sources = test.read_sources(np.linspace(0, len(test) - 1, QUERIES).astype(int))
    member, header = bundle.members[0], bundle.header.members[0]
    alone, whole = {}, {}
    for name, wanted in READOUTS.items():
        parts = (member.encoder, member.database)
        stored = wanted.applied_to(header.readout)
        alone[name] = Synthesizer(*parts, stored=stored)
        whole[name] = Synthesizer(*parts, stored=stored, calibrated=calibrate(alone[name], cohort))
    size = member.database.header.target_shape[1:]
    print(f"{len(member.database)} entries of {size[0]} x {size[1]}, {QUERIES} queries, medians of {rounds} turns")
    print("| queries | readout | ms | of 20 neighbors' | ms without encoding | of 20 neighbors' |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for told, synthesizers in (("alone", alone), ("with intervals", whole)):
        for size, how in ((BATCH, f"in batches of {BATCH}"), (1, "one by one")):
            entire, readout = (
                in_turns({name: way(one, sources, size) for name, one in synthesizers.items()}, rounds)
                for way in (from_sources, from_embeddings)
            )
            for name in READOUTS:
                cells = [
                    f"{1000 * statistics.median(taken[name]) / QUERIES:.2f} | {ratio(taken, name, '20 neighbors'):.2f}"
                    for taken in (entire, readout)
                ]
                print(f"| {how}, {told} | {name} | {' | '.join(cells)} |", flush=True)
    print(f"(asked: linear at most {SLOWEST_QUERY})")


def from_sources(synthesizer: Synthesizer, sources: Sources, size: int) -> Callable[[], float]:
    """What times a synthesis of all sources, some at a time."""
    parts = [sources[start : start + size] for start in range(0, len(sources), size)]
    return lambda: timed(lambda: [synthesizer.synthesize(part) for part in parts])


def from_embeddings(synthesizer: Synthesizer, sources: Sources, size: int) -> Callable[[], float]:
    """What times a synthesis of all sources, some at a time, once they are embedded."""
    commit = synthesizer.database.commit
    parts = [synthesizer.embed(sources[start : start + size]) for start in range(0, len(sources), size)]
    return lambda: timed(lambda: [synthesizer.synthesize_embedded(part, None, commit) for part in parts])


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--people", type=int, default=1024, help="of the training")
    parser.add_argument("--size", type=int, default=64, help="pixels of the training")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(machine(), flush=True)
    query_costs(Bundle.open(given.bundle), Cohort.open(given.cohort), given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        training_costs(Path(folder), given.people, given.size, given.rounds)


if __name__ == "__main__":
    main()
