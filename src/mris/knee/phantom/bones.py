"""Shapes of femur, tibia, fibula and patella as columns along the leg: one interval of z per (x, y).

Frame: a left knee, mm, x lateral, y anterior, z proximal, origin on the tibial plateau between the spines.
A bone is two surfaces, lower(x, y) and upper(x, y); where upper <= lower there is no bone. The inner (trabecular) part of
a bone is the same body, shrunk by the cortex. That makes the path of any ray a difference of two numbers per column.
"""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from mris.knee.phantom.population import N_MORPHOLOGY, N_SHAPE, KneeTraits, Person

Grid = Float[np.ndarray, "..."]

FAR = 1000.0
"""A height (mm) beyond every picture: the shafts go on."""
SHAPE_SHARE = 0.85
"""Share of the variance of each shape parameter that the morphology factors explain."""

_LOADINGS_SEED = 11  # a constant of the model, not of a cohort: how morphology maps to bone shape

_DISTRIBUTION: dict[str, tuple[float, float]] = {
    "tibia_half_width": (37.5, 1.6),
    "femur_width_ratio": (1.08, 0.03),
    "medial_condyle_half_width": (17.5, 1.3),
    "lateral_condyle_half_width": (17.0, 1.3),
    "medial_condyle_drop": (15.0, 2.0),
    "lateral_condyle_drop": (14.5, 2.0),
    "condyle_offset": (21.0, 1.3),
    "sagittal_radius": (27.0, 2.2),
    "notch_height": (21.0, 2.6),
    "notch_sharpness": (0.16, 0.035),
    "medial_spine_height": (9.0, 1.8),
    "lateral_spine_height": (7.0, 1.6),
    "spine_separation": (6.2, 0.9),
    "medial_concavity": (2.0, 0.7),
    "lateral_convexity": (0.6, 0.6),
    "femur_flare": (1.0, 0.10),
    "tibia_flare": (1.0, 0.12),
    "lateral_asymmetry": (0.0, 0.03),
    "patella_radius": (21.0, 1.6),
    "patella_height": (30.0, 4.5),
    "fibula_offset": (0.86, 0.07),
    "fibula_top": (-13.0, 2.6),
    "trabecular_density": (1.0, 0.10),
    "cortex": (1.5, 0.22),
}


@dataclass(frozen=True)
class BoneShape:
    """Shape of one knee's bones: lengths in mm, ratios and factors without unit, means and SDs in `_DISTRIBUTION`."""

    tibia_half_width: float
    femur_width_ratio: float
    medial_condyle_half_width: float
    lateral_condyle_half_width: float
    medial_condyle_drop: float
    lateral_condyle_drop: float
    condyle_offset: float
    sagittal_radius: float
    notch_height: float
    notch_sharpness: float
    medial_spine_height: float
    lateral_spine_height: float
    spine_separation: float
    medial_concavity: float
    lateral_convexity: float
    femur_flare: float
    tibia_flare: float
    lateral_asymmetry: float
    patella_radius: float
    patella_height: float
    fibula_offset: float
    fibula_top: float
    trabecular_density: float
    cortex: float

    @property
    def scale(self) -> float:
        """Size relative to the mean knee."""
        return self.tibia_half_width / _DISTRIBUTION["tibia_half_width"][0]


@dataclass(frozen=True)
class Body:
    """One bone (or its inner part) on a grid of columns: where it begins and ends along z."""

    lower: Grid
    upper: Grid


@lru_cache(maxsize=1)
def _loadings() -> Float[np.ndarray, "s m"]:
    rng = np.random.default_rng(_LOADINGS_SEED)
    loadings = rng.normal(size=(N_SHAPE, N_MORPHOLOGY))
    return np.asarray(loadings / np.linalg.norm(loadings, axis=1, keepdims=True))


def bone_shape(person: Person, knee: KneeTraits) -> BoneShape:
    """The bones of one knee from its morphology factors, its own noise, and the person's sex and height."""
    standard = np.sqrt(SHAPE_SHARE) * (_loadings() @ knee.morphology) + np.sqrt(1.0 - SHAPE_SHARE) * knee.shape_noise
    standard = np.clip(standard, -2.6, 2.6)
    values = {name: mean + sd * float(z) for (name, (mean, sd)), z in zip(_DISTRIBUTION.items(), standard, strict=True)}
    stature = (2.0 if person.sex == "male" else -1.4) + 1.0 * person.height_z
    values["tibia_half_width"] += stature
    return BoneShape(**{f.name: values[f.name] for f in fields(BoneShape)})


