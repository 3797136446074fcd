"""Measures of training, beside the bare loop: forward, loss, backward, clipping and step on tensors in memory."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mris.bench.measured import Measured, beside
from mris.choices import Objective
from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.images.transforms import SourcePreparation
from mris.metric.data import PairsData
from mris.metric.module import MetricModule
from mris.metric.settings import PresetName, preset
from mris.metric.train import encoder_spec, trainable
from mris.training.lightning_library import lightning
from mris.training.networks import embed_with_features
from mris.training.pairs import Batch
from mris.training.precision import Precision
from mris.training.trainer import quiet_lightning

_VALIDATION = 4


def measure_training(*, size: int, steps: int, rounds: int) -> Iterator[Measured]:
    """Measure training with the preset "small", by the triplet loss and by both objectives, on random images.

    Args:
        size: Rows and columns of sources and targets.
        steps: Steps of an epoch.
        rounds: Epochs of each kind.

    Raises:
        OutputError: There is no room for a small cohort where temporary files are made.
    """
    with tempfile.TemporaryDirectory() as folder:
        batch_size = preset("small").batch_size
        cohort = random_cohort(Path(folder), batch_size * steps, size)
        for objective in ("triplet", "both"):
            module, data = trained_on(cohort, objective)
            rows = np.arange(batch_size * steps).reshape(steps, -1)
            batches = [data.reader.read(part) for part in rows]
            yield beside(
                f"train by {'the triplet loss' if objective == 'triplet' else 'both objectives'} at {size} pixels, "
                "beside the bare loop",
                "pairs",
                batch_size * steps,
                partial(train_an_epoch, module, data),
                partial(bare_loop, module, batches),
                usual=0.8,
                rounds=rounds,
            )


def random_cohort(folder: Path, people: int, size: int) -> Cohort:
    """Make a cohort of so many people in the split "train", and a few in "val", of random images."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    lines = ["subject,timepoint,source,target_inner,target_outer,split"]
    for number in range(people + _VALIDATION):
        source, inner, outer = rng.random((3, size, size), dtype=np.float32)
        np.savez(folder / f"{number}.npz", source=source, inner=inner, outer=outer)
        split = "val" if number < _VALIDATION else "train"
        lines.append(f"S{number},0,{number}.npz::source,{number}.npz::inner,{number}.npz::outer,{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    settings = PrepareSettings(SourcePreparation((size, size)), (size, size), workers=1)
    prepare_cohort(folder / "manifest.csv", folder / "cohort", settings, progress=False)
    return Cohort.open(folder / "cohort")


def trained_on(
    cohort: Cohort, objective: Objective, *, recipe: PresetName = "small", **changes: int
) -> tuple[MetricModule, PairsData]:
    """What a training with a preset, or with some changes to it, is made of, by one of the objectives."""
    settings = preset(recipe).model_copy(update={"objective": objective, **changes})
    return trainable(cohort, encoder_spec(cohort, cohort.regions, settings), settings, seed=0)


def train_an_epoch(
    module: MetricModule, data: PairsData, *, accelerator: str = "cpu", precision: Precision = "32-true"
) -> float:
    """Train for an epoch as `mris train` does, without validation; gives the seconds from first batch to last step."""
    clock = _Clock()
    with quiet_lightning():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,
            max_epochs=1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock],
        )
        trainer.fit(module, data)
    return clock.seconds


def bare_loop(module: MetricModule, batches: Sequence[Batch], *, bf16: bool = False) -> float:
    """Do the steps of a training and nothing else, on batches where the module is; gives their seconds."""
    module.train()
    device = next(module.parameters()).device
    (optimizer,), _ = module.configure_optimizers()
    started = time.perf_counter()
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            sources = batch.sources.contiguous(memory_format=torch.channels_last)
            embedded, features = embed_with_features(module.encoder.source, sources)
            loss = module.loss(embedded.float(), features.float(), batch, step)
        loss.backward()  # type: ignore[no-untyped-call]
        module.on_before_optimizer_step(optimizer)
        optimizer.step()
    _finish(device)
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Clock(lightning.Callback):
    """Times the training part of an epoch, from its first batch to its last step."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        _finish(pl_module.device)
        self.started = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        *arguments: object,  # noqa: ARG002
    ) -> None:
        if trainer.is_last_batch:
            _finish(pl_module.device)
            self.seconds = time.perf_counter() - self.started
