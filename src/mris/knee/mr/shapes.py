"""Three-dimensional digital knees: bones and cartilage by formulas, with worn cartilage and a random deformation.

Frame: a left knee, mm, x medial, y anterior, z proximal; the origin lies between the condyles on the joint line.

Bones are zero levels of fields that are positive inside. The end of the femur is a height over the axis of its
condyles, ``radius(angle, x)``: one table gives both condyles, the notch between them and the trochlea. The plateau of
the tibia is a height ``z(x, y)``, set below the femur so that the two cartilages just touch. A cartilage is the layer
up to ``thickness(place)`` outside its bone. All fields are evaluated at places moved by a smooth random deformation, so
that no label is ever resampled. Sizes are those of textbooks of anatomy; no scan of a person was used.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from mris.knee.mr.knee_shape import KneeShape
from mris.knee.mr.tissues import Tissue

Field = Float32[np.ndarray, "i j k"]
Places = tuple[Field, Field, Field]

LOWEST_MM = (-60.0, -76.0, -70.0)
EXTENT_MM = (120.0, 140.0, 140.0)
"""Lowest corner and edges of the box that a digital knee fills."""

AXIS_Y, AXIS_Z = -10.0, 22.0
"""Axis of the condyles; it runs along x."""

# Degrees round the axis (0 front, 90 up, 180 back, 270 down), then radius (mm) of medial and lateral lip and middle.
_OUTLINE = np.array(
    [
        [0.0, 36.0, 39.5, 33.0],
        [20.0, 37.5, 41.0, 35.5],
        [45.0, 37.0, 39.5, 36.5],
        [70.0, 31.0, 32.0, 31.0],
        [100.0, 29.0, 29.0, 26.0],
        [120.0, 26.0, 25.5, 15.0],
        [140.0, 22.5, 21.5, 8.0],
        [180.0, 23.0, 22.0, 0.5],
        [225.0, 22.5, 22.0, 0.5],
        [270.0, 23.0, 23.0, 0.5],
        [300.0, 26.5, 26.5, 15.0],
        [330.0, 32.0, 33.5, 28.0],
        [360.0, 36.0, 39.5, 33.0],
    ]
)
_HALF_WIDTH, _CONDYLE_X = 41.0, 22.0
_ANGLES, _ACROSS = np.arange(361.0), np.arange(-60.0, 60.5, 0.5)
_FAR = 8.0


def grid_places(step_mm: float, shape: KneeShape) -> Places:
    """Places of a knee's own frame at the voxels of the box, after its deformation, in its size."""
    n = [round(edge / step_mm) for edge in EXTENT_MM]
    axes = [low + step_mm * (np.arange(size, dtype=np.float32) + 0.5) for low, size in zip(LOWEST_MM, n, strict=True)]
    x, y, z = (np.array(one, np.float32) for one in np.meshgrid(*axes, indexing="ij"))
    seed, coarse, fine = shape.deformation
    rng = np.random.default_rng(seed)
    for sd, every in ((coarse, 24.0), (fine, 9.0)):
        if sd > 0:
            for along in (x, y, z):
                along += np.float32(sd) * smooth_noise(rng, along.shape, every / step_mm)
    scale = np.float32(1.0 / shape.size)
    x *= np.float32(1.0 / (shape.size * shape.width))
    y *= scale
    z *= scale
    return x, y, z


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], every: float) -> Field:
    """Smooth noise of about unit variance whose values change over `every` voxels."""
    knots = rng.normal(size=[int(np.ceil(n / every)) + 4 for n in shape]).astype(np.float32)
    # Cubic B-splines of independent knots: smooth to the second derivative; the sum of their squared weights is 0.11.
    for axis, n in enumerate(shape):
        knots = np.moveaxis(np.tensordot(_spline_weights(n, every, knots.shape[axis]), knots, axes=(1, axis)), 0, axis)
    return np.asarray(knots / 0.33, np.float32)


