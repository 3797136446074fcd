"""Trabecular texture: band-passed noise with the vertical grain of loaded bone, belonging to one knee."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage


def trabecular_texture(n: int, pitch_mm: float, seed: int) -> Float[np.ndarray, "n n"]:
    """Relative density of trabecular bone, mean 1, the same for the same knee.

    Args:
        n: Rows and columns.
        pitch_mm: Size of a pixel.
        seed: The knee's own.
    """
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, n), dtype=np.float32)
    fine = ndimage.gaussian_filter(noise, (1.4 / pitch_mm, 0.45 / pitch_mm), truncate=2.0)
    coarse = ndimage.uniform_filter(noise, max(3, round(9.0 / pitch_mm)))
    fine /= max(float(fine.std()), 1e-6)
    coarse /= max(float(coarse.std()), 1e-6)
    return np.asarray(np.clip(1.0 + 0.10 * fine + 0.05 * coarse, 0.4, 1.6), dtype=np.float64)
