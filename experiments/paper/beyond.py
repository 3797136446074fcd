"""What improves retrieval beyond the paper's recipe, chosen on validation subjects and told on test subjects.

    python experiments/paper/beyond.py --preset small [--work DIR] [--out FILE]

Needs the trained seeds of run.py. Three things are tried, each on its own and all together: the number of neighbors,
the weights and one map a person; the average with a ridge regression of the same embedding; the average over seeds.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
N_NEIGHBORS = (5, 10, 20, 40, 80, 160)
TEMPERATURES = (0.02, 0.05, 0.1)

Predict = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("smoke", "small", "full", "paper"), default="small")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sys.path.insert(0, str(HERE))
    from phantom_cohort import PaperPlan

    from mris.cohort.cohort import Cohort
    from mris.evaluation.bootstrap import percentile_interval, resample_counts, resampled_means, subject_codes
    from mris.reporting.tables import Cell, Table, markdown, number, signed
    from mris.study.machine import machine
    from mris.study.plan import make_plan

    plan = make_plan(PaperPlan, given.preset, file=HERE / "settings" / f"{given.preset}.toml")
    work = given.work or Path("runs") / "paper" / given.preset
    cohort = Cohort.open(work / "cohort")
    val = baseline(cohort, "val")
    test = baseline(cohort, "test")
    seeds = [seed for seed in plan.seeds if (work / f"seed{seed}" / "evaluation" / "results.json").is_file()]
    predictions: dict[str, list[np.ndarray]] = {}
    chosen = []
    for seed in seeds:
        folder = work / f"seed{seed}"
        rule, single = tune(folder, val, plan.n_neighbors)
        chosen.append(f"seed {seed}: {rule}")
        for name, predict in single.items():
            predictions.setdefault(name, []).append(predict(test.read_sources()))
    rows = {name: errors(test, parts) for name, parts in predictions.items()}
    if len(seeds) > 1:
        for name in list(predictions):
            rows[f"{name}, average of {len(seeds)} seeds"] = errors(test, [np.mean(predictions[name], axis=0)])
    codes, n_subjects = subject_codes(list(test.subjects))
    counts = resample_counts(n_subjects, plan.n_bootstrap, np.random.default_rng(0))
    base = next(iter(rows.values()))
    cells = []
    for name, values in rows.items():
        columns = np.concatenate([values, values - base], axis=1)
        low, high = percentile_interval(resampled_means(columns, codes, counts))
        mean = columns.mean(axis=0)
        share = f"{100 * mean[3] / base[:, 1].mean():+.1f} %"
        cells.append(
            (
                Cell(name),
                Cell(number(mean[0]), f"[{number(low[0])}, {number(high[0])}]"),
                Cell(number(mean[1]), f"[{number(low[1])}, {number(high[1])}]"),
                Cell(signed(mean[3], 3), f"[{signed(low[3], 3)}, {signed(high[3], 3)}]"),
                Cell(share),
            )
        )
    table = Table(
        f"{len(test)} baseline test pairs of {n_subjects} people, all regions as one image, "
        f"mean over {len(seeds)} seeds",
        ("method", "median error", "MAE", "MAE minus the first row's", "relative"),
        tuple(cells),
    )
    lines = [
        f"# Beyond the paper's recipe, `{given.preset}`",
        "",
        markdown(table),
        "",
        f"Chosen on {len(val)} baseline pairs of {len(set(val.subjects))} validation people: {'; '.join(chosen)}.",
        "",
        f"Made by `python experiments/paper/beyond.py --preset {given.preset}` on {machine()}.",
        "",
    ]
    out = given.out or work / "report" / "beyond.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def baseline(cohort, split: str):
    """Baseline pairs of a split."""
    return cohort.select(np.flatnonzero((cohort.splits == split) & cohort.is_baseline))


def tune(folder: Path, val, n_neighbors: int) -> tuple[str, dict[str, Predict]]:
    """Choose neighbors and weights by the mean absolute error of validation people; give the methods to compare."""
    from mris.baselines.predictor import open_baseline
    from mris.synthesis.bundle import Bundle

    bundle = Bundle.open(folder / "bundle" / "MRIS-S")
    ridge = open_baseline(folder / "baseline" / "embedding-ridge")
    sources, best = val.read_sources(), (np.inf, {})
    for k in N_NEIGHBORS:
        rules = [{"weights": "similarity"}, *({"weights": "softmax", "temperature": t} for t in TEMPERATURES)]
        for rule in rules:
            for one in (False, True):
                options = {"n_neighbors": k, "one_per_subject": one, **rule}
                error = errors(val, [bundle.synthesizer(**options).predict(sources)])[:, 1].mean()
                best = min(best, (error, options), key=lambda pair: pair[0])
    plain, tuned = bundle.synthesizer(n_neighbors), bundle.synthesizer(**best[1])
    text = ", ".join(f"{name} {value}" for name, value in best[1].items())
    return text, {
        f"MRIS-S, k = {n_neighbors}, Eq. 4": plain.predict,
        "neighbors and weights chosen": tuned.predict,
        "ridge on the embedding of MRIS-C": ridge.predict,
        "average of the chosen and the ridge": lambda sources: (tuned.predict(sources) + ridge.predict(sources)) / 2,
    }


def errors(cohort, predictions: list[np.ndarray]) -> np.ndarray:
    """Median and mean absolute error of each image, averaged over predictions; (n, 2)."""
    truth = cohort.read_targets().reshape(len(cohort), -1)
    found = []
    for one in predictions:
        gap = np.abs(one.reshape(len(cohort), -1) - truth)
        found.append(np.stack([np.nanmedian(gap, axis=1), np.nanmean(gap, axis=1)], axis=1))
    return np.mean(found, axis=0)


if __name__ == "__main__":
    main()
