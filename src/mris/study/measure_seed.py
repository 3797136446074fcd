"""What is measured of a seed: costs, errors and retrieval, the curve, and classifiers on the maps of each method."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from mris.errors import MrisError
from mris.evaluation.bundle_evaluation import evaluate_bundle
from mris.evaluation.predictor import Predictor, SynthesizerPredictor
from mris.evaluation.results import Cost
from mris.images.write import write_json, write_npz
from mris.study import cost
from mris.study.class_predictions import ClassPredictions
from mris.study.classifier import LabeledMaps, train_classifier
from mris.study.database_size import database_size_curve
from mris.study.database_size_results import write_size_curve
from mris.study.experiment import Experiment, WriteEvaluation, queries_of
from mris.study.experiment_results import TRUE_MAPS, MethodCost, read_costs
from mris.study.plan import Task
from mris.study.stages import can_resume
from mris.study.tasks import SETS
from mris.synthesis.bundle import Bundle

_BATCH = 64


def measure_seed(experiment: Experiment, keys: Mapping[str, str], seed: int, write_evaluation: WriteEvaluation) -> None:
    """Measure the methods of a seed.

    Args:
        experiment: The experiment.
        keys: What `mris.study.train_seed.train_seed` gave.
        seed: The seed.
        write_evaluation: Writes the report of the evaluation.
    """
    bundles, baselines = experiment.open_methods(seed)
    _measure_costs(experiment, keys, seed)
    _evaluate(experiment, keys, seed, bundles, baselines, write_evaluation)
    _measure_sizes(experiment, keys, seed, bundles)
    if not experiment.tasks:
        return
    positions = np.unique(np.concatenate([one.positions for one in experiment.tasks.values()]))
    positions = positions[np.isin(experiment.cohort.splits[positions], SETS)]
    wanted, regions = asdict(experiment.plan.synthesis), experiment.cohort.regions
    retrieval = {
        title: SynthesizerPredictor(bundle.synthesizer(**wanted), regions) for title, bundle in bundles.items()
    }
    for title, method in {TRUE_MAPS: None, **retrieval, **baselines}.items():
        depends: dict[str, object] = {"manifest": experiment.cohort.header.manifest_sha256}
        depends |= {"made_by": keys.get(title), "n": len(positions)} | ({"readout": wanted} if title in bundles else {})
        made = _make_maps(experiment, seed, title, method, positions, depends)
        for task in experiment.plan.tasks:
            _classify(experiment, seed, title, task, made)


def maps_folder(experiment: Experiment, seed: int, title: str) -> Path:
    """Where the maps of a method lie, as ``maps.npz``."""
    return experiment.seed_folder(seed) / "maps" / title.replace(" ", "-")


def classifier_folder(experiment: Experiment, seed: int, task: str, title: str) -> Path:
    """Where the classifier of a task on the maps of a method lies, and its ``answers.npz``."""
    return experiment.seed_folder(seed) / "classifier" / task / title.replace(" ", "-")


def read_answers(folder: Path) -> ClassPredictions:
    """Read what a classifier said of the test maps."""
    with np.load(folder / "answers.npz", allow_pickle=False) as archive:
        return ClassPredictions(
            tuple(archive["keys"].tolist()),
            tuple(archive["subjects"].tolist()),
            archive["truth"],
            archive["probabilities"],
            tuple(archive["names"].tolist()),
        )


def _measure_costs(experiment: Experiment, keys: Mapping[str, str], seed: int) -> None:
    def make(out: Path, _: bool) -> None:
        measured = {
            title: _cost_of(title, folder, experiment) for title, folder in experiment.method_folders(seed).items()
        }
        write_json(out / "costs.json", {title: one.model_dump() for title, one in measured.items()})

    experiment.work.stage(f"seed{seed}/costs", dict(sorted(keys.items())), make)


def _cost_of(title: str, folder: Path, experiment: Experiment) -> MethodCost:
    arguments = [folder, experiment.cohort.path, json.dumps(asdict(experiment.plan.synthesis))]
    command = [sys.executable, "-m", cost.__name__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise MrisError(f"the cost of {title} cannot be measured: {reason}; python -m {cost.__name__} tells more")
    return MethodCost.model_validate_json(done.stdout.splitlines()[-1])


def _evaluate(
    experiment: Experiment,
    keys: Mapping[str, str],
    seed: int,
    bundles: Mapping[str, Bundle],
    baselines: Mapping[str, Predictor],
    write_evaluation: WriteEvaluation,
) -> None:
    plan, cohort = experiment.plan, experiment.cohort
    first, *rest = bundles
    costs = {
        title: Cost(one.n_parameters, one.training_seconds, one.peak_megabytes)
        for title, one in read_costs(experiment.seed_folder(seed) / "costs" / "costs.json").items()
    }

    def make(out: Path, _: bool) -> None:
        judged = (cohort.splits == "train") | np.isin(cohort.keys, queries_of(cohort, plan).keys)
        evaluation = evaluate_bundle(
            bundles[first],
            cohort.select(judged),
            name=first,
            bundles={title: bundles[title] for title in rest},
            others=baselines,
            costs=costs,
            by=plan.by,
            merge=plan.merge,
            prevalence=plan.prevalence,
            synthesis=plan.synthesis,
            n_bootstrap=plan.n_bootstrap,
            seed=seed,
            progress=experiment.progress,
        )
        (out / "per_image.npz").unlink(missing_ok=True)  # of an interrupted attempt; a report's folder holds it alone
        write_evaluation(evaluation, out)
        rows = evaluation.per_image
        ranks = {f"rank {name}": values for name, values in rows.ranks.items()}
        write_npz(out / "per_image.npz", values=rows.values, n_pixels=rows.n_pixels, **ranks)

    how: dict[str, object] = {"by": plan.by, "merge": plan.merge, "prevalence": plan.prevalence}
    how |= {"visits": plan.test_visits, "synthesis": asdict(plan.synthesis), "n_bootstrap": plan.n_bootstrap}
    experiment.work.stage(f"seed{seed}/evaluation", dict(sorted(keys.items())) | {"how": how}, make)


def _measure_sizes(experiment: Experiment, keys: Mapping[str, str], seed: int, bundles: Mapping[str, Bundle]) -> None:
    plan, cohort = experiment.plan, experiment.cohort

    def make(out: Path, _: bool) -> None:
        curve = database_size_curve(
            bundles,
            cohort.split("train"),
            cohort.select(np.flatnonzero((cohort.splits == "test") & cohort.is_baseline)),
            rng=np.random.default_rng(seed),
            shares=plan.curve_shares,
            n_draws=plan.curve_draws,
            n_neighbors=plan.n_neighbors,
            n_bootstrap=plan.n_bootstrap,
            progress=experiment.progress,
        )
        write_size_curve(out / "curve.json", curve)

    how = {"shares": plan.curve_shares, "draws": plan.curve_draws, "n_neighbors": plan.n_neighbors}
    experiment.work.stage(f"seed{seed}/database-size", {title: keys[title] for title in bundles} | {"how": how}, make)


def _make_maps(
    experiment: Experiment,
    seed: int,
    title: str,
    method: Predictor | None,
    positions: Int64[np.ndarray, " n"],
    depends: Mapping[str, object],
) -> str:
    """Make the maps of the pairs that classifiers need, by a method or, without one, the true ones."""
    cohort, folder = experiment.cohort, maps_folder(experiment, seed, title)

    def make(out: Path, _: bool) -> None:
        parts = [positions[i : i + _BATCH] for i in range(0, len(positions), _BATCH)]
        if method is None:
            maps = [cohort.read_targets(rows) for rows in parts]
        else:
            maps = [method.predict(cohort.read_sources(r), subjects=cohort.subjects[r].tolist()) for r in parts]
        write_npz(out / "maps.npz", maps=np.concatenate(maps).astype(np.float16), positions=positions)

    if folder.exists() and not holds_maps_of(folder / "maps.npz", positions):  # another label, as many pairs
        shutil.rmtree(folder)
    return experiment.work.stage(folder.relative_to(experiment.work.folder).as_posix(), depends, make)


def holds_maps_of(file: Path, positions: Int64[np.ndarray, " n"]) -> bool:
    """Say whether a file of maps is whole and of these pairs."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            return np.array_equal(archive["positions"], positions)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False