def _spline_weights(n: int, every: float, n_knots: int) -> Float32[np.ndarray, "n k"]:
    away = np.abs(np.arange(n)[:, None] / every + 1.5 - np.arange(n_knots)[None, :])
    near, far = 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6
    return np.where(away < 1, near, far).astype(np.float32)


def knee_labels(shape: KneeShape, step_mm: float) -> UInt8[np.ndarray, "i j k"]:
    """Bones and cartilages of a digital knee on a grid of cubic voxels; all else is 0.

    Args:
        shape: The knee.
        step_mm: Edge of a voxel; the box is `EXTENT_MM`.

    Example:
        >>> labels = knee_labels(KneeShape(), 2.0)
        >>> labels.shape, sorted(np.unique(labels).tolist())
        ((60, 70, 70), [0, 1, 2, 3, 4, 5, 6, 8])
    """
    places = grid_places(step_mm, shape)
    return _painted(shape, places, step_mm)


def _painted(shape: KneeShape, places: Places, step_mm: float) -> UInt8[np.ndarray, "i j k"]:
    x, y, z = places
    around = _round_axis(shape, places)
    step = step_mm / shape.size
    femur = _outside(_femur(shape, places, around), step)
    femoral = _femoral_thickness(shape, around[0], x)
    plateau = _plateau(shape)
    tibia = _outside(np.minimum(_tibia(shape, places, plateau), femur - 2.0), step)
    tibial = _tibial_thickness(shape, x, y)
    patella = _outside(_patella(shape, places), step)
    patellar = _patellar_thickness(shape, places)
    labels = np.zeros(x.shape, np.uint8)
    labels[_fibula(shape, places) > 0] = Tissue.FIBULA
    labels[(patella > 0) & (patella < patellar) & (femur > 0.3)] = Tissue.PATELLAR_CARTILAGE
    on_tibia = (tibia > 0) & (tibia < tibial) & (z > _height(plateau, x, y) - 2.0)
    on_femur = (femur > 0) & (femur < femoral)
    labels[on_tibia] = Tissue.TIBIAL_CARTILAGE
    # Where the layers meet, each place belongs to the layer in which it lies deeper.
    labels[on_femur & (~on_tibia | (femur * tibial < tibia * femoral))] = Tissue.FEMORAL_CARTILAGE
    labels[(patella <= 0) & (femur > 1.0)] = Tissue.PATELLA
    labels[tibia <= 0] = Tissue.TIBIA
    labels[femur <= 0] = Tissue.FEMUR
    return labels


def _outside(field: Field, step: float) -> Field:
    """About the distance (mm) outside the zero level of a field that is positive inside; good near the level."""
    steep = np.zeros_like(field)
    for axis in range(3):
        steep += np.gradient(field, step, axis=axis) ** 2
    np.sqrt(steep, out=steep)
    return np.asarray(np.clip(-field / np.maximum(steep, 0.35), -_FAR, _FAR))


def _round_axis(shape: KneeShape, places: Places) -> tuple[Field, Field]:
    """Degrees (0 to 360) round the axis of the condyles, in the bent femur, and the distance from it."""
    _, y, z = places
    degrees = np.degrees(np.arctan2(z - AXIS_Z, y - AXIS_Y)) - shape.flexion
    return np.asarray(degrees % 360, np.float32), np.hypot(y - AXIS_Y, z - AXIS_Z)


def _table(table: np.ndarray, degrees: Field, x: Field) -> Field:
    at = np.stack([degrees.ravel(), (np.clip(x.ravel(), _ACROSS[0], _ACROSS[-1]) - _ACROSS[0]) * 2])
    return np.asarray(ndimage.map_coordinates(table.astype(np.float32), at, order=1, mode="nearest")).reshape(x.shape)


def _smoothstep(value: np.ndarray) -> np.ndarray:
    held = np.clip(value, 0.0, 1.0)
    return np.asarray(held * held * (3 - 2 * held))


