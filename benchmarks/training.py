"""Training throughput against the bare loop, and bfloat16 against float32.

The bare loop does forward, loss, backward, clipping and step on tensors that are already in memory; training adds
reading, augmentation, logging and Lightning. Both run in this process, in turn, on the same batches.

Usage: python benchmarks/training.py [--size 64] [--width 16] [--batch 64] [--steps 20] [--repeats 3]
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is loaded

import numpy as np
import torch

from mris.bench.training import bare_loop, random_cohort, train_an_epoch, trained_on
from mris.metric.module import MetricModule
from mris.training.pairs import Batch
from mris.training.precision import cpu_has_bf16

GOAL = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 64), ("width", 16), ("batch", 64), ("steps", 20), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    changes = {"width": options.width, "batch_size": options.batch}
    with tempfile.TemporaryDirectory() as temporary:
        cohort = random_cohort(Path(temporary), options.batch * options.steps, options.size)
        n = options.batch * options.steps
        rows = np.arange(n).reshape(options.steps, -1)
        print(
            f"{options.size} px, width {options.width}, batches of {options.batch}, {torch.get_num_threads()} threads"
        )
        for objective in ("triplet", "synthesis", "both"):
            module, data = trained_on(cohort, objective, **changes)
            batches = [data.reader.read(row) for row in rows]
            bare_loop(module, batches[:3])
            pairs = [(bare_loop(module, batches), train_an_epoch(module, data)) for _ in range(options.repeats)]
            bare, real = (n / statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(bare / real for bare, real in pairs)
            print(
                f"{objective}: bare loop {bare:.1f} pairs/s, training {real:.1f} pairs/s (medians); ratio {ratio:.2f} "
                f"(median of {len(pairs)} pairs; goal >= {GOAL})",
                flush=True,
            )
        where = "has" if cpu_has_bf16() else "has no"
        chosen = "bfloat16" if cpu_has_bf16() else "float32"
        print(
            f"float32 / bfloat16 time of the bare loop; this CPU {where} bfloat16 arithmetic, 'auto' chooses {chosen}"
        )
        print("(goal >= 1.8 where it has, for ResNet-18)")
        for width, size, batch in ((options.width, options.size, options.batch), (64, 128, 32), (64, 256, 16)):
            cohort = random_cohort(Path(temporary) / f"{width}-{size}", 4, size)
            module, _ = trained_on(cohort, "triplet", width=width)
            ratio = bf16_ratio(module, size, batch, options.repeats)
            print(f"  width {width}, {size} px, batches of {batch}: {ratio:.2f} (median of {options.repeats} pairs)")


def bf16_ratio(module: MetricModule, size: int, batch: int, repeats: int) -> float:
    """Time of a few steps in float32 as a multiple of those in bfloat16, in turn, after a warm-up of both."""
    valid = torch.ones(batch, 2, size, size, dtype=torch.bool)
    one = Batch(torch.rand(batch, 1, size, size), torch.rand(batch, 2, size, size), valid, torch.arange(batch))
    for bf16 in (False, True):
        bare_loop(module, [one, one], bf16=bf16)
    steps = [one] * 4
    return statistics.median(bare_loop(module, steps) / bare_loop(module, steps, bf16=True) for _ in range(repeats))


if __name__ == "__main__":
    main()
