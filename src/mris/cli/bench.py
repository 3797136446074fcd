"""``mris bench``: what this machine gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mris.cli.options import UsedBundle
from mris.storage.address import local_folder

if TYPE_CHECKING:
    from mris.bench.measured import Measured


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("bench")(bench)


def bench(
    bundle: UsedBundle = "digital",
    size: Annotated[int, typer.Option(min=16, help="Rows and columns of the images to train on.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="How often each operation is measured.")] = 5,
    train: Annotated[bool, typer.Option(help="Measure training, too; it needs torch.")] = True,
) -> None:
    """Print how fast this machine encodes, searches, averages, synthesizes and trains: is the installation sound?

    Each operation is measured beside the bare one that it cannot do without. Their ratio hardly depends on the machine:
    where it is low, the machine is busy, or its libraries share its cores badly.

    Example: mris bench --rounds 3
    """
    from mris.cores import machine

    typer.echo(machine())
    found = []
    for one in _measured(local_folder(bundle, "BUNDLE"), size, rounds, train):
        found.append(one)
        mark = "" if one.sound else f"  low: usual is {one.usual:.2f} and more"
        typer.echo(f"{one.name}: {one.rate:,.0f} {one.unit}/s, {one.ratio:.2f} of {one.bare:,.0f}{mark}")
    low = sum(not one.sound for one in found)
    if low:
        typer.echo(
            f"{low} of {len(found)} are low: run it again while nothing else does; if they stay low, set "
            "OMP_NUM_THREADS to the number of cores that this machine really has"
        )
    else:
        typer.echo(f"all {len(found)} are as they should be")


def _measured(bundle: Path, size: int, rounds: int, train: bool) -> "Iterator[Measured]":
    import numpy as np

    from mris.bench.queries import measure_queries
    from mris.synthesis.bundle import Bundle

    yield from measure_queries(Bundle.open(bundle), np.random.default_rng(0), rounds)
    if train:
        from mris.bench.training import measure_training

        yield from measure_training(size=size, steps=6, rounds=rounds)
