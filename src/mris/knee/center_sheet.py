"""A sheet of joint centers and the plates that its rows are about."""

from dataclasses import dataclass
from pathlib import Path

from mris.cohort.manifest_file import read_cells
from mris.errors import ManifestError
from mris.knee.oai_sheets import KEYPOINTS_SHEET, VISITS_SHEET, PlateKeypoints, VisitPaths, read_keypoints, read_visits

FILE_COLUMN = "file"


@dataclass(frozen=True)
class CenterSheet:
    """Joint centers, and how a plate finds its row.

    Attributes:
        path: The sheet.
        rows: One entry a row.
        files: The cell `file` of each row; empty without that column.
        visits: Rows of ``mri_xray.csv`` in the same folder, which name the plate of each visit; empty if it is absent.
    """

    path: Path
    rows: tuple[PlateKeypoints, ...]
    files: tuple[str, ...] = ()
    visits: tuple[VisitPaths, ...] = ()

    def row_of(self, plate: Path, patient_id: str = "") -> PlateKeypoints:
        """Return the row of a plate.

        It is the row whose `file` is the plate (a path from the sheet's folder, or the plate's name alone); else that
        of the visit whose folder the plate is in; else the only one of the patient.

        Args:
            plate: Its file.
            patient_id: PatientID of its header, "" if none.

        Raises:
            ManifestError: No row is of this plate, or several are.
        """
        if self.files:
            folder, target = self.path.resolve().parent, plate.resolve()
            named = [cell == plate.name or (folder / cell).resolve() == target for cell in self.files]
            found = [row for row, is_named in zip(self.rows, named, strict=True) if is_named]
            return self._only(found, f"whose {FILE_COLUMN!r} is {plate.name}")
        within = f"{plate.resolve().parent.as_posix()}/"
        visits = {(v.patient, v.month) for v in self.visits if f"/{v.xray.strip('/')}/" in within}
        found = [row for row in self.rows if (row.patient, row.month) in visits]
        found = found or [row for row in self.rows if patient_id and row.patient == patient_id]
        how = f"by the folders of {VISITS_SHEET} beside it or the PatientID; a column {FILE_COLUMN!r} would name it"
        return self._only(found, f"of {plate.name} ({how})")

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
                "sheet, or give the centers by hand (--right ROW,COLUMN, --left ROW,COLUMN)"
            )
        return found[0]


def read_center_sheet(path: str | Path) -> CenterSheet:
    """Read a sheet with the columns patient_id, month, keypoint_right, keypoint_left and, perhaps, file.

    Raises:
        ManifestError: If the sheet, or ``mri_xray.csv`` beside it, cannot be read or has a row that breaks a rule.
    """
    file = Path(path)
    if not file.is_file():
        raise ManifestError(
            f"sheet {file}: no such file; give a sheet in the form of {KEYPOINTS_SHEET} of the OAI study"
        )
    rows = read_keypoints(file)
    cells = read_cells(file, "sheet")
    visits = file.parent / VISITS_SHEET
    return CenterSheet(
        file,
        rows,
        cells.text(FILE_COLUMN) if FILE_COLUMN in cells.columns else (),
        read_visits(visits) if visits.is_file() else (),
    )
