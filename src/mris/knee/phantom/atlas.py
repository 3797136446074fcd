"""The flat cartilage atlas: a femoral horseshoe (unrolled cylinder) and two tibial plates side by side.

Coordinates are those of a *left* knee, in millimetres: ``x`` from medial (negative) to lateral (positive), ``y`` from
posterior (negative) to anterior, ``z`` from distal to proximal; an *angle* (radians) runs round the femoral condyles, 0
at the most distal point of the straight knee, positive to the front. Rows of a map run from medial (top) to lateral,
columns from posterior (left) to anterior. A right knee is stored mirrored, so that left and right share one frame.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from mris.errors import SettingsError
from mris.types import AtlasMask

REGIONS = ("femoral", "tibial")
"""Order of the regions in every knee map."""

FEMORAL_HEIGHT_MM = 78.0
FEMORAL_LENGTH_MM = 84.0
FEMORAL_RADIUS_MM = 26.0
FEMORAL_DISTAL_COLUMN = 0.62
TIBIAL_HEIGHT_MM = 66.0
TIBIAL_LENGTH_MM = 58.0

Points = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class KneeAtlas:
    """Masks and named compartments of the flat atlas at one size.

    Attributes:
        size: Rows and columns of a map, in pixels.
        mask: Where each region (`REGIONS`) has cartilage.
        compartments: Masks of one region's map by name: ``medial_tibia``, ``lateral_tibia``, ``medial_femur`` and
            ``lateral_femur`` (weight-bearing parts), ``trochlea``, ``external_medial_tibia``.
    """

    size: int
    mask: AtlasMask
    compartments: dict[str, Bool[np.ndarray, "h w"]]

    def region_of(self, compartment: str) -> int:
        """Position in `REGIONS` of the map that a compartment lies in."""
        return REGIONS.index("tibial" if compartment.endswith("tibia") else "femoral")

    def mean_thickness(self, thickness: Float[np.ndarray, "r h w"], compartment: str) -> float:
        """Mean thickness (mm) over one compartment, denuded bone counted as 0 mm."""
        return float(np.nanmean(thickness[self.region_of(compartment)][self.compartments[compartment]]))


def femoral_position(x: Points, angle: Points) -> tuple[Points, Points]:
    """Relative (row, column) in [0, 1] of the point at ``x`` mm and ``angle`` radians round the condyles."""
    return 0.5 + x / FEMORAL_HEIGHT_MM, FEMORAL_DISTAL_COLUMN + angle * FEMORAL_RADIUS_MM / FEMORAL_LENGTH_MM


def tibial_position(x: Points, y: Points) -> tuple[Points, Points]:
    """Relative (row, column) in [0, 1] of the point of the tibial plateau at ``x``, ``y`` mm."""
    return 0.5 + x / TIBIAL_HEIGHT_MM, 0.5 + y / TIBIAL_LENGTH_MM


def relative_grid(size: int) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Relative (row, column) of every pixel centre of a map."""
    centers = (np.arange(size) + 0.5) / size
    row, column = np.meshgrid(centers, centers, indexing="ij")
    return row, column


@lru_cache(maxsize=8)
def knee_atlas(size: int) -> KneeAtlas:
    """The atlas at ``size`` x ``size`` pixels.

    Raises:
        SettingsError: If the size is below 16 pixels: the plates would touch each other.

    Example:
        >>> knee_atlas(64).mask.shape
        (2, 64, 64)
    """
    if size < 16:
        raise SettingsError(f"atlas size {size}: the two tibial plates need at least 16 pixels; choose a larger size")
    row, column = relative_grid(size)
    femoral = _femoral_mask(row, column)
    tibial = _tibial_mask(row, column)
    bearing = femoral & (column > 0.30) & (column < 0.60)
    compartments = {
        "medial_tibia": tibial & (row < 0.5),
        "lateral_tibia": tibial & (row > 0.5),
        "medial_femur": bearing & (row < 0.5),
        "lateral_femur": bearing & (row > 0.5),
        "trochlea": femoral & (column > 0.66),
        "external_medial_tibia": tibial & (row < 0.17),
    }
    return KneeAtlas(size=size, mask=np.stack([femoral, tibial]), compartments=compartments)


def edge_distance(mask: Bool[np.ndarray, "h w"], height_mm: float) -> Float[np.ndarray, "h w"]:
    """Distance (mm) of every pixel inside a mask to the nearest pixel outside."""
    padded = np.pad(mask, 1)
    distance: Float[np.ndarray, "h w"] = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    return np.asarray(distance * (height_mm / mask.shape[0]))


def _ellipse(
    row: Points, column: Points, center: tuple[float, float], radius: tuple[float, float], power: float = 2.0
) -> Points:
    """Superelliptic distance from a centre: below 1 inside."""
    across, along = np.abs((row - center[0]) / radius[0]), np.abs((column - center[1]) / radius[1])
    return np.asarray((across**power + along**power) ** (1.0 / power))


def _femoral_mask(row: Points, column: Points) -> Bool[np.ndarray, "h w"]:
    bend = 0.02 * np.sin(np.pi * column)  # arms are not parallel on a real femur
    medial = _ellipse(row, column, (0.235, 0.66), (0.195, 0.60), 3.0) < 1.0
    lateral = _ellipse(row, column, (0.765, 0.66), (0.185, 0.58), 3.0) < 1.0
    front = _ellipse(row, column, (0.51, 0.60), (0.46, 0.365), 2.6) < 1.0
    notch = (np.abs(row - 0.5 - bend) < 0.075 + 0.03 * np.cos(4.0 * column)) & (column < 0.52)
    notch |= _ellipse(row - bend, column, (0.5, 0.52), (0.062, 0.075)) < 1.0
    arms = (medial | lateral) & (column < 0.64)
    middle = (column > 0.44) & (np.abs(row - 0.5) < 0.2)  # so that the notch, not the arms, ends the gap
    return np.asarray((arms | (front & ((column >= 0.60) | middle))) & ~notch)


def _tibial_mask(row: Points, column: Points) -> Bool[np.ndarray, "h w"]:
    medial = (_ellipse(row, column, (0.26, 0.49), (0.225, 0.45), 2.3) < 1.0) & (row < 0.445)
    lateral = (_ellipse(row, column, (0.755, 0.50), (0.21, 0.37), 2.2) < 1.0) & (row > 0.565)
    return np.asarray(medial | lateral)
