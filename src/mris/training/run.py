"""A run: one training, one folder, described by ``run.json`` so that it is never continued as something else."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mris.cohort.cohort import Cohort
from mris.errors import OutputError, SettingsError, TrainingError, remedy
from mris.images.write import check_writable_folder, write_json
from mris.reading import read_json
from mris.training.checkpoints import load_checkpoint
from mris.training.lightning_library import lightning
from mris.training.precision import choose_numerics
from mris.training.recipe import Recipe
from mris.training.run_folder import RUN_FILE
from mris.training.trainer import FitSettings, fit, has_checkpoint


def describe_run(kind: str, cohort: Cohort, recipe: Recipe, regions: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Tell what decides a run's result; a run is resumed only under the same description.

    Raises:
        SettingsError: the seed is negative.
    """
    if seed < 0:
        raise SettingsError(f"seed is {seed}; give a whole number of at least 0")
    return {
        "format_version": 1,
        "kind": kind,
        "seed": seed,
        "regions": list(regions),
        "settings": recipe.model_dump(mode="json"),
        "cohort": {"n_pairs": len(cohort), "manifest_sha256": cohort.header.manifest_sha256},
    }


def check_run_folder(run: Path, description: dict[str, Any], *, resume: bool) -> None:
    """Refuse a folder that is in use; for a resume, one whose run was made with another description.

    Raises:
        TrainingError: the folder is not empty, holds no run to resume, or another one.
        OutputError: the folder cannot be written.
    """
    file = run / RUN_FILE
    if not resume:
        check_writable_folder(run)
        if run.exists() and any(run.iterdir()):
            raise TrainingError(f"folder {run} is not empty; choose another, or continue its run with --resume")
        return
    try:
        earlier = read_json(file)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{run} holds no run to resume ({file.name} is missing or damaged)") from error
    for name, value in description.items():
        if earlier.get(name) != value:
            other = "other" if name.endswith("s") else "another"
            raise TrainingError(
                f"run {run} was started with {other} {name} ({_difference(earlier.get(name), value)}); "
                "resume it with the same, or start a new run"
            )


def write_run_file(run: Path, description: dict[str, Any]) -> None:
    """Write ``run.json``; call it last of all checks, so that what is refused leaves no folder."""
    write_json(run / RUN_FILE, {**description, "versions": software_versions()})


def fit_run(
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    run: Path,
    recipe: Recipe,
    *,
    monitor: str | None,
    prefix: str,
    resume: bool,
    progress: bool,
    unit: str | None = None,
) -> dict[str, Tensor]:
    """Train, and return the chosen weights of the part of the module whose names begin with `prefix`.

    Args:
        module: see `mris.training.trainer.fit`.
        data: its batches.
        run: the folder.
        recipe: epochs, devices, precision.
        monitor: metric that chooses the epoch, smaller is better; None keeps the last epoch.
        prefix: such as ``"encoder."``; taken off the names.
        resume: continue, if an epoch was finished.
        progress: show bars or lines.
        unit: unit of the targets, for the axis of errors.

    Raises:
        TrainingError: the loss stopped being finite, or the training was interrupted.
        OutputError: the disk refuses.
    """
    settings = FitSettings(
        epochs=recipe.epochs,
        monitor=monitor,
        numerics=choose_numerics(recipe.precision, accelerator=recipe.accelerator),
        patience=recipe.patience,
        accelerator=recipe.accelerator,
        devices=recipe.devices,
        num_nodes=recipe.num_nodes,
        validate_every=min(recipe.validate_every, recipe.epochs),
        progress=progress,
        unit=unit,
    )
    if settings.numerics.channels_last:
        module.to(memory_format=torch.channels_last)
    try:
        chosen = fit(module, data, run, settings, resume=resume and has_checkpoint(run))
    except FloatingPointError as error:
        raise TrainingError(
            f"run {run} is no longer finite: {error}; start a new run with lower learning rates"
        ) from error
    except (OSError, OutputError) as error:
        reason = f"{error.strerror}; {remedy(error)}" if isinstance(error, OSError) and error.strerror else error
        raise OutputError(f"run {run} stopped: {reason}, then continue it with --resume") from error
    return {
        name.removeprefix(prefix): value
        for name, value in load_checkpoint(chosen)["state_dict"].items()
        if name.startswith(prefix)
    }


def _difference(earlier: Any, now: Any) -> str:
    if isinstance(earlier, dict) and isinstance(now, dict):
        names = sorted(name for name in earlier.keys() | now.keys() if earlier.get(name) != now.get(name))
        return ", ".join(f"{name}: {earlier.get(name)} then, {now.get(name)} now" for name in names)
    return f"{earlier} then, {now} now"


def software_versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = ("mris", "torch", "lightning", "monai", "numpy", "pylance")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
