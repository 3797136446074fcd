"""The radiograph: Beer-Lambert attenuation of a diverging beam through bones and soft tissue, onto a noisy detector.

Cartilage and menisci attenuate like the soft tissue round them and have no part here; they decide only where the bones
stand (`contact`).
"""

import numpy as np
from jaxtyping import Float, UInt16
from scipy import ndimage

from mris.knee.phantom.bones import (
    Body,
    BoneShape,
    Grid,
    femur_bodies,
    fibula_bodies,
    fibula_center,
    patella_bodies,
    patella_center,
    plateau_surface,
    tibia_bodies,
)
from mris.knee.phantom.contact import Placement
from mris.knee.phantom.projection import Canvas, Plane
from mris.knee.phantom.texture import growth_lines, smooth_noise, trabecular_texture
from mris.knee.phantom.view import View

MU_SOFT = 0.0195
MU_FAT = 0.0165
MU_TRABECULAR = 0.0085
"""Per mm at about 60 keV; bone values are the excess over the soft tissue that the bone displaces."""
MU_CORTICAL = 0.040
MU_OSTEOPHYTE = 0.016

_LEAST_SPUR_MM = 0.3
_CALCIUM_MM = 0.8


def bone_attenuation(
    shape: BoneShape,
    placement: Placement,
    osteophytes: Float[np.ndarray, "4"],
    view: View,
    *,
    size: int,
    texture_seed: int,
) -> Plane:
    """Line integrals of the bones' excess attenuation on a canvas somewhat larger than the picture.

    Args:
        shape: The bones.
        placement: Where the femur stands; its joint spaces also thicken the plates (sclerosis).
        osteophytes: Lengths (mm) of the spurs: medial femur, medial tibia, lateral femur, lateral tibia.
        view: Pose and beam.
        size: Rows and columns of the picture.
        texture_seed: Of the knee's trabecular pattern.
    """
    whole, inside = (Canvas(size, view, 0.5 * placement.height) for _ in range(2))
    s = shape.scale
    y = np.linspace(-33.0 * s, 33.0 * s, _n_slices(size))
    x, depth = whole.columns(y)
    lift = placement.height + placement.slope * x
    form = shape.form
    sclerosis = _sclerosis(shape, placement, x)
    across = x + form.subluxation_mm
    femur = femur_bodies(shape, across, depth, flexion=view.flexion, sclerosis=form.femoral_plate * sclerosis)
    tibia = tibia_bodies(shape, x, depth, plate=_plate(shape, x) + sclerosis)
    for canvas, moving, fixed, attenuation in zip((whole, inside), femur, tibia, (MU_CORTICAL, 1.0), strict=True):
        canvas.add(_lifted(moving, lift), y, attenuation)
        canvas.add(fixed, y, attenuation)
    _add_small_bones(whole, inside, shape, placement)
    _add_osteophytes(whole, shape, placement, osteophytes)
    if form.calcified:
        _add_calcification(whole, shape, placement)
    hollow = inside.total()
    density = MU_TRABECULAR * shape.trabecular_density
    texture = trabecular_texture(hollow.shape[0], inside.pitch, texture_seed, form.grain, form.patches)
    if form.scars:
        texture = texture + form.scars * growth_lines(hollow.shape[0], inside.pitch, texture_seed)
    return np.asarray(whole.total() - (MU_CORTICAL - density * texture) * hollow)


