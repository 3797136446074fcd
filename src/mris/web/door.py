"""``mris serve``: the command; `mris.cli.main` asks it to register itself, and imports nothing else of the web."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from mris.digital.packaged import bundle_folder

Edges = Literal["atlas", "phantom"]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("serve")(serve)


def serve(
    bundle: Annotated[
        Path,
        typer.Argument(
            callback=bundle_folder,
            help="A bundle that mris index made; digital is one of simulated knees, of the package.",
        ),
    ],
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="A further bundle, or digital, to compare on one query; may be repeated."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine only with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token that browsers and programs must know; or the environment's MRIS_TOKEN."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Further name of the server, such as that of a proxy; may be repeated.")
    ] = None,
    archive: Annotated[
        str | None, typer.Option(metavar="URL", help="DICOMweb archive that the page may ask; see mris archive.")
    ] = None,
    archive_ca: Annotated[
        Path | None,
        typer.Option(envvar="MRIS_ARCHIVE_CA", help="Certificates to believe (PEM), if not the system's."),
    ] = None,
    archive_insecure: Annotated[
        bool, typer.Option("--archive-insecure", help="Believe any certificate of the archive, or none.")
    ] = False,
    edges: Annotated[
        Edges | None,
        typer.Option(help="Write what lies at the edges of maps; see mris synthesize."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Start, synthesize one phantom query, print timings, and leave.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each request.")] = False,
) -> None:
    """Serve a bundle to a browser and to programs: drop a radiograph, see map, people behind it, and how sure it is.

    The page is at http://127.0.0.1:8765, the interface for programs under /api/v1 (described by
    /api/v1/openapi.json). Nothing is loaded from elsewhere. Uploads are decoded in processes of bounded memory and
    time, held in memory for a while, and written to no disk but for the time of a request. The log has a line for
    each request, without names of people or files. Research use, not a medical device.

    Another --host than loopback needs a token of 16 characters or more (--token-file, or MRIS_TOKEN in the
    environment). The archive's credentials come from the environment, too: MRIS_ARCHIVE_USER and
    MRIS_ARCHIVE_PASSWORD, or MRIS_ARCHIVE_TOKEN; browsers never see them.

    Example: mris serve knees.bundle

    Example: mris serve knees.bundle --compare knees-2.bundle --archive https://host/dicom-web
    """
    import logging
    import webbrowser

    from mris.archive.connection import ArchiveSettings
    from mris.knee.map_edges import ATLAS_EDGES, PHANTOM_EDGES
    from mris.web.check import check_service
    from mris.web.run import log_to_stderr
    from mris.web.run import serve as run
    from mris.web.settings import ServeSettings, is_loopback, read_token

    token = os.environ.get("MRIS_TOKEN", "").strip() or None
    asked = None
    if archive is not None:
        asked = ArchiveSettings(
            archive,
            os.environ.get("MRIS_ARCHIVE_USER"),
            os.environ.get("MRIS_ARCHIVE_PASSWORD"),
            os.environ.get("MRIS_ARCHIVE_TOKEN") or None,
            archive_ca,
            archive_insecure,
        )
    settings = ServeSettings(
        (bundle, *map(bundle_folder, compare or ())),
        host=host,
        port=port,
        token=token if token_file is None else read_token(token_file),
        names=tuple(name or ()),
        archive=asked,
        edges={None: {}, "atlas": ATLAS_EDGES, "phantom": PHANTOM_EDGES}[edges],
    )
    if check:
        for line in check_service(settings):
            typer.echo(line)
        return
    log_to_stderr(logging.WARNING if quiet else logging.INFO)
    if not is_loopback(host):
        typer.echo(
            "note: without https the token can be read on the way; put a proxy in front that speaks it", err=True
        )

    def started(address: str) -> None:
        typer.echo(f"serving {bundle} at {address} (Ctrl-C ends it)")
        if show:
            webbrowser.open(address)

    run(settings, started)
