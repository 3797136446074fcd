"""Where the named parts of the cartilages lie on maps of `mris thickness` that a cohort has resized."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from mris.errors import SettingsError
from mris.knee.cartilage_atlas import CartilageAtlas
from mris.knee.flatten import MAP_SIZE, map_mask, subregion_masks

LEAST_OVERLAP = 0.9
"""Of the pixels that atlas or maps cover, the share that both do; those of the digital knees have up to 86 %."""


def map_parts(
    atlas: CartilageAtlas, masks: Mapping[str, Bool[np.ndarray, "h w"]]
) -> dict[str, dict[str, Bool[np.ndarray, "h w"]]]:
    """Lay the parts of each cartilage over the maps of a bundle; a pixel is in those that hold its center.

    Args:
        atlas: The atlas whose frame the maps have.
        masks: By region, where the bundle's maps can have a value; regions that the atlas does not have are left out.

    Returns:
        By region the parts (see `mris.knee.subregions`), each of the size of its region's mask.

    Raises:
        SettingsError: No region is of the atlas, or maps cover other pixels, so that they lie in another frame.
    """
    parts: dict[str, dict[str, Bool[np.ndarray, "h w"]]] = {}
    for region in (atlas.femoral, atlas.tibial):
        mask = masks.get(region.name)
        if mask is None:
            continue
        places = np.ix_(*(((np.arange(length) + 0.5) * MAP_SIZE / length).astype(int) for length in mask.shape))
        here = map_mask(region)[places]
        overlap = np.count_nonzero(here & mask) / np.count_nonzero(here | mask)
        if overlap < LEAST_OVERLAP:
            raise SettingsError(
                f"the atlas and the bundle's {region.name} maps share {overlap:.0%} of their pixels, but maps of "
                f"mris thickness share at least {LEAST_OVERLAP:.0%}; leave out --atlas"
            )
        parts[region.name] = {name: part[places] for name, part in subregion_masks(region).items()}
    if not parts:
        raise SettingsError(
            f"the bundle's regions are {', '.join(masks)}, and the atlas has femoral and tibial; leave out --atlas"
        )
    return parts
