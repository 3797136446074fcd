"""Shapes of femur, tibia, fibula and patella as columns along the leg: one interval of z per (x, y).

Frame: a left knee, mm, x lateral, y anterior, z proximal, origin on the tibial plateau between the spines.
A bone is two surfaces, lower(x, y) and upper(x, y); where upper <= lower there is no bone. The inner (trabecular)
part of a bone is the same body, shrunk by the cortex. A ray's path is then a sum of differences of two numbers.
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
class BoneForm:
    """What all knees of a plain look have in common; the defaults are theirs.

    Attributes:
        inner_exponent: Of a condyle's outline towards the notch: 2 is an ellipse, 1 a straight slope.
        outer_exponent: The same towards the margin; the larger, the flatter below and the sharper the corner.
        inner_width: Half width of a condyle towards the notch, relative to its outer one.
        eminence_mm: Height of the broad rise between the plateaus, below the spines.
        eminence_width_mm: Its half width.
        rim_mm: How much lower the rim of the plateau is than its surface.
        subluxation_mm: How far the femur stands medial of the tibia's middle.
        grain: How coarse and how strong trabeculae are, relative to plain ones.
        patches: The same of the unevenness of the spongy bone.
        scars: Strength of the lines that growth plates leave, relative to the spongy bone.
        sclerosis: Of a narrowed compartment's plate, medial and lateral, relative to the plain one.
        femoral_plate: Share of the tibia's sclerosis that the femur has.
        plate_mm: Added to the thickness of the subchondral plate.
        spur_density: Relative to plain osteophytes.
        patella: Its density relative to a plain one.
        calcified: Density of a layer of calcium in the menisci (chondrocalcinosis), relative to osteophytes.
    """

    inner_exponent: float = 2.5
    outer_exponent: float = 2.5
    inner_width: float = 1.0
    eminence_mm: float = 2.2
    eminence_width_mm: float = 8.0
    rim_mm: float = 2.5
    subluxation_mm: float = 0.0
    grain: tuple[float, float] = (1.0, 1.0)
    patches: float = 1.0
    scars: float = 0.0
    sclerosis: tuple[float, float] = (1.0, 1.0)
    femoral_plate: float = 0.0
    plate_mm: float = 0.0
    spur_density: float = 1.0
    patella: float = 1.0
    calcified: float = 0.0


PLAIN = BoneForm()


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
    form: BoneForm = PLAIN

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
    return BoneShape(**{f.name: values[f.name] for f in fields(BoneShape) if f.name in values}, form=PLAIN)


def condyle_surface(shape: BoneShape, x: Grid, y: Grid, flexion: float) -> Grid:
    """Height (mm) of the lower surface of the femur above its most distal point; ``flexion`` in degrees."""
    s = shape.scale
    radius = s * shape.sagittal_radius * (1.09 - 0.0045 * flexion)
    y0 = s * -3.0 - 0.12 * flexion
    bend = np.clip((y - y0) / radius, -0.995, 0.995)
    sagittal = radius * (1.0 - np.sqrt(1.0 - bend * bend))
    offset = s * shape.condyle_offset
    medial = _condyle_profile(
        x + offset, s * shape.medial_condyle_half_width, s * shape.medial_condyle_drop, shape.form
    )
    lateral = _condyle_profile(
        offset - x, s * shape.lateral_condyle_half_width, s * shape.lateral_condyle_drop, shape.form
    )
    behind = 1.0 / (1.0 + np.exp((y - s * 4.0) / (s * 3.5)))
    notch = s * shape.notch_height - 0.5 * shape.notch_sharpness * x * x
    groove = s * 9.0 - 5.0 * s * (x / offset) ** 2 + 0.8 * sagittal
    roof = np.maximum(groove, behind * notch + (1.0 - behind) * groove)
    roof = np.where(np.abs(x) < offset, roof, FAR)
    return np.asarray(np.minimum(np.minimum(medial, lateral + 0.8 * s) + sagittal, roof))


def condyle_angle(shape: BoneShape, y: Grid, flexion: float) -> Grid:
    """Angle (radians) round the condyles of the surface point above ``y``, for the atlas."""
    s = shape.scale
    radius = s * shape.sagittal_radius * (1.09 - 0.0045 * flexion)
    y0 = s * -3.0 - 0.12 * flexion
    return np.asarray(np.arcsin(np.clip((y - y0) / radius, -0.995, 0.995)) - np.deg2rad(flexion))


def plateau_surface(shape: BoneShape, x: Grid, y: Grid) -> Grid:
    """Height (mm) of the upper surface of the tibia; the posterior slope is left out because the beam follows it."""
    s = shape.scale
    u = x / s
    v = y / s
    medial = -shape.medial_concavity * np.exp(-(((u + 21.0) / 11.0) ** 2) - (v / 16.0) ** 2)
    lateral = shape.lateral_convexity * np.exp(-(((u - 21.0) / 11.0) ** 2) - (v / 14.0) ** 2) - 0.4
    ridge = shape.form.eminence_mm * np.exp(-((u / shape.form.eminence_width_mm) ** 2))
    spines = shape.medial_spine_height * np.exp(-(((u + shape.spine_separation) / 3.2) ** 2) - ((v - 1.0) / 12.0) ** 2)
    spines += shape.lateral_spine_height * np.exp(
        -(((u - shape.spine_separation) / 3.4) ** 2) - ((v + 2.0) / 11.0) ** 2
    )
    side = 1.0 / (1.0 + np.exp(-u / 3.0))
    tilt = 0.045 * v
    return np.asarray(s * (medial * (1.0 - side) + lateral * side + ridge + spines + tilt))


def eminence_dip(shape: BoneShape) -> tuple[float, float]:
    """Where the tibia's outline is lowest between the tips of its spines, the middle of the intercondylar eminence.

    Returns:
        Millimeters towards the lateral side, and up.
    """
    x = shape.scale * shape.spine_separation * np.linspace(-1.0, 1.0, 61)
    outline = plateau_surface(shape, *np.meshgrid(x, np.linspace(-10.0, 10.0, 41))).max(axis=0)
    return float(x[outline.argmin()]), float(outline.min())


_FEMUR_RATIO = np.array([0.0, 0.50, 0.52, 0.55, 0.60, 0.68, 0.78, 0.88, 0.95, 0.985, 1.0])
_FEMUR_HEIGHT = np.array([FAR, FAR, 84.0, 70.0, 60.0, 52.0, 46.0, 41.0, 36.0, 31.0, 22.0])
_TIBIA_RATIO = np.array([0.0, 0.46, 0.48, 0.51, 0.56, 0.65, 0.76, 0.87, 0.95, 0.985, 1.0])
_TIBIA_DEPTH = np.array([FAR, FAR, 96.0, 78.0, 63.0, 48.0, 37.0, 27.0, 17.0, 10.0, 4.0])
_FIBULA_RATIO = np.array([0.0, 0.60, 0.64, 0.72, 0.85, 0.95, 1.0])
_FIBULA_DEPTH = np.array([FAR, FAR, 48.0, 31.0, 19.0, 13.0, 8.0])


def femur_bodies(
    shape: BoneShape, x: Grid, y: Grid, *, flexion: float, sclerosis: Grid | float = 0.0
) -> tuple[Body, Body]:
    """The femur above its own distal point: the whole bone, and its trabecular inside.

    Its subchondral plate is ``sclerosis`` mm thicker than half the cortex.
    """
    s = shape.scale
    half = shape.tibia_half_width * shape.femur_width_ratio
    side = 1.0 + shape.lateral_asymmetry * np.tanh(x / 10.0)
    power = _power(x / (side * half), (y + 2.0 * s) / (30.0 * s))
    surface = condyle_surface(shape, x, y, flexion)
    heights = s * shape.femur_flare * _FEMUR_HEIGHT
    plate = 0.5 * shape.cortex + 0.6 + sclerosis
    outer = _body(power, surface, _table(power, _FEMUR_RATIO, heights))
    power = power * _shrink(1.3 * shape.cortex, half)
    return outer, _body(power, surface + plate, _table(power, _FEMUR_RATIO, heights) - 0.3 * shape.cortex)


def tibia_bodies(shape: BoneShape, x: Grid, y: Grid, *, plate: Grid) -> tuple[Body, Body]:
    """The tibia: the whole bone, and its trabecular inside under a subchondral plate of ``plate`` mm."""
    s = shape.scale
    half = shape.tibia_half_width
    side = 1.0 - shape.lateral_asymmetry * np.tanh(x / 10.0)
    power = _power(x / (side * half), y / (25.0 * s))
    rim = np.clip((power - 0.84) / 0.16, 0.0, 1.0)
    surface = plateau_surface(shape, x, y) - shape.form.rim_mm * s * rim * rim
    depths = -s * shape.tibia_flare * _TIBIA_DEPTH
    outer = _body(power, _table(power, _TIBIA_RATIO, depths), surface)
    power = power * _shrink(1.3 * shape.cortex, half)
    return outer, _body(power, _table(power, _TIBIA_RATIO, depths), surface - plate)


def fibula_bodies(shape: BoneShape, x: Grid, y: Grid) -> tuple[Body, Body]:
    """Head and neck of the fibula, lateral and behind: the whole bone, and its trabecular inside."""
    s = shape.scale
    x0, y0 = fibula_center(shape)
    top = s * shape.fibula_top
    power = _power((x - x0) / (8.5 * s), (y - y0) / (9.5 * s))
    tip = 6.5 * s * np.minimum(power, 1.0) + 0.25 * np.abs(x - x0 - 3.0 * s)
    depths = top - s * _FIBULA_DEPTH
    outer = _body(power, _table(power, _FIBULA_RATIO, depths), top - tip)
    power = power * _shrink(shape.cortex, 8.5 * s)
    return outer, _body(power, _table(power, _FIBULA_RATIO, depths), top - tip - 0.7 * shape.cortex)


def fibula_center(shape: BoneShape) -> tuple[float, float]:
    """Where (x, y) the fibula stands."""
    return shape.tibia_half_width * shape.fibula_offset, -17.0 * shape.scale


def patella_bodies(shape: BoneShape, x: Grid, y: Grid) -> tuple[Body, Body]:
    """The patella in front of the femur, above its distal point: the whole bone, and its trabecular inside."""
    s = shape.scale
    x0, y0 = patella_center(shape)
    radius = s * shape.patella_radius
    center = s * shape.patella_height
    power = _power((x - x0) / radius, (y - y0) / (8.5 * s))
    bodies = []
    for thickness in (0.0, 0.7 * shape.cortex):
        shrunk = power * _shrink(thickness, radius)
        half = (radius - thickness) * np.sqrt(np.maximum(1.0 - shrunk, 0.0))
        bodies.append(Body(center - 1.08 * half, center + 0.92 * half))
    return bodies[0], bodies[1]


def patella_center(shape: BoneShape) -> tuple[float, float]:
    """Where (x, y) the patella lies."""
    return 3.0 * shape.scale, 38.0 * shape.scale


def _body(power: Grid, lower: Grid, upper: Grid) -> Body:
    """Columns inside the section; outside, and where surfaces cross, the column shrinks to nothing."""
    lower = np.minimum(lower, upper)
    return Body(lower, np.where(power < 1.0, upper, lower))


def _condyle_profile(x: Grid, half_width: float, drop: float, form: BoneForm) -> Grid:
    """Coronal outline of a condyle: a superellipse, then a steep flank; ``x`` grows towards the notch."""
    t = np.abs(x) / half_width
    exponent: Grid | float = form.outer_exponent
    if form != PLAIN:
        inner = x > 0
        t = np.where(inner, t / form.inner_width, t)
        exponent = np.where(inner, form.inner_exponent, exponent)
    inside = drop * (1.0 - (1.0 - np.minimum(t, 1.0) ** exponent) ** (1.0 / exponent))
    return np.asarray(inside + np.maximum(t - 1.0, 0.0) * 3.0 * drop)


def _power(x: Grid, y: Grid) -> Grid:
    """Superellipse of exponent 2.5, ``|x|^2.5 + |y|^2.5``: below 1 inside the widest section."""
    x, y = np.abs(x), np.abs(y)
    return np.asarray(x * x * np.sqrt(x) + y * y * np.sqrt(y))


def _shrink(thickness: float, half_width: float) -> float:
    """Factor on `_power` that moves the outline inwards by ``thickness``."""
    return float((half_width / (half_width - thickness)) ** 2.5)


def _table(power: Grid, ratios: Float[np.ndarray, " t"], heights: Float[np.ndarray, " t"]) -> Grid:
    """Height by relative radius, looked up by power so that no root is taken."""
    return np.asarray(np.interp(power, ratios**2.5, heights))
