"""From a file to its queries: one, or one for each knee of a plate."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mris.errors import ImageError, ManifestError
from mris.images.admission import admit
from mris.images.extent import extent_of
from mris.images.header import Side
from mris.images.image import Image, Spacing
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation
from mris.knee.center_sheet import CenterSheet
from mris.knee.knee_location import Detector, locate_knees, notes_on_plate, notes_on_view
from mris.knee.radiograph import REGION_MM, Center, KneeLocation, Plate, knee_region, outside_share, read_plate
from mris.serving.outputs import Query

MUCH_LARGER = 1.25
"""How many times the usual region an image may show before that is noted."""

KNEE_SUFFIXES: tuple[str, ...] = ("_right", "_left")
"""What is added to the stem of a plate, for each knee."""


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
        patient = plate.image.header.patient_id
        try:
            keypoints = None if self.sheet is None else self.sheet.row_of(file, patient)
        except ManifestError as error:  # of one plate, not of the sheet: another plate may have its row
            raise ImageError(f"image {file}: {error}") from error
        return locate_knees(
            plate,
            centers=self.centers or None,
            side=side,
            keypoints=keypoints,
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
    preparation: SourcePreparation | None = None,
) -> tuple[FileQuery, ...]:
    """Read a file as one query, or as one query a knee.

    Args:
        path: The file; ``file.npz::key`` names an array of an archive.
        stem: Beginning of the results' names; ``_right`` and ``_left`` follow for the knees of a plate.
        side: Side of the body where the file does not say.
        center: Center of the region of a file that is one query.
        spacing: Pixel spacing in mm where the file states none.
        knees: How the knees of a plate are found; None takes the file for one image.
        preparation: How the encoders' sources were prepared. Knees of a plate are cut out as large as these, or as the
            paper's where that is unknown.

    Raises:
        ImageError: The file cannot be read, or its knees cannot be found; or a file that is one query is, by its
            header, not what the encoders were made for (`mris.images.admission.admit`).
    """
    if knees is None:
        return (_whole(path, stem, side, center, spacing, preparation),)
    plate = read_plate(path, spacing=spacing)
    seen = None if preparation is None else preparation.edge_mm
    edge = REGION_MM if seen is None else seen
    found = knees.locate(plate, path, side)
    notes = notes_on_plate(plate, found, edge)
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
                outside=round(outside_share(plate, knee, edge), 4),
                region_mm=edge,
                view=plate.view or None,
                notes=notes,
            ),
        )
        for knee in found
    )


def _whole(
    path: Path,
    stem: str,
    side: Side | None,
    center: Center | None,
    spacing: Spacing | None,
    preparation: SourcePreparation | None,
) -> FileQuery:
    image = read_image(path, spacing=spacing)
    admitted = admit(image, preparation, side=side, center=center)
    view = image.header.view
    of_one_side = admitted.side is not None or (preparation is not None and preparation.shows_one_side)
    facts = Query(
        path.name,
        side=admitted.side,
        side_source=admitted.side_source,
        center=center,
        center_source=None if center is None else "given",
        spacing_source=None if image.spacing is None else image.header.spacing_source,
        region_mm=None if preparation is None else preparation.edge_mm,
        view=view or None,
        notes=(
            *admitted.notes,
            *((*notes_on_view(view), *_notes_on_scale(image, preparation)) if of_one_side else ()),
        ),
    )
    return FileQuery(path, stem, image, center, facts)


def _notes_on_scale(image: Image, preparation: SourcePreparation | None) -> Iterator[str]:
    """Say where a whole image shows much more than a knee, and nothing tells whether the encoders' sources did."""
    shown = extent_of(image)
    told = preparation is None or preparation.region_mm or preparation.extent_mm
    if shown is not None and not told and max(shown) > MUCH_LARGER * REGION_MM:
        yield (
            f"shows {shown[0]:.4g} x {shown[1]:.4g} mm, and the bundle does not tell how many mm its sources show; a "
            f"knee's region usually has {REGION_MM:g}"
        )
