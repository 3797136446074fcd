"""A run: one training, one folder, described by ``run.json`` so that it is never continued as something else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mris.cohort.cohort import Cohort
from mris.errors import MrisError, OutputError, SettingsError, TrainingError, remedy
from mris.images.write import check_writable_folder, write_json
from mris.records import read_record
from mris.storage.address import local_folder
from mris.training.callbacks import MetricsLog
from mris.training.checkpoint_file import load_checkpoint
from mris.training.lightning_library import lightning
from mris.training.processes import process_rank
from mris.training.recipe import Recipe
from mris.training.run_folder import RUN_FILE, ReadCohort, RunCard
from mris.training.trainer import fit, has_checkpoint
from mris.training.versions import software_versions


def run_card(kind: str, cohort: Cohort, recipe: Recipe, regions: tuple[str, ...], seed: int) -> RunCard:
    """Tell what decides the result of a run on a cohort.

    Raises:
        SettingsError: the seed is negative.
    """
    if seed < 0:
        raise SettingsError(f"seed is {seed}; give a whole number of at least 0")
    return RunCard(
        kind=kind,
        seed=seed,
        settings=recipe.model_dump(mode="json"),
        defaults=recipe.defaults(),
        regions=regions,
        cohort=ReadCohort(n_pairs=len(cohort), manifest_sha256=cohort.header.manifest_sha256),
    )


@dataclass(frozen=True)
class Run:
    """The folder of one training: claimed, begun, trained and finished once, whatever is trained and by how many.

    Several processes may train together. Each looks for itself at a folder in which nobody has written yet, so all
    judge alike; after they have met, the leading one writes alone and the others wait for it.

    Attributes:
        folder: where it is.
        card: what decides its result; ``run.json`` keeps it.
        resume: continue what an earlier attempt began there.
        finished: the result lies there; read it instead of training.
    """

    folder: Path
    card: RunCard
    resume: bool
    finished: bool

    @classmethod
    def open(cls, folder: str | Path, card: RunCard, *, result: str, resume: bool) -> "Run":
        """Claim a folder, writing nothing.

        Args:
            folder: a new or empty folder; for a resume, one whose ``run.json`` holds the same card.
            card: what decides the result.
            result: what lies in the folder once the training is finished, relative to it.
            resume: continue an interrupted run, or find a finished one.

        Raises:
            TrainingError: the folder is not empty, holds no run to resume, or another one.
            OutputError: the folder cannot be written.
            SettingsError: it is the address of a storage.
        """
        folder = local_folder(folder, "the run")
        _together(lambda: _check_resumed(folder, card) if resume else _check_new(folder))
        finished = resume and (folder / result).exists()
        return cls(folder, card, resume, finished)

    def begin(self) -> None:
        """Write ``run.json``, the first file; call it last of all checks, so that what is refused leaves no folder."""
        card = self.card.model_copy(update={"versions": software_versions()})
        if not self.resume:
            _together(lambda: write_json(self.folder / RUN_FILE, _stated(card)), leader_only=True)

    def fit(
        self,
        module: lightning.LightningModule,
        data: lightning.LightningDataModule,
        recipe: Recipe,
        *,
        part: str,
        monitor: str | None,
        progress: bool,
        unit: str | None = None,
    ) -> None:
        """Train, and leave the chosen weights in a part of the module, on the CPU and ready to answer.

        Args:
            module: see `mris.training.trainer.fit`.
            data: its batches.
            recipe: epochs, devices, precision.
            part: name of the network in the module that is the result, such as ``"encoder"``.
            monitor: metric that chooses the epoch, smaller is better; None keeps the last epoch.
            progress: show bars or lines.
            unit: unit of the targets, for the axis of errors.

        Raises:
            TrainingError: the loss stopped being finite, or the training was interrupted.
            OutputError: the disk refuses.
        """
        module.to(memory_format=torch.channels_last)  # the faster layout for convolutions on every device
        resume = self.resume and has_checkpoint(self.folder)
        log = MetricsLog(self.folder, progress=progress, unit=unit)
        try:
            chosen = fit(module, data, recipe, log, self.begin, monitor=monitor, resume=resume)
        except FloatingPointError as error:
            raise TrainingError(
                f"run {self.folder} is no longer finite: {error}; start a new run with lower learning rates"
            ) from error
        except (OSError, OutputError) as error:
            if isinstance(error, OutputError) and not (self.folder / RUN_FILE).is_file():
                raise  # it has not begun
            reason = f"{error.strerror}; {remedy(error)}" if isinstance(error, OSError) and error.strerror else error
            raise OutputError(f"run {self.folder} stopped: {reason}, then continue it with --resume") from error
        weights, prefix = load_checkpoint(chosen)["state_dict"], f"{part}."
        network = module.get_submodule(part)
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        )
        network.cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]

    def finish(self, write: Callable[[], object]) -> None:
        """Write the result, once; every process then finds it written.

        Raises:
            MrisError: what `write` raises, in every process; an error of the system becomes an `OutputError`.
        """
        _together(write, leader_only=True)


def _together(act: Callable[[], object], *, leader_only: bool = False) -> None:
    """Act, and wait until all processes that train together have come so far; an error of one is an error of all."""
    in_group = torch.distributed.is_available() and torch.distributed.is_initialized()
    error: MrisError | None = None
    if not (in_group and leader_only and process_rank() != 0):
        try:
            act()
        except MrisError as refusal:
            error = refusal
        except OSError as refusal:
            error = OutputError(f"cannot write {refusal.filename}: {refusal.strerror}; {remedy(refusal)}")
    if in_group:
        errors: list[MrisError | None] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(errors, error)
        error = error or next((other for other in errors if other is not None), None)
    if error is not None:
        raise error


def _check_new(folder: Path) -> None:
    check_writable_folder(folder)
    if folder.exists() and any(folder.iterdir()):
        raise TrainingError(f"folder {folder} is not empty; choose another, or continue its run with --resume")


def _check_resumed(folder: Path, card: RunCard) -> None:
    missing = f"{folder} holds no run to resume ({RUN_FILE} is missing)"
    found = read_record(folder / RUN_FILE, RunCard, TrainingError, "start a new run", missing=missing)
    earlier = _stated(found.model_copy(update={"settings": card.defaults | found.settings}))
    for name, value in _stated(card).items():
        if earlier.get(name) != value:
            other = "other" if name.endswith("s") else "another"
            raise TrainingError(
                f"run {folder} was started with {other} {name} ({_difference(earlier.get(name), value)}); "
                "resume it with the same, or start a new run"
            )


def _stated(card: RunCard) -> dict[str, Any]:
    return {name: value for name, value in card.to_json().items() if value is not None}


def _difference(earlier: Any, now: Any) -> str:
    if isinstance(earlier, dict) and isinstance(now, dict):
        names = sorted(name for name in earlier.keys() | now.keys() if earlier.get(name) != now.get(name))
        return ", ".join(f"{name}: {earlier.get(name)} then, {now.get(name)} now" for name in names)
    return f"{earlier} then, {now} now"