def _radius_table(shape: KneeShape) -> Float[np.ndarray, "degrees x"]:
    """Radius of the femur's end over angle and x."""
    medial, lateral, middle = (PchipInterpolator(_OUTLINE[:, 0], _OUTLINE[:, k])(_ANGLES) for k in (1, 2, 3))
    behind = np.clip((np.cos(np.radians(_ANGLES - 200.0)) - 0.3) / 0.5, 0.0, 1.0)
    medial, lateral = (lip * (1 + (shape.posterior - 1) * behind) for lip in (medial, lateral))
    below = np.clip(np.cos(np.radians(_ANGLES - 280.0)), 0.0, 1.0)
    lateral = lateral + shape.lateral * below
    front = np.clip(np.cos(np.radians(_ANGLES - 0.0)), 0.0, 1.0)
    middle = middle - (shape.groove - 1) * 5.0 * front
    across = np.abs(_ACROSS)[None, :]
    lip = np.where(_ACROSS[None, :] > 0, medial[:, None], lateral[:, None])
    # The wall of the notch is steep; the sides of the trochlea are not.
    reach = (4.0 + 14.0 * front)[:, None]
    start = (shape.notch - 3.0) * (1 - front)[:, None]
    between = _smoothstep((across - start) / reach)
    radius = middle[:, None] + (lip - middle[:, None]) * between
    radius -= 1.6 * ((across - _CONDYLE_X) / 14.0) ** 2 * (across > _CONDYLE_X)
    return np.asarray(radius)


def _half_width(y: np.ndarray) -> np.ndarray:
    """Half width of the femur's end: in front it is narrower than behind."""
    return np.asarray(_HALF_WIDTH - 10.0 * _smoothstep((y + 18.0) / 50.0) - 2.5 * _smoothstep((-y - 12.0) / 20.0))


def _femur(shape: KneeShape, places: Places, around: tuple[Field, Field]) -> Field:
    x, y, z = places
    degrees, radius = around
    end = _table(_radius_table(shape), degrees, x) - radius
    end = _smooth_min(end, np.asarray(_half_width(y) - np.abs(x), np.float32), 12.0)
    turn = np.radians(shape.flexion)
    up = (z - AXIS_Z) * np.cos(turn) - (y - AXIS_Y) * np.sin(turn) + AXIS_Z
    front = (y - AXIS_Y) * np.cos(turn) + (z - AXIS_Z) * np.sin(turn) + AXIS_Y
    flare = np.exp(-((np.clip(up - 20.0, 0, None) / 40.0) ** 2))
    wide, deep = (16.5 * shape.shaft + 23.0 * flare), (14.5 * shape.shaft + 5.0 * flare)
    shaft = (1 - np.hypot(x / wide, (front - 9.0 + 3.0 * flare) / deep)) * np.minimum(wide, deep)
    # The roof of the notch rises towards the back.
    shaft = np.minimum(shaft, np.minimum(up - 22.0, 0.78 * (up - 16.0) + 0.62 * (front - 7.0)))
    return _smooth_max(end, shaft, 4.0)


def _smooth_max(first: Field, second: Field, width: float) -> Field:
    overlap = np.clip(1 - np.abs(first - second) / width, 0, None)
    return np.asarray(np.maximum(first, second) + np.float32(width / 4) * overlap**2, np.float32)


def _worn(shape: KneeShape, bone: str, first: Field, second: Field, first_scale: float = 1.0) -> Field:
    left = np.ones_like(first)
    for one in shape.wear:
        if one.bone == bone:
            away = ((first - one.at[0]) / (first_scale * one.radius)) ** 2 + ((second - one.at[1]) / one.radius) ** 2
            left *= np.clip(1 - one.depth * np.exp(-(away**1.5)), 0, 1)
    return np.where(left > 0.12, left, 0.0).astype(np.float32)


