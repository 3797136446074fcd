"""What makes one digital knee differ from another: sizes, angles, cartilage and its wear, drawn as in adults."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Wear:
    """A place where cartilage is worn.

    Attributes:
        bone: ``"femur"``, ``"tibia"`` or ``"patella"``.
        at: Degrees round the axis and x in mm for the femur; x and y in mm for the others (z for the patella).
        radius: Half its width: mm, for the femur's angle 2.5 degrees a mm.
        depth: Share of the thickness that is gone in the middle; 1 and more is bare bone.
    """

    bone: str
    at: tuple[float, float]
    radius: float
    depth: float


@dataclass(frozen=True)
class KneeShape:
    """What makes one digital knee differ from another.

    Attributes:
        size: Of all of it; 1 is a femur 80 mm wide.
        width: From side to side, relative to the size.
        flexion: Degrees by which the femur is bent.
        notch: Half width of the notch, mm.
        groove: Depth of the trochlea, relative.
        posterior: Radius of the back of the condyles, relative.
        lateral: Height of the lateral condyle against the medial one below, mm.
        slope: Of the plateau towards the back, degrees.
        spine: Height of the spines of the tibia, mm.
        shaft: Thickness of the shafts, relative.
        tuberosity: Height of the tibial tuberosity, mm.
        patella: x and z of the patella, mm from its usual place, and its size, relative.
        femoral_mm: Thickest femoral cartilage: medial condyle, lateral condyle, trochlea.
        tibial_mm: The same of the plates: medial, lateral.
        patellar_mm: The same of the patella.
        gap_mm: Between the cartilages where they are nearest.
        wear: Where cartilage is worn.
        deformation: Seed of the smooth deformation, and its standard deviations (mm), coarse and fine.
    """

    size: float = 1.0
    width: float = 1.0
    flexion: float = 4.0
    notch: float = 9.0
    groove: float = 1.0
    posterior: float = 1.0
    lateral: float = 0.0
    slope: float = 6.0
    spine: float = 8.0
    shaft: float = 1.0
    tuberosity: float = 5.0
    patella: tuple[float, float, float] = (0.0, 0.0, 1.0)
    femoral_mm: tuple[float, float, float] = (2.2, 2.1, 2.8)
    tibial_mm: tuple[float, float] = (2.5, 3.4)
    patellar_mm: float = 3.6
    gap_mm: float = 0.4
    wear: tuple[Wear, ...] = ()
    deformation: tuple[int, float, float] = (0, 0.0, 0.0)


def draw_shape(rng: np.random.Generator) -> KneeShape:
    """Draw a knee: sizes as in a population of adults, cartilage from healthy to worn through."""
    whole = float(rng.normal(1.0, 0.14))

    def near(mean: float, sd: float) -> float:
        return float(mean + sd * np.clip(rng.normal(), -2.2, 2.2))

    def thick(mean: float) -> float:
        return float(np.clip(mean * whole * near(1.0, 0.12), 0.9, 5.5))

    return KneeShape(
        size=near(1.0, 0.075),
        width=near(1.0, 0.035),
        flexion=near(5.0, 5.0),
        notch=near(9.0, 1.1),
        groove=near(1.0, 0.2),
        posterior=near(1.0, 0.05),
        lateral=near(0.0, 0.8),
        slope=near(6.0, 2.5),
        spine=near(8.0, 1.5),
        shaft=near(1.0, 0.08),
        tuberosity=near(5.0, 1.5),
        patella=(near(-2.0, 2.5), near(0.0, 5.0), near(1.0, 0.08)),
        femoral_mm=(thick(2.2), thick(2.1), thick(2.8)),
        tibial_mm=(thick(2.5), thick(3.4)),
        patellar_mm=thick(3.6),
        gap_mm=float(rng.uniform(0.0, 1.2)),
        wear=_draw_wear(rng),
        deformation=(int(rng.integers(2**31)), float(rng.uniform(0.8, 2.6)), float(rng.uniform(0.1, 0.45))),
    )


def _draw_wear(rng: np.random.Generator) -> tuple[Wear, ...]:
    places = []
    for _ in range(int(rng.choice([0, 1, 2, 4, 6], p=[0.25, 0.2, 0.25, 0.2, 0.1]))):
        bone = str(rng.choice(["femur", "tibia", "patella"], p=[0.5, 0.35, 0.15]))
        x = float(rng.choice([-1.0, 1.0], p=[0.35, 0.65]) * rng.uniform(12, 32))
        at = {
            "femur": (float(rng.uniform(200, 380)), x),
            "tibia": (x, float(rng.uniform(-15, 12))),
            "patella": (0.6 * x, float(rng.uniform(-12, 12))),
        }[bone]
        places.append(Wear(bone, at, float(rng.uniform(3, 13)), float(rng.uniform(0.3, 1.6))))
    return tuple(places)
