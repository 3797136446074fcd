"""``mris archive query | fetch | store``: a hospital's archive, by DICOMweb."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mris.cli.options import Quiet, names_in, note, unfolded
from mris.errors import ArchiveError, SettingsError
from mris.wording import counted

if TYPE_CHECKING:
    from mris.archive.connection import Archive

archive_app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Ask a DICOMweb archive, fetch radiographs from it, store results in it. Credentials come from the "
        "environment: MRIS_ARCHIVE_USER and MRIS_ARCHIVE_PASSWORD, or MRIS_ARCHIVE_TOKEN."
    ),
)

MOST_STUDIES = 1000
"""Studies that a query shows at most."""

Url = Annotated[str, typer.Argument(help="The archive's DICOMweb service, such as https://host/dicom-web.")]
Modalities = Annotated[str | None, typer.Option("--modality", help="Kinds of images, separated by commas: DX,CR.")]
Study = Annotated[str, typer.Option(help="StudyInstanceUID.")]


@dataclass(frozen=True)
class ConnectionOptions:
    """How an archive is reached."""

    user: Annotated[
        str | None, typer.Option(envvar="MRIS_ARCHIVE_USER", help="Name; the password is in MRIS_ARCHIVE_PASSWORD.")
    ] = None
    ca_file: Annotated[
        Path | None, typer.Option(envvar="MRIS_ARCHIVE_CA", help="Certificates to believe (PEM), if not the system's.")
    ] = None
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Believe any certificate, and send credentials without https.")
    ] = False
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 60.0
    retries: Annotated[int, typer.Option(help="How often a busy archive or a broken connection is tried again.")] = 3

    def connected(self, url: str) -> "Archive":
        """Connect with the archive at an address; the secrets are the environment's."""
        from mris.archive.connection import ArchiveSettings, connect

        # From the environment alone: what stands in a command can be read by all users of the machine.
        password = os.environ.get("MRIS_ARCHIVE_PASSWORD")
        token = os.environ.get("MRIS_ARCHIVE_TOKEN") or None
        if self.insecure:
            note("certificates are not checked (--insecure)")
        return connect(
            ArchiveSettings(url, self.user, password, token, self.ca_file, self.insecure, self.timeout, self.retries)
        )


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(archive_app, name="archive")


@archive_app.command("query")
@unfolded
def query(
    url: Url,
    *,
    patient: Annotated[str | None, typer.Option(help="PatientID; * stands for any characters.")] = None,
    study: Annotated[str | None, typer.Option(help="StudyInstanceUID: list its instances.")] = None,
    modality: Modalities = None,
    date: Annotated[str | None, typer.Option(help="Of the study: YYYYMMDD, or YYYYMMDD-YYYYMMDD.")] = None,
    accession: Annotated[str | None, typer.Option(help="AccessionNumber.")] = None,
    connection: ConnectionOptions,
) -> None:
    """Ask for studies, one line each; with --study for the instances of that study.

    Columns, separated by tabs, are PatientID, date, modalities, description and StudyInstanceUID; of instances
    modality, kind, series and SOPInstanceUID. The answer is personal data.

    Example: mris archive query https://host/dicom-web --patient 'P00*' --modality DX,CR --date 20240101-
    """
    from mris.archive.query import query_instances, query_studies

    archive = connection.connected(url)
    if study is not None:
        if patient or date or accession:
            raise SettingsError("--study names one study; leave out --patient, --date and --accession")
        instances = query_instances(archive, study, modalities=_names(modality))
        for instance in instances:
            _print_line(instance.modality, instance.kind, instance.series_uid, instance.uid)
        typer.echo(counted(len(instances), "instance"), err=True)
        return
    studies = query_studies(
        archive, patient_id=patient, modalities=_names(modality), date=date, accession=accession, most=MOST_STUDIES
    )
    for record in studies:
        _print_line(record.patient_id, record.date, ",".join(record.modalities), record.description, record.uid)
    reached = f"; there may be more than {MOST_STUDIES}: ask for less" if len(studies) >= MOST_STUDIES else ""
    typer.echo(f"{counted(len(studies), 'study')}{reached}", err=True)


@archive_app.command("fetch")
@unfolded
def fetch(
    url: Url,
    study: Study,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("fetched"),
    modality: Modalities = None,
    connection: ConnectionOptions,
    quiet: Quiet = False,
) -> None:
    """Fetch the images of a study as the archive holds them: one file each, named after its SOPInstanceUID.

    Files that are there and whole are not fetched again: repeat the command to continue an interrupted one. Exit code
    2 if an instance could not be fetched.

    Example: mris archive fetch https://host/dicom-web --study 1.2.826.0.1.3680043 --modality DX,CR --out plates
    """
    from mris.archive.query import query_instances
    from mris.archive.transfer import fetch_instances
    from mris.cohort.workers import shown

    archive = connection.connected(url)
    instances = query_instances(archive, study, modalities=_names(modality))
    if not instances:
        kinds = f" of modality {modality}" if modality else ""
        raise ArchiveError(f"archive {archive.url}: has no instance{kinds} in study {study}; look with archive query")
    n_new = n_there = n_failed = 0
    outcomes = fetch_instances(archive, instances, out)
    for outcome in shown(outcomes, "Fetching", len(instances), not quiet):
        if outcome.finding is not None:
            n_failed += 1
            typer.echo(f"not fetched: {outcome.finding}", err=True)
        n_new += outcome.finding is None and not outcome.was_there
        n_there += outcome.was_there
    were = f", {n_there} were there" if n_there else ""
    typer.echo(f"{n_new} of {counted(len(instances), 'instance')} fetched into {out}{were}")
    if n_failed:
        raise ArchiveError(f"{counted(n_failed, 'instance')} could not be fetched; the reasons stand above")


@archive_app.command("store")
@unfolded
def store(
    url: Url,
    files: Annotated[list[Path], typer.Argument(help="DICOM files.")],
    *,
    connection: ConnectionOptions,
    quiet: Quiet = False,
) -> None:
    """Store DICOM files in an archive, each as it is on disk.

    Storing a file twice is storing it once: results have the same UIDs when they are made again from the same source
    and bundle. Exit code 2 if a file was refused.

    Example: mris archive store https://host/dicom-web maps/knee_capture.dcm maps/knee_map.dcm
    """
    from mris.archive.transfer import store_files
    from mris.cohort.workers import shown

    archive = connection.connected(url)
    n_stored = 0
    for outcome in shown(store_files(archive, files), "Storing", len(files), not quiet):
        n_stored += outcome.finding is None
        if outcome.finding is not None:
            typer.echo(f"not stored: {outcome.finding}", err=True)
        elif outcome.warning is not None:
            note(f"{outcome.path} is stored, but {outcome.warning}")
    typer.echo(f"{n_stored} of {counted(len(files), 'file')} stored in {archive.url}")
    if n_stored < len(files):
        raise ArchiveError(f"{counted(len(files) - n_stored, 'file')} not stored; the reasons stand above")


def _names(text: str | None) -> list[str]:
    return [name.upper() for name in names_in(text)]


def _print_line(*cells: str) -> None:
    """A line of a table; what an archive says must not move the cursor or start another line."""
    typer.echo("\t".join("".join(c if c.isprintable() else " " for c in cell) for cell in cells))
