"""Training on a GPU: pairs a second beside the bare loop, memory, and some hundred steps of the preset "best".

    python -m benchmarks.gpu

ResNet-18 at 256 pixels, by the triplet loss and by both objectives, in the format that "auto" chooses. Without a GPU
the same is done with small images on the CPU, and the first line says so. `benchmarks/gpu.sh` runs the tests for GPUs
before.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mris.bench.training import bare_loop, random_cohort, train_an_epoch, trained_on
from mris.choices import Objective
from mris.cohort.cohort import Cohort
from mris.metric.settings import preset
from mris.metric.train import train_encoders
from mris.training.callbacks import read_metrics
from mris.training.precision import choose_precision

GOAL = 0.95


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        pixels: Rows and columns of an image.
        width: Channels of the first stage; 64 is ResNet-18.
        batch: Pairs of a step.
        steps: Steps of an epoch.
        rounds: Epochs of each kind.
        epochs: Epochs of the preset "best".
    """

    pixels: int
    width: int
    batch: int
    steps: int
    rounds: int
    epochs: int


ON_A_GPU = Size(pixels=256, width=64, batch=64, steps=20, rounds=5, epochs=15)
ON_A_CPU = Size(pixels=32, width=8, batch=8, steps=4, rounds=1, epochs=2)


def main() -> None:
    on_gpu = torch.cuda.is_available()
    size, device = (ON_A_GPU, torch.device("cuda")) if on_gpu else (ON_A_CPU, torch.device("cpu"))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}" if on_gpu else "not run on a GPU")
    with tempfile.TemporaryDirectory() as folder:
        cohort = random_cohort(Path(folder), size.batch * size.steps, size.pixels)
        objectives: tuple[Objective, ...] = ("triplet", "both")
        for objective in objectives:
            print(throughput(cohort, objective, size, device), flush=True)
        print(best_preset(cohort, size, device, Path(folder) / "run"))


def throughput(cohort: Cohort, objective: Objective, size: Size, device: torch.device) -> str:
    """Train an epoch and do the bare loop, in turns, after once for nothing."""
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    precision = choose_precision("auto", accelerator=accelerator)
    module, data = trained_on(
        cohort, objective, recipe="best" if objective == "both" else "paper", width=size.width, batch_size=size.batch
    )
    n = size.batch * size.steps
    rows = np.arange(n).reshape(size.steps, -1)
    batches = [type(batch)(*(part.to(device) for part in batch)) for batch in map(data.reader.read, rows)]
    pairs = []
    for _ in range(size.rounds + 1):
        module.to(device, memory_format=torch.channels_last)
        bare = bare_loop(module, batches, bf16=precision == "bf16-mixed")
        pairs.append((bare, train_an_epoch(module, data, accelerator=accelerator, precision=precision)))
    bare, trained = (n / statistics.median(seconds) for seconds in zip(*pairs[1:], strict=True))
    ratio = statistics.median(bare / trained for bare, trained in pairs[1:])
    return (
        f"{objective}, {size.pixels} px, width {size.width}, batches of {size.batch}, {precision}: bare loop "
        f"{bare:.0f} pairs/s, training {trained:.0f} pairs/s, ratio {ratio:.2f} (median of {size.rounds} pairs; "
        f"goal {GOAL})" + peak_memory(device)
    )


def best_preset(cohort: Cohort, size: Size, device: torch.device, run: Path) -> str:
    """Train by the preset "best" for some hundred steps, with validation, checkpoints and logs."""
    small = {} if device.type == "cuda" else {"width": size.width, "embedding_dim": 32, "batch_size": size.batch}
    settings = preset("best").model_copy(update={"epochs": size.epochs, "devices": 1, **small})
    started = time.perf_counter()
    train_encoders(cohort, run, settings=settings, progress=False)
    losses = [row["loss/train"] for row in read_metrics(run / "metrics.csv")]
    return (
        f"preset best, {size.epochs} epochs of {len(cohort.subjects)} people at {size.pixels} px: loss from "
        f"{losses[0]:.3f} to {losses[-1]:.3f} in {time.perf_counter() - started:.0f} s, export included"
        + peak_memory(device)
    )


def peak_memory(device: torch.device) -> str:
    """Say what a GPU's memory held at most, and begin anew."""
    if device.type != "cuda":
        return ""
    peak = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.reset_peak_memory_stats(device)
    return f"; at most {peak:.1f} GB of the GPU's memory"


if __name__ == "__main__":
    main()
