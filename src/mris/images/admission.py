"""The one door for sources: does a picture fit what the encoders were made for, and which side is it?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mris.errors import ImageError
from mris.images.anatomy import Anatomy
from mris.images.extent import Extent, alike
from mris.images.image import Image, side_name
from mris.images.transforms import MUCH_OUTSIDE, SourcePreparation, share_outside

ANY = Anatomy()
"""Of a source of which no more is known."""


@dataclass(frozen=True)
class Admission:
    """What is known of a source that was let in.

    Attributes:
        side: Side of the body, or None.
        side_source: Who names it: the "header", or the caller ("given"); None if nobody does.
        notes: What deserves a look.
    """

    side: str | None
    side_source: Literal["header", "given"] | None
    notes: tuple[str, ...]


def admit(
    image: Image,
    preparation: SourcePreparation | None,
    *,
    anatomy: Anatomy = ANY,
    side: str | None = None,
    center: tuple[float, float] | None = None,
) -> Admission:
    """Decide whether a source fits a preparation; every way in asks here, before pixels are prepared.

    Encoders of regions see them from the front or the back. These, and those whose sources of one side are mirrored,
    see one side at a time. Other encoders may have been trained on lateral views or on both sides, and take them.

    Args:
        image: As it was read, with its header.
        preparation: How the encoders' sources were prepared; None if unknown.
        anatomy: The part of the body that they show.
        side: What the caller says; None if nothing.
        center: Where a person says that the region's center is; the middle if None.

    Returns:
        Its side, and what deserves a look.

    Raises:
        ImageError: The header says the other side; or a mirrored picture; or, where no center is given, both sides to
            encoders of one, or a view that is not frontal to encoders of regions; or the picture shows another extent
            in mm than those of the encoders (`check_extent`).

    Example:
        >>> import numpy as np
        >>> admit(Image(np.ones((1, 2, 2), np.float32), laterality="left"), None).side
        'left'
    """
    side = side_name(side)
    _check_header(image, preparation, anatomy, side, center_given=center is not None)
    source: Literal["header", "given"] | None = "header" if image.laterality else "given" if side else None
    side = image.laterality or side
    notes = *image.header.notes, *anatomy.notes_on_part(image.header.body_part)
    if preparation is None:
        return Admission(side, source, notes)
    check_extent(image, preparation, anatomy, side)
    notes = *notes, *_notes_on_extent(image, preparation), *_notes_on_region(image, preparation, center)
    return Admission(side, source, notes)


def check_extent(image: Image, settings: SourcePreparation, anatomy: Anatomy = ANY, side: str | None = None) -> None:
    """Refuse a whole image that shows more, or less, than those that the encoders were trained on.

    Raises:
        ImageError: Its extent is known and is not theirs; or theirs is unknown, and it is wider than pictures of one
            side of that anatomy, where the image or the encoders are of one side.
    """
    found = image.extent_mm
    if settings.region_mm is not None or found is None:
        return
    if settings.extent_mm is None:
        of_one_side = settings.shows_one_side or (side or image.laterality) is not None
        if anatomy.widest_mm is None or not of_one_side:
            return
        fits = found[1] <= anatomy.widest_mm
        rule = f"pictures of one {anatomy.name} are at most {anatomy.widest_mm:g} mm wide"
    else:
        fits = alike(found, settings.extent_mm)
        rule = f"the encoders were trained on pictures of {_written(settings.extent_mm)} mm"
    if not fits:
        raise ImageError(
            f"image {image.origin}: shows {_written(found)} mm, but {rule}; if it is a plate, "
            f"{anatomy.plate_advice}; else check its spacing"
        )


def _check_header(
    image: Image, preparation: SourcePreparation | None, anatomy: Anatomy, side: str | None, *, center_given: bool
) -> None:
    header, name = image.header, f"image {image.origin}"
    of_regions = preparation is not None and preparation.region_mm is not None
    of_one_side = side is not None or (preparation is not None and preparation.shows_one_side)
    if of_regions and anatomy.is_frontal(header.view) is False and not center_given:
        raise ImageError(
            f"{name}: {anatomy.notes_on_view(header.view)[0]}; mend the header, or {anatomy.center_advice}"
        )
    if of_one_side and len(header.sides) == 2 and not center_given:
        raise ImageError(
            f"{name}: its header ({header.sides_source}) says that it shows both sides, and neither the whole nor "
            f"its middle is one {anatomy.name}; give the center, {anatomy.plate_advice}"
        )
    if side is not None and image.laterality not in (None, side):
        raise ImageError(
            f"{name}: its header ({header.sides_source or 'laterality'}) says {image.laterality}, but --side says "
            f"{side}; mend one of them"
        )
    if header.mirrored:
        raise ImageError(
            f"{name}: its header (PatientOrientation) says that the picture is mirrored; {anatomy.mirrored_advice}"
        )


def _notes_on_extent(image: Image, settings: SourcePreparation) -> tuple[str, ...]:
    """Say where the encoders know how much their whole images show, and nothing tells whether this one shows it."""
    if settings.region_mm is not None or settings.extent_mm is None or image.spacing is not None:
        return ()
    return (
        f"its pixel spacing is unknown, so nothing tells whether it shows {_written(settings.extent_mm)} mm, as the "
        "pictures that the encoders were trained on; give the spacing",
    )


def _notes_on_region(image: Image, settings: SourcePreparation, center: tuple[float, float] | None) -> Iterator[str]:
    """Say where the region that is cut lies beyond the picture for the most part, or is coarse."""
    shown = image.extent_mm
    if settings.region_mm is None or image.spacing is None or shown is None:
        return
    cut = [round(settings.region_mm / mm) for mm in image.spacing]
    if any(2 * found < wanted for found, wanted in zip(cut, settings.size, strict=True)):
        yield (
            f"has {cut[0]} x {cut[1]} pixels in the {settings.region_mm:g} mm that the encoders see with "
            f"{settings.size[0]} x {settings.size[1]}; check its spacing"
        )
    outside = share_outside(image, settings.region_mm, center)
    if outside > MUCH_OUTSIDE:
        yield (
            f"shows {_written(shown)} mm, and {outside:.0%} of the {settings.region_mm:g} mm that the encoders see lie "
            f"outside; check its {'spacing' if center is None else 'spacing and the center'}"
        )


def _written(extent: Extent) -> str:
    return " x ".join(f"{length:.4g}" for length in extent)
