"""The radiograph: Beer-Lambert attenuation of a diverging beam through bones and soft tissue, onto a noisy detector.

Bones are columns along z (`bones`), so the path of all rays through one slice of constant depth is a running sum: each column
adds its attenuation where it begins and takes it away where it ends. Cartilage and menisci attenuate like the soft
tissue round them and have no part here; they decide only where the bones stand (`contact`).
"""

import numpy as np
from jaxtyping import Float, UInt16
from scipy import ndimage

from mris.knee.phantom.bones import (
    Body,
    BoneShape,
    femur_body,
    fibula_body,
    fibula_center,
    patella_body,
    patella_center,
    tibia_body,
)
from mris.knee.phantom.contact import Placement
from mris.knee.phantom.texture import trabecular_texture
from mris.knee.phantom.view import REGION_MM, View

Plane = Float[np.ndarray, "h w"]

MU_SOFT = 0.0195
MU_FAT = 0.0165
MU_TRABECULAR = 0.0075
"""Per mm at about 60 keV; bone values are the excess over the soft tissue that the bone displaces."""
MU_CORTICAL = 0.042
MARGIN = 1.16
"""The canvas is larger than the picture, so that roll and shift bring in anatomy, not emptiness."""


class Canvas:
    """Attenuation differences on the detector, summed along z once at the end."""

    def __init__(self, size: int, view: View, placement: Placement) -> None:
        self.n = int(np.ceil(size * MARGIN / 2.0)) * 2
        self.pitch = REGION_MM / size
        nominal = 1.0 + view.detector_mm / view.source_mm
        self.view = view
        self.joint = 0.5 * placement.height
        self.u = (np.arange(self.n) + 0.5 - self.n / 2) * self.pitch * nominal * view.zoom
        self.v_step = self.pitch * nominal * view.zoom
        self.difference = np.zeros(self.n * (self.n + 2))

    def columns(self, y: Float[np.ndarray, "d"]) -> tuple[Plane, Plane]:
        """Knee coordinates (x, y) of every detector column at each depth, the leg's rotation undone."""
        view = self.view
        magnification = (view.source_mm + view.detector_mm) / (view.source_mm + y[:, None])
        x = self.u[None, :] / magnification
        depth = np.broadcast_to(y[:, None], x.shape)
        angle = np.deg2rad(view.rotation)
        return np.cos(angle) * x + np.sin(angle) * depth, np.cos(angle) * depth - np.sin(angle) * x

    def add(self, body: Body, y: Float[np.ndarray, "d"], attenuation: float) -> None:
        """Add a body sampled at depths ``y`` (evenly spaced): attenuation per mm times the slice's width."""
        weight = attenuation * float(y[1] - y[0])
        full = body.upper > body.lower
        slices, columns = np.nonzero(full)
        depth = y[slices]
        self._deposit(body.upper[full], depth, columns, weight)
        self._deposit(body.lower[full], depth, columns, -weight)

    def _deposit(
        self, z: Float[np.ndarray, "p"], depth: Float[np.ndarray, "p"], columns: np.ndarray, weight: float
    ) -> None:
        view = self.view
        source_height = view.source_mm * np.tan(np.deg2rad(view.beam_tilt))
        magnification = (view.source_mm + view.detector_mm) / (view.source_mm + depth)
        # In the frame whose central ray goes through the joint centre.
        v = source_height + (z - self.joint - source_height) * magnification
        v -= source_height - source_height * (view.source_mm + view.detector_mm) / view.source_mm
        row = np.clip(self.n / 2 - v / self.v_step, 0.0, self.n)
        first = row.astype(np.intp)
        rest = row - first
        at = first * self.n + columns
        length = self.difference.size
        self.difference += np.bincount(at, weights=weight * (1.0 - rest), minlength=length)[:length]
        self.difference += np.bincount(at + self.n, weights=weight * rest, minlength=length)[:length]

    def total(self) -> Plane:
        """Attenuation summed from the top of the canvas down."""
        return np.asarray(np.cumsum(self.difference.reshape(self.n + 2, self.n), axis=0)[: self.n])


def bone_attenuation(
    shape: BoneShape,
    placement: Placement,
    osteophytes: Float[np.ndarray, "4"],
    view: View,
    size: int,
    texture_seed: int,
) -> Plane:
    """Line integrals of the bones' excess attenuation on the larger canvas."""
    inner = Canvas(size, view, placement)
    outer = Canvas(size, view, placement)
    s = shape.scale
    y = np.linspace(-33.0 * s, 33.0 * s, 34)
    x, depth = outer.columns(y)
    lift = placement.height + placement.slope * x
    cortex = shape.cortex
    narrowing = np.clip((4.5 - np.array([placement.medial_jsw_mm, placement.lateral_jsw_mm])) / 3.0, 0.0, 1.3)
    side = 1.0 / (1.0 + np.exp(-x / 4.0))
    plate = cortex + 0.6 + 1.4 * (narrowing[0] * (1.0 - side) + narrowing[1] * side)
    outer.add(_lifted(femur_body(shape, x, depth, flexion=view.flexion, inset=0.0), lift), y, MU_CORTICAL)
    inner.add(_lifted(femur_body(shape, x, depth, flexion=view.flexion, inset=cortex), lift), y, 1.0)
    outer.add(tibia_body(shape, x, depth, inset=0.0, plate=0.0), y, MU_CORTICAL)
    inner.add(tibia_body(shape, x, depth, inset=cortex, plate=plate), y, 1.0)
    _add_small_bones(outer, inner, shape, placement)
    _add_osteophytes(outer, shape, placement, osteophytes)
    hollow = inner.total()
    density = MU_TRABECULAR * shape.trabecular_density
    texture = trabecular_texture(hollow.shape[0], inner.pitch, texture_seed)
    return outer.total() - (MU_CORTICAL - density * texture) * hollow


