"""``mris train``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mris.choices import Objective
from mris.cli.options import (
    QuietTraining,
    Resume,
    SettingOptions,
    TrainingCohort,
    TrainingDryRun,
    TrainingSeed,
    names_in,
    note,
    unfolded,
)
from mris.errors import SettingsError

if TYPE_CHECKING:
    from mris.cohort.cohort import Cohort


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("train")(unfolded(train))


def train(
    cohort: TrainingCohort,
    run: Annotated[Path, typer.Argument(help="New folder for the run: settings, logs, curves, checkpoints, encoder.")],
    *,
    preset: Annotated[
        Literal["small", "best", "paper", "small-paper", "varied"],
        typer.Option(
            help="Named recipe: 'small' trains on a CPU in minutes, 'best' on a GPU for thousands of people, 'paper' "
            "is the published one, 'small-paper' the same with thin networks on a CPU, 'varied' 'small' for simulated "
            "sources that are to tell of real ones."
        ),
    ] = "small",
    objective: Annotated[
        Objective | None,
        typer.Option(
            help="What is asked of the encoders: that the average of other people's maps be near the truth "
            "(synthesis), that the own map be nearer than others' (triplet, the paper's), or both; the preset's by "
            "default."
        ),
    ] = None,
    asked: SettingOptions,
    regions: Annotated[
        str | None, typer.Option(help="Target regions to learn from, separated by commas; all by default (MRIS-C).")
    ] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="Train one run for each region, in RUN/<region> (MRIS-S).")
    ] = False,
    seed: TrainingSeed = 0,
    resume: Resume = False,
    devices: Annotated[
        str | None, typer.Option(help="Devices to train on: a number or 'auto'; several train together (DDP).")
    ] = None,
    dry_run: TrainingDryRun = False,
    quiet: QuietTraining = False,
) -> None:
    """Train a source and a target encoder into one embedding space.

    After every epoch the validation subjects judge: recall over all of them, and the error of synthesis from
    training targets, which chooses the checkpoint; beside it stands the error of the mean training map. RUN then holds
    encoder/, run.json, metrics.csv, curves.png, tensorboard/ and checkpoints/.

    Examples:
      mris train cohort run --seed 1

      mris train cohort run --preset paper --set batch_size=128 --devices 4

      mris train cohort run --separate --resume
    """
    from mris.cli.settings import describe_settings
    from mris.cohort.cohort import Cohort
    from mris.metric.settings import preset as preset_settings

    number = int(devices) if devices is not None and devices.isdecimal() else devices
    chosen = asked.over(preset_settings(preset), objective=objective, devices=number)
    opened = Cohort.open(cohort)
    names = names_in(regions) if regions else opened.regions
    opened.region_channels(names)
    if separate:
        _require_folder_names(opened, names)
    groups = [(run / name, (name,)) for name in names] if separate else [(run, names)]
    if dry_run:
        typer.echo(opened.describe())
        for folder, group in groups:
            typer.echo(f"would train on {', '.join(group)} into {folder}, seed {seed}, with")
        typer.echo(describe_settings(chosen))
        return
    from mris.metric.train import train_encoders
    from mris.training.processes import process_rank

    for folder, group in groups:
        again = resume and (folder / "run.json").is_file()
        if resume and not again and not separate:
            again = True  # let the trainer say what is missing
        train_encoders(opened, folder, settings=chosen, regions=group, seed=seed, resume=again, progress=not quiet)
        if process_rank() == 0:  # several that train together say it once
            typer.echo(f"trained {', '.join(group)}: {folder}")
            _tell_outcome(opened, folder)


def _require_folder_names(cohort: "Cohort", regions: Sequence[str]) -> None:
    """Refuse regions that are no folder of a run: cohorts took any name once, and one could lead out of RUN."""
    from mris.cohort.header import region_finding

    for region in regions:
        fault = region_finding(region)
        if fault is not None:
            raise SettingsError(
                f"cohort {str(cohort.path)!r} has a region {region!r}: {fault}; rename its column in the manifest and "
                "prepare the cohort again, or train without --separate"
            )


def _tell_outcome(cohort: "Cohort", run: Path) -> None:
    """Say what a training came to on validation people."""
    from mris.metric.outcome import Outcome

    outcome = Outcome.read(run, cohort.header.unit)
    if outcome is None:
        return
    typer.echo(outcome.sentence())
    people = cohort.subjects[cohort.splits == "val"]
    for text in outcome.notes(len(people), len(set(people))):
        note(text)
