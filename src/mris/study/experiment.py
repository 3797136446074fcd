"""The paper's experiment on a cohort: all methods of all seeds, stage by stage; see `mris.study.stages`."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mris.baselines.predictor import Baseline, open_baseline
from mris.cohort.cohort import Cohort
from mris.errors import CohortError, SettingsError
from mris.evaluation.evaluate import Evaluation
from mris.evaluation.prevalence import check_prevalences
from mris.evaluation.strata import groups_of, values_by_label
from mris.images.write import write_json
from mris.study.plan import Plan
from mris.study.stages import Work, read_record
from mris.study.tasks import SETS, Labeled, Progression, labeled
from mris.synthesis.bundle import Bundle

RIDGE = "embedding-ridge"
TITLES = {
    "unet": "U-Net",
    "pix2pix": "pix2pix",
    "transunet": "TransUNet",
    "autoencoder": "autoencoder",
    RIDGE: "ridge on the embedding",
}

WriteEvaluation = Callable[[Evaluation, Path], object]
"""Writes numbers, pictures and page of an evaluation into a folder, as `mris.reporting.html.write_evaluation`."""


@dataclass(frozen=True)
class Experiment:
    """An experiment: its folder, its settings, its cohort, checked to fit each other.

    Args:
        work: Its folder.
        plan: Its settings.
        cohort: Prepared pairs with splits "train", "val", "test", and "downstream" where there are tasks.
        tasks: By name what each task is about.
        progress: Show progress bars within stages.
    """

    work: Work
    plan: Plan
    cohort: Cohort
    tasks: Mapping[str, Labeled]
    progress: bool = False

    @property
    def bundles(self) -> dict[str, list[str]]:
        """By title the trainings of encoders that each bundle is made of: one for all regions, one for each."""
        regions = self.cohort.regions
        separate = {"MRIS-S": list(regions)} if len(regions) > 1 else {}
        return separate | {"MRIS-C": ["combined"]}

    @property
    def encoders(self) -> dict[str, tuple[str, ...]]:
        """By training of encoders the regions that it learns from."""
        regions = self.cohort.regions
        return {"combined": regions, **({r: (r,) for r in regions} if len(regions) > 1 else {})}

    def seed_folder(self, seed: int) -> Path:
        """Where the stages of a seed work."""
        return self.work.folder / f"seed{seed}"

    def method_folders(self, seed: int) -> dict[str, Path]:
        """Where each method's files are, by title."""
        folder = self.seed_folder(seed)
        found = {title: folder / "bundle" / title for title in self.bundles}
        return found | {TITLES[name]: folder / "baseline" / name for name in (*self.plan.methods, RIDGE)}

    def open_methods(self, seed: int) -> tuple[dict[str, Bundle], dict[str, Baseline]]:
        """Open bundles and baselines of a seed, by title."""
        folders = self.method_folders(seed)
        bundles = {title: Bundle.open(folders[title]) for title in self.bundles}
        return bundles, {title: open_baseline(path) for title, path in folders.items() if title not in bundles}


def open_experiment(
    work: Work, plan: Plan, cohort: Cohort, progression: Progression, *, progress: bool = False
) -> Experiment:
    """Refuse at once what would fail after hours; nothing is written.

    Args:
        work: Its folder; a new one, or that of an earlier attempt.
        plan: Its settings.
        cohort: See `Experiment`.
        progression: How grades become labels of progression.
        progress: Show progress bars within stages.

    Raises:
        CohortError: A split is absent, there are fewer training targets than neighbors, a region is empty in a split,
            a label is absent, or a set holds only one of a task's classes.
        SettingsError: Strata and their weights do not fit the test pairs, two tasks have one name, or a network cannot
            work on such images.
    """
    names = [task.name for task in plan.tasks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"two tasks are named {twice!r}; give each a name of its own")
    _check_splits(cohort, plan)
    _check_strata(cohort, plan)
    _check_networks(cohort, plan)
    tasks = {task.name: labeled(cohort, task, progression) for task in plan.tasks}
    _check_classes(cohort, tasks)
    return Experiment(work, plan, cohort, tasks, progress)


