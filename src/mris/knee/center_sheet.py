"""A sheet of joint centers and the plates that its rows are about."""

from dataclasses import dataclass
from pathlib import Path

from mris.cohort.manifest_file import read_cells
from mris.errors import ManifestError
from mris.knee.oai_sheets import PlateKeypoints, read_keypoints

FILE_COLUMN = "file"


@dataclass(frozen=True)
class CenterSheet:
    """Joint centers by plate: `mris.knee.oai_sheets.read_keypoints` with, perhaps, a column `file`.

    Attributes:
        path: The sheet.
        rows: One entry a row.
        files: The cell `file` of each row; empty without that column.
    """

    path: Path
    rows: tuple[PlateKeypoints, ...]
    files: tuple[str, ...] = ()

    def row_of_file(self, plate: Path) -> PlateKeypoints:
        """Return the row whose `file` is this plate: a path from the sheet's folder, or the plate's name alone.

        Raises:
            ManifestError: If there is none, or several.
        """
        folder, target = self.path.resolve().parent, plate.resolve()
        found = [
            row
            for row, cell in zip(self.rows, self.files, strict=True)
            if cell == plate.name or (folder / cell).resolve() == target
        ]
        return self._only(found, f"whose {FILE_COLUMN!r} is {plate.name}")

    def row_of_visit(self, patient: str, month: str) -> PlateKeypoints:
        """Return the row of a patient's month.

        Raises:
            ManifestError: If there is none.
        """
        found = [row for row in self.rows if (row.patient, row.month) == (patient, month)]
        return self._only(found, f"of patient {patient}, month {month}")

    def _only(self, found: list[PlateKeypoints], what: str) -> PlateKeypoints:
        if len(found) != 1:
            raise ManifestError(
                f"{self.path}: {len(found) or 'no'} rows {what} among its {len(self.rows)}; one is needed: mend the "
                "sheet, or give the centers by hand"
            )
        return found[0]


def read_center_sheet(path: str | Path) -> CenterSheet:
    """Read a sheet with the columns patient_id, month, keypoint_right, keypoint_left and, perhaps, file.

    Raises:
        ManifestError: If the file cannot be read or a row breaks a rule of `read_keypoints`.
    """
    file = Path(path)
    rows = read_keypoints(file)
    cells = read_cells(file)
    return CenterSheet(file, rows, cells.text(FILE_COLUMN) if FILE_COLUMN in cells.columns else ())
