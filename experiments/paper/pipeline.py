"""The stages of a seed: encoders, bundles, baselines, evaluation, maps, classifiers, curve."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cohorts import SETS, Labeled, queries_of
from plan import Plan
from stages import Work, can_resume

from mris.baselines.predictor import open_baseline
from mris.cohort.cohort import Cohort
from mris.errors import MrisError
from mris.evaluation.bundle_evaluation import evaluate_bundle
from mris.evaluation.predictor import Predictor, SynthesizerPredictor
from mris.evaluation.results import Cost
from mris.images.write import write_json, write_npz
from mris.study.database_size import database_size_curve
from mris.study.database_size_results import write_size_curve
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.bundle import Bundle
from mris.synthesis.synthesis import SynthesisSettings

TRUE_MAPS = "true maps"
TITLES = {
    "unet": "U-Net",
    "pix2pix": "pix2pix",
    "transunet": "TransUNet",
    "autoencoder": "autoencoder",
    "embedding-ridge": "ridge on the embedding",
}


def train_seed(work: Work, plan: Plan, cohort: Cohort, cohort_key: str, seed: int) -> dict[str, str]:
    """Encoders, bundles and baselines of one seed; returns the hash of each stage."""
    keys: dict[str, str] = {}
    place, loud = f"seed{seed}", sys.stderr.isatty()

    def encoders(regions: Sequence[str]) -> Any:
        def make(out: Path, resumes: bool) -> None:
            from mris.metric.train import train_encoders

            again, settings = can_resume(out, resumes), plan.metric_settings
            train_encoders(cohort, out, settings=settings, regions=regions, seed=seed, resume=again, progress=loud)

        return make

    groups = {"combined": cohort.regions, **({r: (r,) for r in cohort.regions} if len(cohort.regions) > 1 else {})}
    settings = plan.metric_settings.model_dump(mode="json")
    for name, regions in groups.items():
        depends = {"cohort": cohort_key, "settings": settings, "regions": list(regions), "seed": seed}
        keys[name] = work.stage(f"{place}/metric/{name}", depends, encoders(regions))

    bundles = {"MRIS-C": ["combined"], **({"MRIS-S": list(cohort.regions)} if len(groups) > 1 else {})}
    for title, members in bundles.items():

        def make(out: Path, resumes: bool, members: list[str] = members) -> None:
            import tempfile

            from mris.metric.encoders import DualEncoder
            from mris.metric.export import export_encoder

            if resumes:  # a bundle appears whole; the kill came between that and the stage's record
                shutil.rmtree(out)
            with tempfile.TemporaryDirectory() as folder:
                runs = [work.folder / place / "metric" / name / "encoder" for name in members]
                exported = [export_encoder(DualEncoder.load(run), Path(folder) / run.parent.name) for run in runs]
                build_bundle(exported, cohort, out, progress=loud)

        keys[title] = work.stage(f"{place}/bundle/{title}", {name: keys[name] for name in members}, make)

    for method in plan.methods:

        def make_baseline(out: Path, resumes: bool, method: Any = method) -> None:
            from mris.baselines.train import train_baseline

            again = can_resume(out, resumes)
            train_baseline(cohort, out, plan.baseline_settings(method), seed=seed, resume=again, progress=loud)

        recipe = plan.baseline_settings(method).model_dump(mode="json")
        depends = {"cohort": cohort_key, "settings": recipe, "seed": seed}
        keys[TITLES[method]] = work.stage(f"{place}/baseline/{method}", depends, make_baseline)

    def make_ridge(out: Path, resumes: bool) -> None:
        from mris.baselines.embedding_ridge import train_embedding_ridge
        from mris.metric.encoders import DualEncoder

        encoder = DualEncoder.load(work.folder / place / "metric" / "combined" / "encoder")
        again = can_resume(out, resumes)
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
    judged = (cohort.splits == "train") | np.isin(cohort.keys, queries_of(cohort, plan).keys)
    view = cohort.select(judged)

    def make_costs(out: Path, _: bool) -> None:
        measured = {}
        for title, folder in method_folders(work, plan, cohort, seed).items():
            script = Path(__file__).with_name("cost.py")
            command = [sys.executable, str(script), str(folder), str(cohort.path), str(plan.n_neighbors)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
                raise MrisError(
                    f"the cost of {title} cannot be measured: {reason}; {script.name} is called by itself so"
                )
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
            synthesis=SynthesisSettings(plan.n_neighbors),
            n_bootstrap=plan.n_bootstrap,
            seed=seed,
            progress=sys.stderr.isatty(),
        )
        (out / "per_image.npz").unlink(missing_ok=True)  # of an interrupted attempt; a report's folder holds it alone
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
        folder = work.folder / place / "maps" / name
        if folder.exists() and not holds_maps_of(folder / "maps.npz", positions):  # another label, as many pairs
            shutil.rmtree(folder)
        made = work.stage(f"{place}/maps/{name}", depends, make_maps(title))
        for task in plan.tasks:
            recipe = {"settings": plan.classifier_settings.model_dump(mode="json"), "task": task.model_dump()}
            work.stage(
                f"{place}/classifier/{task.name}/{name}",
                {"maps": made, "seed": seed, **recipe},
                make_classifier(folder / "maps.npz", cohort, tasks[task.name], plan, seed),
            )


def holds_maps_of(file: Path, positions: np.ndarray) -> bool:
    """Say whether a file of maps is whole and of these pairs."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            return np.array_equal(archive["positions"], positions)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False


def make_classifier(maps_file: Path, cohort: Cohort, task: Labeled, plan: Plan, seed: int) -> Any:
    """The work of a classifier's stage: learn from maps of the second set, answer for those of the third."""

    def make(out: Path, resumes: bool) -> None:
        from mris.study.classifier import LabeledMaps, train_classifier

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
        again = can_resume(out / "run", resumes)
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


def method_folders(work: Work, plan: Plan, cohort: Cohort, seed: int) -> dict[str, Path]:
    """Where each method's files are, by title."""
    folder = work.folder / f"seed{seed}"
    titles = ["MRIS-S", "MRIS-C"] if len(cohort.regions) > 1 else ["MRIS-C"]
    found = {title: folder / "bundle" / title for title in titles}
    return found | {TITLES[name]: folder / "baseline" / name for name in (*plan.methods, "embedding-ridge")}