def condyle_surface(shape: BoneShape, x: Grid, y: Grid, flexion: float) -> Grid:
    """Height (mm) of the lower surface of the femur above its most distal point; ``flexion`` in degrees."""
    s = shape.scale
    radius = s * shape.sagittal_radius * (1.09 - 0.0045 * flexion)
    y0 = s * -3.0 - 0.12 * flexion
    bend = np.clip((y - y0) / radius, -0.995, 0.995)
    sagittal = radius * (1.0 - np.sqrt(1.0 - bend * bend))
    offset = s * shape.condyle_offset
    medial = _condyle_profile(x + offset, s * shape.medial_condyle_half_width, s * shape.medial_condyle_drop)
    lateral = _condyle_profile(x - offset, s * shape.lateral_condyle_half_width, s * shape.lateral_condyle_drop)
    behind = 1.0 / (1.0 + np.exp((y - s * 4.0) / (s * 3.5)))
    roof = s * (9.0 + (shape.notch_height - 9.0) * behind) - shape.notch_sharpness * x * x * behind * 0.5
    roof = np.where(np.abs(x) < offset, np.maximum(roof, s * 9.0) + sagittal * 0.25, FAR)
    return np.asarray(np.minimum(np.minimum(medial, lateral + 0.8 * s) + sagittal, roof))


def condyle_angle(shape: BoneShape, y: Grid, flexion: float) -> Grid:
    """Angle (radians) round the condyles of the surface point above ``y``, for the atlas."""
    s = shape.scale
    radius = s * shape.sagittal_radius * (1.09 - 0.0045 * flexion)
    y0 = s * -3.0 - 0.12 * flexion
    return np.asarray(np.arcsin(np.clip((y - y0) / radius, -0.995, 0.995)) - np.deg2rad(flexion))


def plateau_surface(shape: BoneShape, x: Grid, y: Grid) -> Grid:
    """Height (mm) of the upper surface of the tibia, spines included, posterior slope left out (the beam follows it)."""
    s = shape.scale
    u = x / s
    v = y / s
    medial = -shape.medial_concavity * np.exp(-(((u + 21.0) / 11.0) ** 2) - (v / 16.0) ** 2)
    lateral = shape.lateral_convexity * np.exp(-(((u - 21.0) / 11.0) ** 2) - (v / 14.0) ** 2) - 0.4
    ridge = 2.2 * np.exp(-((u / 8.0) ** 2))
    spines = shape.medial_spine_height * np.exp(-(((u + shape.spine_separation) / 3.0) ** 2) - ((v - 1.0) / 7.0) ** 2)
    spines += shape.lateral_spine_height * np.exp(-(((u - shape.spine_separation) / 3.2) ** 2) - ((v + 2.0) / 6.0) ** 2)
    side = 1.0 / (1.0 + np.exp(-u / 3.0))
    tilt = 0.045 * v
    return np.asarray(s * (medial * (1.0 - side) + lateral * side + ridge + spines + tilt))


_FEMUR_RATIO = np.array([0.0, 0.50, 0.52, 0.55, 0.60, 0.68, 0.78, 0.88, 0.95, 0.985, 1.0])
_FEMUR_HEIGHT = np.array([FAR, FAR, 84.0, 70.0, 60.0, 52.0, 46.0, 41.0, 36.0, 31.0, 22.0])
_TIBIA_RATIO = np.array([0.0, 0.46, 0.48, 0.51, 0.56, 0.64, 0.73, 0.83, 0.92, 0.975, 1.0])
_TIBIA_DEPTH = np.array([FAR, FAR, 92.0, 74.0, 60.0, 46.0, 35.0, 25.0, 16.0, 9.0, 3.5])


