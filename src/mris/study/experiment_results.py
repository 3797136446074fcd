"""All numbers of an experiment over the seeds that are done."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mris.errors import CohortError
from mris.evaluation.bootstrap import resample_counts, subject_codes
from mris.study.cost import MethodCost, read_costs
from mris.study.database_size_results import DatabaseSizeCurve, read_size_curve
from mris.study.downstream import ClassDifference, SeedSpread, compare_seeds, measure_seeds
from mris.study.experiment import TRUE_MAPS, Experiment, queries_of
from mris.study.measure_seed import classifier_folder, read_answers
from mris.study.plan import Task
from mris.study.seeds import OverSeeds, read_seeds
from mris.study.tasks import grade_alone

GRADE_ALONE = "baseline grade alone"
"""Name of what the baseline grade says of progression, without a map."""


@dataclass(frozen=True)
class TaskResults:
    """The classifiers of one task.

    Args:
        task: The task.
        class_names: Names of its classes.
        counts: Pairs of each class, by split.
        spreads: Metrics by method, first those of `TRUE_MAPS`.
        differences: Metrics by method minus those of `TRUE_MAPS`, same people.
    """

    task: Task
    class_names: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    spreads: Mapping[str, tuple[SeedSpread, ...]]
    differences: Mapping[str, tuple[ClassDifference, ...]]


@dataclass(frozen=True)
class ExperimentResults:
    """All numbers of an experiment.

    Args:
        seeds: The seeds that are done.
        over: Errors and retrieval.
        tasks: What classifiers read from the maps.
        costs: Means over seeds, by method.
        curve: Error against the size of the database, of the first seed.
    """

    seeds: tuple[int, ...]
    over: OverSeeds
    tasks: tuple[TaskResults, ...]
    costs: Mapping[str, MethodCost]
    curve: DatabaseSizeCurve


def read_experiment(experiment: Experiment) -> ExperimentResults:
    """Read the seeds that are done, and average over them.

    Raises:
        CohortError: No seed is done, or a file of one is damaged.
    """
    seeds = tuple(seed for seed in experiment.plan.seeds if _is_done(experiment, seed))
    if not seeds:
        raise CohortError(f"no seed of {experiment.work.folder} is evaluated yet; run the experiment without --report")
    folders = [experiment.seed_folder(seed) for seed in seeds]
    queries = queries_of(experiment.cohort, experiment.plan)
    return ExperimentResults(
        seeds,
        read_seeds([folder / "evaluation" for folder in folders], queries, experiment.plan.merge),
        tuple(_read_task(experiment, task, seeds) for task in experiment.plan.tasks),
        _mean_costs([folder / "costs" / "costs.json" for folder in folders]),
        read_size_curve(folders[0] / "database-size" / "curve.json"),
    )


def _is_done(experiment: Experiment, seed: int) -> bool:
    folder, titles = experiment.seed_folder(seed), (TRUE_MAPS, *experiment.method_folders(seed))
    files = [folder / name for name in ("evaluation/per_image.npz", "costs/costs.json", "database-size/curve.json")]
    files += [
        classifier_folder(experiment, seed, task.name, title) / "answers.npz"
        for task in experiment.plan.tasks
        for title in titles
    ]
    return all(file.is_file() for file in files)


def _read_task(experiment: Experiment, task: Task, seeds: tuple[int, ...]) -> TaskResults:
    labels, cohort = experiment.tasks[task.name], experiment.cohort
    found = {
        title: [read_answers(classifier_folder(experiment, seed, task.name, title)) for seed in seeds]
        for title in (TRUE_MAPS, *experiment.method_folders(seeds[0]))
    }
    anyone = found[TRUE_MAPS][0]
    if task.kind == "progression":
        found[GRADE_ALONE] = [grade_alone(task, labels, cohort, anyone)] * len(seeds)
    _, n_subjects = subject_codes(list(anyone.subjects))
    counts = resample_counts(n_subjects, experiment.plan.n_bootstrap, np.random.default_rng(0))
    return TaskResults(
        task,
        labels.names,
        labels.counts(cohort),
        {title: measure_seeds(answers, counts) for title, answers in found.items()},
        {
            title: compare_seeds(answers, found[TRUE_MAPS], counts)
            for title, answers in found.items()
            if title != TRUE_MAPS
        },
    )


def _mean_costs(files: list[Path]) -> dict[str, MethodCost]:
    first, *rest = (read_costs(file) for file in files)
    means = {}
    for title, cost in first.items():
        rows = [cost, *(other[title] for other in rest)]
        names = [name for name in MethodCost.model_fields if name != "n_parameters"]
        means[title] = cost.model_copy(
            update={name: float(np.mean([getattr(r, name) for r in rows])) for name in names}
        )
    return means
