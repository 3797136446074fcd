"""The table of regions that were cut out of plates: one row a knee, in the columns that a manifest has."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mris.cohort.names import subject_findings
from mris.errors import OutputError
from mris.images.write import atomic_write
from mris.reading import LARGEST_LIST, read_text

TABLE_FILE = "radiographs.csv"


@dataclass(frozen=True)
class KneeRow:
    """One row of the table: what a manifest of `mris prepare` needs, then where all of it comes from.

    Attributes:
        subject: The sheet's patient, `PlateOptions.subject`, PatientID, or the plate's file name without suffix.
        timepoint: In free text.
        side: "left" or "right".
        source: The region's file, in the table's folder.
        spacing: Row and column spacing of the region in mm, "0.2 x 0.2".
        plate: The plate's file, as it was named to the command.
        plate_sha256: SHA-256 (hex) of that file.
        plate_row: Row of the joint's center in the plate, in pixels.
        plate_col: The same for its column.
        center_source: See `KneeLocation`.
        confidence: The detector's; "" for other sources.
        side_source: See `KneeLocation`.
        view: The view that the header names.
        mirrored_back: 1 if the header says that the plate is mirrored, so that the region was mirrored back.
        spacing_source: See `mris.images.header.Header`.
        calibration: PixelSpacingCalibrationType.
        photometric: PhotometricInterpretation (MONOCHROME1 was inverted).
        bits_stored: BitsStored; "" for what is not DICOM.
        modality: The modality transform that was applied.
        display: The display transform that the file suggests, which was not applied.
        region_mm: Edge of the region in mm.
        outside: Share of the region that lies beyond the plate and is padding, in [0, 1].
        value_slope: A plate's value is ``value_slope * stored + value_intercept`` of the PNG's.
        value_intercept: See `value_slope`.
    """

    subject: str
    timepoint: str
    side: str
    source: str
    spacing: str
    plate: str
    plate_sha256: str
    plate_row: str
    plate_col: str
    center_source: str
    confidence: str
    side_source: str
    view: str
    mirrored_back: str
    spacing_source: str
    calibration: str
    photometric: str
    bits_stored: str
    modality: str
    display: str
    region_mm: str
    outside: str
    value_slope: str
    value_intercept: str


COLUMNS = tuple(field.name for field in dataclasses.fields(KneeRow))


def write_table(out: str | Path, rows: Sequence[KneeRow]) -> int:
    """Write the table of a folder's regions, atomically; rows of knees that are not among `rows` are kept.

    Not kept is the other knee of a plate that has become another file of the same name.

    Args:
        out: The folder.
        rows: Those of this run.

    Returns:
        Number of rows kept from earlier runs.

    Raises:
        OutputError: The table cannot be written, or there is one of another kind.
    """
    path = Path(out) / TABLE_FILE
    written = {row.source for row in rows}
    files = {_plate_key(row): row.plate_sha256 for row in rows}
    kept = [
        row
        for row in read_table(path)
        if row.source not in written and files.get(_plate_key(row), row.plate_sha256) == row.plate_sha256
    ]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in [*kept, *rows])
    return len(kept)


def read_table(path: str | Path) -> tuple[KneeRow, ...]:
    """Read a table that `write_table` wrote; empty if there is none.

    Raises:
        OutputError: The file is of another kind, or a spreadsheet has spoiled its subjects (see `subject_findings`).
    """
    file = Path(path)
    if not file.exists():
        return ()
    try:
        reader = csv.DictReader(io.StringIO(read_text(file, LARGEST_LIST, "utf-8-sig"), newline=""), strict=True)
        found = list(reader)
        columns = tuple(reader.fieldnames or ())
    except (OSError, ValueError, csv.Error) as error:
        raise OutputError(f"{file} cannot be read as a table of regions ({error}); choose another folder") from error
    if columns != COLUMNS or any(None in row or None in row.values() for row in found):
        raise OutputError(f"{file} is another table than this command writes; choose another folder, or move it away")
    faults = subject_findings(row["subject"] for row in found)
    if faults:
        raise OutputError(f"{file}: subject {next(iter(faults.values()))}; or choose another folder")
    return tuple(KneeRow(**row) for row in found)


def _plate_key(row: KneeRow) -> str:
    """What the regions of one plate have in common: their files' name up to the side."""
    return row.source.rpartition("_")[0]
