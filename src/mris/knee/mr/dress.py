"""Soft tissue round the bones and cartilages of a knee: menisci, ligaments, fluid, fat, muscles, vessels, skin.

It is placed by distances to what is there, so that any volume of bones and cartilages can be dressed, drawn or real.
What is drawn here is the background of the picture, not anatomy to be measured: only the menisci are told apart.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

from mris.knee.mr.shapes import smooth_noise
from mris.knee.mr.tissues import BONES, CARTILAGES, Tissue

Labels = UInt8[np.ndarray, "i j k"]

_BELLIES = (
    # x, y, half width, half depth (mm), tilt of x and y a mm along z, lowest and highest z: muscles of a left knee.
    (24.0, 26.0, 18.0, 11.0, 0.10, 0.05, 22.0, 200.0),  # vastus medialis
    (-26.0, 24.0, 15.0, 12.0, -0.10, 0.05, 30.0, 200.0),  # vastus lateralis
    (36.0, -30.0, 9.0, 12.0, 0.02, 0.05, -40.0, 200.0),  # sartorius, gracilis, semimembranosus
    (18.0, -46.0, 10.0, 9.0, -0.05, -0.05, 5.0, 200.0),  # semitendinosus
    (-32.0, -40.0, 11.0, 11.0, -0.02, -0.05, -5.0, 200.0),  # biceps femoris
    (22.0, -46.0, 16.0, 12.0, -0.10, 0.10, -200.0, 12.0),  # gastrocnemius, medial head
    (-20.0, -46.0, 15.0, 11.0, 0.10, 0.10, -200.0, 10.0),  # gastrocnemius, lateral head
    (4.0, -33.0, 18.0, 7.0, 0.0, 0.0, -200.0, -12.0),  # popliteus, soleus
    (-33.0, 4.0, 10.0, 14.0, 0.0, 0.0, -200.0, -28.0),  # tibialis anterior, peronei
)


@dataclass(frozen=True)
class Dress:
    """How the soft tissue of a knee is.

    Attributes:
        seed: Of its smooth irregularities.
        leg_mm: Half widths of the leg in x and y.
        fat_mm: Thickness of the fat below the skin.
        muscle: Size of the muscles, relative.
        fluid_mm: Width of the film of fluid in the joint.
        meniscus: From 0 (none) to 1: how far the menisci reach inward.
    """

    seed: int = 0
    leg_mm: tuple[float, float] = (60.0, 62.0)
    fat_mm: float = 9.0
    muscle: float = 1.0
    fluid_mm: float = 1.2
    meniscus: float = 0.6


def draw_dress(rng: np.random.Generator) -> Dress:
    """Draw the soft tissue of one knee."""
    wide = float(rng.uniform(52, 74))
    return Dress(
        seed=int(rng.integers(2**31)),
        leg_mm=(wide, wide * float(rng.uniform(0.95, 1.15))),
        fat_mm=float(rng.uniform(3, 20)),
        muscle=float(rng.uniform(0.75, 1.25)),
        fluid_mm=float(rng.choice([0.0, 1.0, 1.8, 4.0], p=[0.15, 0.4, 0.3, 0.15])),
        meniscus=float(rng.uniform(0.2, 0.95)),
    )


def dressed(hard: Labels, step_mm: float, dress: Dress, medial: float = 1.0) -> Labels:
    """Fill the rest of a volume of bones and cartilages with soft tissue.

    Args:
        hard: Numbers of `Tissue`: bones and cartilages, 0 elsewhere; axes right, anterior, superior; both bones.
        step_mm: Edge of its cubic voxels.
        dress: What the soft tissue is like.
        medial: 1 where the first axis runs from lateral to medial (a left knee), -1 for a right one.
    """
    rng = np.random.default_rng(dress.seed)
    half = hard[::2, ::2, ::2]  # soft tissue is smooth: half the resolution is enough
    x, y, z = _own_frame(half, 2 * step_mm, medial)
    for along in (x, y, z):
        along += np.float32(2.5) * smooth_noise(rng, half.shape, 18.0 / (2 * step_mm))
    soft = _leg(x, y, z, half, 2 * step_mm, dress, rng)
    full = np.repeat(np.repeat(np.repeat(soft, 2, 0), 2, 1), 2, 2)[tuple(slice(n) for n in hard.shape)]
    _add_joint(full, hard, step_mm, dress, rng)
    inside = hard > 0
    full[inside] = hard[inside]
    return full


def _own_frame(hard: Labels, step: float, medial: float) -> tuple[Float32[np.ndarray, "i j k"], ...]:
    """Place of each voxel in the frame of `mris.knee.mr.shapes`, by where the tibia's upper end is."""
    tibia = hard == Tissue.TIBIA
    columns = np.flatnonzero(tibia.any(axis=(0, 1)))
    top = int(columns[-1]) if columns.size else hard.shape[2] // 2
    slab = tibia[:, :, max(top - round(18 / step), 0) : top + 1]
    at = np.argwhere(slab)
    middle = (at.min(axis=0) + at.max(axis=0)) / 2 if len(at) else np.array(hard.shape) / 2
    origin = np.array([middle[0] * step, middle[1] * step + 3.0, top * step - 5.0])
    axes = [
        np.arange(n, dtype=np.float32) * np.float32(step) - np.float32(o)
        for n, o in zip(hard.shape, origin, strict=True)
    ]
    axes[0] *= np.float32(medial)
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.array(x), np.array(y), np.array(z)


