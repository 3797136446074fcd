"""How many pairs would show the paper's effect? An estimate from digital knees.

    python experiments/real_knees/power.py --work DIR [--out experiments/real_knees/results] [--smoke]

Encoders learn from N digital people, one knee each, and answer for others; the gain over the mean map and its spread
between people say how many pairs a leave-one-out study needs. Every training is kept in
DIR: a run that was stopped goes on.
"""

import argparse
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

Z_SUM = 1.96 + 0.84
"""Two-sided 5 %, power 80 %."""
PUBLISHED = {"U-Net": (0.304, 0.316), "pix2pix": (0.306, 0.319), "TransUNet": (0.277, 0.281), "MRIS-S": (0.275, 0.276)}
"""Median error (mm), femoral and tibial, Chen & Niethammer 2023, Table 2."""


@dataclass(frozen=True)
class Study:
    """Sizes of the simulation: people in all, people to test on, and draws of each number of training pairs."""

    n_subjects: int = 1500
    n_test: int = 400
    draws: tuple[tuple[int, int], ...] = ((30, 4), (60, 3), (125, 2), (250, 1), (500, 1), (1000, 1))
    size: int = 96
    seed: int = 31


SMOKE = Study(n_subjects=60, n_test=20, draws=((12, 2), (24, 1)), size=32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for digital knees and finished trainings")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a minute, for the tests")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    study = SMOKE if given.smoke else Study()
    cohort = digital_cohort(given.work, study)
    rows = []
    for n_pairs, n_draws in study.draws:
        gains = [draw_of(given.work, cohort, study, n_pairs, draw) for draw in range(n_draws)]
        rows += summary(n_pairs, gains)
    against_unet = direct_of(given.work, cohort, study)
    write_results(given.out, study, rows, against_unet)


def digital_cohort(work: Path, study: Study):
    """One knee of each digital person, sources and targets of the study's size."""
    from mris.cohort.cohort import Cohort
    from mris.cohort.prepare import PrepareSettings, prepare_cohort
    from mris.images.transforms import SourcePreparation
    from mris.knee.phantom.cohort import write_phantom

    size = (study.size, study.size)
    report = write_phantom(
        work / "phantom", n_subjects=study.n_subjects, size=study.size, seed=study.seed, enriched=True, max_visits=1,
        extraction="smooth",
    )  # fmt: skip
    settings = PrepareSettings(SourcePreparation(size, mirror_sides=("right",)), size, workers=1)
    prepare_cohort(report.manifest, work / "cohort", settings)
    cohort = Cohort.open(work / "cohort")
    return cohort.select(cohort.sides == "right")


def division(cohort, study: Study, n_pairs: int, draw: int) -> np.ndarray:
    """Give each pair its split: the same test people always, training people drawn for each draw."""
    rng = np.random.default_rng((study.seed, n_pairs, draw))
    people = np.unique(cohort.subjects)
    rest = rng.permutation(people[study.n_test :])
    splits = np.full(len(cohort), "unused", dtype=object)
    splits[np.isin(cohort.subjects, people[: study.n_test])] = "test"
    splits[np.isin(cohort.subjects, rest[:n_pairs])] = "train"
    splits[np.isin(cohort.subjects, rest[n_pairs : n_pairs + 2])] = "val"  # chooses nothing: the last epoch counts
    return splits


def draw_of(work: Path, cohort, study: Study, n_pairs: int, draw: int) -> dict[str, np.ndarray]:
    """Errors (mm) of every method on the test people after learning from one draw; kept on disk."""
    from learn import encoder_of, median_errors, recipe, references, retrieval

    kept = work / f"draw_{n_pairs}_{draw}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    fold = cohort.with_splits(division(cohort, study, n_pairs, draw))
    training, test = fold.split("train"), fold.split("test")
    encoder = encoder_of(fold, recipe(n_pairs), seed=draw)
    predictions = references(training, test, draw) | retrieval(encoder, training, test)
    truth = test.read_targets()
    errors = {name: median_errors(truth, predicted) for name, predicted in predictions.items()}
    return keep(kept, errors)


def direct_of(work: Path, cohort, study: Study) -> dict[str, np.ndarray]:
    """Errors of a U-Net and of retrieval after learning from the largest draw."""
    from learn import median_errors

    from mris.baselines.settings import preset
    from mris.baselines.train import train_baseline

    n_pairs = study.draws[-1][0]
    retrieved = draw_of(work, cohort, study, n_pairs, 0)
    kept = work / "unet.npz"
    if not kept.is_file():
        fold = cohort.with_splits(division(cohort, study, n_pairs, 0))
        epochs = 3 if study == SMOKE else 40
        changes = {"width": 8, "sampler": "subject", "epochs": epochs, "validate_every": epochs, "devices": 1}
        settings = preset("small", "unet").model_copy(update=changes)
        run = work / "unet"
        network = train_baseline(fold, run, settings, seed=0, resume=(run / "run.json").is_file())
        test = fold.split("test")
        keep(kept, {"U-Net": median_errors(test.read_targets(), network.predict(test.read_sources()))})
    with np.load(kept, allow_pickle=False) as archive:
        return retrieved | {"U-Net": archive["U-Net"]}


