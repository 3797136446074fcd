"""``mris evaluate``."""

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mris.cli.options import (
    EngineOptions,
    Prevalences,
    Quiet,
    ReadoutOptions,
    Strata,
    UsedBundle,
    bundle_named,
    names_in,
    note,
    unfolded,
)
from mris.defaults import N_NEIGHBORS, N_RESAMPLES
from mris.digital.packaged import FOLDER
from mris.errors import SettingsError
from mris.storage.address import local_folder, place_of
from mris.wording import counted

if TYPE_CHECKING:
    from mris.cohort.cohort import Cohort
    from mris.evaluation.predictor import Predictor
    from mris.evaluation.results import Cost


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("evaluate")(unfolded(evaluate))


def evaluate(
    bundle: UsedBundle,
    cohort: Annotated[
        str,
        typer.Argument(
            help="Prepared cohort with a split train and the split to judge on: a folder, or s3://, gs://, az://."
        ),
    ],
    *,
    out: Annotated[
        str | None, typer.Option(metavar="PATH", help="Folder for the report alone; an earlier report is replaced.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the bundle in the tables.")] = "MRIS",
    also: Annotated[
        list[str] | None, typer.Option(metavar="NAME=BUNDLE", help="Judge one more bundle beside it; may be repeated.")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=RUN", help="Judge a run of mris baseline train beside it; may be repeated."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split whose pairs are the queries.")] = "test",
    by: Strata = "",
    merge: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL:VALUE=STRATUM", help="Merge values of a label: klg:0=0-1; may be repeated."),
    ] = None,
    prevalence: Prevalences = None,
    site: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Label of the site an image was made at: audit whether bundles see it."),
    ] = None,
    choice: ReadoutOptions,
    bootstrap: Annotated[int, typer.Option(min=10, help="Resamples of subjects for the intervals.")] = N_RESAMPLES,
    references: Annotated[bool, typer.Option(help="Judge the mean map and PCA regressions beside it.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of resampling and of the references.")] = 0,
    engine: EngineOptions,
    quiet: Quiet = False,
) -> None:
    """Judge a bundle on people it has never seen: recall, error in mm, intervals, beside what learning must beat.

    Writes results.json, per_image.csv, tables.md, figures/ and one offline report.html, and says in words which methods
    are worse than the mean map, or cannot be told from it, and whether retrieval is at chance.

    Any number of bundles and baselines are judged side by side, on the same pixels, people and resamples.

    Example: mris evaluate knees.bundle cohort --split test --by klg --out report
    """
    from mris.cohort.cohort import Cohort
    from mris.evaluation.bundle_evaluation import check_names, evaluate_bundle, queried_subjects
    from mris.evaluation.verdict import verdict
    from mris.reporting.html import write_evaluation
    from mris.reporting.report_folder import check_report_folder
    from mris.reporting.report_tables import all_tables
    from mris.reporting.tables import markdown
    from mris.synthesis.bundle import Bundle

    folder = report_folder(bundle, out)
    paths = parse_named(also or [], "--also")
    runs = [(title, local_folder(run, "--baseline")) for title, run in parse_named(baseline or [], "--baseline")]
    check_names("method", [name, *(title for title, _ in [*paths, *runs])])
    shares = parse_prevalence(prevalence or [])
    synthesis = choice.settings()
    opened, more = Bundle.open(bundle), {title: Bundle.open(bundle_named(path)) for title, path in paths}
    pairs = Cohort.open(cohort)
    baselines, costs = open_baselines(runs, pairs)
    for judged in (opened, *more.values()):
        choice.note_few_neighbors(judged)
    k = choice.n_neighbors or N_NEIGHBORS
    if references and (n_training := int((pairs.splits == "train").sum())) < k:
        note(
            f"k is {k:,}, cut to {n_training:,} for PCA k-NN: split train of the cohort holds "
            f"{counted(n_training, 'pair')}"
        )
    check_report_folder(folder)
    for title, judged in {name: opened, **more}.items():
        if any(one.calibration is not None and one.calibration.split == split for one in judged.header.members):
            note(f"the intervals of {title!r} were calibrated on split {split!r}; their coverage is no test there")
        if held := queried_subjects(judged, pairs.split(split)):
            note(
                f"the database of {title!r} holds maps of {counted(len(held), 'subject')} of the queries; each "
                "query is answered without its own person, but with maps of the others"
            )
    with engine.start() as started:
        evaluation = evaluate_bundle(
            opened,
            pairs,
            name=name,
            bundles=more,
            others=baselines,
            costs=costs,
            split=split,
            by=names_in(by),
            merge=parse_merge(merge or []),
            prevalence=shares,
            synthesis=synthesis,
            site=site,
            n_bootstrap=bootstrap,
            references=references,
            seed=seed,
            progress=not quiet,
            engine=started,
        )
    if not evaluation.results.recalls:
        note("retrieval is not measured: no query is a baseline visit with a target in every region")
    report = write_evaluation(evaluation, folder)
    typer.echo("\n".join(markdown(table) for table in all_tables(evaluation.results)))
    for sentence in verdict(evaluation.results):
        typer.echo(sentence)
    typer.echo(f"report: {report}")


