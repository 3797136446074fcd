"""Tables and figures of the study over its seeds: numbers, no picture of a knee, no name of a person."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from klg_methods import Parts
from klg_plan import KlgPlan
from klg_stages import CLASSIFIER, GRADE, KNN, KNN_PCA
from klg_tasks import Agreement, KneeTask, merge_grades
from matplotlib.figure import Figure
from radiographs import Knees

import mris
from mris.evaluation.bootstrap import resample_counts, subject_codes
from mris.images.write import atomic_write, write_json
from mris.knee.progression import ProgressionLabels
from mris.reporting import figures, tables
from mris.reporting.downstream_figures import class_accuracy_figure, class_metric_figure
from mris.reporting.downstream_tables import grade_table, progression_table, seed_table
from mris.reporting.tables import Cell, Table, markdown
from mris.study.class_predictions import ClassPredictions
from mris.study.downstream import ClassEstimate, SeedSpread, compare_seeds, measure_seeds
from mris.study.machine import machine
from mris.study.stages import Work

Answers = Mapping[str, Sequence[ClassPredictions]]


@dataclass(frozen=True)
class Measured:
    """One task's methods on the same test knees, and each minus a reference."""

    name: str
    reference: str
    answers: Answers
    spreads: dict[str, tuple[SeedSpread, ...]]
    differences: dict[str, tuple[ClassEstimate, ...]]

    @classmethod
    def of(cls, name: str, answers: Answers, reference: str, n_bootstrap: int) -> "Measured":
        """Measure all methods in the same resamples of people."""
        _, n_subjects = subject_codes(next(iter(answers.values()))[0].subjects)
        counts = resample_counts(n_subjects, n_bootstrap, np.random.default_rng(0))
        spreads = {method: measure_seeds(seeds, counts) for method, seeds in answers.items()}
        base = answers[reference]
        differences = {m: compare_seeds(s, base, counts) for m, s in answers.items() if m != reference}
        return cls(name, reference, answers, spreads, differences)

    @property
    def is_ranking(self) -> bool:
        """Whether the task has two classes."""
        return len(next(iter(self.answers.values()))[0].class_names) == 2

    @property
    def means(self) -> dict[str, list[Any]]:
        """Means over seeds."""
        return {method: [spread.mean for spread in rows] for method, rows in self.spreads.items()}

    @property
    def metrics(self) -> tuple[str, ...]:
        """What its figure shows."""
        return ("average_precision", "roc_auc") if self.is_ranking else ("accuracy", "balanced_accuracy", "kappa")


def write_klg_report(
    work: Work,
    plan: KlgPlan,
    knees: Knees,
    agreement: Agreement,
    labels: Sequence[ProgressionLabels],
    tasks: Sequence[tuple[KneeTask, Parts]],
    answers: Sequence[Answers],
    out: Path,
    command: str,
) -> Path:
    """Write results.md, results.json and figures."""
    (out / "figures").mkdir(parents=True, exist_ok=True)
    (_, grade_parts), *rises = tasks
    merged = {method: [merge_grades(one) for one in seeds] for method, seeds in answers[0].items()}
    measured = [
        Measured.of("KLG, five classes", answers[0], KNN_PCA, plan.n_bootstrap),
        Measured.of("KLG, four classes (0 and 1 together)", merged, KNN_PCA, plan.n_bootstrap),
        *(
            Measured.of(task.name, found, GRADE, plan.n_bootstrap)
            for (task, _), found in zip(rises, answers[1:], strict=True)
        ),
    ]
    lines = ["# KL grade and progression from real radiographs", "", *_what(plan, knees, agreement, grade_parts), ""]
    lines += [markdown(_counts_table(knees, grade_parts)), ""]
    for (_, parts), known in zip(rises, labels, strict=True):
        lines += [known.summary() + " (grade 4 excluded).", "", markdown(_rise_table(knees, parts, known)), ""]
    for one in measured:
        lines += _section(one, len(plan.seeds), out)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d")
    lines += [
        f"Made by `{command}` on {stamp}, mris {mris.__version__}, on {machine()}; all stages together "
        f"{tables.duration(work.seconds())} (without the bilateral encoders).",
        "",
    ]
    write_json(out / "results.json", _plain({one.name: _record(one) for one in measured} | {"sheet": agreement}))
    page = out / "results.md"
    with atomic_write(page) as path:
        path.write_text("\n".join(lines), encoding="utf-8")
    return page


def _what(plan: KlgPlan, knees: Knees, agreement: Agreement, parts: Parts) -> list[str]:
    people = [len(set(knees.subjects[part.rows])) for part in (parts.train, parts.val, parts.test)]
    s = plan.classifier_settings
    return [
        f"Radiographs of {people[0]} / {people[1]} / {people[2]} people (train / val / test, those of "
        "`experiments/bilateral`), both knees each. The classifier is a ResNet-18 of width "
        f"{s.width}, {s.epochs} epochs of each training radiograph and {plan.copies} augmented copies, trained from "
        "scratch for each task; its last epoch is kept. k-NN and logistic regression read a frozen space: left knees "
        "by the bilateral source encoder, mirrored right knees by its target encoder; an untrained source encoder; "
        f"{plan.n_components} principal components of pixels. Number of neighbors and penalty are chosen on validation "
        f"people, by kappa of grades or average precision of rises. Seeds {', '.join(map(str, plan.seeds))}; numbers "
        "are means over seeds, intervals resample people.",
        "",
        f"Index against sheet: {agreement.summary()}.",
    ]


