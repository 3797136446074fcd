"""`KneeFinder`: from a plate to the region of each of its knees, as `mris.serving.queries.RegionFinder` asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mris.errors import ImageError, ManifestError
from mris.images.header import Side
from mris.images.image import Image
from mris.images.region import Region
from mris.images.transforms import share_outside
from mris.knee.center_sheet import CenterSheet
from mris.knee.crop import REGION_MM
from mris.knee.knee_location import SIDES, Detector, locate_knees, notes_on_plate
from mris.knee.radiograph import Center, check_plate, knee_region


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

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that it may find."""
        return SIDES

    def find(self, image: Image, file: Path, side: Side | None, edge_mm: float | None) -> tuple[Region, ...]:
        """Cut the region of each knee out of a plate; see `mris.knee.knee_location.locate_knees`.

        Args:
            image: The plate, of one channel.
            file: Its file, by which a sheet knows it.
            side: The side of a plate that shows one knee.
            edge_mm: Edge of the regions; the paper's if None.

        Raises:
            ImageError: A knee, its side or its row in the sheet is not found, or two sources contradict each other.
        """
        check_plate(image)
        try:
            keypoints = None if self.sheet is None else self.sheet.row_of(file, image.header.patient_id)
        except ManifestError as error:  # of one plate, not of the sheet: another plate may have its row
            raise ImageError(f"image {file}: {error}") from error
        knees = locate_knees(
            image,
            centers=self.centers or None,
            side=side,
            keypoints=keypoints,
            detector=self.detector,
            least_confidence=self.least_confidence,
        )
        edge = REGION_MM if edge_mm is None else edge_mm
        notes = notes_on_plate(image, knees, edge)
        return tuple(
            Region(
                knee_region(image, knee, edge),
                knee.side,
                knee.side_source,
                knee.center,
                knee.center_source,
                edge_mm=edge,
                outside=share_outside(image, edge, knee.center),
                confidence=knee.confidence,
                notes=notes,
            )
            for knee in knees
        )
