"""The trainings of a seed: encoders, bundles, baselines, ridge on the embedding."""

import shutil
import tempfile
from pathlib import Path

from mris.baselines.embedding_ridge import train_embedding_ridge
from mris.baselines.train import train_baseline
from mris.choices import Method
from mris.metric.encoders import DualEncoder
from mris.metric.export import export_encoder
from mris.metric.train import train_encoders
from mris.study.experiment import RIDGE, TITLES, Experiment
from mris.study.stages import can_resume
from mris.synthesis.build_bundle import build_bundle


def train_seed(experiment: Experiment, seed: int) -> dict[str, str]:
    """Train all methods of a seed.

    Returns:
        Hash of each stage: by title of a method, and by name of a training of encoders.
    """
    keys = {name: _train_encoders(experiment, seed, name) for name in experiment.encoders}
    keys |= {title: _build_bundle(experiment, seed, title, keys) for title in experiment.bundles}
    keys |= {TITLES[method]: _train_baseline(experiment, seed, method) for method in experiment.plan.methods}
    keys[TITLES[RIDGE]] = _train_ridge(experiment, seed, keys["combined"])
    return keys


def _train_encoders(experiment: Experiment, seed: int, name: str) -> str:
    cohort, settings, regions = experiment.cohort, experiment.plan.metric_settings, experiment.encoders[name]

    def make(out: Path, resumes: bool) -> None:
        again, progress = can_resume(out, resumes), experiment.progress
        train_encoders(cohort, out, settings=settings, regions=regions, seed=seed, resume=again, progress=progress)

    depends = {
        "cohort": cohort.header.manifest_sha256,
        "settings": settings.model_dump(mode="json"),
        "regions": list(regions),
        "seed": seed,
    }
    return experiment.work.stage(f"seed{seed}/metric/{name}", depends, make)


def _build_bundle(experiment: Experiment, seed: int, title: str, keys: dict[str, str]) -> str:
    members = experiment.bundles[title]

    def make(out: Path, resumes: bool) -> None:
        if resumes:  # a bundle appears whole; the kill came between that and the stage's record
            shutil.rmtree(out)
        with tempfile.TemporaryDirectory() as folder:
            exported = [export_encoder(_open_encoder(experiment, seed, name), Path(folder) / name) for name in members]
            build_bundle(exported, experiment.cohort, out, progress=experiment.progress)

    return experiment.work.stage(f"seed{seed}/bundle/{title}", {name: keys[name] for name in members}, make)


def _train_baseline(experiment: Experiment, seed: int, method: Method) -> str:
    cohort, settings = experiment.cohort, experiment.plan.baseline_settings(method)

    def make(out: Path, resumes: bool) -> None:
        again, progress = can_resume(out, resumes), experiment.progress
        train_baseline(cohort, out, settings, seed=seed, resume=again, progress=progress)

    recipe = settings.model_dump(mode="json")
    depends = {"cohort": cohort.header.manifest_sha256, "settings": recipe, "seed": seed}
    return experiment.work.stage(f"seed{seed}/baseline/{method}", depends, make)


def _train_ridge(experiment: Experiment, seed: int, encoder_key: str) -> str:
    cohort, scale = experiment.cohort, experiment.plan.metric_settings.target_scale

    def make(out: Path, resumes: bool) -> None:
        encoder, again = _open_encoder(experiment, seed, "combined"), can_resume(out, resumes)
        train_embedding_ridge(cohort, out, [encoder], target_scale=scale, seed=seed, resume=again)

    depends = {"encoder": encoder_key, "cohort": cohort.header.manifest_sha256}
    return experiment.work.stage(f"seed{seed}/baseline/{RIDGE}", depends, make)


def _open_encoder(experiment: Experiment, seed: int, name: str) -> DualEncoder:
    return DualEncoder.load(experiment.seed_folder(seed) / "metric" / name / "encoder")
