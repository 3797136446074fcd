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
from mris.study.experiment_results import GRADE_ALONE, TRUE_MAPS, ExperimentResults, TaskResults

PAGE = "results.md"


def write_experiment_page(results: ExperimentResults, out: Path, *, name: str, command: str, software: str) -> Path:
    """Write all tables and figures of the seeds that are done.

    Args:
        results: What `mris.study.read_experiment.read_experiment` gave.
        out: Folder, made if it is missing.
        name: Name of the experiment's settings.
        command: How the experiment is repeated.
        software: Name and version of the program.

    Returns:
        Path of ``results.md``.

    Raises:
        OutputError: A file cannot be written.
    """
    over, error, several = results.over, results.facts.error, len(results.seeds) > 1
    labels = over.mean.settings.by
    shown = _Pictures(out / "figures")
    lines = [f"# The paper's experiment, `{name}`", "", *_what(results), ""]
    lines += ["## Table 1: retrieval", "", *_table(tables.recall_table(over.mean))]
    lines += _table(recall_spread_table(over)) if several else []
    lines += ["## Table 2: error of the synthesized maps", ""]
    for region in over.mean.regions:
        for label in labels:
            lines += _table(tables.strata_table(over.mean, region, label, error))
        lines += [] if labels else _table(tables.error_table(over.mean, region))
    lines += _table(spread_table(over, error)) if several else []
    lines += ["All metrics over all test images:", "", *_table(tables.error_table(over.mean, over.mean.regions[-1]))]
    lines += ["### Differences", ""]
    for reference in ("mean map", over.mean.methods[0].name):
        lines += _table(differences_table(over, reference, error))
    lines += ["## Table 3: what classifiers read from the maps", ""] if results.tasks else []
    for task in results.tasks:
        lines += _task(task, shown, several)
    lines += ["## Cost", "", *_table(costs_table(over, results.costs, error))]
    lines += ["## Size of the database", ""]
    curve = figures.database_size_figure(results.curve, error)
    lines += shown.save("database_size", curve, "Error against the number of people in the database")
    for region in results.curve.shown_regions:
        lines += _table(tables.database_size_table(results.curve, region, error))
    lines += ["## Figures", "", *_figures(results, shown)]
    made = f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d}, {software}, on {results.facts.machine}"
    lines += [f"{made}; all stages together {tables.duration(results.facts.seconds)}.", ""]
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


def _what(results: ExperimentResults) -> list[str]:
    facts, judged = results.facts, results.over.mean.cohort
    sizes = [f"{split} {pairs} pairs of {people} people" for split, (pairs, people) in facts.sets.items()]
    shape = judged.target_shape
    lines = [
        f"Sets, split by person: {'; '.join(sizes)}. Images of {shape[1]} x {shape[2]} pixels, regions "
        f"{', '.join(judged.regions)}, unit {judged.unit}. Seeds {', '.join(map(str, results.seeds))} "
        f"(trainings; the cohort is one). Judged on {judged.n_images} pairs ({facts.visits} visits) of "
        f"{judged.n_subjects} people. Every method trains {facts.epochs} epochs of the same batches (sampler "
        f"'{facts.sampler}', {facts.batch_size} pairs a step), with the same augmentation; the epoch with the "
        "smallest validation error is kept."
    ]
    for one in results.tasks:
        counts = "; ".join(
            f"{split}: " + ", ".join(f"{name} {n}" for name, n in row.items()) for split, row in one.counts.items()
        )
        lines += ["", f"Task {one.name}, baseline visits with a label: {counts}."]
    return lines


def _task(found: TaskResults, shown: _Pictures, several: bool) -> list[str]:
    name, binary = found.name, len(found.class_names) == 2
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


def _figures(results: ExperimentResults, shown: _Pictures) -> list[str]:
    mean, error = results.over.mean, results.facts.error
    title = f"{error} error ({mean.cohort.unit})"
    lines = shown.save("intervals", figures.interval_figure(mean, error, title))
    for label in mean.settings.by:
        lines += shown.save(f"by_{label}", figures.strata_figure(mean, label, error, title))
    lines += shown.save("recall", figures.recall_figure(mean)) if mean.recalls else []
    return lines + [line for name, file in results.pictures.items() for line in shown.copy(name, file)]
