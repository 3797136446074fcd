"""``mris segment``."""

from pathlib import Path
from typing import Annotated

import typer

from mris.cli.options import OnError, Quiet
from mris.errors import SettingsError
from mris.images.header import Side

ModelFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder with model.onnx or a MONAI bundle, and card.json; by default the network that mris brings along."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("segment")(segment)


def segment(
    series: Annotated[
        list[Path] | None,
        typer.Argument(
            help="MR scans of one knee each: a folder of DICOM slices, an enhanced DICOM file, .nii, .nii.gz, .nrrd or "
            ".mha; none: all of --index."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the segmentations; not needed with --dry-run.")] = None,
    model: ModelFolder = None,
    side: Annotated[Side | None, typer.Option(help="Side of scans that do not say which knee they show.")] = None,
    index: Annotated[Path | None, typer.Option(help="CSV with the columns file, subject, side, timepoint.")] = None,
    on_error: OnError = "stop",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Segment anew what OUT holds.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Read all scans, show what they are, write nothing; fail if one is no knee's."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Segment MR scans of knees: bones, cartilages (medial and lateral plate apart) and menisci.

    Meant for volumes with voxels of about a millimeter or less, such as DESS. The network of the package was trained
    on digital knees alone, judged on no real scan, and is not good enough to measure with. Whose knee a scan shows, its
    DICOM header tells, a file's name (9000000_R_00m.nii.gz), or --index.

    OUT/NAME holds NAME_seg.nii.gz on the scanner's grid (label numbers of the preset nnunet_knee), NAME_entropy.nii.gz
    (doubt in percent), a picture and a record. OUT/segmentations.csv is an index for the command thickness, and
    OUT/index.html a page of all pictures. Look at them: what stands out is listed, but not all that is wrong stands
    out. Interrupted, the same command goes on where it stopped.

    Example: mris segment dicom/knee1 dicom/knee2 --out segmentations
    """
    from mris.knee.mr.folder import SegmentSettings, check_scans, segment_scans

    settings = SegmentSettings(model, side, index, on_error, overwrite)
    if dry_run:
        report = check_scans(series or [], settings, progress=not quiet)
        typer.echo(report.summary())
        report.require_sound()
        return
    if out is None:
        raise SettingsError("mris segment needs --out, a folder for the segmentations; --dry-run reads the scans alone")
    report = segment_scans(series or [], out, settings, progress=not quiet)
    typer.echo(report.summary())
    typer.echo(f"  table: {report.table}")
    typer.echo(f"  page:  {out / 'index.html'}")