def run_experiment(
    experiment: Experiment, write_evaluation: WriteEvaluation, seeds: Sequence[int] | None = None
) -> None:
    """Train and measure all methods of some seeds; stages that are done are kept, an interrupted one goes on.

    A folder ``seed<n>`` then holds metric/, bundle/ and baseline/ (the trained methods), evaluation/, costs/,
    database-size/, and for tasks maps/ and classifier/.

    Args:
        experiment: What `open_experiment` gave.
        write_evaluation: Writes the report of a seed's evaluation.
        seeds: Seeds to run; those of the plan if None. Seeds may run at the same time in several processes.

    Raises:
        CohortError: The folder was begun with another preparation of the same manifest.
        MrisError: What a stage raises.
    """
    from mris.study.measure_seed import measure_seed
    from mris.study.train_seed import train_seed

    check_same_cohort(experiment.work, experiment.cohort)
    for seed in experiment.plan.seeds if seeds is None else seeds:
        keys = train_seed(experiment, seed)
        measure_seed(experiment, keys, seed, write_evaluation)


def queries_of(cohort: Cohort, plan: Plan) -> Cohort:
    """Choose the test pairs that methods are judged on."""
    return cohort.select((cohort.splits == "test") & (cohort.is_baseline | (plan.test_visits == "all")))


def check_same_cohort(work: Work, cohort: Cohort) -> None:
    """Refuse to go on in a folder that was begun with the same manifest, prepared otherwise.

    The stages depend on the manifest's checksum, which does not tell splits and sizes.

    Raises:
        CohortError: Splits, labels or shapes are not those that the folder was begun with.
    """
    file, manifest = work.folder / "cohort_used.json", cohort.header.manifest_sha256
    columns = [cohort.keys, cohort.splits, *(cohort.label(name) for name in cohort.header.labels)]
    header = {name: value for name, value in cohort.header.to_json().items() if name != "software"}
    told = json.dumps([header, *(column.astype(str).tolist() for column in columns)], sort_keys=True)
    used = {"manifest_sha256": manifest, "sha256": hashlib.sha256(told.encode()).hexdigest()}
    found = read_record(file)
    if found.get("manifest_sha256") == manifest and found != used:
        raise CohortError(
            f"{work.folder} was begun with a cohort of the same manifest as {cohort.path}, but other splits, labels or "
            "sizes; its stages would mix the two: choose another folder for the experiment, or remove that one"
        )
    if found != used:
        write_json(file, used)


def _check_splits(cohort: Cohort, plan: Plan) -> None:
    for split in ("train", "val", "test", *(["downstream"] if plan.tasks else [])):
        view = cohort.select(np.asarray(cohort.splits == split))
        if len(view) == 0:
            raise CohortError(
                f"cohort {cohort.path} has no pairs in split {split!r}; the experiment needs train, val, test, and "
                "downstream for the classifiers: prepare it with --fractions, or a column split"
            )
        empty = _regions_without_value(view)
        if empty:
            raise CohortError(
                f"cohort {cohort.path}: no target of split {split!r} has a value in region {empty[0]!r}; prepare the "
                "cohort without that region, or with people who have it in every split"
            )
        if split == "train" and len(set(view.subjects)) <= plan.n_neighbors:
            raise CohortError(
                f"cohort {cohort.path} has {len(set(view.subjects))} training subjects, n_neighbors is "
                f"{plan.n_neighbors}; give more subjects, or a smaller n_neighbors"
            )


def _check_strata(cohort: Cohort, plan: Plan) -> None:
    groups, of_training = (
        groups_of(view, plan.by, plan.merge) for view in (queries_of(cohort, plan), cohort.split("train"))
    )
    check_prevalences(plan.prevalence, groups, values_by_label(of_training))


def _check_networks(cohort: Cohort, plan: Plan) -> None:
    from mris.baselines.train import build_network

    for method in plan.methods:
        build_network(cohort, plan.baseline_settings(method), 0)


def _check_classes(cohort: Cohort, tasks: Mapping[str, Labeled]) -> None:
    for name, one in tasks.items():
        for split in SETS:
            inside = one.classes[cohort.splits[one.positions] == split]
            if len(np.unique(inside)) < 2:
                raise CohortError(
                    f"cohort {cohort.path}: task {name!r} has {len(inside)} labeled pairs in split {split!r}, of "
                    f"{len(np.unique(inside))} classes; it needs two: check the label, or leave the task out"
                )


def _regions_without_value(view: Cohort) -> list[str]:
    """Name the regions that none of the pairs has a value in."""
    seen = np.zeros(len(view.regions), dtype=np.bool_)
    for batch in view.batches(64):
        seen |= np.isfinite(batch.targets).any(axis=(0, 2, 3))
        if seen.all():
            break
    return [name for name, has in zip(view.regions, seen, strict=True) if not has]