def _lifted(body: Body, lift: Plane) -> Body:
    return Body(body.lower + lift, body.upper + lift)


def _add_small_bones(outer: Canvas, inner: Canvas, shape: BoneShape, placement: Placement) -> None:
    s = shape.scale
    y = fibula_center(shape)[1] + np.linspace(-12.0, 12.0, 12) * s
    x, depth = outer.columns(y)
    outer.add(fibula_body(shape, x, depth, inset=0.0), y, MU_CORTICAL)
    inner.add(fibula_body(shape, x, depth, inset=0.8 * shape.cortex), y, 1.0)
    y = patella_center(shape)[1] + np.linspace(-11.0, 11.0, 11) * s
    x, depth = outer.columns(y)
    outer.add(_lifted(patella_body(shape, x, depth, inset=0.0), placement.height + 0.0 * x), y, MU_CORTICAL)
    inner.add(_lifted(patella_body(shape, x, depth, inset=1.0), placement.height + 0.0 * x), y, 1.0)


def _add_osteophytes(canvas: Canvas, shape: BoneShape, placement: Placement, sizes: Float[np.ndarray, "4"]) -> None:
    """Marginal spurs as ellipsoids: medial femur, medial tibia, lateral femur, lateral tibia."""
    s = shape.scale
    y = np.linspace(-15.0 * s, 15.0 * s, 9)
    x, depth = canvas.columns(y)
    for spur, length in enumerate(sizes):
        if length < 0.3:
            continue
        sign = -1.0 if spur < 2 else 1.0
        femoral = spur % 2 == 0
        x0 = sign * (shape.tibia_half_width * (1.02 if femoral else 0.985))
        z0 = placement.height + placement.slope * x0 + 13.0 * s if femoral else -4.0 * s
        inside = 1.0 - ((x - x0) / (length + 1.0)) ** 2 - (depth / (13.0 * s)) ** 2
        half = (0.55 * length + 1.2) * np.sqrt(np.clip(inside, 0.0, None))
        lean = (0.35 if femoral else 0.45) * np.abs(x - x0) * (1.0 if not femoral else -1.0)
        canvas.add(Body(z0 + lean - half, z0 + lean + half), y, 0.018)


def soft_attenuation(n: int, pitch: float, girth_mm: float, rng: np.random.Generator) -> Plane:
    """Line integrals through muscle and fat of a leg of the given half width, uneven at low frequency."""
    x = (np.arange(n) + 0.5 - n / 2) * pitch
    z = -x[:, None]
    half = girth_mm * (1.0 + 0.0016 * z)
    inside = np.sqrt(np.clip(1.0 - (x[None, :] / half) ** 2, 0.0, None))
    muscle_half = half - 9.0
    muscle = np.sqrt(np.clip(1.0 - (x[None, :] / muscle_half) ** 2, 0.0, None))
    fat = 1.7 * half * inside
    lean = 1.7 * muscle_half * muscle * (1.0 + 0.05 * np.tanh(z / 25.0))
    coarse = rng.normal(0.0, 0.05, (8, 8))
    uneven = ndimage.zoom(coarse, n / 8, order=1, mode="nearest", grid_mode=True)[:n, :n]
    return np.asarray(MU_FAT * fat + (MU_SOFT - MU_FAT) * lean + uneven)


def expose(attenuation: Plane, view: View, size: int, rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Photon counts of a picture: roll and shift, Beer-Lambert, scatter, blur, Poisson noise.

    Returns:
        Counts divided by the unattenuated count.
    """
    pitch = REGION_MM / size
    n = attenuation.shape[0]
    angle = np.deg2rad(view.roll)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = np.full(2, (n - 1) / 2.0) - matrix @ (np.full(2, (size - 1) / 2.0) + np.asarray(view.shift) / pitch)
    posed = ndimage.affine_transform(attenuation, matrix, offset, (size, size), order=1, mode="nearest")
    primary = np.exp(-posed)
    primary = ndimage.gaussian_filter(primary, view.blur_mm / pitch, truncate=2.5)
    scattered = view.scatter * ndimage.uniform_filter(primary, max(3, size // 3), mode="nearest")
    photons = view.photons * pitch * pitch
    return np.asarray(rng.poisson(photons * (primary + scattered)) / photons)


def develop(transmission: Float[np.ndarray, "h w"], view: View) -> UInt16[np.ndarray, "h w"]:
    """Film-like picture, bone bright: logarithm, window, display curve, 16 bits (0 is air, 65535 the densest)."""
    density = -np.log(np.maximum(transmission, 1e-5))
    low, width = view.window
    shown = np.clip((density - low) / width, 0.0, 1.0) ** view.gamma
    return np.asarray(np.round(65535.0 * shown), dtype=np.uint16)
