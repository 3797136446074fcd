"""From a file to its queries: one, or one for each knee of a plate."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mris.errors import ImageError, ManifestError
from mris.images.dicom import read_dicom_facts
from mris.images.image import Image, Spacing
from mris.images.read import read_image
from mris.knee.knee_location import Detector, locate_knees
from mris.knee.oai_sheets import (
    KEYPOINTS_SHEET,
    VISITS_SHEET,
    PlateKeypoints,
    VisitPaths,
    read_keypoints,
    read_visits,
)
from mris.knee.radiograph import REGION_MM, Center, KneeLocation, Plate, knee_region, read_plate
from mris.synthesis.outputs import Query

Side = Literal["left", "right"]

KNEE_SUFFIXES: tuple[str, ...] = ("_right", "_left")
"""What is added to the stem of a plate, for each knee."""


@dataclass(frozen=True, eq=False)
class CenterSheet:
    """A sheet of joint centers (`mris.knee.oai_sheets`), and how a file finds its row.

    Attributes:
        path: The sheet.
        keypoints: Its rows.
        visits: Rows of ``mri_xray.csv`` in the same folder, which name the plate of each visit; empty if it is absent.
    """

    path: Path
    keypoints: tuple[PlateKeypoints, ...]
    visits: tuple[VisitPaths, ...] = ()

    def row_of(self, file: Path, patient_id: str) -> PlateKeypoints:
        """The row of a plate: that of the visit whose folder the file is in, else that of the patient of its header.

        Raises:
            ImageError: No row is of this plate, or several are.
        """
        folder = file.resolve().parent.as_posix()
        keys = [(v.patient, v.month) for v in self.visits if folder.endswith("/" + v.xray.strip("/"))]
        rows = [row for row in self.keypoints if (row.patient, row.month) in keys]
        if not rows:
            rows = [row for row in self.keypoints if patient_id and row.patient == patient_id]
        if len(rows) == 1:
            return rows[0]
        found = "no row" if not rows else f"{len(rows)} rows ({', '.join(row.month for row in rows)})"
        raise ImageError(
            f"image {file}: sheet {self.path} has {found} for this plate; a row is found by the folders of "
            f"{VISITS_SHEET} beside it, else by the header's PatientID: complete the sheet, or give --right and --left"
        )


def read_center_sheet(path: Path) -> CenterSheet:
    """Read a sheet of joint centers in the form of ``xray_keypoints.csv``, with ``mri_xray.csv`` beside it if there.

    Raises:
        ManifestError: A sheet cannot be read, or breaks a rule.
    """
    if not path.is_file():
        raise ManifestError(
            f"sheet {path}: no such file; give 'detect', or a sheet in the form of {KEYPOINTS_SHEET} of the OAI layout"
        )
    visits = path.parent / VISITS_SHEET
    return CenterSheet(path, read_keypoints(path), read_visits(visits) if visits.is_file() else ())


@dataclass(frozen=True, eq=False)
class KneeFinder:
    """How the knees of a plate are found; with neither centers nor a sheet, by the detector.

    Attributes:
        centers: Row and column of each knee that is wanted, in pixels of the plate.
        sheet: A sheet of centers.
        detector: Instead of the package's own.
        least_confidence: Instead of the detector's own threshold.
    """

    centers: Mapping[Side, Center] = field(default_factory=dict)
    sheet: CenterSheet | None = None
    detector: Detector | None = None
    least_confidence: float | None = None

    def locate(self, plate: Plate, file: Path, side: Side | None) -> tuple[KneeLocation, ...]:
        """The knees of a plate; see `mris.knee.knee_location.locate_knees`.

        Raises:
            ImageError: A knee, its side or its row in the sheet is not found, or two sources contradict each other.
        """
        patient = "" if plate.facts is None else plate.facts.patient_id
        return locate_knees(
            plate,
            centers=self.centers or None,
            side=side,
            keypoints=None if self.sheet is None else self.sheet.row_of(file, patient),
            detector=self.detector,
            least_confidence=self.least_confidence,
        )


@dataclass(frozen=True, eq=False)
class FileQuery:
    """One image to synthesize for.

    Attributes:
        path: Its file.
        stem: Beginning of the results' names.
        image: The pixels, their spacing and side: the file's, or one knee's region of it.
        center: Row and column in pixels of `image` that a region is cut round; its middle if None.
        facts: What the provenance tells of it, the checksum left out.
    """

    path: Path
    stem: str
    image: Image
    center: Center | None
    facts: Query


def read_queries(
    path: Path,
    stem: str,
    *,
    side: Side | None = None,
    center: Center | None = None,
    spacing: Spacing | None = None,
    knees: KneeFinder | None = None,
    region_mm: float | None = None,
) -> tuple[FileQuery, ...]:
    """Read a file as one query, or as one query a knee.

    Args:
        path: The file; ``file.npz::key`` names an array of an archive.
        stem: Beginning of the results' names; ``_right`` and ``_left`` follow for the knees of a plate.
        side: Side of the body where the file does not say.
        center: Center of the region of a file that is one query.
        spacing: Pixel spacing in mm where the file states none.
        knees: How the knees of a plate are found; None takes the file for one image.
        region_mm: Edge of a knee's region; that of the paper if None.

    Raises:
        ImageError: The file cannot be read, or its knees cannot be found.
    """
    if knees is None:
        return (_whole(path, stem, side, center, spacing),)
    plate = read_plate(path, spacing=spacing)
    edge = REGION_MM if region_mm is None else region_mm
    return tuple(
        FileQuery(
            path,
            f"{stem}_{knee.side}",
            knee_region(plate, knee, edge),
            None,
            Query(
                path.name,
                side=knee.side,
                side_source=knee.side_source,
                center=knee.center,
                center_source=knee.center_source,
                confidence=knee.confidence,
                spacing_source=plate.spacing_source,
            ),
        )
        for knee in knees.locate(plate, path, side)
    )


def _whole(path: Path, stem: str, side: Side | None, center: Center | None, spacing: Spacing | None) -> FileQuery:
    image = read_image(path)
    spacing_source = _spacing_source(path, image)
    if image.spacing is None and spacing is not None:
        image, spacing_source = replace(image, spacing=spacing), "given"
    side_source = "header" if image.laterality else "given" if side else None
    image = replace(image, laterality=image.laterality or side)
    facts = Query(
        path.name,
        side=image.laterality,
        side_source=side_source,
        center=center,
        center_source=None if center is None else "given",
        spacing_source=spacing_source,
    )
    return FileQuery(path, stem, image, center, facts)


def _spacing_source(path: Path, image: Image) -> str | None:
    if image.spacing is None:
        return None
    facts = None if "::" in str(path) else read_dicom_facts(path)
    return "file" if facts is None else facts.spacing_source