def _leg(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, hard: Labels, step: float, dress: Dress, rng: np.random.Generator
) -> Labels:
    wide, deep = dress.leg_mm
    deeper = (1 - np.hypot(x / wide, (y + 4.0) / deep)) * min(wide, deep)
    bone = ndimage.distance_transform_edt(~np.isin(hard, BONES), sampling=step)
    deeper = np.maximum(deeper, 7.0 - bone)  # skin covers bone everywhere
    soft = np.zeros(hard.shape, np.uint8)
    soft[deeper > 0] = Tissue.SKIN
    soft[deeper > 1.8] = Tissue.FAT
    within = deeper > dress.fat_mm
    for cx, cy, rx, ry, tx, ty, low, high in _BELLIES:
        size = dress.muscle * float(rng.uniform(0.85, 1.15))
        belly = np.hypot((x - cx - tx * z) / (rx * size), (y - cy - ty * z) / (ry * size)) < 1
        soft[belly & within & (z > low + 6 * rng.normal()) & (z < high)] = Tissue.MUSCLE
    for cx, cy, r in ((2.0, -38.0, 4.5), (-4.0, -42.0, 3.5), (30.0, -44.0, 2.5), (40.0, -20.0, 2.0)):
        soft[(np.hypot(x - cx, y - cy) < r) & (deeper > 3)] = Tissue.VESSEL
    _add_tendons(soft, x, y, z, hard)
    return soft


def _add_tendons(soft: Labels, x: np.ndarray, y: np.ndarray, z: np.ndarray, hard: Labels) -> None:
    """Patellar and quadriceps tendon before and after the patella; both cruciate ligaments; both collateral ones."""
    patella = np.argwhere(hard == Tissue.PATELLA)
    if len(patella) > 20:
        low, high = patella[patella[:, 2].argmin()], patella[patella[:, 2].argmax()]
        px, py = float(x[tuple(low)]), float(y[tuple(low)])
        bottom, top = float(z[tuple(low)]), float(z[tuple(high)])
        share = np.clip((bottom - z) / max(bottom + 32.0, 10.0), 0, 1)
        line = np.hypot((x - px * (1 - share)) / 13.0, (y - py * (1 - share) - 27.0 * share) / 3.2) < 1
        soft[line & (z < bottom + 4) & (z > -42)] = Tissue.TENDON
        above = np.hypot((x - px) / 15.0, (y - py - 1 + 0.12 * (z - top)) / 4.0) < 1
        soft[above & (z > top - 4)] = Tissue.TENDON
    for cx, cy, slope_x, slope_y, r in ((0.0, 8.0, -0.25, -0.9, 4.0), (1.0, -20.0, 0.1, 0.75, 5.0)):
        cord = np.hypot(x - cx - slope_x * (z + 5), y - cy - slope_y * (z + 5)) < r
        soft[cord & (z > -8) & (z < 26)] = Tissue.TENDON
    for cx, cy in ((42.0, -2.0), (-41.0, -14.0)):
        soft[(np.hypot((x - cx) / 2.2, (y - cy) / 6.0) < 1) & (np.abs(z) < 28)] = Tissue.TENDON


def _add_joint(soft: Labels, hard: Labels, step: float, dress: Dress, rng: np.random.Generator) -> None:
    """The menisci and the fluid between the cartilages, on the full grid, in the box round the joint."""
    box = ndimage.find_objects(np.isin(hard, CARTILAGES).astype(np.uint8))
    if not box:
        return
    wider = tuple(slice(max(one.start - round(8 / step), 0), one.stop + round(8 / step)) for one in box[0])
    part, inside = soft[wider], hard[wider]
    irregular = smooth_noise(rng, part.shape, 12.0 / step)
    femoral = _distance(np.isin(inside, (Tissue.FEMUR, Tissue.FEMORAL_CARTILAGE)), step)
    tibial = _distance(np.isin(inside, (Tissue.TIBIA, Tissue.TIBIAL_CARTILAGE)), step)
    patellar = _distance(np.isin(inside, (Tissue.PATELLA, Tissue.PATELLAR_CARTILAGE)), step)
    between = (femoral < 7) & (tibial < 7)
    film = (1.0 + 0.4 * irregular) * dress.fluid_mm
    part[(np.minimum(femoral, tibial) < film) & (femoral + tibial < 14)] = Tissue.FLUID
    part[(femoral < 2 * film) & (patellar < 16)] = Tissue.FLUID
    part[_near_plates(inside, step) & between & (femoral + tibial > 6.5 - 6 * dress.meniscus + irregular)] = (
        Tissue.MENISCUS
    )


def _near_plates(inside: Labels, step: float) -> Bool[np.ndarray, "i j k"]:
    """Columns above and beside the plates of the tibial cartilage, not between them."""
    plates = (inside == Tissue.TIBIAL_CARTILAGE).any(axis=2)
    grown = ndimage.distance_transform_edt(~plates, sampling=step) < 5.0
    filled = np.flatnonzero(plates.any(axis=1))
    if filled.size:
        middle = (filled[0] + filled[-1]) / 2
        grown[np.abs(np.arange(len(grown)) - middle) * step < 9.0] = False
    return np.broadcast_to(grown[:, :, None], inside.shape)


def _distance(mask: Bool[np.ndarray, "i j k"], step: float) -> Float32[np.ndarray, "i j k"]:
    if not mask.any():
        return np.full(mask.shape, 1e3, np.float32)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=step), np.float32)
