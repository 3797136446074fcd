"""Tables and figures of an experiment over its seeds, in one folder: results.md, and PNG."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from mris.drawing import Figure
from mris.images.write import atomic_write
from mris.reporting import figures, tables
from mris.reporting.downstream_figures import class_accuracy_figure, class_metric_figure
from mris.reporting.downstream_tables import grade_table, progression_table, seed_table
from mris.reporting.experiment_tables import (
    costs_table,
    differences_table,
    recall_spread_table,
    spread_table,
    true_maps_table,
)
from mris.reporting.tables import Table, markdown
from mris.study.experiment import TRUE_MAPS, Experiment
from mris.study.experiment_results import GRADE_ALONE, ExperimentResults, TaskResults, read_experiment
from mris.study.machine import machine

PAGE = "results.md"


def write_experiment_page(experiment: Experiment, out: Path, *, name: str, command: str, software: str) -> Path:
    """Write all tables and figures of the seeds that are done.

    Args:
        experiment: The experiment.
        out: Folder, made if it is missing.
        name: Name of the experiment's settings.
        command: How the experiment is repeated.
        software: Name and version of the program.

    Returns:
        Path of ``results.md``.

    Raises:
        CohortError: No seed is done.
        OutputError: A file cannot be written.
    """
    results = read_experiment(experiment)
    over, plan, several = results.over, experiment.plan, len(results.seeds) > 1
    first = experiment.seed_folder(results.seeds[0])
    shown = _Pictures(out / "figures")
    lines = [f"# The paper's experiment, `{name}`", "", *_what(experiment, results), ""]
    lines += ["## Table 1: retrieval", "", *_table(tables.recall_table(over.mean))]
    lines += _table(recall_spread_table(over)) if several else []
    lines += ["## Table 2: error of the synthesized maps", ""]
    for region in over.mean.regions:
        for label in plan.by:
            lines += _table(tables.strata_table(over.mean, region, label, plan.error))
        lines += [] if plan.by else _table(tables.error_table(over.mean, region))
    lines += _table(spread_table(over, plan.error)) if several else []
    lines += ["All metrics over all test images:", "", *_table(tables.error_table(over.mean, over.mean.regions[-1]))]
    lines += ["### Differences", ""]
    for reference in ("mean map", over.mean.methods[0].name):
        lines += _table(differences_table(over, reference, plan.error))
    lines += ["## Table 3: what classifiers read from the maps", ""] if results.tasks else []
    for task in results.tasks:
        lines += _task(task, shown, several)
    lines += ["## Cost", "", *_table(costs_table(over, results.costs, plan.error))]
    lines += ["## Size of the database", ""]
    curve = figures.database_size_figure(results.curve, plan.error)
    lines += shown.save("database_size", curve, "Error against the number of people in the database")
    for region in results.curve.shown_regions:
        lines += _table(tables.database_size_table(results.curve, region, plan.error))
    lines += ["## Figures", "", *_figures(results, experiment, first, shown)]
    made = f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d}, {software}, on {machine()}"
    lines += [f"{made}; all stages together {tables.duration(experiment.work.seconds())}.", ""]
    page = out / PAGE
    with atomic_write(page) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return page


class _Pictures:
    """The folder of a page's figures; each call gives the lines that show one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, name: str, figure: Figure, text: str = "") -> list[str]:
        with atomic_write(self.folder / f"{name}.png") as temporary:
            temporary.write_bytes(figures.png(figure))
        return self._lines(name, text)

    def copy(self, name: str, file: Path) -> list[str]:
        shutil.copy(file, self.folder / f"{name}.png")
        return self._lines(name, "")

    def _lines(self, name: str, text: str) -> list[str]:
        return [f"![{text or name.replace('_', ' ')}](figures/{name}.png)", ""]


def _table(table: Table) -> list[str]:
    return [markdown(table), ""]


def _what(experiment: Experiment, results: ExperimentResults) -> list[str]:
    cohort, plan, judged = experiment.cohort, experiment.plan, results.over.mean.cohort
    sizes = []
    for split in ("train", "val", "downstream", "test"):
        inside = cohort.splits == split
        if inside.any():
            sizes.append(f"{split} {int(inside.sum())} pairs of {len(set(cohort.subjects[inside]))} people")
    shape, recipe = cohort.header.target_shape, plan.metric_settings
    lines = [
        f"Sets, split by person: {'; '.join(sizes)}. Images of {shape[1]} x {shape[2]} pixels, regions "
        f"{', '.join(cohort.regions)}, unit {cohort.header.unit}. Seeds {', '.join(map(str, results.seeds))} "
        f"(trainings; the cohort is one). Judged on {judged.n_images} pairs ({plan.test_visits} visits) of "
        f"{judged.n_subjects} people. Every method trains {recipe.epochs} epochs of the same batches (sampler "
        f"'{recipe.sampler}', {recipe.batch_size} pairs a step), with the same augmentation; the epoch with the "
        "smallest validation error is kept.",
    ]
    for one in results.tasks:
        counts = "; ".join(
            f"{split}: " + ", ".join(f"{name} {n}" for name, n in row.items()) for split, row in one.counts.items()
        )
        lines += ["", f"Task {one.task.name}, baseline visits with a label: {counts}."]
    return lines


def _task(found: TaskResults, shown: _Pictures, several: bool) -> list[str]:
    name, binary = found.task.name, len(found.class_names) == 2
    means = {method: [spread.mean for spread in rows] for method, rows in found.spreads.items()}
    bounds = [method for method in (TRUE_MAPS, GRADE_ALONE) if method in means]
    metrics = ["average_precision", "roc_auc"] if binary else ["accuracy", "balanced_accuracy", "kappa"]
    lines = [f"### {name}", ""]
    lines += _table(progression_table(means, bounds=bounds)) if binary else []
    lines += _table(grade_table(means, name, bounds=bounds))
    lines += _table(true_maps_table(found.differences, metrics))
    lines += _table(seed_table(found.spreads)) if several else []
    stem = f"classifier_{name.lower().replace(' ', '-')}"
    lines += shown.save(stem, class_metric_figure(means, metrics), name)
    lines += [] if binary else shown.save(f"{stem}_classes", class_accuracy_figure(means, name), name)
    return lines


def _figures(results: ExperimentResults, experiment: Experiment, first: Path, shown: _Pictures) -> list[str]:
    mean, error = results.over.mean, experiment.plan.error
    title = f"{error} error ({mean.cohort.unit})"
    lines = shown.save("intervals", figures.interval_figure(mean, error, title))
    for label in experiment.plan.by:
        lines += shown.save(f"by_{label}", figures.strata_figure(mean, label, error, title))
    lines += shown.save("recall", figures.recall_figure(mean)) if mean.recalls else []
    pictures = first / "evaluation" / "figures"
    for file in (*sorted(pictures.glob("figure3*.png")), pictures / "error_map.png"):
        lines += shown.copy(file.stem, file)
    for run in (first / "metric" / "combined", *sorted((first / "baseline").iterdir())):
        if (run / "curves.png").is_file():
            lines += shown.copy(f"training_{run.name}", run / "curves.png")
    return lines
