"""A file that was read: what would be synthesized from it, and what has to be asked before."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mris.errors import ImageError
from mris.images.header import Side
from mris.images.image import Image
from mris.images.result_names import result_stems
from mris.images.transforms import SourcePreparation
from mris.knee.anatomy import KNEE
from mris.knee.crop import REGION_MM
from mris.knee.knee_finder import KneeFinder
from mris.serving.queries import MUCH_LARGER, FileQuery, queries_of
from mris.web.decoding import Decoded
from mris.web.pictures import Picture
from mris.web.records import Center, Find, ImageRecord, PictureRecord, RegionRecord

_FINEST_MM = 0.1
"""Of usual radiographs; a picture of unknown spacing is a plate if it is larger than a region of such pixels."""


@dataclass(frozen=True)
class Wish:
    """How a file is to be taken; the fields are those of `mris.web.records.SynthesizeRequest`."""

    find: Find = "auto"
    side: Side | None = None
    center: Center | None = None
    centers: tuple[tuple[Side, Center], ...] = ()
    spacing: float | None = None
    exclude_subject: str | None = None

    def spaced(self, image: Image) -> Image:
        """The image with the spacing that is told, where its file states none."""
        return image.with_spacing(None if self.spacing is None else (self.spacing, self.spacing))

    def finds(self, image: Image, preparation: SourcePreparation | None) -> bool:
        """Whether regions are looked for."""
        if self.find == "auto":
            return bool(self.centers) or (self.center is None and suggested(self.spaced(image), preparation) == "find")
        return self.find == "true"


def suggested(image: Image, preparation: SourcePreparation | None) -> Literal["find", "whole"]:
    """Guess whether a picture is a plate whose regions are to be found: it shows much more than one."""
    usual = (preparation.edge_mm if preparation else None) or REGION_MM
    extent = image.extent_mm
    largest = max(image.size) * _FINEST_MM if extent is None else max(extent)
    return "find" if largest > MUCH_LARGER * usual else "whole"


class ReadFile:
    """A file that was read, and its queries.

    Attributes:
        name: Of the file.
        decoded: What it holds.
    """

    def __init__(self, name: str, decoded: Decoded) -> None:
        """Take what a file holds."""
        self.name = name
        self.decoded = decoded
        self._last: tuple[object, tuple[FileQuery, ...]] | None = None

    def queries(self, wish: Wish, preparation: SourcePreparation | None) -> tuple[FileQuery, ...]:
        """Take the file for its queries, as ``mris synthesize`` does with the same options.

        Those of the last wish are kept: who looks at a plate and then synthesizes need not wait for the detector twice.

        Raises:
            ImageError: As `mris.serving.queries.queries_of`.
        """
        asked = (replace(wish, exclude_subject=None), preparation)
        last = self._last
        if last is None or last[0] != asked:
            self._last = last = asked, self._found(wish, preparation)
        return last[1]

    def _found(self, wish: Wish, preparation: SourcePreparation | None) -> tuple[FileQuery, ...]:
        image, path = wish.spaced(self.decoded.image), Path(self.name)
        return queries_of(
            image,
            path,
            result_stems([path])[0],
            side=wish.side,
            center=wish.center,
            finder=KneeFinder(dict(wish.centers)) if wish.finds(image, preparation) else None,
            preparation=preparation,
            anatomy=KNEE,
        )


@dataclass(frozen=True, eq=False)
class HeldImage:
    """A file that was read with its picture."""

    id: str
    file: ReadFile

    @property
    def picture(self) -> Picture:
        """To look at."""
        assert self.file.decoded.picture is not None
        return self.file.decoded.picture

    @property
    def n_bytes(self) -> int:
        """Bytes in memory."""
        return self.file.decoded.image.pixels.nbytes + self.picture.pixels.nbytes


def image_record(held: HeldImage, wish: Wish, preparation: SourcePreparation | None) -> ImageRecord:
    """Tell what a file holds and what would be synthesized from it."""
    image = wish.spaced(held.file.decoded.image)
    finds = wish.finds(image, preparation)
    problem: str | None = None
    queries: tuple[FileQuery, ...] = ()
    try:
        queries = held.file.queries(wish, preparation)
    except ImageError as error:
        problem = str(error)
    cut = finds or (preparation is not None and preparation.region_mm is not None)
    picture = held.picture
    return ImageRecord(
        id=held.id,
        name=held.file.name,
        rows=image.size[0],
        columns=image.size[1],
        n_channels=image.n_channels,
        spacing=image.spacing,
        spacing_source=image.header.spacing_source,
        extent_mm=image.extent_mm,
        laterality=image.laterality,
        view=image.header.view,
        mirrored=image.header.mirrored,
        dicom=held.file.decoded.source is not None,
        notes=_notes(queries) or image.header.notes,
        picture=PictureRecord(
            url=f"/api/v1/images/{held.id}/picture",
            rows=picture.pixels.shape[0],
            columns=picture.pixels.shape[1],
            step=picture.step,
            least=picture.least,
            largest=picture.largest,
            low=picture.window[0],
            high=picture.window[1],
        ),
        suggested=suggested(image, preparation),
        region_mm=((preparation.edge_mm if preparation else None) or REGION_MM) if cut else None,
        regions=tuple(_region(query, image) for query in queries) if cut else (),
        problem=problem,
        needs=tuple(_needs(image, wish, preparation, finds=finds)),
    )


def _region(query: FileQuery, image: Image) -> RegionRecord:
    middle = (image.size[0] - 1) / 2, (image.size[1] - 1) / 2
    return RegionRecord(
        side=query.facts.side,
        center=query.facts.center or middle,
        side_source=query.facts.side_source,
        center_source=query.facts.center_source,
        confidence=query.facts.confidence,
    )


def _notes(queries: tuple[FileQuery, ...]) -> tuple[str, ...]:
    return queries[0].facts.notes if queries else ()


def _needs(image: Image, wish: Wish, preparation: SourcePreparation | None, *, finds: bool) -> list[str]:
    needs = []
    cut = finds or (preparation is not None and preparation.region_mm is not None)
    if cut and image.spacing is None:
        needs.append("spacing")
    one_side = not finds and preparation is not None and bool(preparation.mirror_sides)
    if one_side and (wish.side or image.laterality) is None:
        needs.append("side")
    return needs


def centers_of(right: Center | None, left: Center | None) -> tuple[tuple[Side, Center], ...]:
    """Centers by hand, by side."""
    given: Mapping[Side, Center | None] = {"right": right, "left": left}
    return tuple((side, center) for side, center in given.items() if center is not None)