def _counts_table(knees: Knees, parts: Parts) -> Table:
    rows = []
    for name, part in (("train", parts.train), ("val", parts.val), ("test", parts.test)):
        counts = np.bincount(part.classes, minlength=5)
        cells = [Cell(f"{n} ({100 * n / counts.sum():.1f} %)") for n in counts]
        rows.append((Cell(name), Cell(str(len(set(knees.subjects[part.rows])))), Cell(str(counts.sum())), *cells))
    header = ("split", "people", "knees", *(f"KLG {grade}" for grade in range(5)))
    return Table("Knees by baseline grade", header, tuple(rows))


def _rise_table(knees: Knees, parts: Parts, known: ProgressionLabels) -> Table:
    rows = []
    for name, part in (("train", parts.train), ("val", parts.val), ("test", parts.test)):
        own = knees.grades[part.rows]
        cells = [Cell(f"{int(part.classes[own == g].sum())} of {int((own == g).sum())}") for g in range(4)]
        total = f"{int(part.classes.sum())} of {len(part.rows)} ({100 * part.classes.mean():.1f} %)"
        rows.append((Cell(name), Cell(str(len(set(knees.subjects[part.rows])))), *cells, Cell(total)))
    caption = f"Knees that rise within {known.horizon} months, of those evaluable, by baseline grade"
    return Table(caption, ("split", "people", *(f"KLG {g}" for g in range(4)), "all"), tuple(rows))


def _section(one: Measured, n_seeds: int, out: Path) -> list[str]:
    name = one.name.split(" (")[0].lower().replace(",", "").replace(" ", "-")
    means = one.means
    table = progression_table(means) if one.is_ranking else grade_table(means, "grade")
    table = replace(table, caption=table.caption.replace(" of a classifier on each method's maps", ""))
    lines = [f"## {one.name}", "", markdown(table), ""]
    lines += [markdown(_difference_table(one)), ""]
    lines += [markdown(seed_table(one.spreads)), ""] if n_seeds > 1 else []
    drawn = {f"{name}": class_metric_figure(means, one.metrics)}
    if not one.is_ranking:
        drawn[f"{name}-classes"] = class_accuracy_figure({m: means[m] for m in (CLASSIFIER, KNN, KNN_PCA)}, "grade")
        drawn[f"{name}-confusion"] = confusion_figure({m: one.answers[m] for m in (CLASSIFIER, KNN)})
    for picture, figure in drawn.items():
        with atomic_write(out / "figures" / f"{picture}.png") as path:
            path.write_bytes(figures.png(figure))
        lines += [f"![{picture}](figures/{picture}.png)", ""]
    return lines


def _difference_table(one: Measured) -> Table:
    rows = []
    for method, found in one.differences.items():
        own = {row.metric: row for row in found if row.class_name == ""}
        cells = [
            Cell(
                tables.signed(own[m].value, 3),
                f"[{tables.signed(own[m].low, 3)}, {tables.signed(own[m].high, 3)}]",
                strong=own[m].low > 0 or own[m].high < 0,
            )
            for m in one.metrics
        ]
        rows.append((Cell(method), *cells))
    caption = f"Minus {one.reference}, same people, same resamples; bold where the interval leaves out 0"
    return Table(caption, ("method", *one.metrics), tuple(rows))


def confusion_figure(methods: Answers) -> Figure:
    """Confusion matrices, rows (true classes) in percent, counts averaged over seeds."""
    names = next(iter(methods.values()))[0].class_names
    figure = Figure(figsize=(3.4 * len(methods), 3.4), layout="constrained")
    for axis, (method, seeds) in zip(figure.subplots(1, len(methods), squeeze=False)[0], methods.items(), strict=True):
        counts = np.zeros((len(names), len(names)))
        for one in seeds:
            np.add.at(counts, (one.truth, one.predicted), 1 / len(seeds))
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                color = "white" if share > 0.55 else "#333333"
                axis.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=color)
        axis.set_xticks(range(len(names)), names, fontsize=8)
        axis.set_yticks(
            range(len(names)),
            [f"{n} (n = {c:.0f})" for n, c in zip(names, counts.sum(axis=1), strict=True)],
            fontsize=8,
        )
        axis.set_xlabel("predicted grade", fontsize=9)
        axis.set_title(f"{method}, % of the true grade", fontsize=9)
    return figure


def _record(one: Measured) -> dict[str, Any]:
    return {
        "reference": one.reference,
        "estimates": {m: [asdict(spread) for spread in rows] for m, rows in one.spreads.items()},
        "differences": {m: [asdict(row) for row in rows] for m, rows in one.differences.items()},
    }


def _plain(value: Any) -> Any:
    """JSON knows no NaN: what does not exist is null."""
    if isinstance(value, Agreement):
        return asdict(value)
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value
