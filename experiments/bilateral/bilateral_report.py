"""Tables and figures of the study over its seeds: numbers, no picture of a knee, no name of a person."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from bilateral_plan import BilateralPlan
from bilateral_stages import MATCHES, read_chosen

import mris
from mris.cohort.cohort import Cohort
from mris.evaluation.bootstrap import percentile_interval, resample_counts, resampled_means, subject_codes
from mris.evaluation.results import write_results
from mris.images.write import atomic_write, write_json
from mris.reporting import figures, tables
from mris.reporting.experiment_tables import recall_spread_table, spread_table
from mris.reporting.tables import Cell, Table, markdown, percent
from mris.study.machine import machine
from mris.study.seeds import OverSeeds, read_seeds, reference_differences
from mris.study.stages import Work

ERROR = "mae"


def write_bilateral_report(work: Work, plan: BilateralPlan, cohort: Cohort, out: Path, command: str) -> Path:
    """Write results.md, results.json, matched.json and figures of all seeds."""
    folders = [work.folder / f"seed{seed}" / "evaluation" for seed in plan.seeds]
    test = cohort.split("test")
    over = read_seeds(folders, test, {})
    matched = matched_recall(folders, test, plan)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    write_results(out / "results.json", over.mean)
    write_json(out / "matched.json", matched)
    drawn = {
        "recall": figures.recall_figure(over.mean),
        "errors": figures.interval_figure(over.mean, ERROR, "mean absolute error (gray levels of 0 to 1)"),
    }
    for name, figure in drawn.items():
        with atomic_write(out / "figures" / f"{name}.png") as path:
            path.write_bytes(figures.png(figure))
    shutil.copy(work.folder / f"seed{plan.seeds[0]}" / "metric" / "curves.png", out / "figures" / "training.png")
    lines = ["# Left knee to right knee, real radiographs", "", *_what(work, plan, cohort), ""]
    lines += ["## Retrieval: is the right knee of this person among the nearest?", ""]
    lines += [markdown(tables.recall_table(over.mean)), ""]
    lines += [markdown(recall_spread_table(over)), ""] if len(plan.seeds) > 1 else []
    lines += ["## Among distractors that look alike", "", markdown(_matched_table(matched, plan)), ""]
    lines += ["## The right knee synthesized", "", markdown(tables.error_table(over.mean, over.mean.regions[0])), ""]
    lines += [markdown(spread_table(over, ERROR)), ""] if len(plan.seeds) > 1 else []
    lines += [markdown(_differences(over, "mean map")), "", markdown(_differences(over, "PCA ridge")), ""]
    for name in (*drawn, "training"):
        lines += [f"![{name}](figures/{name}.png)", ""]
    stamp = over.single[-1].created[:10]
    lines += [
        f"Made by `{command}` on {stamp}, mris {mris.__version__}, on {machine()}; all stages together "
        f"{tables.duration(work.seconds())}.",
        "",
    ]
    page = out / "results.md"
    with atomic_write(page) as path:
        path.write_text("\n".join(lines), encoding="utf-8")
    return page


def _what(work: Work, plan: BilateralPlan, cohort: Cohort) -> list[str]:
    sizes = ", ".join(f"{split} {int((cohort.splits == split).sum())}" for split in ("train", "val", "test"))
    settings = plan.metric_settings
    chosen = [read_chosen(work, seed) for seed in plan.seeds]
    rules = "; ".join(
        f"seed {seed}: {', '.join(f'{name} {value}' for name, value in one['neighbors'].items())} (PCA: "
        f"{one['pca_neighbors']} neighbors)"
        for seed, one in zip(plan.seeds, chosen, strict=True)
    )
    return [
        f"People, each with one pair: {sizes}; split by person (seed {plan.split_seed}), in equal parts of the worse "
        f"knee's grade. Source: the left knee, scaled to its 99th percentile; target: the right knee, mirrored, gray "
        f"levels / 255. {plan.size} x {plan.size} pixels. Two ResNet-18 of width {settings.width}, {settings.epochs} "
        f"epochs, seeds {', '.join(map(str, plan.seeds))} (blinded: {', '.join(map(str, plan.blinded_seeds))}); the "
        "epoch with the least validation error is kept. Gallery: the right knees of all test people.",
        "",
        "The *looks* need no network: 16 x 16 pixels, the border of that, quantiles of the gray levels, strength of "
        "the finest detail; each compared by the best linear distance that training people give. *Blinded*: trained "
        "and tested without the outer eighth of each side, blurred, every image with the same histogram.",
        "",
        f"Chosen on validation people: {rules}.",
    ]


def matched_recall(folders: list[Path], test: Cohort, plan: BilateralPlan) -> list[dict[str, Any]]:
    """Share of queries whose own target is first among matched distractors, mean over seeds, interval by person."""
    codes, n_subjects = subject_codes(test.subjects.tolist())
    counts = resample_counts(n_subjects, plan.n_bootstrap, np.random.default_rng(0))
    hits: dict[str, list[np.ndarray]] = {}
    for folder in folders:
        with np.load(folder / "matched.npz") as archive:
            for name in archive.files:
                hits.setdefault(name, []).append(archive[name] == 1)
    found = []
    for name, parts in hits.items():
        mean = np.mean(parts, axis=0)
        low, high = percentile_interval(resampled_means(mean[:, None], codes, counts))
        match, encoder = name.split(" / ")
        row = {"matched_by": match, "encoder": encoder, "recall_at_1": float(mean.mean())}
        found.append(row | {"low": float(low[0]), "high": float(high[0]), "n_seeds": len(parts)})
    return found


def _matched_table(matched: list[dict[str, Any]], plan: BilateralPlan) -> Table:
    rows: dict[str, list[Cell]] = {}
    for row in matched:
        ends = f"[{percent(row['low']).removesuffix(' %')}, {percent(row['high']).removesuffix(' %')}]"
        rows.setdefault(row["encoder"], []).append(Cell(percent(row["recall_at_1"]), ends))
    rows["chance"] = [Cell(percent(1 / (plan.n_distractors + 1)))] * len(MATCHES)
    caption = (
        f"R@1 among the own target and the {plan.n_distractors} test targets most like it, with 95 % intervals by "
        "person: what tells people apart once the look does not"
    )
    header = ("encoder", *(f"alike in {match}" for match in MATCHES))
    return Table(caption, header, tuple((Cell(name), *cells) for name, cells in rows.items()))


def _differences(over: OverSeeds, reference: str) -> Table:
    rows = []
    for row in reference_differences(over, reference, over.mean.regions[0], ERROR):
        interval = f"[{tables.signed(row.low, 4)}, {tables.signed(row.high, 4)}]"
        share = f"{tables.signed(100 * row.relative, 1)} %"
        rows.append((Cell(row.method), Cell(tables.signed(row.value, 4), interval), Cell(share)))
    caption = f"Mean absolute error minus that of {reference}, same people, same resamples"
    return Table(caption, ("method", "difference", "relative"), tuple(rows))
