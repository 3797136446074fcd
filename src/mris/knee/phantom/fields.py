"""Cartilage thickness as smooth random fields on the atlas, and what disease takes away from them.

Thickness of a healthy knee is ``pattern * exp(global + sum_k c_k mode_k)``: a mean pattern per region, one number for
the whole knee, and the leading eigenfunctions of a Gaussian process with a squared-exponential covariance. Mode
coefficients are partly a linear function of the morphology factors (`mode_shares`) and partly the cartilage's own.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from mris.knee.phantom.atlas import (
    FEMORAL_HEIGHT_MM,
    FEMORAL_LENGTH_MM,
    TIBIAL_HEIGHT_MM,
    TIBIAL_LENGTH_MM,
    KneeAtlas,
    edge_distance,
    knee_atlas,
    relative_grid,
)
from mris.knee.phantom.population import N_MODES, N_MORPHOLOGY, KneeTraits

Thickness = Float32[np.ndarray, "r h w"]

HEALTHY_THICKNESS_MM = {
    "medial_tibia": 1.73,
    "lateral_tibia": 2.09,
    "medial_femur": 1.86,
    "lateral_femur": 1.77,
    "trochlea": 2.2,
}
"""Population mean thickness of the compartments of a healthy knee."""

GLOBAL_SD = 0.105
LOCAL_SD = 0.19
HEIGHT_CORRELATION = 0.2
MORPHOLOGY_SHARE_GLOBAL = 0.5
"""Share of the variance of overall thickness that the morphology factors explain."""
MODE_LENGTH_MM = 8.5
EXTENT_MM = ((FEMORAL_HEIGHT_MM, FEMORAL_LENGTH_MM), (TIBIAL_HEIGHT_MM, TIBIAL_LENGTH_MM))

_LOADINGS_SEED = 7  # a constant of the model, not of a cohort: how morphology maps to cartilage


@dataclass(frozen=True)
class FieldModel:
    """What fields need at one map size, computed once.

    Attributes:
        atlas: The atlas of that size.
        log_pattern: Logarithm of the mean pattern (mm), NaN outside the mask.
        modes: Eigenfunctions, scaled so that their squares sum to about 1 at each pixel.
        loss: Relative distribution of medial loss (1 where it is worst).
    """

    atlas: KneeAtlas
    log_pattern: Thickness
    modes: Float32[np.ndarray, "r k p"]
    loss: Thickness


def mode_shares() -> Float[np.ndarray, " k"]:
    """Share of each mode's variance that the morphology factors explain: 0.92 for the coarsest, 0.29 for the finest."""
    return np.asarray(0.92 * np.exp(-np.arange(N_MODES) / 20.0))


@lru_cache(maxsize=1)
def _loadings() -> tuple[Float[np.ndarray, "r k m"], Float[np.ndarray, " m"]]:
    rng = np.random.default_rng(_LOADINGS_SEED)
    modes = rng.normal(size=(2, N_MODES, N_MORPHOLOGY))
    overall = rng.normal(size=N_MORPHOLOGY)
    return modes / np.linalg.norm(modes, axis=2, keepdims=True), overall / np.linalg.norm(overall)


@lru_cache(maxsize=4)
def field_model(size: int) -> FieldModel:
    """The field model at one map size."""
    atlas = knee_atlas(size)
    log_pattern = np.log(_pattern(atlas)).astype(np.float32)
    modes = np.stack([_modes(atlas.mask[r], EXTENT_MM[r]) for r in range(2)])
    loss = np.where(atlas.mask, _loss_kernel(size), np.nan).astype(np.float32)
    return FieldModel(atlas, log_pattern, modes, loss)


def mode_coefficients(knee: KneeTraits) -> Float[np.ndarray, "r k"]:
    """How much of each mode a knee has: each standard normal, those of the two regions correlated by the factors."""
    loadings, _ = _loadings()
    shares = mode_shares()
    return np.asarray(np.sqrt(shares) * (loadings @ _cartilage_factors(knee)) + np.sqrt(1.0 - shares) * knee.mode_noise)


def spread_of(weights: Float[np.ndarray, "r k"]) -> float:
    """Standard deviation, over people, of a weighted sum of `mode_coefficients`."""
    loadings, _ = _loadings()
    shares = mode_shares()
    shared = np.einsum("rk,rkm->m", np.sqrt(shares) * weights, loadings)
    return float(np.sqrt((shared**2).sum() + ((1.0 - shares) * weights**2).sum()))


