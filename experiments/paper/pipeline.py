"""The stages of the experiment: cohort, encoders, bundles, baselines, evaluation, maps, classifiers, curve."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from plan import Plan, Task
from stages import Work

import mris
from mris.baselines.predictor import open_baseline
from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.errors import CohortError
from mris.evaluation.bundle_evaluation import evaluate_bundle
from mris.evaluation.database_size import database_size_curve
from mris.evaluation.database_size_results import write_size_curve
from mris.evaluation.predictor import Predictor, SynthesizerPredictor
from mris.evaluation.results import Cost
from mris.images.transforms import SourcePreparation
from mris.images.write import write_json, write_npz
from mris.synthesis.bundle import Bundle, build_bundle

TRUE_MAPS = "true maps"
TITLES = {
    "unet": "U-Net",
    "pix2pix": "pix2pix",
    "transunet": "TransUNet",
    "autoencoder": "autoencoder",
    "embedding-ridge": "ridge on the embedding",
}


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

    settings = phantom.model_dump(exclude={"fractions"})
    simulated = work.stage("phantom", {"phantom": settings, "version": mris.__version__}, simulate)
    work.stage("cohort", {"phantom": simulated, "fractions": phantom.fractions}, prepare)
    cohort = Cohort.open(folder)
    return cohort, cohort.header.manifest_sha256


def check_cohort(cohort: Cohort, plan: Plan) -> dict[str, Labeled]:
    """Refuse at once what would fail after hours; return what each task is about.

    Raises:
        CohortError: A split is absent, there are fewer training targets than neighbors, a region is empty in a split,
            a label is absent, or a set holds only one of its classes.
    """
    for split in ("train", "val", "test", *(["downstream"] if plan.tasks else [])):
        view = cohort.select(np.asarray(cohort.splits == split))
        if len(view) == 0:
            raise CohortError(
                f"cohort {cohort.path} has no pairs in split {split!r}; the experiment needs train, val, test, and "
                "downstream for the classifiers: prepare it with --fractions, or a column split"
            )
        if split == "train" and len(set(view.subjects)) <= plan.n_neighbors:
            raise CohortError(
                f"cohort {cohort.path} has {len(set(view.subjects))} training subjects, n_neighbors is "
                f"{plan.n_neighbors}; give more subjects, or a smaller n_neighbors"
            )
    empty = [name for name, mask in zip(cohort.regions, cohort.atlas_mask, strict=True) if not mask.any()]
    if empty:
        raise CohortError(f"cohort {cohort.path}: no training target has a value in region {empty[0]!r}; leave it out")
    for label in plan.by:
        cohort.label(label)
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


def train_seed(work: Work, plan: Plan, cohort: Cohort, cohort_key: str, seed: int) -> dict[str, str]:
    """Encoders, bundles and baselines of one seed; returns the hash of each stage."""
    keys: dict[str, str] = {}
    place, loud = f"seed{seed}", sys.stderr.isatty()

    def encoders(regions: Sequence[str]) -> Any:
        def make(out: Path, resumes: bool) -> None:
            from mris.metric.train import train_encoders

            again = resumes and (out / "run.json").is_file()
            settings = plan.metric_settings
            train_encoders(cohort, out, settings=settings, regions=regions, seed=seed, resume=again, progress=loud)

        return make

    groups = {"combined": cohort.regions, **({r: (r,) for r in cohort.regions} if len(cohort.regions) > 1 else {})}
    settings = plan.metric_settings.model_dump(mode="json")
    for name, regions in groups.items():
        depends = {"cohort": cohort_key, "settings": settings, "regions": list(regions), "seed": seed}
        keys[name] = work.stage(f"{place}/metric/{name}", depends, encoders(regions))

    bundles = {"MRIS-C": ["combined"], **({"MRIS-S": list(cohort.regions)} if len(groups) > 1 else {})}
    for title, members in bundles.items():

        def make(out: Path, _: bool, members: list[str] = members) -> None:
            import tempfile

            from mris.metric.encoders import DualEncoder
            from mris.metric.export import export_encoder

            with tempfile.TemporaryDirectory() as folder:
                runs = [work.folder / place / "metric" / name / "encoder" for name in members]
                exported = [export_encoder(DualEncoder.load(run), Path(folder) / run.parent.name) for run in runs]
                build_bundle(exported, cohort, out, progress=loud)

        keys[title] = work.stage(f"{place}/bundle/{title}", {name: keys[name] for name in members}, make)

    for method in plan.methods:

        def make_baseline(out: Path, resumes: bool, method: Any = method) -> None:
            from mris.baselines.train import train_baseline

            again = resumes and (out / "run.json").is_file()
            train_baseline(cohort, out, plan.baseline_settings(method), seed=seed, resume=again, progress=loud)

        recipe = plan.baseline_settings(method).model_dump(mode="json")
        depends = {"cohort": cohort_key, "settings": recipe, "seed": seed}
        keys[TITLES[method]] = work.stage(f"{place}/baseline/{method}", depends, make_baseline)

    def make_ridge(out: Path, resumes: bool) -> None:
        from mris.baselines.embedding_ridge import train_embedding_ridge
        from mris.metric.encoders import DualEncoder

        encoder = DualEncoder.load(work.folder / place / "metric" / "combined" / "encoder")
        again = resumes and (out / "run.json").is_file()
        scale = plan.metric_settings.target_scale
        train_embedding_ridge(cohort, out, [encoder], target_scale=scale, seed=seed, resume=again)

    ridge = {"encoder": keys["combined"], "cohort": cohort_key}
    keys[TITLES["embedding-ridge"]] = work.stage(f"{place}/baseline/embedding-ridge", ridge, make_ridge)
    return keys


def open_methods(work: Work, plan: Plan, cohort: Cohort, seed: int) -> tuple[dict[str, Bundle], dict[str, Predictor]]:
    """Bundles and baselines of a seed, by title."""
    folder = work.folder / f"seed{seed}"
    titles = ["MRIS-S", "MRIS-C"] if len(cohort.regions) > 1 else ["MRIS-C"]
    bundles = {title: Bundle.open(folder / "bundle" / title) for title in titles}
    names = [*plan.methods, "embedding-ridge"]
    return bundles, {TITLES[name]: open_baseline(folder / "baseline" / name) for name in names}


def measure_seed(
    work: Work, plan: Plan, cohort: Cohort, tasks: Mapping[str, Labeled], keys: Mapping[str, str], seed: int
) -> None:
    """Costs, errors, retrieval, maps, classifiers and the curve of one seed."""
    place = f"seed{seed}"
    bundles, baselines = open_methods(work, plan, cohort, seed)
    everything = dict(sorted(keys.items()))
    judged = np.asarray(cohort.splits == "train") | (
        np.asarray(cohort.splits == "test") & (cohort.is_baseline | (plan.test_visits == "all"))
    )
    view = cohort.select(judged)

    def make_costs(out: Path, _: bool) -> None:
        measured = {}
        for title, folder in method_folders(work, plan, cohort, seed).items():
            script = Path(__file__).with_name("cost.py")
            command = [sys.executable, str(script), str(folder), str(cohort.path), str(plan.n_neighbors)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured[title] = json.loads(done.stdout.splitlines()[-1])
        write_json(out / "costs.json", measured)

    work.stage(f"{place}/costs", everything, make_costs)
    measured = json.loads((work.folder / place / "costs" / "costs.json").read_text(encoding="utf-8"))
    costs = {
        title: Cost(row["n_parameters"], row["training_seconds"], row["peak_megabytes"])
        for title, row in measured.items()
    }

    def make_evaluation(out: Path, _: bool) -> None:
        from mris.reporting.html import write_evaluation

        first, *rest = bundles
        evaluation = evaluate_bundle(
            bundles[first],
            view,
            name=first,
            bundles={title: bundles[title] for title in rest},
            others=baselines,
            costs=costs,
            by=plan.by,
            merge=plan.merge,
            prevalence=plan.prevalence,
            n_neighbors=plan.n_neighbors,
            n_bootstrap=plan.n_bootstrap,
            seed=seed,
            progress=sys.stderr.isatty(),
        )
        write_evaluation(evaluation, out)
        rows = evaluation.per_image
        ranks = {f"rank {name}": values for name, values in rows.ranks.items()}
        write_npz(out / "per_image.npz", values=rows.values, n_pixels=rows.n_pixels, **ranks)

    how = {"by": plan.by, "merge": plan.merge, "prevalence": plan.prevalence, "visits": plan.test_visits}
    how |= {"n_neighbors": plan.n_neighbors, "n_bootstrap": plan.n_bootstrap}
    work.stage(f"{place}/evaluation", everything | {"how": how}, make_evaluation)

    def make_curve(out: Path, _: bool) -> None:
        test = cohort.select(np.flatnonzero((cohort.splits == "test") & cohort.is_baseline))
        curve = database_size_curve(
            bundles,
            cohort.split("train"),
            test,
            rng=np.random.default_rng(seed),
            shares=plan.curve_shares,
            n_draws=plan.curve_draws,
            n_neighbors=plan.n_neighbors,
            n_bootstrap=plan.n_bootstrap,
            progress=sys.stderr.isatty(),
        )
        write_size_curve(out / "curve.json", curve)

    sizes = {"shares": plan.curve_shares, "draws": plan.curve_draws, "n_neighbors": plan.n_neighbors}
    of_bundles = {title: keys[title] for title in bundles}
    work.stage(f"{place}/database-size", of_bundles | {"how": sizes}, make_curve)
    if not plan.tasks:
        return
    positions = np.unique(np.concatenate([one.positions for one in tasks.values()]))
    positions = positions[np.isin(cohort.splits[positions], ["downstream", "test"])]
    methods = {
        title: SynthesizerPredictor(bundle.synthesizer(plan.n_neighbors), cohort.regions)
        for title, bundle in bundles.items()
    } | baselines

    def make_maps(title: str) -> Any:
        def make(out: Path, _: bool) -> None:
            parts = [positions[i : i + 64] for i in range(0, len(positions), 64)]
            if title == TRUE_MAPS:
                maps = [cohort.read_targets(rows) for rows in parts]
            else:
                predict = methods[title].predict
                maps = [predict(cohort.read_sources(r), subjects=cohort.subjects[r].tolist()) for r in parts]
            write_npz(out / "maps.npz", maps=np.concatenate(maps).astype(np.float16), positions=positions)

        return make

    for title in (TRUE_MAPS, *methods):
        name = title.replace(" ", "-")
        depends = {"manifest": cohort.header.manifest_sha256, "made_by": keys.get(title), "n": len(positions)}
        depends |= {"k": plan.n_neighbors} if title in bundles else {}
        made = work.stage(f"{place}/maps/{name}", depends, make_maps(title))
        for task in plan.tasks:
            recipe = {"settings": plan.classifier_settings.model_dump(mode="json"), "task": task.model_dump()}
            work.stage(
                f"{place}/classifier/{task.name}/{name}",
                {"maps": made, "seed": seed, **recipe},
                make_classifier(work.folder / place / "maps" / name / "maps.npz", cohort, tasks[task.name], plan, seed),
            )


def make_classifier(maps_file: Path, cohort: Cohort, task: Labeled, plan: Plan, seed: int) -> Any:
    """The work of a classifier's stage: learn from maps of the second set, answer for those of the third."""

    def make(out: Path, resumes: bool) -> None:
        from mris.downstream.classifier import LabeledMaps, train_classifier

        with np.load(maps_file) as archive:
            maps, positions = archive["maps"], archive["positions"]
        where = {split: np.isin(task.positions, np.flatnonzero(cohort.splits == split)) for split in SETS}
        rows = {split: np.searchsorted(positions, task.positions[inside]) for split, inside in where.items()}
        learned = where["downstream"]
        labeled_maps = LabeledMaps(
            maps[rows["downstream"]].astype(np.float32),
            task.classes[learned],
            cohort.subjects[task.positions[learned]].tolist(),
            len(task.names),
        )
        again = resumes and (out / "run" / "run.json").is_file()
        classifier = train_classifier(
            labeled_maps, out / "run", plan.classifier_settings, seed=seed, resume=again, progress=sys.stderr.isatty()
        )
        probabilities = classifier.probabilities(maps[rows["test"]].astype(np.float32))
        tested = task.positions[where["test"]]
        write_npz(
            out / "answers.npz",
            probabilities=probabilities,
            truth=task.classes[where["test"]],
            keys=cohort.keys[tested],
            subjects=cohort.subjects[tested],
            names=np.array(task.names),
        )

    return make


SETS = ("downstream", "test")


def method_folders(work: Work, plan: Plan, cohort: Cohort, seed: int) -> dict[str, Path]:
    """Where each method's files are, by title."""
    folder = work.folder / f"seed{seed}"
    titles = ["MRIS-S", "MRIS-C"] if len(cohort.regions) > 1 else ["MRIS-C"]
    found = {title: folder / "bundle" / title for title in titles}
    return found | {TITLES[name]: folder / "baseline" / name for name in (*plan.methods, "embedding-ridge")}


def describe_task(task: Labeled, cohort: Cohort) -> dict[str, dict[str, int]]:
    """Count classes by split."""
    return {
        split: {
            name: int(np.sum((task.classes == i) & np.isin(task.positions, np.flatnonzero(cohort.splits == split))))
            for i, name in enumerate(task.names)
        }
        for split in SETS
    }
