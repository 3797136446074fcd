"""Whether a source is what the encoders were made for."""

from mris.errors import ImageError
from mris.images.extent import Extent, alike, extent_of
from mris.images.image import Image
from mris.images.transforms import SourcePreparation

WIDEST_KNEE_MM = 300.0
"""Cassettes for one knee are at most 24 x 30 cm: what is wider is taken for a plate of both."""


def check_extent(image: Image, settings: SourcePreparation) -> None:
    """Refuse a whole image that shows more, or less, than those that the encoders were trained on.

    Raises:
        ImageError: Its extent is known and is not theirs; or theirs is unknown, and it is too wide for one knee, where
            the image or the encoders are of one side.
    """
    found = extent_of(image)
    if settings.region_mm is not None or found is None:
        return
    if settings.extent_mm is None:
        of_one_side = settings.shows_one_side or image.laterality is not None
        fits = found[1] <= WIDEST_KNEE_MM or not of_one_side
        rule = f"pictures of one knee are at most {WIDEST_KNEE_MM:g} mm wide"
    else:
        fits = alike(found, settings.extent_mm)
        rule = f"the encoders were trained on pictures of {_written(settings.extent_mm)} mm"
    if not fits:
        raise ImageError(
            f"image {image.origin}: shows {_written(found)} mm, but {rule}; if it is a plate, let mris synthesize find "
            "its knees (--knees detect, --right, --left), or cut them out by mris radiograph; else check its spacing"
        )


def notes_on_extent(image: Image, settings: SourcePreparation | None) -> tuple[str, ...]:
    """Say where the encoders know how much their whole images show, and nothing tells whether this one shows it."""
    if settings is None or settings.region_mm is not None or settings.extent_mm is None or image.spacing is not None:
        return ()
    return (
        f"its pixel spacing is unknown, so nothing tells whether it shows {_written(settings.extent_mm)} mm, as the "
        "pictures that the encoders were trained on; give the spacing",
    )


def _written(extent: Extent) -> str:
    return " x ".join(f"{length:.4g}" for length in extent)
