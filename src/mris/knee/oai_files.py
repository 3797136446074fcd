"""Where the OAI study's plates and the thickness maps made of its MR scans lie, and what is missing of a pair."""

from dataclasses import dataclass
from pathlib import Path

from mris.errors import ImageError
from mris.finding import Finding
from mris.images.dicom import read_dicom_facts
from mris.knee.oai_pairs import OaiPair
from mris.knee.oai_sheets import month_number

MAP_FILES = {"femoral": "FC_2d_thickness.npy", "tibial": "TC_2d_thickness.npy"}
"""File of each region's thickness map (mm, NaN outside the cartilage)."""

NO_CENTER, NO_PLATE, UNREADABLE_PLATE = "no joint center", "no plate", "unreadable plate"
NO_MAP = {region: f"no {region} map" for region in MAP_FILES}
"""Short names under which pairs are counted that lack something."""

_SCAN = "MR_SAG_3D_DESS"


@dataclass(frozen=True)
class FoundPlate:
    """What is known of a plate without its pixels.

    Attributes:
        size: Rows and columns; None if the file cannot be read.
        spacing_mm: Row spacing at the patient, as far as the header says; None if it does not.
        finding: Why the plate cannot be used; None if it can.
        simulated: Whether the header says that no patient is shown (SyntheticData).
    """

    size: tuple[int, int] | None
    spacing_mm: float | None
    finding: Finding | None
    simulated: bool = False


def plate_file(radiographs: Path, xray: str) -> Path:
    """DICOM file of the plate that a sheet calls `xray`.

    Example:
        >>> plate_file(Path("radiographs"), "0.C.2/9000798/20040802/00162704").as_posix()
        'radiographs/0.C.2/9000798/20040802/00162704/001'
    """
    return radiographs / xray / "001"


def map_folder(thickness: Path, patient: str, month: str, side: str) -> Path:
    """Folder of the thickness maps of one knee at one visit.

    Args:
        thickness: Folder of all maps.
        patient: Number of the patient.
        month: As the sheets write it, such as "00_MONTH"; the folder of month 0 is called ENROLLMENT.
        side: "left" or "right".

    Example:
        >>> map_folder(Path("maps"), "9000798", "00_MONTH", "left").as_posix()
        'maps/9000798/MR_SAG_3D_DESS/LEFT_KNEE/ENROLLMENT/avsm'
    """
    visit = "ENROLLMENT" if month_number(month) == 0 else month
    return thickness / patient / _SCAN / f"{side.upper()}_KNEE" / visit / "avsm"


def find_plate(path: Path) -> FoundPlate:
    """Look for a plate and read size and spacing of its header; what is wrong with it becomes its finding."""
    if not path.is_file():
        return FoundPlate(None, None, Finding(str(path), NO_PLATE))
    try:
        facts = read_dicom_facts(path)
        if facts is None:
            return FoundPlate(None, None, Finding(f"{path} is no DICOM file; fetch it again", UNREADABLE_PLATE))
    except ImageError as error:
        return FoundPlate(None, None, Finding(str(error), UNREADABLE_PLATE))
    if facts.mirrored:
        said = "its header (PatientOrientation) says that the picture is mirrored"
        reason = f"{path}: {said}; mirror it back, or mend the header"
        return FoundPlate(facts.size, None, Finding(reason, "mirrored plate"))
    if facts.spacing is None:
        return FoundPlate(facts.size, None, Finding(str(path), "plate without pixel spacing"))
    return FoundPlate(facts.size, facts.spacing[0], None, facts.synthetic)


def missing_of(pair: OaiPair, plate: FoundPlate | None, thickness: Path | None) -> dict[str, str]:
    """What a pair lacks.

    Args:
        pair: A knee at a visit.
        plate: Its plate; None if plates were not looked for.
        thickness: Folder of all maps; None does not look for them.

    Returns:
        Where or what, by short name; empty if nothing is missing.
    """
    found = {} if pair.center is not None else {NO_CENTER: "none in the sheet of keypoints"}
    if plate is not None and plate.finding is not None:
        found[plate.finding.rule] = plate.finding.reason
    if plate is not None and plate.size is not None and pair.center is not None:
        (row, column), (rows, columns) = pair.center, plate.size
        if row > rows - 0.5 or column > columns - 0.5:
            place = f"row {row:g}, column {column:g} on a plate of {rows} rows, {columns} columns"
            found["joint center outside the plate"] = place
    if thickness is not None:
        files = {
            region: map_folder(thickness, pair.patient, pair.month, pair.side) / MAP_FILES[region] for region in NO_MAP
        }
        found |= {NO_MAP[region]: str(file) for region, file in files.items() if not file.is_file()}
    return found
