"""Train a Lightning module for a run folder: device, precision, seeds, checkpoints, resume, logs."""

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mris.errors import SettingsError, TrainingError
from mris.training.callbacks import Beginning, Checkpoints, MetricsLog, Patience
from mris.training.lightning_library import (
    ClusterEnvironment,
    CUDAAccelerator,
    LightningEnvironment,
    MPSAccelerator,
    SLURMEnvironment,
    disable_possible_user_warnings,
    lightning,
    rank_zero_only,
)
from mris.training.precision import choose_precision
from mris.training.recipe import Recipe
from mris.training.run_folder import LAST_CHECKPOINT, RUN_FILE
from mris.training.safetensors_io import SafetensorsIO

BEST_CHECKPOINT = "checkpoints/best.safetensors"


def has_checkpoint(run: Path) -> bool:
    """Whether a run finished an epoch, so that it can be continued; before that it starts from the beginning."""
    return (run / LAST_CHECKPOINT).is_file()


def check_devices(accelerator: str, devices: int | str, num_nodes: int) -> None:
    """Refuse devices that this machine does not have, and processes that the SLURM job has not started.

    Raises:
        SettingsError: a GPU is asked for and none is there, or fewer than asked for; or see `launchers`.
    """
    launchers(accelerator, devices, num_nodes)
    if accelerator != "gpu":
        return
    there = max(CUDAAccelerator.auto_device_count(), int(MPSAccelerator.is_available()))
    if there < (devices if isinstance(devices, int) else 1):
        raise SettingsError(
            f"accelerator is 'gpu', devices {devices!r}, but torch finds {there} here; choose fewer, or 'cpu'"
        )


def launchers(accelerator: str, devices: int | str, num_nodes: int) -> list[ClusterEnvironment]:
    """Say who starts the processes that train together, where it is not what Lightning would guess.

    Lightning takes any variables of SLURM for those of `srun`, which starts a process a device. But a training of one
    process, or of all devices of a node in a job of one task, may run inside any job.

    Raises:
        SettingsError: several processes train, and SLURM has started another number of tasks.
    """
    if not SLURMEnvironment.detect():
        return []
    n_processes = _n_devices(accelerator, devices) * num_nodes
    n_tasks = os.environ.get("SLURM_NTASKS", "1")
    if n_processes == 1:
        rank_zero_only.rank = 0  # type: ignore[attr-defined]  # whatever the number of this task is
        return [LightningEnvironment()]
    if num_nodes == 1 and n_tasks == "1":
        return [LightningEnvironment()]
    if n_tasks != str(n_processes) or "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise SettingsError(
            f"{n_processes} processes train together (one a device, on {num_nodes} nodes), but the SLURM job has "
            f"{n_tasks} tasks; ask for --nodes {num_nodes} --ntasks-per-node {n_processes // num_nodes} and start with "
            "srun, or train on one device"
        )
    return []


def _n_devices(accelerator: str, devices: int | str) -> int:
    if isinstance(devices, int) and devices > 0:
        return devices
    if isinstance(devices, str) and devices[:1].isdigit():
        return int(devices) if devices.isdigit() else devices.count(",") + 1
    return 1 if accelerator == "cpu" else max(CUDAAccelerator.auto_device_count(), 1)