def report_folder(bundle: str, out: str | None) -> Path:
    """Give the folder of the report: in the bundle, unless another is named.

    Raises:
        SettingsError: The name is empty; or there is none, and the bundle is the package's own or in a storage.
    """
    if out is not None:
        return named_folder(out)
    place = place_of(bundle)
    if not isinstance(place, Path):
        raise SettingsError("a bundle in a storage takes no report; give a folder for it with --out")
    if place == FOLDER:
        raise SettingsError("the bundle of the package takes no report; give a folder for it with --out")
    return place / "report"


def named_folder(out: str) -> Path:
    """Refuse an empty name, which a path would take for the folder one stands in: a script's variable without a value.

    Raises:
        SettingsError: The name is empty.
    """
    if not out.strip():
        raise SettingsError(f"--out is {out!r}; give a folder, such as report")
    return local_folder(out, "--out")


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
        if value in merge.setdefault(label, {}):
            raise SettingsError(f"--merge gives {label}:{value} twice; give it once")
        merge[label][value] = stratum
    return merge


def parse_named(rules: list[str], option: str) -> list[tuple[str, str]]:
    """Parse rules of the form NAME=PATH; the name ends at the first "=".

    Example:
        >>> parse_named(["MRIS-S=separate.bundle"], "--also")
        [('MRIS-S', 'separate.bundle')]
    """
    found = []
    for rule in rules:
        name, equals, path = rule.partition("=")
        if not (equals and name.strip() and path):
            raise SettingsError(f"{option} {rule!r} is not NAME=PATH, such as MRIS-S=separate.bundle")
        found.append((name.strip(), path))
    return found


def parse_prevalence(rules: list[str]) -> dict[str, dict[str, float]]:
    """Parse rules of the form LABEL:STRATUM=SHARE.

    Example:
        >>> parse_prevalence(["klg:0-1=0.563", "klg:2=0.265"])
        {'klg': {'0-1': 0.563, '2': 0.265}}
    """
    weights: dict[str, dict[str, float]] = {}
    for rule in rules:
        label, colon, assignment = rule.partition(":")
        stratum, equals, text = assignment.rpartition("=")
        try:
            share = float(text)
        except ValueError:
            share = float("nan")
        if not (colon and equals and label and stratum and isfinite(share)):
            raise SettingsError(f"--prevalence {rule!r} is not LABEL:STRATUM=SHARE, such as klg:0-1=0.563")
        if stratum in weights.setdefault(label, {}):
            raise SettingsError(f"--prevalence gives {label}:{stratum} twice; give it once")
        weights[label][stratum] = share
    return weights


def open_baselines(runs: list[tuple[str, Path]], cohort: "Cohort") -> tuple[dict[str, "Predictor"], dict[str, "Cost"]]:
    """Open runs of ``mris baseline train``, and say what is known of their cost; nothing is imported for none.

    One that does not say whom it was trained on is noted: nobody can tell whether the queries are among them.
    """
    if not runs:
        return {}, {}
    from mris.baselines.predictor import open_baseline
    from mris.evaluation.results import Cost

    opened = {name: open_baseline(path) for name, path in runs}
    for name, baseline in opened.items():
        baseline.check_fits(cohort)
        if baseline.training_subjects is None:
            note(
                f"the training people of baseline {name!r} are unknown, and the queries may be among them; train "
                "it again to have that checked"
            )
    costs = {
        name: Cost(n_parameters=baseline.card.n_parameters, training_seconds=baseline.card.training_seconds)
        for name, baseline in opened.items()
    }
    return dict(opened), costs
