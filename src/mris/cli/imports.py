"""``mris import oai``."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from mris.cli.options import Quiet
from mris.errors import SettingsError
from mris.knee.crop import REGION_MM
from mris.wording import counted

app = typer.Typer(no_args_is_help=True, help="Turn the files of a public study into a manifest for mris prepare.")


def register(application: typer.Typer) -> None:
    """Add the group of commands to the application."""
    application.add_typer(app, name="import")


@app.command("oai")
def import_oai(
    out: Annotated[
        Path | None,
        typer.Argument(
            help="Folder for manifest.csv and import.json: new, empty, or of the same import; not needed with "
            "--dry-run."
        ),
    ] = None,
    sheets: Annotated[
        Path, typer.Option(help="Folder with test_set/, train_set/fold1/ to fold5/ and KLG_score.csv.")
    ] = Path("oai_sheets"),
    radiographs: Annotated[
        Path | None, typer.Option(help="Folder of the plates: XRAY/001, XRAY as in the sheets.")
    ] = None,
    thickness: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the maps: PATIENT/MR_SAG_3D_DESS/SIDE_KNEE/MONTH/avsm/FC_2d_thickness.npy and "
            "TC_2d_thickness.npy."
        ),
    ] = None,
    grades: Annotated[
        Literal["15-first", "37-first", "15-only", "37-only"],
        typer.Option(help="Reading project whose grade stands for a visit; the other one fills gaps, or not."),
    ] = "15-first",
    val_fold: Annotated[str, typer.Option(help="Fold of train_set that becomes val; 'none' for no val.")] = "fold5",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count and check, write nothing; --sheets is enough.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Read the OAI study's public layout: sheets, plates, thickness maps, grades and the official splits.

    Counts stand next to those of the paper. A pair of which a file or a joint center is missing is left out, and listed
    in OUT/import.json with the reason.

    Example: mris import oai --sheets sheets --radiographs xray --thickness maps imported
    """
    from mris.knee.oai import survey_oai, write_oai_manifest

    if not dry_run and (out is None or radiographs is None or thickness is None):
        raise SettingsError("an import needs --radiographs, --thickness and OUT; --dry-run counts with --sheets alone")
    survey = survey_oai(sheets, radiographs, thickness, reading=grades, val_fold=val_fold, progress=not quiet)
    typer.echo(survey.summary())
    if dry_run or out is None:
        return
    manifest = write_oai_manifest(survey, out)
    typer.echo(f"{len(survey.kept):,} of {counted(len(survey.pairs), 'pair')}: {manifest}")
    typer.echo(
        f"next: mris prepare {shlex.quote(str(manifest))} cohort --size 256 --region-mm {REGION_MM:g} --mirror right"
    )
