"""Each method at its best: three learning rates and two widths, chosen on validation people; seeds, on test people.

    python experiments/objectives/best.py [--work DIR] [--threads N] [--methods MRIS U-Net ...] [--seeds 1]

Takes the cohort of run.py (made by it if absent), the same pairs, steps and augmentation for every method. Every
setting is trained for a fifth of the epochs; the one with the least validation error is trained for all of them. Prints
and keeps `results/tuning.md` (validation error and time of each training) and `results/best.md` (test people).
Interrupted, the same call goes on.
"""

import argparse
import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from run import EPOCHS, SHARED, make_cohort, mris, settings, train

from mris.baselines.predictor import open_baseline
from mris.cohort.cohort import Cohort
from mris.evaluation.aggregate import summarize
from mris.evaluation.bootstrap import Resamples
from mris.evaluation.evaluate import evaluate
from mris.evaluation.references import reference_predictors
from mris.evaluation.results import Results
from mris.evaluation.strata import groups_of
from mris.reporting.tables import difference_table, error_table, markdown
from mris.study.machine import machine
from mris.synthesis.bundle import Bundle

AUGMENTATION = ["rotation=15", "contrast=0.2", "noise=0.03"]
"""The MRIS preset's, for all."""

SCREENING = EPOCHS // 5
"""Epochs by which a setting is chosen, with a schedule of that length."""

READOUTS: dict[str, dict[str, Any]] = {
    "MRIS": {},
    "MRIS, convex": {"readout": "attention"},
    "MRIS, 20 people": {"n_neighbors": 20},
    "MRIS, few": {"readout": "few"},
}
"""The readout that validation people chose, the average of all, the paper's, and 20 people near the linear one."""


@dataclass(frozen=True)
class Grid:
    """What is tried of a method.

    Args:
        command: words of `mris` before cohort and run.
        rate: setting of the learning rate.
        rates: learning rates.
        widths: channels of the first stage.
        more: further words.
    """

    command: tuple[str, ...]
    rates: tuple[float, ...]
    widths: tuple[int, ...]
    rate: str = "lr"
    more: tuple[str, ...] = ()


def direct(method: str) -> Grid:
    return Grid(("baseline", "train"), (3e-4, 1e-3, 3e-3), (8, 16), more=("--method", method))


GRIDS = {
    "MRIS": Grid(("train",), (1e-3, 2e-3, 4e-3), (16, 24), rate="lr_source", more=("--objective", "both")),
    "U-Net": direct("unet"),
    "TransUNet": direct("transunet"),
    "autoencoder": direct("autoencoder"),
    "pix2pix": direct("pix2pix"),
}


@dataclass(frozen=True)
class Run:
    """One training: its place, and what validation people say."""

    method: str
    epochs: int
    width: int
    rate: float
    folder: Path
    error: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--threads", type=int, help="threads of a training (default: all cores)")
    parser.add_argument("--methods", nargs="+", choices=list(GRIDS), default=list(GRIDS))
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each method's best setting")
    given = parser.parse_args()
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    cohort = make_cohort(given.work)
    results = Path(__file__).with_name("results")
    tried = [
        train_one(name, width, rate, 0, SCREENING, cohort, given.work / "best")
        for name in given.methods
        for width in GRIDS[name].widths
        for rate in GRIDS[name].rates
    ]
    chosen = [min((run for run in tried if run.method == name), key=lambda run: run.error) for name in given.methods]
    seeds = [
        [train_one(best.method, best.width, best.rate, seed, EPOCHS, cohort, given.work / "best") for best in chosen]
        for seed in range(given.seeds)
    ]
    keep(results / "tuning.md", tuning_table([*tried, *(run for runs in seeds for run in runs)]))
    keep(results / "best.md", judge(seeds, cohort))


def train_one(method: str, width: int, rate: float, seed: int, epochs: int, cohort: Path, work: Path) -> Run:
    """Train one method with one setting, or find that it has been done."""
    grid = GRIDS[method]
    folder = work / f"{method.lower()}-w{width}-lr{rate:g}-epochs{epochs}-seed{seed}"
    own = [f"width={width}", f"{grid.rate}={rate:g}", f"epochs={epochs}"]
    train(folder, *grid.command, cohort, folder, *grid.more, "--seed", seed, *settings([*SHARED, *AUGMENTATION, *own]))
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    errors = [float(row["error/val"]) for row in rows if row["error/val"]]
    return Run(method, epochs, width, rate, folder, min(errors), sum(float(row["seconds"]) for row in rows))


def tuning_table(runs: Sequence[Run]) -> str:
    lines = [
        "| method | epochs | width | learning rate | validation MAE (mm) | training (min) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {run.method} | {run.epochs} | {run.width} | {run.rate:g} | {run.error:.4f} | {run.seconds / 60:.1f} |"
        for run in runs
    ]
    return "\n".join(lines)


def judge(seeds: Sequence[Sequence[Run]], folder: Path) -> str:
    """Judge all seeds on the test people; intervals by person, of the mean over seeds."""
    cohort = Cohort.open(folder)
    training, queries = cohort.split("train"), cohort.split("test")
    evaluations = []
    for runs in seeds:
        methods: dict[str, Any] = {}
        for run in runs:
            if run.method == "MRIS":
                bundle = opened(run, folder)
                methods |= {name: bundle.synthesizer(**asked) for name, asked in READOUTS.items()}
            else:
                methods[run.method] = open_baseline(run.folder)
        methods |= reference_predictors(training, np.random.default_rng(0))
        evaluations.append(evaluate(methods, queries, training=training))
    first = evaluations[0]
    values = np.mean([one.per_image.values for one in evaluations], axis=0)
    resamples = Resamples.draw(queries.subjects, first.results.settings.n_bootstrap, np.random.default_rng(0))
    mean_of_seeds, groups = replace(first.per_image, values=values), groups_of(queries, (), None)
    estimates, differences = summarize(mean_of_seeds, groups, resamples)
    mean: Results = replace(first.results, estimates=estimates, differences=differences)
    region = mean.regions[-1]
    tables = [error_table(mean, region), difference_table(mean, region)]
    spread = ["Median error of each seed (mm):", ""]
    for method in mean.methods:
        each = [one.results.estimate(method.name, "median", region=region).value for one in evaluations]
        spread.append(f"- {method.name}: {', '.join(f'{value:.4f}' for value in each)}")
    return "\n\n".join([*(markdown(table) for table in tables), "\n".join(spread)])


def opened(run: Run, cohort: Path) -> Bundle:
    path = run.folder.with_suffix(".bundle")
    if not path.exists():
        mris("index", run.folder, cohort, path)
    return Bundle.open(path)


def keep(path: Path, text: str) -> None:
    path.write_text(f"{text}\n\n{machine()}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
