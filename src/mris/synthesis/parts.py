"""Sub-regions from a label image: what has one number above 0 is a part, named by that number."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from mris.errors import SettingsError
from mris.images.read import read_image

Parts = Mapping[str, Mapping[str, Bool[np.ndarray, "h w"]]]
"""For a region, where its named parts lie on its map; parts may overlap."""


def read_parts(path: Path, regions: tuple[str, ...]) -> Parts:
    """Read parts of regions from a label image.

    Args:
        path: An image file: whole numbers, (h, w) for one region or (r, h, w) for r of them; 0 is no part.
        regions: Names of the regions, in the order of its first axis.

    Raises:
        ImageError: The file cannot be read.
        SettingsError: It has another number of regions, or something else than whole numbers.
    """
    labels = read_image(path).pixels
    if len(labels) != len(regions):
        raise SettingsError(
            f"parts {path} has labels of {len(labels)} regions, but maps have {len(regions)} ({', '.join(regions)}); "
            "give one label image a region"
        )
    if not np.isfinite(labels).all() or (labels != labels.round()).any() or (labels < 0).any():
        raise SettingsError(f"parts {path} is no label image; give whole numbers from 0 on")
    return {
        region: {f"{value:.0f}": labels[channel] == value for value in np.unique(labels[channel]) if value > 0}
        for channel, region in enumerate(regions)
    }
