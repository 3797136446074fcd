"""The files of the seeds that are done become numbers."""

from pathlib import Path

import numpy as np

from mris.errors import CohortError
from mris.evaluation.bootstrap import resample_counts, subject_codes
from mris.study.database_size_results import read_size_curve
from mris.study.downstream import compare_seeds, measure_seeds
from mris.study.experiment import Experiment, queries_of
from mris.study.experiment_results import (
    GRADE_ALONE,
    TRUE_MAPS,
    ExperimentFacts,
    ExperimentResults,
    MethodCost,
    TaskResults,
    read_costs,
)
from mris.study.machine import machine
from mris.study.measure_seed import classifier_folder, read_answers
from mris.study.plan import Task
from mris.study.seeds import read_seeds
from mris.study.tasks import grade_alone


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
        _facts(experiment),
        read_seeds([folder / "evaluation" for folder in folders], queries, experiment.plan.merge),
        tuple(_read_task(experiment, task, seeds) for task in experiment.plan.tasks),
        _mean_costs([folder / "costs" / "costs.json" for folder in folders]),
        read_size_curve(folders[0] / "database-size" / "curve.json"),
        _pictures(folders[0]),
    )


def _facts(experiment: Experiment) -> ExperimentFacts:
    cohort, plan = experiment.cohort, experiment.plan
    sets = {}
    for split in ("train", "val", "downstream", "test"):
        inside = cohort.splits == split
        if inside.any():
            sets[split] = int(inside.sum()), len(set(cohort.subjects[inside]))
    recipe = plan.metric_settings
    seconds = experiment.work.seconds()
    return ExperimentFacts(
        sets, plan.test_visits, plan.error, recipe.epochs, recipe.sampler, recipe.batch_size, seconds, machine()
    )


def _pictures(seed: Path) -> dict[str, Path]:
    figures = seed / "evaluation" / "figures"
    found = {file.stem: file for file in (*sorted(figures.glob("figure3*.png")), figures / "error_map.png")}
    runs = [seed / "metric" / "combined", *sorted((seed / "baseline").iterdir())]
    return found | {f"training_{run.name}": run / "curves.png" for run in runs if (run / "curves.png").is_file()}


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
        task.name,
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
