"""How well a segmentation agrees with the truth, and the thickness maps of both with each other."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from mris.knee.cartilage_atlas import CartilageAtlas
from mris.knee.segmentation import Segmentation, box_round
from mris.knee.thickness_maps import thickness_maps

TISSUES = ("femur", "femoral_cartilage", "tibia", "tibial_cartilage", "patella", "patellar_cartilage")
"""Numbers 1 to 6 of what is judged."""
COMPARTMENTS = ("medial_tibia", "lateral_tibia", "medial_femur", "lateral_femur", "trochlea")
"""Parts of the maps whose mean thickness is judged."""

_FROM_PRESET = np.array([0, 6, 2, 4, 4, 0, 0, 1, 3, 5], np.uint8)


def judged(labels: np.ndarray) -> np.ndarray:
    """Turn numbers of the preset ``nnunet_knee`` into those of `TISSUES`."""
    return _FROM_PRESET[labels]


def overlap(found: np.ndarray, truth: np.ndarray, spacing: np.ndarray) -> Mapping[str, Mapping[str, float]]:
    """Dice, and the mean distance of both surfaces from each other (mm), of each tissue that the truth has."""
    result = {}
    for number, name in enumerate(TISSUES, start=1):
        one, other = found == number, truth == number
        if not other.any():
            continue
        dice = 2 * int((one & other).sum()) / (int(one.sum()) + int(other.sum()))
        result[name] = {"dice": dice, "surface_mm": surface_distance(one, other, spacing) if one.any() else 99.0}
    return result


def surface_distance(one: np.ndarray, other: np.ndarray, spacing: np.ndarray) -> float:
    """Mean distance (mm) of each surface voxel of either mask to the nearest one of the other.

    Example:
        >>> one, other = (np.zeros((9, 9, 9), bool) for _ in range(2))
        >>> one[3:6, 3:6, 3:6], other[3:6, 3:6, 4:7] = True, True
        >>> round(surface_distance(one, other, np.ones(3)), 2)
        0.46
    """
    box = box_round(one | other, (2, 2, 2))
    surfaces = [mask[box] & ~ndimage.binary_erosion(mask[box], border_value=1) for mask in (one, other)]
    away = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    return float(np.concatenate([away[1][surfaces[0]], away[0][surfaces[1]]]).mean())


def thickness(atlas: CartilageAtlas, labels: np.ndarray, affine: np.ndarray, side: str) -> Mapping[str, float]:
    """Mean thickness (mm) of the `COMPARTMENTS` by ``mris thickness``, of labels 1 to 4 whose axes run about RAS."""
    kept = np.where(labels <= 4, labels, 0).astype(np.uint8)
    maps = thickness_maps(atlas, Segmentation(kept, affine, side))
    return {name: float(maps.subregions[name]) for name in COMPARTMENTS}


def summary(values: list[float]) -> str:
    """Median, and lowest and highest value."""
    return f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else ""
