"""What all sheets of the OAI study are asked: their columns, and rows that can be used."""

from collections.abc import Sequence
from pathlib import Path

from mris.cohort.manifest_file import ManifestCells, read_cells
from mris.cohort.report import RowFinding, listed
from mris.errors import ManifestError


def read_sheet(file: Path, columns: Sequence[str]) -> ManifestCells:
    """Read a sheet that must have some columns.

    Raises:
        ManifestError: The file cannot be read, has no rows, or lacks a column.
    """
    cells = read_cells(file, "sheet")
    absent = [name for name in columns if name not in cells.columns]
    if absent:
        raise ManifestError(
            f"{file} lacks the columns {absent}; it has {list(cells.columns)}; it needs {list(columns)}"
        )
    return cells


def refuse_bad_rows(file: Path, n_rows: int, findings: Sequence[RowFinding]) -> None:
    """Name all rows of a sheet that cannot be used, if there are any.

    Raises:
        ManifestError: There are.
    """
    if findings:
        count = len({finding.row for finding in findings})
        head = f"{file}: {count} of {n_rows} rows cannot be used; mend them, or fetch the sheet again"
        raise ManifestError("\n  ".join([head, *listed(findings)]))