def _femoral_thickness(shape: KneeShape, degrees: Field, x: Field) -> Field:
    medial, lateral, trochlea = shape.femoral_mm
    across = np.abs(_ACROSS)[None, :]
    front = np.clip(np.cos(np.radians(_ANGLES - 10.0)), 0.0, 1.0)[:, None] ** 0.7
    outer = _half_width(AXIS_Y + 28.0 * np.cos(np.radians(_ANGLES)))[:, None] - 5.0
    condyle = np.where(_ACROSS[None, :] > 0, medial, lateral)
    notch = (shape.notch + 1.0) * (1 - np.clip(1.8 * front, 0, 1)) - 4.0 * np.clip(1.8 * front, 0, 1)
    # Bare between the top of the trochlea and the top of the condyles behind.
    below = np.where(_ANGLES > 100, _ANGLES - 360, _ANGLES)[:, None]
    ends = np.minimum(24.0 - 12.0 * across / _HALF_WIDTH - below, below + 208.0)
    sides = np.minimum((across - notch) / 3.5, (outer - across) / 6.0)
    taper = np.sqrt(np.clip(sides, 0, 1) * np.clip(ends / 14.0, 0, 1))
    field = _table((condyle + (trochlea - condyle) * front) * taper, degrees, x)
    angle = np.where(degrees < 100, degrees + 360, degrees)  # as places of wear are given
    return np.asarray(field * _worn(shape, "femur", angle, x, 2.5))


@dataclass(frozen=True, eq=False)
class _Plateau:
    """Height (mm) of the tibia over x and y, in half millimeters."""

    heights: Float32[np.ndarray, "x y"]


def _height(plateau: _Plateau, x: Field, y: Field) -> Field:
    at = np.stack([(np.clip(one.ravel(), -45, 45) + 45) * 2 for one in (x, y)])
    return np.asarray(ndimage.map_coordinates(plateau.heights, at, order=1, mode="nearest")).reshape(x.shape)


_PLATES = ((20.5, -3.0, 17.0, 22.5), (-20.5, -4.0, 16.0, 19.5))
"""Middle in x and y and half widths of the medial and the lateral plate of cartilage, mm."""


def _plateau(shape: KneeShape) -> _Plateau:
    x, y = np.meshgrid(np.arange(-45, 45.5, 0.5), np.arange(-45, 45.5, 0.5), indexing="ij")
    medial = 0.0045 * ((x - 21) ** 2 + 0.8 * (y + 3) ** 2)
    lateral = 0.003 * (x + 21) ** 2 - 0.0035 * (y + 4) ** 2
    height = np.where(x > 0, medial, lateral) + np.tan(np.radians(shape.slope)) * 0.6 * (y + 3)
    height = ndimage.gaussian_filter(np.clip(height, -5, 5), 3.0)
    underside = _underside(shape, x)
    for number, (sign, femoral, tibial) in enumerate(zip((1, -1), shape.femoral_mm[:2], shape.tibial_mm, strict=True)):
        cx, cy, rx, ry = _PLATES[number]
        inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 0.8
        worn = _worn_apart(shape, sign)
        gap = (femoral + tibial) * worn + shape.gap_mm
        lift = np.min((underside - height)[inside]) - gap
        height = height + lift * _smoothstep(0.5 + sign * x / 16.0)
    for at, tall in ((5.5, shape.spine), (-5.5, 0.8 * shape.spine)):
        height = height + tall * np.exp(-(((x - at) / 3.6) ** 2) - ((y + 2) / 10.0) ** 2)
    return _Plateau(height.astype(np.float32))


def _worn_apart(shape: KneeShape, sign: int) -> float:
    """Share of the cartilage of one side that keeps the bones apart: wear on both lets them come nearer."""
    depths = [
        one.depth
        for one in shape.wear
        if one.bone != "patella" and np.sign(one.at[1 if one.bone == "femur" else 0]) == sign
    ]
    return 1.0 - 0.45 * min(1.0, max(depths, default=0.0) * 0.6)


def _underside(shape: KneeShape, x: np.ndarray) -> np.ndarray:
    """Lowest z of the femur above each place of a grid of x and y."""
    table = _radius_table(shape)
    along = np.arange(-45, 45.5, 0.5)
    lowest = np.full(x.shape, 50.0)
    turned = np.radians(_ANGLES[181:360] + shape.flexion)
    for column, across in enumerate(x[:, 0]):
        radius = table[181:360, int(np.searchsorted(_ACROSS, across))]
        y, z = AXIS_Y + radius * np.cos(turned), AXIS_Z + radius * np.sin(turned)
        order = np.argsort(y)
        lowest[column] = np.interp(along, y[order], z[order], left=50.0, right=50.0)
    return lowest


