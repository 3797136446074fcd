"""Training throughput against the bare loop, and bfloat16 against float32.

The bare loop does forward, loss, backward, clipping and step on tensors that are already in memory; training adds
reading, augmentation, logging and Lightning. Both run in this process, in turn, on the same batches.

Usage: python benchmarks/training.py [--size 64] [--width 16] [--batch 64] [--steps 20] [--repeats 3]
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is loaded

import lightning
import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.images.transforms import SourcePreparation
from mris.metric.data import PairsData
from mris.metric.encoders import DualEncoder
from mris.metric.losses import CrossModalTripletLoss
from mris.metric.module import MetricModule
from mris.metric.settings import TrainSettings, preset
from mris.training.card import EncoderSpec
from mris.training.pairs import Batch
from mris.training.precision import cpu_has_bf16
from mris.training.trainer import quiet_lightning


def write_cohort(folder: Path, n_subjects: int, size: int) -> Cohort:
    rng = np.random.default_rng(0)
    lines = ["subject,timepoint,source,target_femoral,target_tibial,split"]
    for i in range(n_subjects):
        arrays = {"source": rng.random((size, size)), "femoral": rng.random((size, size)) * 3}
        np.savez(folder / f"{i}.npz", **{name: value.astype(np.float32) for name, value in arrays.items()})
        split = "val" if i < 4 else "train"
        lines.append(f"S{i},0,{i}.npz::source,{i}.npz::femoral,{i}.npz::femoral,{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    settings = PrepareSettings(SourcePreparation((size, size)), (size, size), workers=1)
    prepare_cohort(folder / "manifest.csv", folder / "cohort", settings, progress=False)
    return Cohort.open(folder / "cohort")


def bare_loop(encoder: DualEncoder, batches: list[Batch], settings: TrainSettings, *, bf16: bool = False) -> float:
    encoder.train()
    loss_of = CrossModalTripletLoss(settings.margin, settings.reduction)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-5)
    started = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            sources, targets = encoder(
                batch.sources.contiguous(memory_format=torch.channels_last),
                batch.targets.contiguous(memory_format=torch.channels_last),
            )
        loss_of(sources.float(), targets.float(), batch.subjects).backward()
        for network in (encoder.source, encoder.target):
            clip_grad_norm_(network.parameters(), settings.clip_norm)
        optimizer.step()
    return time.perf_counter() - started


class _Clock(lightning.Callback):
    """Times the training part of an epoch, from its first batch to its last step."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: lightning.Trainer, *arguments: object) -> None:
        self.seconds = time.perf_counter() - self.started


def real_training(module: MetricModule, data: PairsData, folder: Path) -> float:
    clock = _Clock()
    with quiet_lightning():
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_val_batches=0,
            logger=lightning.pytorch.loggers.TensorBoardLogger(folder),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock],
        )
        trainer.fit(module, data)
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 64), ("width", 16), ("batch", 64), ("steps", 20), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    settings = preset("small-paper").model_copy(update={"width": options.width, "batch_size": options.batch})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cohort = write_cohort(folder, options.batch * options.steps + 4, options.size)
        data = PairsData(cohort, cohort.regions, settings, seed=0)
        spec = EncoderSpec.for_cohort(
            cohort.header, regions=cohort.regions, target_scale=3.0, width=options.width, embedding_dim=128
        )
        encoder = DualEncoder(spec).to(memory_format=torch.channels_last)
        module = MetricModule(encoder, settings, data.judged, seed=0)
        rows = np.arange(options.batch * options.steps).reshape(options.steps, -1)
        batches = [data.reader.read(row) for row in rows]
        bare_loop(encoder, batches[:3], settings)
        pairs = [
            (bare_loop(encoder, batches, settings), real_training(module, data, folder)) for _ in range(options.repeats)
        ]
        n = options.batch * options.steps
        print(
            f"{options.size} px, width {options.width}, batches of {options.batch}, {torch.get_num_threads()} threads"
        )
        print(f"bare loop:  {n / statistics.median(bare for bare, _ in pairs):8.1f} pairs/s (median)")
        print(f"mris train: {n / statistics.median(real for _, real in pairs):8.1f} pairs/s (median)")
        ratio = statistics.median(bare / real for bare, real in pairs)
        print(f"throughput of training / bare loop: {ratio:.2f} (median of {len(pairs)} pairs; goal >= 0.85)")
    where = "has" if cpu_has_bf16() else "has no"
    chosen = "bfloat16" if cpu_has_bf16() else "float32"
    print(f"float32 / bfloat16 time of the bare loop; this CPU {where} bfloat16 arithmetic, 'auto' chooses {chosen}")
    print("(goal >= 1.8 where it has, for ResNet-18)")
    for width, size, batch in ((options.width, options.size, options.batch), (64, 128, 32), (64, 256, 16)):
        ratio = bf16_ratio(settings, width, size, batch, options.repeats)
        print(f"  width {width}, {size} px, batches of {batch}: {ratio:.2f} (median of {options.repeats} pairs)")


def bf16_ratio(settings: TrainSettings, width: int, size: int, batch: int, repeats: int) -> float:
    """Time of a few steps in float32 as a multiple of those in bfloat16, in turn, after a warm-up of both."""
    spec = EncoderSpec(
        regions=("femoral", "tibial"),
        source_shape=(1, size, size),
        target_shape=(2, size, size),
        target_scale=3.0,
        unit="mm",
        target_spacing=None,
        preparation=SourcePreparation((size, size)),
        width=width,
        embedding_dim=128,
    )
    encoder = DualEncoder(spec).to(memory_format=torch.channels_last)
    valid = torch.ones(batch, 2, size, size, dtype=torch.bool)
    one = Batch(torch.rand(batch, 1, size, size), torch.rand(batch, 2, size, size), valid, torch.arange(batch))
    for bf16 in (False, True):
        bare_loop(encoder, [one, one], settings, bf16=bf16)
    steps = [one] * 4
    return statistics.median(
        bare_loop(encoder, steps, settings) / bare_loop(encoder, steps, settings, bf16=True) for _ in range(repeats)
    )


if __name__ == "__main__":
    main()
