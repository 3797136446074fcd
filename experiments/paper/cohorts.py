"""The cohort of the experiment: the digital one or one that is named, checked, and what each task is about."""

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from plan import Plan, Task
from stages import Work, read_record

import mris
from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.errors import CohortError
from mris.evaluation.prevalence import check_prevalences
from mris.evaluation.strata import groups_of
from mris.images.transforms import SourcePreparation
from mris.images.write import write_json
from mris.study.class_predictions import ClassPredictions

SETS = ("downstream", "test")
"""Splits that classifiers learn from and are tested on."""


@dataclass(frozen=True)
class Labeled:
    """Which pairs a task is about, and their classes.

    Args:
        positions: Positions in the cohort.
        classes: Class of each.
        names: Names of the classes, in order.
    """

    positions: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]


def make_cohort(work: Work, plan: Plan, path: Path | None) -> tuple[Cohort, str]:
    """The cohort named, or the digital one."""
    if path is not None:
        cohort = Cohort.open(path)
        return cohort, cohort.header.manifest_sha256
    if plan.phantom is None:
        raise CohortError("these settings have no digital cohort; name a prepared one with --cohort PATH")
    phantom, folder = plan.phantom, work.folder / "cohort"

    def simulate(out: Path, _: bool) -> None:
        from mris.knee.phantom.cohort import write_phantom

        options = phantom.model_dump(exclude={"fractions", "subjects"})
        write_phantom(out, n_subjects=phantom.subjects, progress=sys.stderr.isatty(), **options)

    def prepare(out: Path, _: bool) -> None:
        size = (phantom.size, phantom.size)
        settings = PrepareSettings(
            SourcePreparation(size, mirror_sides=("right",)), size, stratify="klg", fractions=phantom.fractions
        )
        prepare_cohort(work.folder / "phantom" / "manifest.csv", out, settings, progress=sys.stderr.isatty())

    # A default that came later is not named, so that cohorts from before are kept.
    unnamed = {"fractions", *(["extraction"] if phantom.extraction == "smooth" else [])}
    settings = phantom.model_dump(exclude=unnamed)
    simulated = work.stage("phantom", {"phantom": settings, "version": mris.__version__}, simulate)
    work.stage("cohort", {"phantom": simulated, "fractions": phantom.fractions}, prepare)
    cohort = Cohort.open(folder)
    return cohort, cohort.header.manifest_sha256


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
            "sizes; its stages would mix the two: choose another --work, or remove that folder"
        )
    if found != used:
        write_json(file, used)


def check_cohort(cohort: Cohort, plan: Plan) -> dict[str, Labeled]:
    """Refuse at once what would fail after hours; return what each task is about.

    Raises:
        CohortError: A split is absent, there are fewer training targets than neighbors, a region is empty in a split,
            a label is absent, or a set holds only one of its classes.
        SettingsError: Strata and their weights do not fit the test pairs, or a network cannot work on such images.
    """
    for split in ("train", "val", "test", *(["downstream"] if plan.tasks else [])):
        view = cohort.select(np.asarray(cohort.splits == split))
        if len(view) == 0:
            raise CohortError(
                f"cohort {cohort.path} has no pairs in split {split!r}; the experiment needs train, val, test, and "
                "downstream for the classifiers: prepare it with --fractions, or a column split"
            )
        empty = regions_without_value(view)
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
    groups, of_training = (
        groups_of(view, plan.by, plan.merge) for view in (queries_of(cohort, plan), cohort.split("train"))
    )
    known = {label: [group.name for group in of_training if group.label == label] for label in plan.by}
    check_prevalences(plan.prevalence, groups, known)
    for method in plan.methods:
        from mris.baselines.train import build_network

        build_network(cohort, plan.baseline_settings(method), 0)
    found = {task.name: labeled(cohort, task) for task in plan.tasks}
    for name, one in found.items():
        for split in ("downstream", "test"):
            inside = one.classes[np.isin(one.positions, np.flatnonzero(cohort.splits == split))]
            if len(np.unique(inside)) < 2:
                raise CohortError(
                    f"cohort {cohort.path}: task {name!r} has {len(inside)} labeled pairs in split {split!r}, of "
                    f"{len(np.unique(inside))} classes; it needs two: check the label, or leave the task out"
                )
    return found


def regions_without_value(view: Cohort) -> list[str]:
    """Name the regions that none of the pairs has a value in."""
    seen = np.zeros(len(view.regions), dtype=np.bool_)
    for batch in view.batches(64):
        seen |= np.isfinite(batch.targets).any(axis=(0, 2, 3))
        if seen.all():
            break
    return [name for name, has in zip(view.regions, seen, strict=True) if not has]


def queries_of(cohort: Cohort, plan: Plan) -> Cohort:
    """The test pairs that methods are judged on."""
    return cohort.select((cohort.splits == "test") & (cohort.is_baseline | (plan.test_visits == "all")))


def labeled(cohort: Cohort, task: Task) -> Labeled:
    """Baseline pairs that a task is about, with their classes."""
    values = cohort.label(task.label)
    if task.kind == "progression":
        from mris.knee.progression import baseline_labels

        rises = baseline_labels(
            cohort.subjects, cohort.sides, cohort.timepoints, values, horizon=task.months, at_ceiling="excluded"
        )
        positions = np.flatnonzero(np.isfinite(rises))
        return Labeled(positions, rises[positions].astype(np.int64), ("stays", "rises"))
    texts = np.array(["" if v != v else f"{v:g}" if isinstance(v, float) else str(v) for v in values.tolist()])
    merged = np.array([task.merge.get(text, text) for text in texts])
    positions = np.flatnonzero(cohort.is_baseline & (merged != ""))
    names = tuple(sorted(set(merged[positions].tolist())))
    return Labeled(positions, np.searchsorted(names, merged[positions]).astype(np.int64), names)


def describe_task(task: Labeled, cohort: Cohort) -> dict[str, dict[str, int]]:
    """Count classes by split."""
    return {
        split: {
            name: int(np.sum((task.classes == i) & np.isin(task.positions, np.flatnonzero(cohort.splits == split))))
            for i, name in enumerate(task.names)
        }
        for split in SETS
    }


def grade_alone(task: Task, labels: Labeled, cohort: Cohort, tested: ClassPredictions) -> ClassPredictions:
    """What the baseline grade alone says of progression: the share of risers in the second set, by grade.

    Args:
        task: The progression task.
        labels: Its labeled pairs.
        cohort: Their cohort.
        tested: A classifier's answers, for keys, people and truth.
    """
    grades = cohort.label(task.label)[labels.positions]
    learned = cohort.splits[labels.positions] == "downstream"
    grade_of = dict(zip(cohort.keys[labels.positions].tolist(), grades.tolist(), strict=True))
    shares = {grade: labels.classes[learned & (grades == grade)].mean() for grade in np.unique(grades[learned])}
    base = labels.classes[learned].mean()
    rises = np.array([shares.get(grade_of[key], base) for key in tested.keys])
    return replace(tested, probabilities=np.column_stack([1 - rises, rises]))
