"""``mris evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from mris.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("evaluate")(evaluate)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle that mris index made.")],
    cohort: Annotated[Path, typer.Argument(help="Prepared cohort with a split train and the split to judge on.")],
    out: Annotated[Path | None, typer.Option(help="Folder for results.json and report.html.")] = None,
    split: Annotated[str, typer.Option(help="Split whose pairs are the queries.")] = "test",
    by: Annotated[str, typer.Option(help="Labels that split the images into strata, separated by commas.")] = "",
    merge: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL:VALUE=STRATUM", help="Merge values of a label: klg:0=0-1; may be repeated."),
    ] = None,
    n_neighbors: Annotated[int, typer.Option(min=1, help="k, the neighbors that are averaged.")] = 20,
    one_per_subject: Annotated[bool, typer.Option("--one-per-subject", help="At most one map of a person.")] = False,
    bootstrap: Annotated[int, typer.Option(min=10, help="Resamples of subjects for the intervals.")] = 1000,
    references: Annotated[bool, typer.Option(help="Judge the mean map and PCA regressions beside it.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of resampling and of the references.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Judge a bundle on people it has never seen: recall, error in mm, intervals, beside what learning must beat.

    Writes results.json, per_image.csv, tables.md, figures/ and one offline report.html.

    Example: mris evaluate knees.bundle cohort --split test --by klg --out report
    """
    from mris.cohort.cohort import Cohort
    from mris.evaluation.bundle_evaluation import evaluate_bundle
    from mris.images.write import check_writable_folder
    from mris.reporting.html import write_evaluation
    from mris.reporting.tables import all_tables, markdown
    from mris.synthesis.bundle import Bundle

    folder = out or bundle / "report"
    opened = Bundle.open(bundle)
    check_writable_folder(folder)
    evaluation = evaluate_bundle(
        opened,
        Cohort.open(cohort),
        split=split,
        by=tuple(name.strip() for name in by.split(",") if name.strip()),
        merge=parse_merge(merge or []),
        n_neighbors=n_neighbors,
        one_per_subject=one_per_subject,
        n_bootstrap=bootstrap,
        references=references,
        seed=seed,
        progress=not quiet,
    )
    report = write_evaluation(evaluation, folder)
    typer.echo("\n".join(markdown(table) for table in all_tables(evaluation.results)))
    typer.echo(f"report: {report}")


def parse_merge(rules: list[str]) -> dict[str, dict[str, str]]:
    """Parse rules of the form LABEL:VALUE=STRATUM.

    Example:
        >>> parse_merge(["klg:0=0-1", "klg:1=0-1"])
        {'klg': {'0': '0-1', '1': '0-1'}}
    """
    merge: dict[str, dict[str, str]] = {}
    for rule in rules:
        label, colon, assignment = rule.partition(":")
        value, equals, stratum = assignment.partition("=")
        if not (colon and equals and label and value and stratum):
            raise SettingsError(f"--merge {rule!r} is not LABEL:VALUE=STRATUM, such as klg:0=0-1")
        merge.setdefault(label, {})[value] = stratum
    return merge
