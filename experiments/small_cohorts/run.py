"""Few training people: is a bundle ever worse than the mean map or a ridge regression of pixels?

    python experiments/small_cohorts/run.py COHORT... [--sizes 25,50,100] [--draws 3] [--first 0] [--error mae]

Of each prepared cohort, people are drawn anew from its training and validation splits: so many train, 15 % as many
validate (choose the epoch and the readout), and its test people, at most 200 at their first visit, are judged by all.
Every bundle is trained with the preset "small" and answers with the readout that `mris index` would choose. An interval
resamples people, of whom each counts with the mean over draws. Interrupted, the same call goes on.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mris
from mris.choices import ErrorName
from mris.evaluation.bootstrap import percentile_interval, resample_counts, resampled_means, subject_codes
from mris.evaluation.bundle_evaluation import evaluate_bundle
from mris.evaluation.image_error import METRICS
from mris.evaluation.results import PerImage
from mris.images.write import folder_beside
from mris.metric.export import export_encoder
from mris.metric.settings import preset
from mris.metric.train import train_encoders
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.bundle import Bundle

VALIDATING = 0.15
"""Validation people for each training person."""

MOST_TESTED = 200
COMPARED = ("median", "mae", "rmse")
RIVALS = ("mean map", "PCA ridge")


@dataclass(frozen=True)
class Judged:
    """One bundle: errors of all methods on the test people, and the readout that was chosen."""

    errors: PerImage
    readout: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", type=Path, nargs="+", metavar="COHORT", help="a prepared cohort")
    parser.add_argument("--sizes", default="25,50,100", help="training people, separated by commas")
    parser.add_argument("--draws", type=int, default=3, help="how often people are drawn")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first draw: other people than an earlier run"
    )
    parser.add_argument("--error", choices=("mae", "rmse"), default="mae", help="what readouts are chosen by")
    parser.add_argument("--epochs", type=int, help="epochs of a training; the preset's by default")
    parser.add_argument("--work", type=Path, default=Path("runs/small_cohorts"))
    parser.add_argument("--out", type=Path, help="write the page here too")
    given = parser.parse_args()
    settings = preset("small").model_copy(update={"accelerator": "cpu", "devices": 1})
    if given.epochs:
        settings = settings.model_copy(update={"epochs": given.epochs})
    lines = [
        "| cohort | people | metric | MRIS | mean map | PCA ridge | against the mean map | against PCA ridge |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    chosen = []
    for path in given.cohorts:
        for size in map(int, given.sizes.split(",")):
            work = given.work / path.name / str(size)
            found = [
                judged(path, work / str(draw), size, draw, settings, given.error)
                for draw in range(given.first, given.first + given.draws)
            ]
            lines += [f"| {path.name} | {size} | {line} |" for line in compared([one.errors for one in found])]
            chosen += [f"- {path.name}, {size} people: {one.readout}" for one in found]
            print("\n".join([*lines[-len(COMPARED) :], *chosen[-given.draws :]]), flush=True)
    page = "\n".join([*lines, "", "Readouts that were chosen:", "", *chosen, ""])
    print(page)
    if given.out:
        given.out.write_text(page, encoding="utf-8")


def judged(path: Path, work: Path, size: int, draw: int, settings, error: ErrorName) -> Judged:
    """Draw people, train, index and evaluate; what is finished is kept."""
    cohort = drawn(mris.Cohort.open(path), size, draw)
    made = work / f"bundle-{error}"
    if not made.exists():
        resume = (work / "run" / "run.json").is_file()
        encoder = train_encoders(cohort, work / "run", settings=settings, seed=draw, resume=resume, progress=False)
        with folder_beside(made) as temporary:
            folder = export_encoder(encoder, temporary / "encoder")
            build_bundle([folder], cohort, made, error=error, progress=False)
    bundle = Bundle.open(made)
    evaluation = evaluate_bundle(bundle, cohort, n_bootstrap=10, seed=draw, progress=False)
    readout = bundle.header.members[0].readout
    assert readout is not None
    return Judged(evaluation.per_image, f"{readout.name} ({readout.reason})")


def drawn(cohort: mris.Cohort, size: int, draw: int) -> mris.Cohort:
    """Put `size` people into "train", others into "val"; "test" keeps its people, at their first visit."""
    rng = np.random.default_rng([size, draw])
    pool = rng.permutation(np.unique(cohort.subjects[np.isin(cohort.splits, ("train", "val"))]))
    tested = np.unique(cohort.subjects[cohort.splits == "test"])
    tested = tested[np.linspace(0, len(tested) - 1, min(len(tested), MOST_TESTED)).astype(int)]
    n_val = max(2, round(VALIDATING * size))
    splits = np.full(len(cohort), "unused", dtype=object)
    for name, people in (("train", pool[:size]), ("val", pool[size : size + n_val]), ("test", tested)):
        splits[np.isin(cohort.subjects, people)] = name
    kept = (splits != "unused") & ((splits != "test") | cohort.is_baseline)
    return cohort.with_splits(splits).select(np.flatnonzero(kept))


def compared(parts: list[PerImage]) -> Iterator[str]:
    """Give a line a metric: mean errors, and paired differences from the rivals with intervals by person."""
    methods = parts[0].methods
    codes, n_people = subject_codes([key.split("/")[0] for key in parts[0].keys])
    counts = resample_counts(n_people, 2000, np.random.default_rng(0))
    for metric in COMPARED:
        errors = np.mean([part.values[:, -1, :, METRICS.index(metric)] for part in parts], axis=0)
        own, *rivals = (errors[methods.index(name)] for name in (methods[0], *RIVALS))
        if not rivals[0].mean() > 0:  # the median pixel of a gland's frame shows no gland, whatever the method
            continue
        gaps = np.column_stack([own - rival for rival in rivals])
        low, high = percentile_interval(resampled_means(gaps, codes, counts))
        means = [float(values.mean()) for values in (own, *rivals)]
        cells = [
            f"{100 * gap / mean:+.1f} % [{100 * a / mean:+.1f}, {100 * b / mean:+.1f}]"
            for gap, mean, a, b in zip(gaps.mean(axis=0), means[1:], low, high, strict=True)
        ]
        yield " | ".join([metric, *(f"{mean:.4f}" for mean in means), *cells])


if __name__ == "__main__":
    main()