def _classify(experiment: Experiment, seed: int, title: str, task: Task, maps_key: str) -> None:
    """Learn a task from maps of the second set, and answer for those of the third."""
    cohort, settings, about = experiment.cohort, experiment.plan.classifier_settings, experiment.tasks[task.name]

    def make(out: Path, resumes: bool) -> None:
        with np.load(maps_folder(experiment, seed, title) / "maps.npz", allow_pickle=False) as archive:
            maps, positions = archive["maps"], archive["positions"]
        splits = cohort.splits[about.positions]
        learned, tested = (splits == split for split in SETS)
        rows = np.searchsorted(positions, about.positions)
        known = LabeledMaps(
            maps[rows[learned]].astype(np.float32),
            about.classes[learned],
            cohort.subjects[about.positions[learned]].tolist(),
            len(about.names),
        )
        again, progress = can_resume(out / "run", resumes), experiment.progress
        classifier = train_classifier(known, out / "run", settings, seed=seed, resume=again, progress=progress)
        write_npz(
            out / "answers.npz",
            probabilities=classifier.probabilities(maps[rows[tested]].astype(np.float32)),
            truth=about.classes[tested],
            keys=cohort.keys[about.positions[tested]],
            subjects=cohort.subjects[about.positions[tested]],
            names=np.array(about.names),
        )

    depends = {"maps": maps_key, "seed": seed, "settings": settings.model_dump(mode="json"), "task": task.model_dump()}
    folder = classifier_folder(experiment, seed, task.name, title)
    experiment.work.stage(folder.relative_to(experiment.work.folder).as_posix(), depends, make)
