"""``mris thickness``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mris.cli.options import OnError, Quiet, Workers
from mris.cli.segmentation import ModelFolder
from mris.errors import ImageError, SettingsError
from mris.images.header import Side

ATLAS_VARIABLE = "MRIS_ATLAS"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("thickness")(thickness)


def thickness(
    segmentations: Annotated[
        list[Path] | None,
        typer.Argument(help="Label volumes of one knee each: .nii, .nii.gz, .nrrd or .mha; none: all of --index."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the maps; not needed with --dry-run.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Which number is which tissue: oai_zib, ski10, kneeseg, oai_knees, oaizib_cm, cartimorph, "
            "nnunet_knee, dosma_bones, skm_tea, oai_analysis, or "
            "femur=1,femoral_cartilage=2,tibia=3,tibial_cartilage=4,ignore=5+6; by default the one that each file's "
            "anatomy fits."
        ),
    ] = None,
    side: Annotated[Side | None, typer.Option(help="Side of files whose names tell none.")] = None,
    index: Annotated[Path | None, typer.Option(help="CSV with the columns file, subject, side, timepoint.")] = None,
    atlas: Annotated[
        Path | None,
        typer.Option(envvar=ATLAS_VARIABLE, help="Folder with the atlas of the public project OAI_analysis 2."),
    ] = None,
    from_mr: Annotated[
        bool, typer.Option("--from-mr", help="SEGMENTATIONS are MR scans: segment them first, as mris segment does.")
    ] = False,
    model: ModelFolder = None,
    on_error: OnError = "stop",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Read all files, show whose they are, write nothing; fail if one cannot be used."
        ),
    ] = False,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Turn segmentations of knee MR scans into flat cartilage thickness maps, ready to be targets.

    Whose knee a file shows, its name tells (9000000_R_00m_seg.nii.gz; names of the OAI study and of BIDS, too) or
    --index; --dry-run shows what was read of it.

    Each knee is registered with the atlas; thickness is measured from bone to joint, carried to the atlas and unrolled.
    OUT/NAME holds FC_2d_thickness.npy and TC_2d_thickness.npy (310 x 310, mm, NaN outside, 0 on bare bone), a record
    and a picture; OUT/maps.csv one row a knee. Interrupted, the same command goes on where it stopped.

    With --from-mr it starts from MR scans (DICOM folders, NIfTI) and segments them first: see OUT/segmentations. Look
    at the pictures and doubts there before the maps are used.

    Example: mris thickness segmentations/*.nii.gz --atlas oai_atlas --out maps
    """
    # One thread a process: the processes are as many as the cores. Read when the libraries load, hence before them.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from mris.knee.label_map import label_map
    from mris.knee.segmentation_files import knee_files
    from mris.knee.thickness_folder import ThicknessSettings, check_segmentations, write_thickness_maps

    if not from_mr and model is not None:
        raise SettingsError("--model segments MR scans; give --from-mr, too")
    if from_mr:
        from mris.knee.cartilage_atlas import open_atlas
        from mris.knee.mr.folder import SegmentSettings, check_scans, segment_scans

        if labels is not None:
            raise SettingsError("--labels says what the numbers of a segmentation mean, and --from-mr makes its own")
        scans = SegmentSettings(model, side, index, on_error)
        if dry_run:
            read = check_scans(segmentations or [], scans, progress=not quiet)
            typer.echo(read.summary())
            read.require_sound()
            return
        folder, atlas = _required(out, atlas)
        open_atlas(atlas)  # a missing or damaged one is told before scans are segmented, which takes long
        segmented = segment_scans(segmentations or [], folder / "segmentations", scans, progress=not quiet)
        typer.echo(segmented.summary())
        if not any(one.record for one in segmented.results):
            raise ImageError("none of the scans has a segmentation, so there is nothing to make maps of; see above")
        segmentations, side, index, labels = [], None, segmented.table, "nnunet_knee"
    knees = knee_files(segmentations or [], side, index)
    settings = ThicknessSettings(atlas or Path(), None if labels is None else label_map(labels), on_error, workers)
    if dry_run:
        report = check_segmentations(knees, settings, progress=not quiet)
        typer.echo(report.summary())
        report.require_sound()
        return
    folder, _ = _required(out, atlas)
    report = write_thickness_maps(knees, folder, settings, progress=not quiet)
    typer.echo(report.summary())
    typer.echo(f"  table: {report.table}")


def _required(out: Path | None, atlas: Path | None) -> tuple[Path, Path]:
    """Refuse maps without a folder or an atlas, before any work."""
    if out is None:
        raise SettingsError("mris thickness needs --out, a folder for the maps; --dry-run reads the files alone")
    if atlas is None:
        from mris.knee.cartilage_atlas import CHECKSUMS

        raise SettingsError(
            "mris thickness needs an atlas: get the files of the public project OAI_analysis 2 "
            f"(github.com/uncbiag/OAI_analysis_2, Apache-2.0: {', '.join(CHECKSUMS)}) into a folder and name it with "
            f"--atlas or {ATLAS_VARIABLE}; nothing is fetched"
        )
    return out, atlas
