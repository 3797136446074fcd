"""Train two encoders on a cohort: one run, one folder."""

import json
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mris.cohort.cohort import Cohort
from mris.errors import OutputError, TrainingError
from mris.images.write import check_writable_folder, write_json
from mris.metric.data import PairsData
from mris.metric.encoders import DualEncoder, EncoderSpec
from mris.metric.module import MONITOR, MetricModule
from mris.metric.settings import TrainSettings, preset
from mris.training.checkpoints import load_checkpoint
from mris.training.networks import imagenet_weights_file, load_weights
from mris.training.precision import choose_numerics
from mris.training.trainer import FitSettings, check_devices, fit, has_checkpoint, process_rank

RUN_FILE, ENCODER_FOLDER = "run.json", "encoder"


def build_encoder(spec: EncoderSpec, settings: TrainSettings, seed: int) -> DualEncoder:
    """Build the two encoders with the settings' starting weights; without any, random ones that `seed` decides."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = DualEncoder(spec)
    for network, weights in ((encoder.source, settings.source_weights), (encoder.target, settings.target_weights)):
        if weights is not None:
            load_weights(network, imagenet_weights_file(spec.architecture) if weights == "imagenet" else Path(weights))
    return encoder


def train_encoders(
    cohort: Cohort,
    run: str | Path | None = None,
    *,
    settings: TrainSettings | None = None,
    regions: Sequence[str] | None = None,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
) -> DualEncoder:
    """Train a source and a target encoder by the subject-aware triplet loss (Chen & Niethammer 2023, Eq. 2).

    After every epoch the encoders are judged on the split "val": recall among all its pairs, and the mean absolute
    error of synthesis from training targets. The epoch with the smallest error is kept; recall measures identity, not
    synthesis, and does not choose.

    Args:
        cohort: prepared pairs with splits "train" and "val".
        run: a new folder for settings, logs, curves, checkpoints and the encoder; without it nothing is left on disk.
        settings: the recipe; by default the preset "small". `mris.metric.settings.preset` gives "paper".
        regions: target regions to learn from; by default all of the cohort's (the paper's MRIS-C). One run for each
            region gives MRIS-S.
        seed: decides starting weights, batches and augmentation; on one machine it reproduces the run.
        resume: continue an interrupted run from its last finished epoch; the result equals an uninterrupted run's.
        progress: show bars on a terminal, a line an epoch elsewhere.

    Returns:
        The chosen encoders, on the CPU.

    Raises:
        TrainingError: the folder already holds a run, the cohort lacks a split or subjects, the run to resume had
            other settings, or the loss stopped being finite.
        SettingsError: starting weights that do not fit, or devices that are not there.
        OutputError: the folder cannot be written.
    """
    settings = settings or preset("small")
    if run is None:
        with tempfile.TemporaryDirectory() as folder:
            return train_encoders(
                cohort, Path(folder) / "run", settings=settings, regions=regions, seed=seed, progress=progress
            )
    run = Path(run)
    chosen = _check_regions(cohort, regions)
    spec = EncoderSpec.for_cohort(
        cohort.header,
        regions=chosen,
        target_scale=settings.target_scale,
        architecture=settings.architecture,
        width=settings.width,
        stem=settings.stem,
        embedding_dim=settings.embedding_dim,
    )
    description = {
        "format_version": 1,
        "seed": seed,
        "regions": list(chosen),
        "settings": settings.model_dump(mode="json"),
        "cohort": {"n_pairs": len(cohort), "manifest_sha256": cohort.header.manifest_sha256},
    }
    leads = process_rank() == 0  # other processes of the same training find the folder made
    if leads:
        _check_folder(run, description, resume=resume)
    if resume and (run / ENCODER_FOLDER).is_dir():
        return DualEncoder.load(run / ENCODER_FOLDER)
    check_devices(settings.accelerator, settings.devices)
    data = PairsData(cohort, chosen, settings, seed)
    encoder = build_encoder(spec, settings, seed)
    if leads and not resume:  # last: what is refused leaves no folder
        write_json(run / RUN_FILE, {**description, "versions": software_versions()})
    numerics = choose_numerics(settings.precision, accelerator=settings.accelerator)
    if numerics.channels_last:
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = MetricModule(encoder, settings, data.judged, seed)
    fit_settings = FitSettings(
        epochs=settings.epochs,
        monitor=MONITOR,
        numerics=numerics,
        patience=settings.patience,
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        validate_every=min(settings.validate_every, settings.epochs),
        progress=progress,
    )
    try:
        best = fit(module, data, run, fit_settings, resume=resume and has_checkpoint(run))
    except FloatingPointError as error:
        raise TrainingError(
            f"run {run} is no longer finite: {error}; start a new run with lower learning rates"
        ) from error
    except (OSError, OutputError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise OutputError(f"run {run} stopped: {reason}; make room, then continue it with --resume") from error
    state = {
        name.removeprefix("encoder."): value
        for name, value in load_checkpoint(best)["state_dict"].items()
        if name.startswith("encoder.")
    }
    encoder.load_state_dict(state)
    encoder.cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    if process_rank() == 0:
        encoder.save(run / ENCODER_FOLDER)
    return encoder


def _check_regions(cohort: Cohort, regions: Sequence[str] | None) -> tuple[str, ...]:
    chosen = tuple(regions) if regions else cohort.regions
    unknown = [region for region in chosen if region not in cohort.regions]
    if unknown:
        raise TrainingError(f"cohort {cohort.path} has no region {unknown[0]!r}; it has {', '.join(cohort.regions)}")
    return chosen


def _check_folder(run: Path, description: dict[str, Any], *, resume: bool) -> None:
    """Refuse a folder that is in use; for a resume, one whose run was made with another description."""
    file = run / RUN_FILE
    if not resume:
        check_writable_folder(run)
        if run.exists() and any(run.iterdir()):
            raise TrainingError(f"folder {run} is not empty; choose another, or continue its run with --resume")
        return
    try:
        earlier = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{run} holds no run to resume ({file.name} is missing or damaged)") from error
    for name, value in description.items():
        if earlier.get(name) != value:
            raise TrainingError(
                f"run {run} was started with another {name} ({_difference(earlier.get(name), value)}); "
                "resume it with the same, or start a new run"
            )


def _difference(earlier: Any, now: Any) -> str:
    if isinstance(earlier, dict) and isinstance(now, dict):
        names = sorted(name for name in earlier.keys() | now.keys() if earlier.get(name) != now.get(name))
        return ", ".join(f"{name}: {earlier.get(name)} then, {now.get(name)} now" for name in names)
    return f"{earlier} then, {now} now"


def software_versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = ("mris", "torch", "lightning", "monai", "numpy", "pylance")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
