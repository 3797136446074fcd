"""Which pixels of an image count when methods are judged: the same for all, whatever a method leaves out."""

import numpy as np

from mris.types import AtlasMask, TargetMap


def evaluation_mask(truth: TargetMap, atlas_mask: AtlasMask) -> AtlasMask:
    """Return the pixels that count: where the truth has a value and the atlas allows one."""
    mask: AtlasMask = np.isfinite(truth) & atlas_mask
    return mask


def fill_missing(prediction: TargetMap, mask: AtlasMask, filler: TargetMap) -> tuple[TargetMap, AtlasMask]:
    """Give every pixel of the mask a value, so that no method can better its error by silence.

    Args:
        prediction: (r, h, w) a method's image, NaN where it says nothing.
        mask: (r, h, w) the evaluation mask.
        filler: (r, h, w) what stands in, finite inside the mask (the mean map of the training set).

    Returns:
        The image, NaN outside the mask and finite inside; and where in the mask the method itself had a value.
    """
    own = np.isfinite(prediction) & mask
    filled = np.where(own, prediction, np.where(mask, filler, np.nan)).astype(np.float32)
    return filled, own