def _cartilage_factors(knee: KneeTraits) -> Float[np.ndarray, " m"]:
    return knee.morphology if knee.tissue is None else knee.tissue


def healthy_thickness(knee: KneeTraits, height_z: float, model: FieldModel) -> Thickness:
    """Thickness (mm) of the knee as it was before any disease, NaN outside the atlas mask."""
    _, overall = _loadings()
    factors = _cartilage_factors(knee)
    coefficients = mode_coefficients(knee)
    rest = 1.0 - MORPHOLOGY_SHARE_GLOBAL - HEIGHT_CORRELATION**2
    level = GLOBAL_SD * (
        HEIGHT_CORRELATION * height_z
        + np.sqrt(MORPHOLOGY_SHARE_GLOBAL) * (overall @ factors)
        + np.sqrt(rest) * knee.global_noise
    )
    size = model.atlas.size
    local = np.einsum("rk,rkp->rp", (LOCAL_SD * coefficients).astype(np.float32), model.modes)
    return np.asarray(np.exp(model.log_pattern + np.float32(level) + local.reshape(2, size, size)))


def diseased_thickness(
    healthy: Thickness, knee: KneeTraits, *, severity: float, years: float, model: FieldModel
) -> Thickness:
    """Thickness (mm) after the loss that goes with a severity: diffuse, slow over years, and focal down to bone (0 mm).

    Args:
        healthy: The same knee before disease.
        knee: Whose lesions and which compartment.
        severity: Continuous severity; below 2.6 nothing but slow thinning is lost.
        years: Since baseline, for the slow thinning of diseased knees.
        model: The field model of the map's size.
    """
    severity = severity + knee.loss_lead
    if severity < 1.5:
        return healthy
    where = _mirrored(model.loss, model) if knee.lateral_type else model.loss
    diffuse = float(np.interp(severity, (2.6, 3.0, 4.0, 4.5, 5.0), (0.0, 0.14, 0.46, 0.8, 1.0)))
    slow = knee.thinning * years * float(np.clip(severity - 1.5, 0.0, 1.0))
    thickness = healthy * (1.0 - np.float32(diffuse) * where) * (1.0 - np.float32(slow) * np.minimum(3.0 * where, 1.0))
    thickness = thickness * _lesion_factor(knee, severity, model)
    return np.asarray(np.maximum(thickness, 0.0), dtype=np.float32)


def _mirrored(loss: Thickness, model: FieldModel) -> Thickness:
    """The medial loss pattern on the lateral side; the mask is not symmetric, so its NaN are not mirrored."""
    flipped = _loss_kernel(model.atlas.size)[:, ::-1]
    return np.where(np.isnan(loss), np.nan, flipped).astype(np.float32)


def _lesion_factor(knee: KneeTraits, severity: float, model: FieldModel) -> Float32[np.ndarray, "r h w"]:
    """1 away from lesions, 0 inside, with a rim of about 2 mm."""
    size = model.atlas.size
    row, column = relative_grid(size)
    factor = np.ones((2, size, size), dtype=np.float32)
    for onset, along, across, scale, on_femur in knee.lesions:
        radius = scale * min(5.0 * (severity - onset), 8.0)
        if radius <= 0.0:
            continue
        region = 0 if on_femur else 1
        center_row = (0.225 if on_femur else 0.22) + 0.10 * across
        center_column = (0.45 if on_femur else 0.47) + 0.16 * along
        if knee.lateral_type:
            center_row = 1.0 - center_row
        height, length = EXTENT_MM[region]
        distance = np.hypot((row - center_row) * height, 0.8 * (column - center_column) * length)
        rim = np.clip((distance - radius + 1.0) / 2.0, 0.0, 1.0)
        factor[region] *= (rim * rim * (3.0 - 2.0 * rim)).astype(np.float32)
    return factor


def _bump(row: Float[np.ndarray, "h w"], column: Float[np.ndarray, "h w"], *at: float) -> Float[np.ndarray, "h w"]:
    center_row, center_column, sd_row, sd_column = at
    return np.asarray(np.exp(-0.5 * (((row - center_row) / sd_row) ** 2 + ((column - center_column) / sd_column) ** 2)))


