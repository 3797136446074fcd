"""Where the femur comes to rest on the tibia: cartilage of both sides, pressed a little, and menisci fill the gap.

In each compartment the femur sinks until the mean overlap of the two cartilage layers reaches a constant (an elastic
foundation under a constant load). The two heights decide how high the femur stands and how it tilts: bones alone
then carry what a radiograph can show of the cartilage.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from mris.knee.phantom.atlas import femoral_position, tibial_position
from mris.knee.phantom.bones import BoneShape, Grid, condyle_angle, condyle_surface, plateau_surface
from mris.knee.phantom.fields import Thickness
from mris.knee.phantom.population import KneeTraits

LOAD_OVERLAP_MM = 0.30
MENISCUS_MM = (1.5, 1.5)
MENISCUS_SD_MM = 0.3
FIXED_LOCATION_MM = 19.0
"""Distance from the knee's middle at which joint space is read, on a knee of mean size."""

_X = np.linspace(9.0, 31.0, 12)
_Y = np.linspace(-17.0, 17.0, 18)


@dataclass(frozen=True)
class Placement:
    """Position of the femur over the tibia.

    Attributes:
        height: Of the femur's most distal point above the tibial plateau, mm, in the middle.
        slope: Rise of the femur per mm towards lateral.
        medial_jsw_mm: Medial joint space between the bones at the fixed location.
        lateral_jsw_mm: The same on the lateral side.
    """

    height: float
    slope: float
    medial_jsw_mm: float
    lateral_jsw_mm: float


@dataclass(frozen=True)
class Lookup:
    """Linear interpolation in a map at fixed places: the four neighbors of each place and their weights."""

    pixels: Int64[np.ndarray, "4 ..."]
    weights: Float[np.ndarray, "4 ..."]

    def __call__(self, field: Float[np.ndarray, "h w"]) -> Grid:
        """Values at the places; 0 mm off the cartilage."""
        return np.asarray((np.nan_to_num(field.ravel()[self.pixels], nan=0.0) * self.weights).sum(axis=0))


@dataclass(frozen=True)
class ContactGrid:
    """The two bones over both compartments, computed once per knee and flexion: axes (medial or lateral, y, x)."""

    x: Grid
    gap: Grid
    femoral: Lookup
    tibial: Lookup
    fixed_location: float


def contact_grid(shape: BoneShape, flexion: float, atlas_size: int) -> ContactGrid:
    """Sample the distance of the bones at height 0 and where each sample lies on the atlas."""
    s = shape.scale
    sides = np.array([-1.0, 1.0])[:, None, None]
    x = np.broadcast_to(sides * s * _X[None, None, :], (2, _Y.size, _X.size))
    y = np.broadcast_to(s * _Y[None, :, None], x.shape)
    gap = condyle_surface(shape, x, y, flexion) - plateau_surface(shape, x, y)
    angle = condyle_angle(shape, y, flexion)
    return ContactGrid(
        x=x,
        gap=gap,
        femoral=_lookup(femoral_position(x / s, angle), atlas_size),
        tibial=_lookup(tibial_position(x / s, y / s), atlas_size),
        fixed_location=FIXED_LOCATION_MM * s,
    )


def place_femur(grid: ContactGrid, thickness: Thickness, knee: KneeTraits, severity: float) -> Placement:
    """Let the femur sink onto the tibia until both compartments bear their load."""
    layers = grid.femoral(thickness[0]) + grid.tibial(thickness[1])
    menisci = meniscus_heights(knee, severity)
    height, slope = 4.0, 0.0
    center = grid.fixed_location
    for _ in range(3):
        free = layers - grid.gap - slope * (grid.x - np.sign(grid.x) * center)
        medial, lateral = (_sink(free[side]) + menisci[side] for side in range(2))
        height, slope = 0.5 * (medial + lateral), (lateral - medial) / (2.0 * center)
    spaces = _joint_space(grid, height, slope)
    return Placement(height, slope, float(spaces[0]), float(spaces[1]))


def meniscus_heights(knee: KneeTraits, severity: float) -> Float[np.ndarray, "2"]:
    """Height (mm) that the meniscus adds, medial and lateral: extruded early in disease, on the diseased side."""
    extruded = float(np.interp(severity, (0.0, 1.0, 2.0, 2.7, 3.2, 4.0), (0.0, 0.12, 0.78, 1.0, 1.0, 1.0)))
    heights = np.asarray(MENISCUS_MM) + MENISCUS_SD_MM * knee.meniscus
    share = np.array([0.15, 1.0]) if knee.lateral_type else np.array([1.0, 0.15])
    return np.asarray(heights * (1.0 - knee.extrusion * extruded * share))


def _sink(free: Grid) -> float:
    """Height h at which the mean of max(0, free - h) equals the load.

    With the m highest of n samples bearing, h = (their sum - n * load) / m; the right m is the one of largest h.
    """
    highest = np.sort(free, axis=None)[::-1]
    heights = (np.cumsum(highest) - LOAD_OVERLAP_MM * highest.size) / np.arange(1, highest.size + 1)
    return float(heights.max())


def _joint_space(grid: ContactGrid, height: float, slope: float) -> Float[np.ndarray, "2"]:
    """Narrowest distance of the bones along y, averaged over 8 mm round the fixed location."""
    distance = (grid.gap + height + slope * grid.x).min(axis=1)
    near = np.abs(np.abs(grid.x[:, 0, :]) - grid.fixed_location) < 4.0 * grid.fixed_location / FIXED_LOCATION_MM
    return np.asarray((distance * near).sum(axis=1) / near.sum(axis=1))


def _lookup(at: tuple[Grid, Grid], size: int) -> Lookup:
    """Neighbors and weights of relative (row, column) positions on a map of that size."""
    row, column = (np.clip(position * size - 0.5, 0.0, size - 1.001) for position in at)
    top, left = row.astype(np.int64), column.astype(np.int64)
    down, right = row - top, column - left
    pixels = np.stack([top * size + left + step for step in (0, 1, size, size + 1)])
    weights = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    return Lookup(pixels, weights)
