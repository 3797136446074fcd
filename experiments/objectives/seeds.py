"""Does it pay to average several trainings? The linear readout of each run, and of their averaged maps.

    python experiments/objectives/seeds.py COHORT RUN RUN...

Errors are means over the people of the split "val" of the mean absolute error, intervals by person. The database is the
baseline visits of the training people, and each run has the penalties that suit these validation people best. Prints
and keeps `results/seeds.md`.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np

from mris.cohort.cohort import Cohort
from mris.database.gallery import Gallery
from mris.metric.encoders import DualEncoder
from mris.study.machine import machine
from mris.synthesis.readouts.readout import Penalties
from mris.synthesis.readouts.ridge import predictions_by_penalty
from mris.types import Features, Pixels

MOST_PIXELS = 4096
LADDER = [Penalties(learned=a, components=b) for a, b in product((0.1, 0.3, 1.0, 3.0, 10.0), (None, 0.1, 1.0, 10.0))]


class Judge:
    """The validation people of a cohort, and the database that their maps are made from."""

    def __init__(self, cohort: Cohort) -> None:
        self.known, self.asked = (_baseline(cohort.split(name)) for name in ("train", "val"))
        self.gallery = Gallery.of_cohort(self.known).at_most(MOST_PIXELS)
        self.truth = self.asked.read_targets(range(len(self.asked)))[:, self.gallery.mask]
        self.codes = np.unique(self.asked.subjects, return_inverse=True)[1]

    def errors(self, pixels: Pixels) -> np.ndarray:
        """The mean absolute error of each person."""
        by_pair = np.nanmean(np.abs(pixels - self.truth), axis=1)
        return np.bincount(self.codes, by_pair) / np.bincount(self.codes)

    def maps(self, run: Path) -> Pixels:
        """The maps of a run's linear readout, with the best penalties."""
        encoder = DualEncoder.load(run / "encoder")
        known, asked = (_features(encoder, part) for part in (self.known, self.asked))
        tried = predictions_by_penalty(known, encoder.n_learned, self.gallery, asked, LADDER)
        return min(tried, key=lambda pixels: self.errors(pixels).mean())


def _baseline(view: Cohort) -> Cohort:
    return view.select(np.flatnonzero(view.is_baseline))


def _features(encoder: DualEncoder, pairs: Cohort) -> Features:
    return np.concatenate([encoder.describe_sources(batch.sources)[1] for batch in pairs.batches(64)])


def table(judge: Judge, runs: Sequence[Path]) -> str:
    maps = {run.name: judge.maps(run) for run in runs}
    errors = {name: judge.errors(pixels) for name, pixels in maps.items()}
    lines = ["| runs | MAE | against the mean of each alone | against the best alone |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {name} | {one.mean():.4f} | | |" for name, one in errors.items()]
    for names in combinations(maps, 2):
        found = judge.errors(np.mean([maps[name] for name in names], axis=0))
        alone = [errors[name] for name in names]
        cells = [change(found, reference) for reference in (np.mean(alone, axis=0), min(alone, key=np.mean))]
        lines.append(f"| {' + '.join(names)} | {found.mean():.4f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def change(found: np.ndarray, reference: np.ndarray) -> str:
    gaps = 100 * (found - reference) / reference.mean()
    half = 1.96 * gaps.std(ddof=1) / np.sqrt(len(gaps))
    return f"{gaps.mean():+.1f} % [{gaps.mean() - half:+.1f}, {gaps.mean() + half:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    text = f"{table(Judge(Cohort.open(given.cohort)), given.runs)}\n\n{machine()}\n"
    Path(__file__).with_name("results").joinpath("seeds.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