def femur_body(shape: BoneShape, x: Grid, y: Grid, *, flexion: float, inset: float) -> Body:
    """The femur above its own distal point; ``inset`` (mm) is 0 for the outer surface, the cortex for the inner one."""
    s = shape.scale
    half = shape.tibia_half_width * shape.femur_width_ratio
    side = 1.0 + shape.lateral_asymmetry * np.tanh(x / 10.0)
    ratio = _radius(x / side, y + 2.0 * s, half - 1.3 * inset, 30.0 * s - 1.3 * inset)
    upper = _table(ratio, _FEMUR_RATIO, s * shape.femur_flare * _FEMUR_HEIGHT)
    lower = condyle_surface(shape, x, y, flexion) + inset
    return Body(lower, np.where(ratio < 1.0, upper, lower))


def tibia_body(shape: BoneShape, x: Grid, y: Grid, *, inset: float, plate: Grid | float) -> Body:
    """The tibia; ``plate`` (mm) is the subchondral plate's thickness where ``inset`` is the cortex, else 0."""
    s = shape.scale
    side = 1.0 - shape.lateral_asymmetry * np.tanh(x / 10.0)
    ratio = _radius(x / side, y, shape.tibia_half_width - 1.3 * inset, 25.0 * s - 1.3 * inset)
    lower = -_table(ratio, _TIBIA_RATIO, s * shape.tibia_flare * _TIBIA_DEPTH)
    rim = np.clip((ratio - 0.93) / 0.07, 0.0, 1.0)
    upper = plateau_surface(shape, x, y) - plate - 2.5 * s * rim * rim
    return Body(lower, np.where(ratio < 1.0, upper, lower))


def fibula_body(shape: BoneShape, x: Grid, y: Grid, *, inset: float) -> Body:
    """The head and neck of the fibula, lateral and behind."""
    s = shape.scale
    x0, y0 = fibula_center(shape)
    ratio = _radius(x - x0, y - y0, 8.5 * s - inset, 9.5 * s - inset)
    inside = np.clip(ratio, 0.0, 1.0)
    upper = s * shape.fibula_top - inset - 7.0 * s * (1.0 - np.sqrt(1.0 - inside**2.2))
    lower = s * shape.fibula_top - _table(
        ratio, np.array([0.0, 0.62, 0.66, 0.75, 0.9, 1.0]), s * np.array([FAR, FAR, 45.0, 27.0, 15.0, 7.0])
    )
    return Body(lower, np.where(ratio < 1.0, upper, lower))


def fibula_center(shape: BoneShape) -> tuple[float, float]:
    """Where (x, y) the fibula stands."""
    return shape.tibia_half_width * shape.fibula_offset, -17.0 * shape.scale


def patella_body(shape: BoneShape, x: Grid, y: Grid, *, inset: float) -> Body:
    """The patella in front of the femur, above its distal point."""
    s = shape.scale
    x0, y0 = patella_center(shape)
    radius = s * shape.patella_radius
    ratio = _radius(x - x0, y - y0, radius - inset, 10.0 * s - inset)
    half = (radius - inset) * np.sqrt(np.clip(1.0 - ratio**2.3, 0.0, None))
    center = s * shape.patella_height
    return Body(center - 1.05 * half, center + 0.95 * half)


def patella_center(shape: BoneShape) -> tuple[float, float]:
    """Where (x, y) the patella lies."""
    return 3.0 * shape.scale, 38.0 * shape.scale


def _condyle_profile(x: Grid, half_width: float, drop: float) -> Grid:
    """Coronal outline of a condyle: a superellipse, then a steep flank."""
    t = np.abs(x) / half_width
    inside = drop * (1.0 - (1.0 - np.minimum(t, 1.0) ** 2.5) ** (1.0 / 2.5))
    return np.asarray(inside + np.maximum(t - 1.0, 0.0) * 3.0 * drop)


def _radius(x: Grid, y: Grid, half_width: float, half_depth: float) -> Grid:
    """Superelliptic distance from the axis: below 1 inside the widest section."""
    return np.asarray(((np.abs(x) / half_width) ** 2.4 + (np.abs(y) / half_depth) ** 2.4) ** (1.0 / 2.4))


def _table(ratio: Grid, ratios: Float[np.ndarray, "t"], heights: Float[np.ndarray, "t"]) -> Grid:
    return np.asarray(np.interp(ratio, ratios, heights))
