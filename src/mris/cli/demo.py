"""``mris demo``: the whole road on the digital knee cohort."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mris.cli.options import QuietTraining
from mris.errors import SettingsError

if TYPE_CHECKING:
    from mris.cohort.cohort import Cohort

N_QUERIES = 6
"""Test knees whose maps the demo writes."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Argument(help="Folder for everything the demo makes.")] = Path("demo"),
    subjects: Annotated[int, typer.Option(min=60, help="Digital persons; each has two knees.")] = 2000,
    size: Annotated[int, typer.Option(min=32, help="Rows and columns of the images.")] = 64,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of training; the preset's by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything.")] = 0,
    quiet: QuietTraining = False,
) -> None:
    """Walk the whole road in a few minutes: phantom, prepare, train, index, synthesize, evaluate, report.

    Every step can be repeated by hand with the command it prints. Interrupted, the same call goes on.

    Example: mris demo --subjects 400 --size 64 --epochs 5
    """
    from mris.cli.bundles import encoder_folders
    from mris.cohort.cohort import Cohort
    from mris.cohort.prepare import PrepareSettings, prepare_cohort
    from mris.evaluation.bundle_evaluation import METHOD_NAME, evaluate_bundle
    from mris.evaluation.references import REFERENCE_NAMES
    from mris.evaluation.verdict import against
    from mris.images.transforms import SourcePreparation
    from mris.images.write import folder_beside
    from mris.knee.anatomy import KNEE
    from mris.knee.map_edges import PHANTOM_EDGES
    from mris.knee.phantom.cohort import write_phantom
    from mris.reporting.html import write_evaluation
    from mris.reporting.report_tables import all_tables
    from mris.reporting.tables import markdown
    from mris.serving.files import FileOptions, synthesize_files
    from mris.serving.pictures import Look
    from mris.synthesis.build_bundle import build_bundle
    from mris.synthesis.bundle import Bundle

    progress, started = not quiet, time.perf_counter()
    knees, folder, run, path = out / "knees", out / "cohort", out / "run", out / "knees.bundle"
    maps, report_folder = out / "maps", out / "report"
    for place in (out, knees, folder, run, path, maps, report_folder):
        if place.exists() and not place.is_dir():
            raise SettingsError(f"{place} is a file; choose a folder for the demo")
    _check_folders(folder, run, path, report_folder)  # that of the knees is checked by the first step

    def step(command: str) -> None:
        typer.secho(f"[{time.perf_counter() - started:4.0f} s] mris {command}", fg="cyan")

    # Nearly true maps: an error is then what the method misses, and not the noise of extraction.
    step(f"phantom {knees} --subjects {subjects} --size {size} --seed {seed} --visits 1 --enriched --extraction smooth")
    write_phantom(
        knees, n_subjects=subjects, size=size, seed=seed, enriched=True, max_visits=1, extraction="smooth",
        progress=progress,
    )  # fmt: skip

    step(f"prepare {knees}/manifest.csv {folder} --size {size} --mirror right --stratify klg")
    settings = PrepareSettings(SourcePreparation((size, size), mirror_sides=("right",)), (size, size), stratify="klg")
    prepare_cohort(knees / "manifest.csv", folder, settings, progress=progress)
    cohort = Cohort.open(folder)

    step(f"train {folder} {run} --preset small --seed {seed}")
    _train(cohort, run, epochs, seed, progress)

    step(f"index {run} {folder} {path}")
    if not _holds_something(path):
        from mris.metric.encoders import DualEncoder
        from mris.metric.export import export_encoder

        with folder_beside(path) as temporary:
            exported = [export_encoder(DualEncoder.load(part), temporary) for part in encoder_folders(run)]
            build_bundle(exported, cohort, path, progress=progress)
    bundle = Bundle.open(path)

    step(f"synthesize {path} {knees}/.../*_left.png --side left --out {maps}")
    options = FileOptions(side="left", look=Look(edges=PHANTOM_EDGES))
    list(synthesize_files(bundle.synthesizer(anatomy=KNEE), _queries(cohort, knees), maps, options))

    step(f"evaluate {path} {folder} --by klg --out {report_folder}")
    evaluation = evaluate_bundle(bundle, cohort, by=("klg",), seed=seed, progress=progress)
    report = write_evaluation(evaluation, report_folder)
    typer.echo("\n".join(markdown(table) for table in all_tables(evaluation.results)[:1]))
    for sentence in against(evaluation.results, METHOD_NAME, REFERENCE_NAMES[-1]):
        typer.echo(sentence)
    step(f"is done; open {report}")


def _train(cohort: "Cohort", run: Path, epochs: int | None, seed: int, progress: bool) -> None:
    """Train, or continue a run that was interrupted, or leave a finished one as it is."""
    from mris.metric.settings import preset
    from mris.metric.train import train_encoders
    from mris.training.run_folder import LAST_CHECKPOINT

    settings = preset("small")
    if epochs is not None:
        settings = settings.model_copy(update={"epochs": epochs})
    started_before = (run / LAST_CHECKPOINT).is_file()
    if _holds_something(run) and not started_before:
        _check_run(run)
        shutil.rmtree(run)  # not one epoch was finished
    train_encoders(cohort, run, settings=settings, seed=seed, resume=started_before, progress=progress)


def _check_folders(cohort: Path, run: Path, bundle: Path, report: Path) -> None:
    """Refuse folders that hold what no demo wrote, before any work."""
    from mris.cohort.work_folder import check_folder
    from mris.reporting.report_folder import check_report_folder
    from mris.synthesis.bundle_header import read_header
    from mris.training.run_folder import LAST_CHECKPOINT

    if cohort.is_dir():
        check_folder(cohort)
    if _holds_something(run) and not (run / LAST_CHECKPOINT).is_file():
        _check_run(run)
    if _holds_something(bundle):
        read_header(bundle)
    check_report_folder(report)


def _check_run(run: Path) -> None:
    """Refuse a folder that is no run of the demo's kind which finished no epoch; only that is started anew."""
    from mris.training.run_folder import foreign_to_run

    foreign = foreign_to_run(run, "metric")
    if foreign is not None:
        raise SettingsError(
            f"{run} is not empty and no unfinished run of the demo (look at {foreign!r}); choose another folder"
        )


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _queries(cohort: "Cohort", knees: Path) -> list[Path]:
    """Files of the first left knees of the test split."""
    test = cohort.split("test")
    left = [i for i, side in enumerate(test.sides) if side == "left"][:N_QUERIES]
    return [knees / test.subjects[i] / f"{int(test.timepoints[i]):02d}_left.png" for i in left]
