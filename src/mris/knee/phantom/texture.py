"""Noise with structure: trabecular bone with the vertical grain of loading, and smooth unevenness."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy import ndimage


def trabecular_texture(
    n: int, pitch_mm: float, seed: int, grain: tuple[float, float] = (1.0, 1.0), patches: float = 1.0
) -> Float[np.ndarray, "n n"]:
    """Relative density of trabecular bone, mean 1, the same for the same knee.

    Args:
        n: Rows and columns.
        pitch_mm: Size of a pixel.
        seed: The knee's own.
        grain: Size and strength of the trabeculae, relative to plain ones.
        patches: Strength of the coarse unevenness, relative to the plain one.
    """
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, n), dtype=np.float32)
    widths = (1.4 * grain[0] / pitch_mm, 0.45 * grain[0] / pitch_mm)
    fine = ndimage.gaussian_filter(noise, widths, truncate=2.0)
    coarse = ndimage.uniform_filter(noise, max(3, round(9.0 / pitch_mm)))
    fine /= max(float(fine.std()), 1e-6)
    coarse /= max(float(coarse.std()), 1e-6)
    return np.asarray(np.clip(1.0 + 0.17 * grain[1] * fine + 0.08 * patches * coarse, 0.2, 1.8), dtype=np.float64)


def growth_lines(n: int, pitch_mm: float, seed: int) -> Float[np.ndarray, "n n"]:
    """Where growth plates have left their lines above and below the joint, which lies in the middle; at most 1 each."""
    rng = np.random.default_rng([seed, 1])
    above = (n / 2 - np.arange(n)[:, None] - 0.5) * pitch_mm
    across = (np.arange(n)[None, :] + 0.5 - n / 2) * pitch_mm
    lines = np.zeros((n, n))
    for side in (1.0, -1.0):
        height = side * rng.uniform(14.0, 30.0)
        wave = rng.uniform(0.5, 3.0) * np.sin(across / rng.uniform(6.0, 15.0) + rng.uniform(0.0, 6.3))
        lines += np.exp(-0.5 * ((above - height - wave) / rng.uniform(0.4, 1.2)) ** 2)
    return np.asarray(lines)


def smooth_noise(rng: np.random.Generator, n: int, n_knots: int) -> Float[np.ndarray, "n n"]:
    """Smooth random field of mean 0 and standard deviation of about 1, free to about ``n_knots`` bumps a side."""
    weights = _knot_weights(n, n_knots)
    return np.asarray(weights @ rng.normal(size=(n_knots, n_knots)) @ weights.T)


@lru_cache(maxsize=16)
def _knot_weights(n: int, n_knots: int) -> Float[np.ndarray, "n q"]:
    """Gaussian bumps at even knots, scaled so that independent knots give unit variance everywhere."""
    position = (np.arange(n)[:, None] + 0.5) / n * n_knots
    weights = np.exp(-0.5 * ((position - np.arange(n_knots)[None, :] - 0.5) / 0.6) ** 2)
    return np.asarray(weights / np.sqrt((weights**2).sum(axis=1, keepdims=True)))