def keep(path: Path, errors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from mris.images.write import write_npz

    write_npz(path, **errors)
    return errors


def summary(n_pairs: int, draws: list[dict[str, np.ndarray]]) -> list[dict[str, float | str | int]]:
    """For each method: error, gain over the mean map, its spread between people, and the pairs that would show it."""
    rows = []
    for name in draws[0]:
        gains = [errors["mean map"] - errors[name] for errors in draws]
        gain, spread = float(np.mean(gains)), float(np.mean([gain.std(ddof=1) for gain in gains]))
        error = float(np.mean([errors[name] for errors in draws]))
        between = float(np.std([gain.mean() for gain in gains], ddof=1)) if len(gains) > 1 else float("nan")
        rows.append(
            {
                "n_pairs": n_pairs,
                "n_draws": len(draws),
                "method": name,
                "error": error,
                "gain": gain,
                "gain_sd": spread,
                "gain_sd_of_draws": between,
                "needed": needed(gain, spread),
            }
        )
    return rows


def needed(gain: float, spread: float) -> float:
    """Pairs for 80 % power at 5 %: (2.8 SD / gain)^2; infinite where nothing is gained."""
    return float("inf") if gain <= 0 else (Z_SUM * spread / gain) ** 2


def first_sufficient(rows: list[dict], method: str) -> int | None:
    """The smallest number of pairs simulated with which leave-one-out would have power for a method's own gain."""
    enough = [row["n_pairs"] for row in rows if row["method"] == method and row["needed"] <= row["n_pairs"]]
    return min(enough) if enough else None


def write_results(out: Path, study: Study, rows: list[dict], direct: dict[str, np.ndarray]) -> None:
    from mris.images.write import atomic_write, write_json

    difference = direct["U-Net"] - direct["MRIS, k = 20"]
    sd = float(difference.std(ddof=1))
    published = {
        name: {
            "difference_mm": round(float(np.mean(errors)) - float(np.mean(PUBLISHED["MRIS-S"])), 4),
            "pairs_needed": needed(float(np.mean(errors)) - float(np.mean(PUBLISHED["MRIS-S"])), sd),
        }
        for name, errors in PUBLISHED.items()
        if name != "MRIS-S"
    }
    made = {"made": datetime.now(UTC).date().isoformat(), "machine": f"{platform.system()} {platform.machine()}"}
    record = {
        **made,
        "study": asdict(study),
        "rows": [_finite(row) for row in rows],
        "unet": {
            "error": float(direct["U-Net"].mean()),
            "retrieval": float(direct["MRIS, k = 20"].mean()),
            "difference_sd": sd,
        },
        "published": published,
    }
    write_json(out / "power.json", record)
    lines = [
        "# How many pairs would show the effect?",
        "",
        f"`python experiments/real_knees/power.py --work DIR`, {made['made']}, {made['machine']}.",
        f"Digital knees of {study.size} x {study.size} pixels, one knee a person; {study.n_test} people to test on,",
        "the same for all rows. Error: median over pixels, mean of both regions, mm. Gain: against the mean map of the",
        "same training people. Needed: people for 80 % power at a two-sided level of 5 %, (2.8 SD / gain)^2.",
        "",
        "| pairs | draws | method | error | gain | SD of the gain between people | needed |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: |",
        *(_table_row(row) for row in rows),
        "",
        "Leave-one-out of so many pairs would have the power, with what is learned from so many:",
        "",
    ]
    for method in dict.fromkeys(row["method"] for row in rows):
        if method != "mean map":
            first = first_sufficient(rows, method)
            lines.append(f"- {method}: {'none of the numbers simulated' if first is None else first}")
    unet = record["unet"]
    lines += [
        "",
        f"After learning from {study.draws[-1][0]} people the error of a U-Net is {unet['error']:.3f} mm, of retrieval",
        f"(k = 20) {unet['retrieval']:.3f} mm; the SD between people of their difference is {sd:.3f} mm. With that SD",
        "the published differences to MRIS-S (mean of both regions) would need, on test people alone:",
        "",
        "| against | published difference (mm) | test people needed |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {p['difference_mm']:.3f} | {p['pairs_needed']:.0f} |" for name, p in published.items()),
    ]
    with atomic_write(out / "power.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    draw_figure(out / "power.png", rows)


def _table_row(row: dict) -> str:
    count = "never" if row["needed"] == float("inf") else f"{row['needed']:.0f}"
    numbers = f"{row['error']:.3f} | {row['gain']:+.3f} | {row['gain_sd']:.3f} | {count}"
    return f"| {row['n_pairs']} | {row['n_draws']} | {row['method']} | {numbers} |"


def _finite(row: dict) -> dict:
    return {key: value if isinstance(value, str) or np.isfinite(value) else None for key, value in row.items()}


def draw_figure(path: Path, rows: list[dict]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from mris.images.write import atomic_write

    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        axis.plot([row["n_pairs"] for row in own], [row["error"] for row in own], marker="o", label=method)
    axis.set(xscale="log", xlabel="training pairs (one a person)", ylabel="median error (mm)", title="Digital knees")
    axis.legend(fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
