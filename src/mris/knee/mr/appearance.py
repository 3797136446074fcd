"""From tissues to an MR picture: a contrast drawn at random, or one like DESS; bias field, slices, motion, noise.

A network that sees a new contrast at every step cannot rely on any (the idea of SynthSeg, Billot et al., Medical Image
Analysis 86, 2023). One family of contrasts is like DESS with water excitation, as the study OAI has it: bone and fat
dark, muscle and cartilage middle to bright, fluid brightest, tendon and cortex without signal.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

from mris.knee.mr.shapes import smooth_noise
from mris.knee.mr.tissues import BONES, CARTILAGES, Tissue

Picture = Float32[np.ndarray, "i j k"]

_DESS = {
    Tissue.AIR: 0.02,
    Tissue.FEMUR: 0.20,
    Tissue.TIBIA: 0.20,
    Tissue.PATELLA: 0.20,
    Tissue.FIBULA: 0.20,
    Tissue.FEMORAL_CARTILAGE: 0.66,
    Tissue.TIBIAL_CARTILAGE: 0.66,
    Tissue.PATELLAR_CARTILAGE: 0.68,
    Tissue.MENISCUS: 0.22,
    Tissue.FLUID: 1.0,
    Tissue.FAT: 0.32,
    Tissue.MUSCLE: 0.44,
    Tissue.TENDON: 0.10,
    Tissue.VESSEL: 0.72,
    Tissue.SKIN: 0.40,
}
_CARTILAGES = list(CARTILAGES)
_LEAST_APART = 0.14
"""Contrast of cartilage with bone, relative to the range: what cannot be seen is not to be learned."""


@dataclass(frozen=True)
class Look:
    """How tissues become gray values.

    Attributes:
        means: Gray value of each tissue, by its number, about 0 to 1.
        texture: Standard deviation of each tissue's own texture.
        cortex: Gray value of the bones' outermost layer; NaN where it is as the bone.
        grain_mm: Size of the texture.
        bias: Standard deviation of the logarithm of the coil's smooth shading.
        blur_mm: Standard deviation of the blur along each axis.
        noise: Standard deviation of the noise of both channels, whose magnitude is shown.
        ghost: Strength of the ghosts of motion, and the axis along which they are shifted.
        gamma: Exponent of the gray values.
    """

    means: tuple[float, ...]
    texture: tuple[float, ...]
    cortex: float
    grain_mm: float = 1.5
    bias: float = 0.15
    blur_mm: tuple[float, float, float] = (0.3, 0.3, 0.3)
    noise: float = 0.03
    ghost: tuple[float, int] = (0.0, 1)
    gamma: float = 1.0


def dess_look() -> Look:
    """The middle one of the contrasts that are like DESS, with little noise."""
    return Look(tuple(_DESS[Tissue(n)] for n in range(len(Tissue))), (0.03,) * len(Tissue), 0.06)


def draw_dess(rng: np.random.Generator) -> Look:
    """Draw a contrast like DESS: gray values vary with the flip angle, echoes and the person."""
    means = np.array(dess_look().means) + rng.normal(0, 0.05, len(Tissue))
    means[_CARTILAGES] = means[_CARTILAGES].mean() + rng.normal(0, 0.08) + rng.normal(0, 0.02, 3)
    means[list(BONES)] = means[Tissue.FEMUR] + rng.normal(0, 0.01, 4)
    means[Tissue.FLUID] = max(means[Tissue.FLUID] + rng.normal(0, 0.15), means[Tissue.FEMORAL_CARTILAGE] + 0.05)
    return _acquired(rng, np.clip(means, 0.0, 1.4), float(np.clip(rng.normal(0.07, 0.03), 0.0, 0.2)))


def draw_any(rng: np.random.Generator) -> Look:
    """Draw a contrast as no scanner need have it: each tissue any gray value; cartilage is not as its bone."""
    means = rng.uniform(0.0, 1.0, len(Tissue))
    means[list(BONES)] = means[Tissue.FEMUR] + rng.normal(0, 0.03, 4)
    means[_CARTILAGES] = means[Tissue.FEMORAL_CARTILAGE] + rng.normal(0, 0.03, 3)
    while abs(means[Tissue.FEMORAL_CARTILAGE] - means[Tissue.FEMUR]) < _LEAST_APART:
        means[_CARTILAGES] = rng.uniform() + rng.normal(0, 0.03, 3)
    if rng.random() < 0.7:
        means[Tissue.AIR] = 0.0
    cortex = np.nan if rng.random() < 0.4 else float(rng.uniform(0, 0.25))
    return _acquired(rng, np.clip(means, 0.0, 1.4), cortex)


def draw_look(rng: np.random.Generator, share_of_dess: float = 0.5) -> Look:
    """Draw a contrast of either family."""
    return draw_dess(rng) if rng.random() < share_of_dess else draw_any(rng)


def _acquired(rng: np.random.Generator, means: np.ndarray, cortex: float) -> Look:
    blur = np.abs(rng.normal(0.25, 0.12, 3))
    if rng.random() < 0.2:  # thick slices along one axis
        blur[rng.integers(3)] = rng.uniform(0.4, 0.9)
    texture = np.abs(rng.normal(0.0, 0.05, len(means)))
    texture[list(BONES)] = texture[Tissue.FEMUR]
    texture[_CARTILAGES] = texture[Tissue.FEMORAL_CARTILAGE]
    return Look(
        means=tuple(means.tolist()),
        texture=tuple(texture.tolist()),
        cortex=cortex,
        grain_mm=float(rng.uniform(0.5, 2.5)),
        bias=float(rng.uniform(0.0, 0.35)),
        blur_mm=(float(blur[0]), float(blur[1]), float(blur[2])),
        noise=float(rng.uniform(0.0, 0.07)),
        ghost=(float(rng.uniform(0, 0.12)) if rng.random() < 0.2 else 0.0, int(rng.integers(3))),
        gamma=float(np.exp(rng.normal(0, 0.2))),
    )


def rendered(
    tissues: UInt8[np.ndarray, "i j k"], step_mm: tuple[float, float, float], look: Look, rng: np.random.Generator
) -> Picture:
    """Turn tissues into a picture.

    Args:
        tissues: Numbers of `Tissue`.
        step_mm: Edges of a voxel.
        look: The contrast and what the scanner does.
        rng: Of texture, shading and noise.

    Returns:
        Gray values of about 0 to 1, at least 0.
    """
    gray, texture = signal(tissues, cortex(tissues, step_mm), look)
    return acquired(gray, texture, step_mm, look, rng)


def signal(
    tissues: UInt8[np.ndarray, "*shape"], outermost: Bool[np.ndarray, "*shape"], look: Look
) -> tuple[Float32[np.ndarray, "*shape"], Float32[np.ndarray, "*shape"]]:
    """Gray value of each voxel, and the standard deviation of its texture.

    Args:
        tissues: Numbers of `Tissue`.
        outermost: Where the bones' `cortex` is.
        look: The contrast.
    """
    gray = np.array(look.means, np.float32)[tissues]
    if np.isfinite(look.cortex):
        gray[outermost] = look.cortex
    return gray, np.array(look.texture, np.float32)[tissues]


def acquired(
    gray: Picture, texture: Picture, step_mm: tuple[float, float, float], look: Look, rng: np.random.Generator
) -> Picture:
    """Let a scanner take a picture of what `signal` gives, or of its mean over parts of each voxel; see `rendered`."""
    step = np.array(step_mm)
    grain = ndimage.gaussian_filter(rng.standard_normal(gray.shape, np.float32), look.grain_mm / step, truncate=2.0)
    grain /= max(float(grain.std()), 1e-6)
    picture = gray + texture * grain
    picture = ndimage.gaussian_filter(picture, np.array(look.blur_mm) / step, truncate=3.0)
    if look.bias:
        every = 35.0 / float(step.mean())
        picture *= np.exp(np.float32(look.bias) * smooth_noise(rng, gray.shape, every))
    strength, axis = look.ghost
    if strength:
        shift = gray.shape[axis] // 3
        picture = (1 - strength) * picture + strength * np.roll(picture, shift, axis)
    if look.gamma != 1.0:
        picture = np.clip(picture, 0, None) ** np.float32(look.gamma)
    if look.noise:
        real = picture + np.float32(look.noise) * rng.standard_normal(gray.shape, np.float32)
        picture = np.hypot(real, np.float32(look.noise) * rng.standard_normal(gray.shape, np.float32))
    return np.asarray(np.maximum(picture, 0.0), np.float32)


def cortex(tissues: UInt8[np.ndarray, "i j k"], step_mm: tuple[float, float, float]) -> Bool[np.ndarray, "i j k"]:
    """The outermost millimeter of the bones."""
    bone = np.isin(tissues, BONES)
    inner = bone
    for axis in range(3):
        n = max(round(0.9 / step_mm[axis]), 1)
        for _ in range(n):
            along = np.moveaxis(inner, axis, 0)
            less = along.copy()
            less[1:] &= along[:-1]
            less[:-1] &= along[1:]
            inner = np.moveaxis(less, 0, axis)
    return bone & ~inner
