"""``mris radiograph``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mris.cli.options import LeftCenter, OnError, PixelSpacing, Quiet, RightCenter, joint_centers
from mris.errors import ImageError, SettingsError
from mris.images.header import Side
from mris.knee.crop import REGION_MM
from mris.wording import counted

if TYPE_CHECKING:
    from mris.knee.radiograph_files import PlateOutcome


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("radiograph")(radiograph)


def radiograph(
    plates: Annotated[list[Path], typer.Argument(help="Radiographs of one knee or both: DICOM, PNG, TIFF, NIfTI.")],
    out: Annotated[Path, typer.Option(help="Folder for the regions and radiographs.csv.")] = Path("radiographs"),
    centers: Annotated[
        Path | None,
        typer.Option(
            help="Sheet with patient_id, month, keypoint_right, keypoint_left (column and row in square brackets) "
            "and, perhaps, file; "
            "else mri_xray.csv beside it names the folder of each plate."
        ),
    ] = None,
    right: RightCenter = None,
    left: LeftCenter = None,
    side: Annotated[Side | None, typer.Option(help="Side of plates that show one knee and do not say which.")] = None,
    spacing: PixelSpacing = None,
    size_mm: Annotated[float, typer.Option(help="Edge of the square regions in mm.")] = REGION_MM,
    size: Annotated[
        int | None,
        typer.Option(min=1, max=8192, help="Rows and columns of the written regions; as the plate by default."),
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Whose plate it is; the file's name by default.")] = None,
    patient_id: Annotated[
        bool, typer.Option("--patient-id", help="Name subjects by the PatientID of their files.")
    ] = False,
    timepoint: Annotated[str | None, typer.Option(help="When the plates were taken; 0, or the sheet's month.")] = None,
    patient: Annotated[str | None, typer.Option(help="Patient of the sheet's row, for one plate.")] = None,
    month: Annotated[str | None, typer.Option(help="Month of the sheet's row, such as 12_MONTH or 12.")] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Draw each plate with its regions and sides, for review.")
    ] = False,
    on_error: OnError = "stop",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace regions that were cut out of another plate of that name.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Locate all knees, write nothing.")] = False,
    quiet: Quiet = False,
) -> None:
    """Cut the region of each knee out of radiographs: STEM_left.png and STEM_right.png, 16 bit, and radiographs.csv.

    Centers come from --right and --left, from a sheet, or else from the detector; what it is not sure of is refused.
    Sides come from the header, --side, or, for both knees of a frontal plate, from their position; what contradicts
    itself is refused. Knees are not mirrored (prepare does that). The table has the columns of a
    manifest (add your targets) and says where spacing, center and side come from.

    Example: mris radiograph plate.dcm --out knees --overlay
    """
    from mris.cohort.workers import shown
    from mris.images.write import check_writable_folder
    from mris.knee.center_sheet import read_center_sheet
    from mris.knee.radiograph_files import PlateOptions, import_plates
    from mris.knee.region_table import TABLE_FILE, write_table

    if (patient is None) != (month is None):
        raise SettingsError("--patient and --month choose a row together; give both")
    options = PlateOptions(
        centers=joint_centers(right, left),
        sheet=None if centers is None else read_center_sheet(centers),
        visit=None if patient is None or month is None else (patient, _month(month)),
        side=side,
        spacing=None if spacing is None else (spacing, spacing),
        size_mm=size_mm,
        size=size,
        subject=subject,
        use_patient_id=patient_id,
        timepoint=timepoint,
        overlay=overlay,
        on_error=on_error,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    if not dry_run:
        check_writable_folder(out)
    outcomes: list[PlateOutcome] = []
    for outcome in shown(import_plates(plates, out, options), "Locating", len(plates), not quiet):
        outcomes.append(outcome)
        typer.echo(_line(outcome), err=outcome.finding is not None)
    rows = [row for outcome in outcomes for row in outcome.knees]
    n_done = sum(bool(outcome.knees) for outcome in outcomes)
    counts = (
        f"{counted(len(rows), 'knee')} of {counted(n_done, 'plate')}, {len(plates) - n_done} of {len(plates)} skipped"
    )
    if not rows:
        raise ImageError("no plate could be used; the reasons stand above")
    if dry_run:
        typer.echo(f"{counts}; nothing is written")
        return
    n_kept = write_table(out, rows)
    earlier = f" (with {n_kept} of earlier runs)" if n_kept else ""
    typer.echo(f"{counts}: {out / TABLE_FILE}{earlier}")


def _line(outcome: "PlateOutcome") -> str:
    """Say what became of a plate, and what in it deserves a look."""
    if outcome.finding is not None:
        return f"skipped: {outcome.finding}"
    parts = []
    for row in outcome.knees:
        sure = f", confidence {float(row.confidence):.2f}" if row.confidence else ""
        parts.append(f"{row.side} at {float(row.plate_row):.0f},{float(row.plate_col):.0f} ({row.center_source}{sure})")
    first = outcome.knees[0]
    notes = [f"side by {first.side_source}", f"spacing by {first.spacing_source}"]
    if first.mirrored_back == "1":
        notes.append("mirrored back")
    return "; ".join([f"{outcome.path}: {parts[0]}", *parts[1:], ", ".join(notes), *outcome.notes])


def _month(text: str) -> str:
    """Write "12" as the sheets do."""
    from mris.knee.oai_sheets import month_name

    return month_name(int(text)) if text.isdecimal() else text