def _n_slices(size: int) -> int:
    """Samples in depth of the large bones: steps between slices stay below what the pixels show."""
    return int(np.clip(8 + size // 8, 16, 40))


def _plate(shape: BoneShape, x: Grid) -> Grid:
    """Thickness (mm) of the healthy tibia's subchondral plate, thicker below the spines."""
    spines = 0.9 * np.exp(-((x / (10.0 * shape.scale)) ** 2))
    return np.asarray(0.5 * shape.cortex + 0.35 + spines + shape.form.plate_mm)


def _sclerosis(shape: BoneShape, placement: Placement, x: Grid) -> Grid:
    """How much thicker (mm) the plate is under a narrowed compartment."""
    spaces = np.array([placement.medial_jsw_mm, placement.lateral_jsw_mm])
    sclerosis = np.clip((3.6 - spaces) / 3.0, 0.0, 1.2) * shape.form.sclerosis
    lateral = 1.0 / (1.0 + np.exp(-x / 4.0))
    return np.asarray(1.3 * (sclerosis[0] * (1.0 - lateral) + sclerosis[1] * lateral))


def _lifted(body: Body, lift: Grid) -> Body:
    return Body(body.lower + lift, body.upper + lift)


def _add_small_bones(whole: Canvas, inside: Canvas, shape: BoneShape, placement: Placement) -> None:
    s = shape.scale
    x0, y0 = fibula_center(shape)
    y = y0 + np.linspace(-12.0, 12.0, 11) * s
    window = whole.window(x0 - 10.0 * s, x0 + 10.0 * s)
    for canvas, body, attenuation in zip(
        (whole, inside), fibula_bodies(shape, *whole.columns(y, window)), (MU_CORTICAL, 1.0), strict=True
    ):
        canvas.add(body, y, attenuation, window)
    x0, y0 = patella_center(shape)
    y = y0 + np.linspace(-11.0, 11.0, 11) * s
    reach = s * shape.patella_radius + 2.0
    window = whole.window(x0 - reach, x0 + reach)
    for canvas, body, attenuation in zip(
        (whole, inside),
        patella_bodies(shape, *whole.columns(y, window)),
        (MU_CORTICAL * shape.form.patella, shape.form.patella),
        strict=True,
    ):
        canvas.add(_lifted(body, np.asarray(placement.height)), y, attenuation, window)


def _add_osteophytes(canvas: Canvas, shape: BoneShape, placement: Placement, lengths: Float[np.ndarray, "4"]) -> None:
    """Marginal spurs: half ellipsoids that lean towards the joint."""
    s = shape.scale
    y = np.linspace(-16.0 * s, 16.0 * s, 9)
    halves = (shape.medial_condyle_half_width, shape.lateral_condyle_half_width)
    drops = (shape.medial_condyle_drop, shape.lateral_condyle_drop)
    for spur, length in enumerate(lengths):
        if length < _LEAST_SPUR_MM:
            continue
        side, femoral = spur // 2, spur % 2 == 0
        sign = 2.0 * side - 1.0
        x0 = sign * s * (shape.condyle_offset + 0.9 * halves[side])
        z0 = placement.height + placement.slope * x0 + 0.5 * s * drops[side]
        if not femoral:
            x0, z0 = sign * 0.96 * shape.tibia_half_width, -4.0 * s
        window = canvas.window(x0 - length - 2.0, x0 + length + 2.0)
        x, depth = canvas.columns(y, window)
        outward = sign * (x - x0)
        inside = 1.0 - (outward / (length + 1.5)) ** 2 - (depth / (14.0 * s)) ** 2
        half = (0.5 * length + 0.8) * np.sqrt(np.maximum(inside, 0.0))
        lean = outward * (-0.3 if femoral else 0.4)
        canvas.add(Body(z0 + lean - half, z0 + lean + half), y, shape.form.spur_density * MU_OSTEOPHYTE, window)


def _add_calcification(canvas: Canvas, shape: BoneShape, placement: Placement) -> None:
    """Chondrocalcinosis: a layer of calcium in the menisci, between the bones of both compartments."""
    s = shape.scale
    y = np.linspace(-15.0 * s, 15.0 * s, 7)
    x, depth = canvas.columns(y)
    floor = plateau_surface(shape, x, depth) + 0.4 * (placement.height + placement.slope * x)
    meniscus = np.abs(np.abs(x) - 24.0 * s) < 9.0 * s
    density = shape.form.calcified * MU_OSTEOPHYTE
    canvas.add(Body(floor, np.where(meniscus, floor + _CALCIUM_MM, floor)), y, density)


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
    uneven = 0.06 * smooth_noise(rng, n, 7)
    return np.asarray(MU_FAT * fat + (MU_SOFT - MU_FAT) * lean + uneven)


def expose(attenuation: Plane, view: View, size: int, rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Photon counts of a picture: roll and shift, Beer-Lambert, scatter, blur, Poisson noise.

    Returns:
        Counts divided by the unattenuated count.
    """
    pitch = view.field_mm / size
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
    """Picture with bone bright: logarithm, automatic window, display curve, 16 bits.

    The window reaches from the 1st to the 99.5th percentile of the picture, moved by the view's ``window`` errors (in
    parts of that range), as an operator or an automatic exposure does it.
    """
    density = -np.log(np.maximum(transmission, 1e-5))
    low, high = np.percentile(density, (1.0, 99.5))
    below, above = view.window
    start = low - below * (high - low)
    width = max((1.0 + below + above) * (high - low), 1e-3)
    shown = np.clip((density - start) / width, 0.0, 1.0) ** view.gamma
    return np.asarray(np.round(65535.0 * shown), dtype=np.uint16)
