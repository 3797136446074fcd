"""From a file to its queries: one, or one for each region that is found in a plate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mris.images.admission import ANY, admit
from mris.images.anatomy import Anatomy
from mris.images.header import Side
from mris.images.image import Image
from mris.images.region import Region
from mris.images.transforms import SourcePreparation, share_outside
from mris.serving.outputs import Query

MUCH_LARGER = 1.25
"""How many times the usual region an image may show before that is noted."""


class RegionFinder(Protocol):
    """Finds the regions of a picture that shows several, such as both sides of a plate."""

    @property
    def sides(self) -> Sequence[Side]:
        """The sides that it may find; results are named after them."""

    def find(self, image: Image, file: Path, side: Side | None, edge_mm: float | None) -> Sequence[Region]:
        """Cut out each region.

        Args:
            image: As it was read, with its header.
            file: Where it was read from.
            side: The side of a picture of one, as the caller says.
            edge_mm: Edge of the squares that the encoders see; None if that is unknown.

        Raises:
            ImageError: Nothing is found, or not for sure.
        """


@dataclass(frozen=True, eq=False)
class FileQuery:
    """One image to synthesize for.

    Attributes:
        path: Its file.
        stem: Beginning of the results' names.
        image: The pixels, their spacing and side: the file's, or a region's of it.
        center: Row and column in pixels of `image` that a region is cut round; its middle if None.
        facts: What the provenance tells of it, the checksum left out.
    """

    path: Path
    stem: str
    image: Image
    center: tuple[float, float] | None
    facts: Query


def queries_of(
    image: Image,
    path: Path,
    stem: str,
    *,
    side: Side | None = None,
    center: tuple[float, float] | None = None,
    finder: RegionFinder | None = None,
    preparation: SourcePreparation | None = None,
    anatomy: Anatomy = ANY,
) -> tuple[FileQuery, ...]:
    """Take an image that was read for one query, or for one query for each region that is found in it.

    Args:
        image: As it was read.
        path: Its file, which the results name.
        stem: Beginning of the results' names; ``_right`` or ``_left`` follows for a region that is found.
        side: Side of the body where the file does not say.
        center: Center of the region of a file that is one query.
        finder: How the regions of a plate are found; None takes the file for one image.
        preparation: How the encoders' sources were prepared. Regions are cut out as large as these, or as the finder
            thinks fit where that is unknown.
        anatomy: The part of the body that they show.

    Raises:
        ImageError: Its regions cannot be found; or a file that is one query is, by its header, not what the encoders
            were made for (`mris.images.admission.admit`).
    """
    if finder is not None:
        regions = finder.find(image, path, side, None if preparation is None else preparation.edge_mm)
        return tuple(_of_region(region, image, path, stem) for region in regions)
    admitted = admit(image, preparation, anatomy=anatomy, side=side, center=center)
    of_one_side = admitted.side is not None or (preparation is not None and preparation.shows_one_side)
    edge = None if preparation is None or image.spacing is None else preparation.region_mm
    facts = Query(
        path.name,
        side=admitted.side,
        side_source=admitted.side_source,
        center=center,
        center_source=None if center is None else "given",
        spacing_source=None if image.spacing is None else image.header.spacing_source,
        outside=None if edge is None else round(share_outside(image, edge, center), 4),
        region_mm=None if preparation is None else preparation.edge_mm,
        view=image.header.view or None,
        notes=(
            *admitted.notes,
            *(anatomy.notes_on_view(image.header.view) if of_one_side else ()),
            *(_notes_on_scale(image, preparation, anatomy) if of_one_side else ()),
        ),
    )
    return (FileQuery(path, stem, image, center, facts),)


def _of_region(region: Region, image: Image, path: Path, stem: str) -> FileQuery:
    facts = Query(
        path.name,
        side=region.side,
        side_source=region.side_source,
        center=region.center,
        center_source=region.center_source,
        confidence=region.confidence,
        spacing_source=image.header.spacing_source,
        outside=round(region.outside, 4),
        region_mm=region.edge_mm,
        view=image.header.view or None,
        notes=region.notes,
    )
    return FileQuery(path, f"{stem}_{region.side}", region.image, None, facts)


def _notes_on_scale(image: Image, preparation: SourcePreparation | None, anatomy: Anatomy) -> Iterator[str]:
    """Say where a whole image shows much more than is usual, and nothing tells whether the encoders' sources did."""
    shown, usual = image.extent_mm, anatomy.region_mm
    told = preparation is None or preparation.region_mm or preparation.extent_mm
    if shown is not None and usual is not None and not told and max(shown) > MUCH_LARGER * usual:
        yield (
            f"shows {shown[0]:.4g} x {shown[1]:.4g} mm, and the bundle does not tell how many mm its sources show; a "
            f"{anatomy.name}'s region usually has {usual:g}"
        )
