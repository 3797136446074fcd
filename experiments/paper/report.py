"""Tables and figures of all seeds, in one folder: results.md, and PNG."""

import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from cohorts import Labeled, describe_task, grade_alone, queries_of
from pipeline import TRUE_MAPS, method_folders
from plan import Plan, Task
from seeds import OverSeeds, read_seeds, recall_spread_table, reference_differences, spread_table
from stages import Work

import mris
from mris.cohort.cohort import Cohort
from mris.errors import CohortError
from mris.evaluation.bootstrap import resample_counts, subject_codes
from mris.images.write import atomic_write
from mris.reporting import figures, tables
from mris.reporting.downstream_figures import class_accuracy_figure, class_metric_figure
from mris.reporting.downstream_tables import grade_table, progression_table, seed_table
from mris.reporting.tables import Cell, Table, markdown, number
from mris.study.class_predictions import ClassPredictions
from mris.study.database_size_results import read_size_curve
from mris.study.downstream import SeedSpread, compare_seeds, measure_seeds

GRADE_ALONE = "baseline grade alone"


def write_report(
    work: Work, plan: Plan, cohort: Cohort, tasks: dict[str, Labeled], out: Path, name: str, command: str
) -> Path:
    """Write all tables and figures of the seeds that are done.

    Raises:
        CohortError: No seed is done.
    """
    titles = list(method_folders(work, plan, cohort, 0))
    needed = ["evaluation/per_image.npz", "costs/costs.json", "database-size/curve.json"]
    needed += [_answers_file(task, title) for task in plan.tasks for title in (TRUE_MAPS, *titles)]
    seeds = [seed for seed in plan.seeds if all((work.folder / f"seed{seed}" / file).is_file() for file in needed)]
    if not seeds:
        raise CohortError(f"no seed of {work.folder} is evaluated yet; run the experiment without --report")
    folders = [work.folder / f"seed{seed}" for seed in seeds]
    over = read_seeds([folder / "evaluation" for folder in folders], queries_of(cohort, plan), plan)
    out.mkdir(parents=True, exist_ok=True)
    lines = [f"# The paper's experiment, `{name}`", "", *_what(plan, cohort, seeds, tasks, over), ""]
    lines += ["## Table 1: retrieval", "", markdown(tables.recall_table(over.mean)), ""]
    lines += [markdown(recall_spread_table(over)), ""] if len(seeds) > 1 else []
    lines += ["## Table 2: error of the synthesized maps", ""]
    for region in over.mean.regions:
        lines += [markdown(tables.strata_table(over.mean, region, label, plan.error)) + "\n" for label in plan.by]
        lines += [] if plan.by else [markdown(tables.error_table(over.mean, region)), ""]
    lines += [markdown(spread_table(over, plan.error)), ""] if len(seeds) > 1 else []
    lines += [
        "All metrics over all test images:",
        "",
        markdown(tables.error_table(over.mean, over.mean.regions[-1])),
        "",
    ]
    lines += ["### Differences", "", *_differences(over, plan.error)]
    if tasks:
        lines += ["## Table 3: what classifiers read from the maps", ""]
        lines += [
            line
            for task in plan.tasks
            for line in _classifiers(task, tasks[task.name], plan, cohort, folders, titles, out)
        ]
    lines += ["## Cost", "", markdown(_costs(work, plan, cohort, seeds, over)), ""]
    lines += ["## Size of the database", "", *_curve(plan, folders, out)]
    lines += ["## Figures", "", *_figures(over, plan, folders[0], out)]
    lines += [_made(command, work), ""]
    page = out / "results.md"
    with atomic_write(page) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return page


