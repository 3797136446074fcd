"""``mris experiment``: the paper's experiment on a cohort."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mris import __version__
from mris.cli.evaluation import parse_merge, parse_prevalence
from mris.cli.options import Prevalences, Quiet, Strata, names_in
from mris.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("experiment")(experiment)


def experiment(
    cohort: Annotated[
        Path, typer.Argument(help="Prepared cohort with splits train, val, test, and downstream for classifiers.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the experiment; the same one to continue or extend it.")],
    preset: Annotated[
        Literal["smoke", "small", "full", "paper"],
        typer.Option(
            help="Recipe: 'smoke' shows in a minute whether all runs; 'small' (64 pixels) and 'full' (128 pixels) are "
            "for a CPU, hours; 'paper' has the published sizes, for a GPU."
        ),
    ] = "small",
    settings: Annotated[
        Path | None, typer.Option(help="TOML file of settings laid over the preset; --dry-run prints all there are.")
    ] = None,
    class_label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Classifiers learn this label from the maps; may be repeated."),
    ] = None,
    progression_label: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Classifiers learn whether the knee grade (KLG) in this label rises."),
    ] = None,
    months: Annotated[int, typer.Option(min=1, help="Months within which the grade rises or does not.")] = 72,
    by: Strata = "",
    merge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL:VALUE=STRATUM",
            help="Merge values of a label, for strata and classifiers: klg:0=0-1; may be repeated.",
        ),
    ] = None,
    prevalence: Prevalences = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, max=2**32 - 1, help="Train only this seed of the preset; no report; may be repeated."),
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Only make tables and figures of the seeds done.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of this process; all cores by default.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check cohort and settings, print them, and leave; nothing is written.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Rerun the paper's experiment on a cohort: every method, every table and figure, resumable.

    For each seed it trains encoders of all regions together (MRIS-C) and one by one (MRIS-S), U-Net, pix2pix,
    TransUNet, autoencoder and a ridge regression on the embedding; then measures retrieval, error, cost, and error
    against the size of the database; then trains classifiers on the maps of each method and on the true ones.
    OUT/report/results.md holds the means over seeds, beside references and chance.

    Without --class-label and --progression-label there are no classifiers, and no split downstream is needed
    (the command prepare makes all four with --fractions train=0.42,val=0.04,downstream=0.29,test=0.25).
    Progression needs visits of several months and grades of knees (0 to 4).

    Interrupted, even killed, the same command goes on. A stage runs again only if what it depends on has changed: its
    settings, the cohort, an earlier stage. Seeds may run in processes of their own (--seed 0 in one, --seed 1 in
    another); --report then makes the tables of all.

    Examples:
      mris experiment cohort --out runs/mine --preset smoke --class-label klg --by klg --dry-run

      mris experiment cohort --out runs/mine --class-label klg --progression-label klg --by klg --merge klg:0=0-1
    """
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is loaded
    from mris.cohort.cohort import Cohort
    from mris.knee.progression import cohort_progression
    from mris.reporting.experiment_page import write_experiment_page
    from mris.reporting.html import write_evaluation
    from mris.study.experiment import open_experiment, run_experiment
    from mris.study.plan import Plan, make_plan
    from mris.study.read_experiment import read_experiment
    from mris.study.stages import Work

    asked = asked_settings(class_label or [], progression_label, months, by, merge or [], prevalence or [])
    plan = make_plan(Plan, preset, asked, file=settings)
    stray = [number for number in seed or [] if number not in plan.seeds]
    if stray:
        raise SettingsError(
            f"--seed {stray[0]} is none of the experiment's seeds {plan.seeds}, and would be in no table; choose one "
            "of them, or name others in --settings (seeds = [...])"
        )
    opened = Cohort.open(cohort)
    progress = not quiet and sys.stderr.isatty()
    checked = open_experiment(Work(out, typer.echo), plan, opened, cohort_progression, progress=progress)
    if dry_run:
        typer.echo(plan.model_dump_json(indent=2))
        typer.echo(opened.describe())
        return
    if not report:
        run_experiment(checked, write_evaluation, seed)
    if report or not seed:
        command, software = command_of(sys.argv[1:], cohort, out, settings), f"mris {__version__}"
        name = preset if settings is None else f"{preset}, {settings.name}"
        results = read_experiment(checked)
        page = write_experiment_page(results, out / "report", name=name, command=command, software=software)
        typer.echo(f"report: {page}")


def asked_settings(
    class_labels: list[str], progression_label: str | None, months: int, by: str, merge: list[str], weights: list[str]
) -> dict[str, Any]:
    """Gather what options ask for, as settings of `mris.study.plan.Plan`; what is not asked for is left out.

    Raises:
        SettingsError: A rule cannot be read, or merges values of a label that nothing else names.

    Example:
        >>> asked_settings(["klg"], None, 72, "", ["klg:0=0-1"], [])
        {'tasks': [{'name': 'klg', 'label': 'klg', 'merge': {'0': '0-1'}}]}
    """
    rules, shares = parse_merge(merge), parse_prevalence(weights)
    strata = list(names_in(by))
    stray = next((label for label in rules if label not in (*strata, *class_labels)), None)
    if stray is not None:
        raise SettingsError(
            f"--merge names label {stray!r}, which neither --by nor --class-label names; add it there, or leave it out"
        )
    tasks: list[dict[str, Any]] = [
        {"name": label, "label": label, **({"merge": rules[label]} if label in rules else {})} for label in class_labels
    ]
    if progression_label is not None:
        tasks.append({"name": "progression", "label": progression_label, "kind": "progression", "months": months})
    merged = {label: rule for label, rule in rules.items() if label in strata}
    found = {"tasks": tasks, "by": strata, "merge": merged, "prevalence": shares}
    return {name: value for name, value in found.items() if value}


def command_of(words: list[str], *places: Path | None) -> str:
    """Write a command as anyone would repeat it: without the places of this machine.

    Example:
        >>> command_of(["experiment", "/data/mine", "--out=/home/me/run"], Path("/data/mine"), Path("/home/me/run"))
        'mris experiment mine --out=run'
    """
    names = {str(place): place.name for place in places if place is not None}
    shown = []
    for word in words:
        option, equals, value = word.partition("=")
        shown.append(f"{option}={names[value]}" if equals and value in names else names.get(word, word))
    return " ".join(["mris", *shown])
