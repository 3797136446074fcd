"""Named parts of the atlas' cartilages, as they are drawn where cartilage is measured by hand.

Definitions: Wirth and Eckstein, "A technique for regional analysis of femorotibial cartilage thickness based on
quantitative magnetic resonance imaging", IEEE Transactions on Medical Imaging 27 (2008), 737-744. Their names: MT, LT
are the plates of the tibia, cMF and cLF the weight-bearing parts of the femur's condyles; prefixes c, e, i, a, p mean
central, external, internal, anterior, posterior.
"""

import numpy as np
from jaxtyping import Bool, Float

from mris.knee.cartilage_atlas import MIDDLE_X, WEIGHT_BEARING, AtlasRegion, femoral_angle

COMPARTMENTS = {
    "medial_compartment": ("medial_tibia", "medial_femur"),
    "lateral_compartment": ("lateral_tibia", "lateral_femur"),
}
"""Parts of both cartilages that face each other; the thickness of a compartment is their sum (MFTC, LFTC)."""
CENTRAL_SHARE = 0.2
"""Of a plate's area, what the ellipse round its center of gravity holds."""

_BAND_DEGREES = 5.0

Points = Float[np.ndarray, "n 3"]
Mask = Bool[np.ndarray, " n"]


def subregions(points: Points, region: AtlasRegion) -> dict[str, Mask]:
    """Which points lie in each named part of a region.

    Tibia: a plate each side of `MIDDLE_X`; in it an ellipse of `CENTRAL_SHARE` of its area round its center of gravity,
    of the plate's proportions; the rest is cut by two lines through that center, at 45 degrees to the axes. Femur: the
    weight-bearing part is between the angles `WEIGHT_BEARING`, cut across its width into three of equal area at every
    angle; before it the trochlea, behind it the posterior condyles; the halves meet at `MIDDLE_X`.

    Args:
        points: Places on the atlas' surface, RAS, mm; NaN lies nowhere.
        region: The region of the atlas whose shape counts.

    Returns:
        For the tibia ``medial_tibia`` and its parts ``central_medial_tibia``, ``external_``, ``internal_``,
        ``anterior_`` and ``posterior_medial_tibia``; for the femur ``medial_femur`` (weight-bearing), its parts
        ``central_medial_femur``, ``external_`` and ``internal_medial_femur``, and ``posterior_medial_femur``; the same
        of the lateral half; and ``trochlea``.
    """
    parts: dict[str, Mask] = {}
    for side, outward in (("medial", 1.0), ("lateral", -1.0)):  # x grows from lateral to medial
        here = (points[:, 0] - MIDDLE_X) * outward > 0
        of_side = (region.points[:, 0] - MIDDLE_X) * outward > 0
        parts |= (_plate if region.name == "tibial" else _condyle)(points, here, region, of_side, side, outward)
    if region.name == "femoral":
        parts["trochlea"] = femoral_angle(points) > WEIGHT_BEARING[1]
    return parts


def _plate(
    points: Points, here: Mask, region: AtlasRegion, of_side: Mask, side: str, outward: float
) -> dict[str, Mask]:
    own, area = region.points[of_side, :2], _vertex_area(region)[of_side]
    center, half = np.average(own, axis=0, weights=area), np.ptp(own, axis=0) / 2
    limit = _quantiles(np.hypot(*((own - center) / half).T), area, (CENTRAL_SHARE,))[0]
    across, along = (points[:, :2] - center).T * [[outward], [1.0]]
    central = here & (np.hypot(*((points[:, :2] - center) / half).T) <= limit)
    rest = here & ~central
    return {
        f"{side}_tibia": here,
        f"central_{side}_tibia": central,
        f"external_{side}_tibia": rest & (across >= np.abs(along)),
        f"internal_{side}_tibia": rest & (-across >= np.abs(along)),
        f"anterior_{side}_tibia": rest & (along > np.abs(across)),
        f"posterior_{side}_tibia": rest & (-along > np.abs(across)),
    }


def _condyle(
    points: Points, here: Mask, region: AtlasRegion, of_side: Mask, side: str, outward: float
) -> dict[str, Mask]:
    angle = femoral_angle(points)
    bearing = here & (angle >= WEIGHT_BEARING[0]) & (angle <= WEIGHT_BEARING[1])
    inner, outer = _thirds(region, of_side, outward, angle)
    across = points[:, 0] * outward
    return {
        f"{side}_femur": bearing,
        f"central_{side}_femur": bearing & (across > inner) & (across <= outer),
        f"external_{side}_femur": bearing & (across > outer),
        f"internal_{side}_femur": bearing & (across <= inner),
        f"posterior_{side}_femur": here & (angle < WEIGHT_BEARING[0]),
    }


def _thirds(
    region: AtlasRegion, of_side: Mask, outward: float, angle: Float[np.ndarray, " n"]
) -> list[Float[np.ndarray, " n"]]:
    """Where a condyle is cut across its width at some angles: the inner third ends, the outer third begins."""
    across, own = region.points[of_side, 0] * outward, femoral_angle(region.points[of_side])
    area = _vertex_area(region)[of_side]
    middles = np.arange(WEIGHT_BEARING[0], WEIGHT_BEARING[1], _BAND_DEGREES) + _BAND_DEGREES / 2
    bands = [np.abs(own - middle) <= _BAND_DEGREES / 2 for middle in middles]
    cuts = np.array([_quantiles(across[band], area[band], (1 / 3, 2 / 3)) for band in bands])
    return [np.interp(angle, middles, cut) for cut in cuts.T]


def _vertex_area(region: AtlasRegion) -> Float[np.ndarray, " n"]:
    """Area of the surface that each vertex stands for: a third of the triangles round it."""
    a, b, c = (region.points[region.faces[:, corner]] for corner in range(3))
    third = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(region.faces.ravel(), weights=np.repeat(third, 3), minlength=len(region.points))


def _quantiles(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"], shares: tuple[float, ...]
) -> list[float]:
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    return [float(values[order][np.searchsorted(below, share)]) for share in shares]