def _what(plan: Plan, cohort: Cohort, seeds: list[int], tasks: dict[str, Labeled], over: OverSeeds) -> list[str]:
    sizes = []
    for split in ("train", "val", "downstream", "test"):
        inside = cohort.splits == split
        if inside.any():
            sizes.append(f"{split} {int(inside.sum())} pairs of {len(set(cohort.subjects[inside]))} people")
    shape = cohort.header.target_shape
    lines = [
        f"Sets, split by person: {'; '.join(sizes)}. Images of {shape[1]} x {shape[2]} pixels, regions "
        f"{', '.join(cohort.regions)}, unit {cohort.header.unit}. Seeds {', '.join(map(str, seeds))} (trainings; the "
        f"cohort is one). Judged on {over.mean.cohort.n_images} pairs ({plan.test_visits} visits) of "
        f"{over.mean.cohort.n_subjects} people. Every method trains {plan.metric_settings.epochs} epochs of the same "
        f"batches (sampler '{plan.metric_settings.sampler}', {plan.metric_settings.batch_size} pairs a step), with the "
        "same augmentation; the epoch with the smallest validation error is kept.",
    ]
    for task in plan.tasks:
        counts = describe_task(tasks[task.name], cohort)
        shown = "; ".join(f"{split}: " + ", ".join(f"{k} {v}" for k, v in row.items()) for split, row in counts.items())
        lines += ["", f"Task {task.name}, baseline visits with a label: {shown}."]
    return lines


def _differences(over: OverSeeds, metric: str) -> list[str]:
    lines = []
    for reference in ("mean map", over.mean.methods[0].name):
        rows = []
        for region in over.mean.regions:
            for row in reference_differences(over, reference, region, metric):
                interval = f"[{tables.signed(row.low, 3)}, {tables.signed(row.high, 3)}]"
                share = f"{tables.signed(100 * row.relative, 1)} %"
                rows.append((Cell(region), Cell(row.method), Cell(tables.signed(row.value, 3), interval), Cell(share)))
        caption = (
            f"{metric} error minus that of {reference}, same images, same resamples of people; an interval without 0 "
            "is a difference that resampling people does not undo"
        )
        lines += [markdown(Table(caption, ("region", "method", "difference", "relative"), tuple(rows))), ""]
    return lines


def _answers_file(task: Task, title: str) -> str:
    return f"classifier/{task.name}/{title.replace(' ', '-')}/answers.npz"


def _answers(file: Path) -> ClassPredictions:
    with np.load(file) as archive:
        return ClassPredictions(
            tuple(archive["keys"].tolist()),
            tuple(archive["subjects"].tolist()),
            archive["truth"],
            archive["probabilities"],
            tuple(archive["names"].tolist()),
        )


def _classifiers(
    task: Task, labels: Labeled, plan: Plan, cohort: Cohort, folders: list[Path], titles: list[str], out: Path
) -> list[str]:
    found: dict[str, list[ClassPredictions]] = {
        title: [_answers(folder / _answers_file(task, title)) for folder in folders] for title in (TRUE_MAPS, *titles)
    }
    anyone = found[TRUE_MAPS][0]
    bounds = [TRUE_MAPS]
    if task.kind == "progression":
        found[GRADE_ALONE] = [grade_alone(task, labels, cohort, anyone)] * len(folders)
        bounds.append(GRADE_ALONE)
    _, n_subjects = subject_codes(list(anyone.subjects))
    counts = resample_counts(n_subjects, plan.n_bootstrap, np.random.default_rng(0))
    spreads: dict[str, tuple[SeedSpread, ...]] = {k: measure_seeds(v, counts) for k, v in found.items()}
    means = {method: [spread.mean for spread in rows] for method, rows in spreads.items()}
    binary = len(labels.names) == 2
    table = progression_table(means, bounds=bounds) if binary else grade_table(means, task.name, bounds=bounds)
    metrics = ["average_precision", "roc_auc"] if binary else ["accuracy", "balanced_accuracy", "kappa"]
    stem = task.name.lower().replace(" ", "-")
    pictures = {f"classifier_{stem}": class_metric_figure(means, metrics)}
    if not binary:
        pictures[f"classifier_{stem}_classes"] = class_accuracy_figure(means, task.name)
    for picture, figure in pictures.items():
        _save(figure, out / "figures" / f"{picture}.png")
    differences = {m: compare_seeds(v, found[TRUE_MAPS], counts) for m, v in found.items() if m != TRUE_MAPS}
    lines = [f"### {task.name}", "", markdown(table), ""]
    if binary:
        lines += [markdown(grade_table(means, task.name, bounds=bounds)), ""]
    lines += [_difference_to_truth(differences, metrics), ""]
    lines += [markdown(seed_table(spreads)), ""] if len(folders) > 1 else []
    lines += [line for picture in pictures for line in (f"![{task.name}](figures/{picture}.png)", "")]
    return lines


