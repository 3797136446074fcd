"""``mris baseline train | synthesize | remove``: methods to compare retrieval with."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mris.choices import Method
from mris.cli.options import (
    OnError,
    PixelSpacing,
    Quiet,
    QuietTraining,
    Resume,
    SettingOptions,
    SourceFiles,
    SourceSide,
    TrainingCohort,
    TrainingDryRun,
    TrainingSeed,
    note,
    unfolded,
)
from mris.errors import BundleError, SettingsError
from mris.wording import counted

baseline_app = typer.Typer(
    no_args_is_help=True,
    help="Train and run methods to compare with: U-Net, pix2pix, TransUNet, autoencoder, regression of the embedding.",
)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(baseline_app, name="baseline")


@baseline_app.command("train")
@unfolded
def train(
    cohort: TrainingCohort,
    run: Annotated[Path, typer.Argument(help="New folder for the run.")],
    *,
    method: Annotated[
        Literal[Method, "embedding-ridge"],
        typer.Option(help="The method; embedding-ridge also needs --encoder."),
    ] = "unet",
    encoder: Annotated[
        Path | None, typer.Option(help="embedding-ridge: a finished run of mris train, whose embedding is regressed.")
    ] = None,
    preset: Annotated[
        Literal["small", "paper"],
        typer.Option(help="Named recipe: 'small' trains on a CPU in minutes, 'paper' has the published sizes."),
    ] = "small",
    asked: SettingOptions,
    seed: TrainingSeed = 0,
    resume: Resume = False,
    dry_run: TrainingDryRun = False,
    quiet: QuietTraining = False,
) -> None:
    """Train a method that maps the source to the target directly, on the same pairs and with the same care.

    Batches, augmentation and the choice of the epoch by the error of validation subjects are those of the encoders. RUN
    then holds baseline/, to be judged beside a bundle by the option --baseline NAME=RUN of the command evaluate.

    Examples:
      mris baseline train cohort unet --method unet

      mris baseline train cohort ridge --method embedding-ridge --encoder run
    """
    from mris.baselines.settings import preset as preset_settings
    from mris.cli.settings import describe_settings
    from mris.cohort.cohort import Cohort

    opened = Cohort.open(cohort)
    if method == "embedding-ridge":
        if encoder is None:
            raise SettingsError("method embedding-ridge regresses an embedding; name its run with --encoder RUN")
        if asked.settings or asked.set_ or asked.epochs:
            raise SettingsError("method embedding-ridge has no settings; leave out --settings, --set and --epochs")
        from mris.cli.bundles import encoder_folders

        folders = encoder_folders(encoder)
        if dry_run:
            typer.echo(f"{opened.describe()}\nwould regress the embedding of {', '.join(map(str, folders))} into {run}")
            return
        from mris.baselines.embedding_ridge import train_embedding_ridge
        from mris.metric.encoders import DualEncoder

        encoders = [DualEncoder.load(folder) for folder in folders]
        scale = encoders[0].spec.target_scale
        train_embedding_ridge(opened, run, encoders, target_scale=scale, seed=seed, resume=resume)
        typer.echo(f"trained {method}: {run}")
        return
    if encoder is not None:
        raise SettingsError(f"--encoder goes with method embedding-ridge, not with {method}; leave it out")
    chosen = asked.over(preset_settings(preset, method))
    if dry_run:
        typer.echo(f"{opened.describe()}\nwould train {chosen.method} into {run}, seed {seed}, with")
        typer.echo(describe_settings(chosen))
        return
    from mris.baselines.train import train_baseline
    from mris.training.processes import process_rank

    train_baseline(opened, run, chosen, seed=seed, resume=resume, progress=not quiet)
    if process_rank() == 0:  # several that train together say it once
        typer.echo(f"trained {chosen.method}: {run}")


@baseline_app.command("synthesize")
def synthesize(
    run: Annotated[Path, typer.Argument(help="A finished run of mris baseline train.")],
    files: SourceFiles,
    out: Annotated[Path, typer.Option(help="Folder for the maps.")] = Path("synthesis"),
    side: SourceSide = None,
    spacing: PixelSpacing = None,
    on_error: OnError = "stop",
    quiet: Quiet = False,
) -> None:
    """Predict the target image of new sources with a baseline: STEM.nii.gz and STEM.json for each file.

    A baseline shows no neighbors and no spread. It is here to be compared with, on the same files.

    Example: mris baseline synthesize unet knee.dcm --out maps --side left
    """
    from mris.baselines.files import predict_files
    from mris.baselines.predictor import open_baseline
    from mris.cohort.origin import SIMULATED_NOTE
    from mris.cohort.workers import shown
    from mris.knee.anatomy import KNEE

    baseline = open_baseline(run)
    if baseline.origin == "simulated":
        note(f"baseline {run} was {SIMULATED_NOTE}; its maps say nothing about a person")
    outcomes = predict_files(
        baseline,
        files,
        out,
        anatomy=KNEE,
        side=side,
        spacing=(spacing, spacing) if spacing else None,
        on_error=on_error,
    )
    n_done = 0
    for outcome in shown(outcomes, "Predicting", len(files), not quiet):
        if outcome.finding is None:
            n_done += 1
        else:
            typer.echo(f"skipped: {outcome.finding}", err=True)
        for text in outcome.notes:
            note(f"{outcome.path.name}: {text}")
    typer.echo(f"{n_done:,} of {counted(len(files), 'file')} predicted into {out}")
    if n_done == 0:
        raise SettingsError("no file could be used; the reasons stand above")


@baseline_app.command("remove")
def remove(
    run: Annotated[Path, typer.Argument(help="A finished run of mris baseline train.")],
    subjects: Annotated[list[str], typer.Argument(help="Subjects to remove.")],
) -> None:
    """Remove people from the list of whom a baseline was trained on.

    The network stays as it is, and an evaluation no longer knows that it has seen them.

    Example: mris baseline remove unet 9001104 9001897
    """
    from mris.baselines.predictor import baseline_folder
    from mris.cohort.training_subjects import read_training_subjects, write_training_subjects

    folder = baseline_folder(run)
    record = read_training_subjects(folder)
    if record is None:
        raise BundleError(f"baseline {folder} does not say whom it was trained on; nothing was removed")
    unknown = sorted(set(subjects) - set(record.among(subjects)))
    if unknown:
        names = ", ".join(map(repr, unknown[:5]))
        raise BundleError(f"baseline {folder} has no training subject {names}; nothing was removed")
    left = record.without(subjects)
    write_training_subjects(folder, left)
    typer.echo(f"removed {counted(len(record) - len(left), 'training subject')}")