def _tibia(shape: KneeShape, places: Places, plateau: _Plateau) -> Field:
    x, y, z = places
    depth = np.clip(-4.0 - z, 0, None)
    flare = np.exp(-((np.clip(depth - 6.0, 0, None) / 32.0) ** 2))
    wide, deep = 16.0 * shape.shaft + (38.0 - 16.0 * shape.shaft) * flare, 15.0 * shape.shaft + 9.5 * flare
    middle = -3.0 + 2.0 * (1 - flare)
    outline = ((np.abs(x) / wide) ** 2.4 + (np.abs(y - middle) / deep) ** 2.4) ** (1 / 2.4)
    body = (1 - outline) * np.minimum(wide, deep)
    # The tuberosity in front, and the hollow between the condyles behind.
    body += shape.tuberosity * np.exp(-(((x + 2) / 10.0) ** 2) - ((z + 34.0) / 11.0) ** 2) * (y > 0)
    body -= 5.0 * np.exp(-((x / 7.0) ** 2) - ((z + 8.0) / 14.0) ** 2) * (y < -8)
    return _smooth_min(body, _height(plateau, x, y) - z, 3.0)


def _smooth_min(first: Field, second: Field, width: float) -> Field:
    return np.asarray(-_smooth_max(-first, -second, width), np.float32)


def _tibial_thickness(shape: KneeShape, x: Field, y: Field) -> Field:
    field = np.zeros_like(x)
    for (cx, cy, rx, ry), thickest in zip(_PLATES, shape.tibial_mm, strict=True):
        away = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
        field = np.maximum(field, np.float32(thickest) * np.clip(1 - away**2, 0, None) ** 0.5)
    return np.asarray(field * _worn(shape, "tibia", x, y))


def _patella_frame(shape: KneeShape, places: Places) -> Places:
    x, y, z = places
    aside, up, size = shape.patella
    from_axis = np.radians(8.0 + shape.flexion)
    reach = 34.5 + shape.femoral_mm[2] + shape.patellar_mm + max(shape.gap_mm, 0.3) + 10.0 * size
    middle_y, middle_z = AXIS_Y + reach * np.cos(from_axis), AXIS_Z + reach * np.sin(from_axis) + up
    scale = np.float32(1 / size)
    return (x - aside) * scale, (y - np.float32(middle_y)) * scale, (z - np.float32(middle_z)) * scale


def _patella(shape: KneeShape, places: Places) -> Field:
    x, y, z = _patella_frame(shape, places)
    taper = 1 + 0.012 * np.clip(z, -40.0, 40.0)  # narrower below
    powers = (np.abs(x) / (21.0 * taper)) ** 2.2 + (np.abs(y) / 11.0) ** 2.2 + (np.abs(z) / 22.0) ** 2.2
    oval = (1 - powers ** (1 / 2.2)) * 11.0
    facets = y + 9.0 - 0.36 * np.abs(x + 2.0)
    return _smooth_min(oval.astype(np.float32), facets.astype(np.float32), 3.0)


def _patellar_thickness(shape: KneeShape, places: Places) -> Field:
    x, y, z = _patella_frame(shape, places)
    away = (x / 21.0) ** 2 + ((z - 1.0) / 18.0) ** 2
    field = np.float32(shape.patellar_mm) * np.clip(1 - away**2, 0, None) ** 0.5 * (y < 1.0)
    return np.asarray(field * _worn(shape, "patella", x, z), np.float32)


def _fibula(shape: KneeShape, places: Places) -> Field:
    x, y, z = places
    thick = 6.5 * shape.shaft + 4.0 * np.exp(-(((z + 22.0) / 7.0) ** 2))
    column = thick - np.hypot(x + 33.0, y + 20.0)
    return _smooth_min(column, -12.0 - z, 4.0)