def _difference_to_truth(differences: dict, metrics: list[str]) -> str:
    rows = []
    for method, parts in differences.items():
        own = {row.metric: row for row in parts if row.class_name == ""}
        cells = [
            Cell(tables.signed(own[m].value, 3), f"[{tables.signed(own[m].low, 3)}, {tables.signed(own[m].high, 3)}]")
            for m in metrics
        ]
        rows.append((Cell(method), *cells))
    caption = f"Classifier on each method's maps minus classifier on {TRUE_MAPS}, same people"
    return markdown(Table(caption, ("method", *metrics), tuple(rows)))


def _costs(work: Work, plan: Plan, cohort: Cohort, seeds: list[int], over: OverSeeds) -> Table:
    files = [work.folder / f"seed{seed}" / "costs" / "costs.json" for seed in seeds]
    measured = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    rows = []
    for title in method_folders(work, plan, cohort, seeds[0]):
        own = [one[title] for one in measured]

        def mean(name: str, own: list = own) -> float:
            return float(np.mean([row[name] for row in own]))

        error = over.mean.estimate(title, plan.error).value
        rows.append(
            (
                Cell(title),
                Cell(f"{own[0]['n_parameters']:,}"),
                Cell(tables.duration(mean("training_seconds"))),
                Cell(number(mean("ms_single"), 1)),
                Cell(number(mean("ms_batched"), 1)),
                Cell(number(mean("peak_megabytes"), 0)),
                Cell(number(error)),
            )
        )
    caption = (
        "Cost beside error: each method in a process of its own; a query alone (median of 50) and in batches of 64, on "
        "ONNX Runtime, prepared sources in memory; for MRIS encoding, search and average together"
    )
    header = (
        "method",
        "parameters",
        "training",
        "ms, one query",
        "ms, batched",
        "peak memory (MB)",
        f"{plan.error} error",
    )
    return Table(caption, header, tuple(rows))


def _curve(plan: Plan, folders: list[Path], out: Path) -> list[str]:
    curve = read_size_curve(folders[0] / "database-size" / "curve.json")
    _save(figures.database_size_figure(curve, plan.error), out / "figures" / "database_size.png")
    lines = ["![Error against the number of people in the database](figures/database_size.png)", ""]
    for region in curve.shown_regions:
        lines += [markdown(tables.database_size_table(curve, region, plan.error)), ""]
    return lines


def _figures(over: OverSeeds, plan: Plan, first: Path, out: Path) -> list[str]:
    unit = over.mean.cohort.unit
    folder = out / "figures"
    _save(figures.interval_figure(over.mean, plan.error, f"{plan.error} error ({unit})"), folder / "intervals.png")
    shown = ["intervals"]
    for label in plan.by:
        _save(
            figures.strata_figure(over.mean, label, plan.error, f"{plan.error} error ({unit})"),
            folder / f"by_{label}.png",
        )
        shown.append(f"by_{label}")
    if over.mean.recalls:
        _save(figures.recall_figure(over.mean), folder / "recall.png")
        shown.append("recall")
    pictures = first / "evaluation" / "figures"
    for file in (*sorted(pictures.glob("figure3*.png")), pictures / "error_map.png"):
        shutil.copy(file, folder / file.name)
        shown.append(file.stem)
    for name in ("combined",):
        shutil.copy(first / "metric" / name / "curves.png", folder / f"training_{name}.png")
        shown.append(f"training_{name}")
    for run in sorted((first / "baseline").glob("*/curves.png")):
        shutil.copy(run, folder / f"training_{run.parent.name}.png")
        shown.append(f"training_{run.parent.name}")
    return [line for name in shown for line in (f"![{name.replace('_', ' ')}](figures/{name}.png)", "")]


def _made(command: str, work: Work) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return (
        f"Made by `{command}` on {when}, mris {mris.__version__} at commit "
        f"{commit.stdout.strip() or 'unknown'}, on {machine()}; all stages together {tables.duration(work.seconds())}."
    )


def machine() -> str:
    """Cores, processor and Python."""
    model, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores of {model}, no GPU, Python {platform.python_version()}"


def _save(figure: object, path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(figures.png(figure))