def _pattern(atlas: KneeAtlas) -> Float[np.ndarray, "r h w"]:
    """Mean thickness (mm): thin at the margins, thick where plates meet the load, compartments at their means."""
    row, column = relative_grid(atlas.size)
    tibial = (
        1.0
        + 1.5 * _bump(row, column, 0.34, 0.47, 0.09, 0.17)
        + 1.9 * _bump(row, column, 0.69, 0.47, 0.09, 0.17)
        + 0.25 * np.sin(9.0 * column + 3.0 * row)
    )
    femoral = (
        1.35
        + 0.8 * _bump(row, column, 0.24, 0.42, 0.10, 0.16)
        + 0.7 * _bump(row, column, 0.77, 0.40, 0.10, 0.15)
        + 0.9 * _bump(row, column, 0.22, 0.16, 0.10, 0.09)
        + 0.8 * _bump(row, column, 0.78, 0.18, 0.09, 0.09)
        + 1.4 * _bump(row, column, 0.58, 0.80, 0.18, 0.09)
    )
    maps = np.stack([femoral, tibial])
    for region, (height, _) in enumerate(EXTENT_MM):
        edge = edge_distance(atlas.mask[region], height)
        maps[region] *= 0.45 + 0.55 * (1.0 - np.exp(-edge / 2.5))
    return np.where(atlas.mask, maps * _compartment_scale(maps, atlas), np.nan)


def _compartment_scale(maps: Float[np.ndarray, "r h w"], atlas: KneeAtlas) -> Float[np.ndarray, "r h w"]:
    """Smooth factors that bring the compartments to their published means.

    The random factor's expectation is above 1 (it is log-normal) and is divided out.
    """
    row, column = relative_grid(atlas.size)
    expectation = float(np.exp(0.5 * (GLOBAL_SD**2 + LOCAL_SD**2)))
    factor = {
        name: mean / expectation / float(maps[atlas.region_of(name)][atlas.compartments[name]].mean())
        for name, mean in HEALTHY_THICKNESS_MM.items()
    }
    lateral = 1.0 / (1.0 + np.exp(-(row - 0.5) / 0.02))
    front = 1.0 / (1.0 + np.exp(-(column - 0.63) / 0.015))
    femur = (1.0 - lateral) * factor["medial_femur"] + lateral * factor["lateral_femur"]
    tibia = (1.0 - lateral) * factor["medial_tibia"] + lateral * factor["lateral_tibia"]
    return np.stack([(1.0 - front) * femur + front * factor["trochlea"], tibia])


def _loss_kernel(size: int) -> Float[np.ndarray, "r h w"]:
    """Where medial disease takes cartilage: load-bearing femur, external tibia; a tenth of it laterally."""
    row, column = relative_grid(size)
    medial = 1.0 / (1.0 + np.exp((row - 0.5) / 0.03))
    femoral = 0.18 * medial + 0.55 * _bump(row, column, 0.20, 0.46, 0.11, 0.12) * medial
    tibial = 0.22 * medial + 0.95 * _bump(row, column, 0.09, 0.48, 0.11, 0.28) * medial
    return np.minimum(np.stack([femoral, tibial]) + 0.06, 1.0)


def _modes(mask: np.ndarray, extent_mm: tuple[float, float]) -> Float32[np.ndarray, "k p"]:
    """Leading eigenfunctions of the Gaussian process on one region (Nystrom extension from a coarse grid)."""
    size = mask.shape[0]
    row, column = relative_grid(size)
    points = np.stack([row * extent_mm[0], column * extent_mm[1]], axis=-1)
    coarse = _coarse_points(extent_mm)
    covariance = _covariance(coarse, coarse)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1][:N_MODES], vectors[:, ::-1][:, :N_MODES]
    vectors *= np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(N_MODES)] < 0, -1.0, 1.0)
    extended = _covariance(points.reshape(-1, 2), coarse) @ (vectors / np.sqrt(values))
    total = np.sqrt((extended**2).sum(axis=1, keepdims=True))
    return np.asarray((extended / total).T, dtype=np.float32, order="C")


def _coarse_points(extent_mm: tuple[float, float]) -> Float[np.ndarray, "q 2"]:
    row, column = relative_grid(20)
    grid = np.stack([row * extent_mm[0], column * extent_mm[1]], axis=-1)
    region = EXTENT_MM.index(extent_mm)
    inside = knee_atlas(20).mask[region]
    return np.asarray(grid[inside])


def _covariance(first: Float[np.ndarray, "p 2"], second: Float[np.ndarray, "q 2"]) -> Float[np.ndarray, "p q"]:
    squared = ((first[:, None, :] - second[None, :, :]) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-0.5 * squared / MODE_LENGTH_MM**2))