def _strategy(module: lightning.LightningModule, recipe: Recipe) -> str:
    """Name how processes share gradients: several optimizers, each in its turn, leave the others' parameters unused."""
    n_processes = _n_devices(recipe.accelerator, recipe.devices) * recipe.num_nodes
    takes_turns = n_processes > 1 and not module.automatic_optimization
    return "ddp_find_unused_parameters_true" if takes_turns else "auto"


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice about itself out of the user's terminal; our own messages and errors stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    excepthook = threading.excepthook
    with warnings.catch_warnings():
        disable_possible_user_warnings()
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        # TensorBoard's writer hands its error to the training and would print it, too.
        threading.excepthook = lambda args: None if isinstance(args.exc_value, OSError) else excepthook(args)
        try:
            yield
        finally:
            threading.excepthook = excepthook
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def fit(
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    recipe: Recipe,
    log: MetricsLog,
    begin: Callable[[], None],
    *,
    monitor: str | None,
    resume: bool,
) -> Path:
    """Train `module`, leaving ``checkpoints/``, ``metrics.csv``, ``curves.png`` and ``tensorboard/`` in a run's folder.

    A checkpoint is written after every epoch, atomically, so that an interrupted run loses less than one epoch.
    Batches and augmentation must depend on the epoch's number only; then a resumed run equals an uninterrupted one.
    Nothing is written before all processes that train together have met.

    Args:
        module: holds networks, loss and validation; logs `monitor`, if any, at each validation.
        data: gives the batches of an epoch.
        recipe: epochs (a resumed run continues up to their number), devices, precision.
        log: writes the metrics into the run's folder, and says whether bars or lines are shown.
        begin: called by every process once all have met, before the first file.
        monitor: the metric that chooses the checkpoint, smaller is better; None chooses the last epoch.
        resume: continue from the last finished epoch.

    Returns:
        The checkpoint with the smallest monitored value, or the last one where nothing is monitored; the same file for
        every process.

    Raises:
        TrainingError: nothing to resume from, the loss is not finite, or no epoch was ever validated.
    """
    run, last = log.folder, log.folder / LAST_CHECKPOINT
    folder = last.parent
    if resume and not has_checkpoint(run):
        raise TrainingError(f"run {run} has no checkpoint to resume from; leave out --resume to start it")
    on_gpu = recipe.accelerator != "cpu" and torch.cuda.is_available()
    checkpoints = [
        Checkpoints(folder, "last", save_top_k=1, enable_version_counter=False, save_on_train_epoch_end=True)
    ]
    if monitor is not None:  # before the other: the last checkpoint then knows of this epoch's best
        checkpoints.insert(0, Checkpoints(folder, "best", monitor, save_top_k=1, enable_version_counter=False))
    callbacks = [Beginning(begin, run), *checkpoints, log]
    if recipe.patience is not None and monitor is not None:
        callbacks.append(Patience(monitor, patience=recipe.patience, check_on_train_epoch_end=False))
    with quiet_lightning():
        trainer = lightning.Trainer(
            accelerator=recipe.accelerator,
            devices=recipe.devices,
            num_nodes=recipe.num_nodes,
            strategy=_strategy(module, recipe),
            max_epochs=recipe.epochs,
            precision=choose_precision(recipe.precision, accelerator=recipe.accelerator),
            check_val_every_n_epoch=min(recipe.validate_every, recipe.epochs),
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            sync_batchnorm=on_gpu,  # torch has it for GPUs only; on CPUs each process normalizes its own batch
            log_every_n_steps=50,
            logger=False,  # `Beginning` gives it one
            callbacks=callbacks,
            plugins=[SafetensorsIO(), *launchers(recipe.accelerator, recipe.devices, recipe.num_nodes)],
            enable_progress_bar=log.shows_bars,
            enable_model_summary=False,
            deterministic="warn" if on_gpu else True,
        )
        try:
            trainer.fit(module, data, ckpt_path=str(last) if resume else None)
        except (KeyboardInterrupt, SystemExit) as error:  # Lightning leaves the program after Ctrl-C
            way_on = "continue it with --resume" if (run / RUN_FILE).is_file() else "start it again"
            raise TrainingError(f"training of {run} was interrupted; {way_on}") from error
        # The leading process wrote it; the folder of another may be a temporary one of its own.
        chosen: Path = trainer.strategy.broadcast(last if monitor is None else run / BEST_CHECKPOINT)
    if not chosen.is_file():
        raise TrainingError(f"run {run} ended without a validated epoch; give it at least one epoch")
    return chosen
