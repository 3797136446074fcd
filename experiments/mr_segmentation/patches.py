"""A pool of digital knees on disk, and random patches of them: each with a pose, a side, and a contrast of its own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from mris.images.write import write_npz
from mris.knee.mr.appearance import draw_look, rendered
from mris.knee.mr.dress import draw_dress, dressed
from mris.knee.mr.knee_shape import draw_shape
from mris.knee.mr.shapes import knee_labels, smooth_noise
from mris.knee.mr.tissues import N_CLASSES, Tissue

POOL_MM = 0.8
"""Edge of a voxel of the pool's knees."""


@dataclass(frozen=True)
class Settings:
    """All that decides a network but the machine.

    Attributes:
        step_mm: Edge of a voxel.
        guided: Whether it is told what the coarse network has found; the coarse one is not.
        steps: Optimizer steps, of one patch each.
        seed: Of shapes, patches and starting weights; judged knees have others.
        knees: Digital knees in the pool.
        patch: Edge of a patch, voxels; a multiple of 16.
        channels: Of the network's levels.
        learning_rate: Highest one.
        weight_decay: Of AdamW.
        average: Decay of the running mean of the weights, which is what is shipped.
        share_of_dess: Share of the patches with a contrast like DESS.
    """

    step_mm: float
    guided: bool
    steps: int
    seed: int = 20261202
    knees: int = 32
    patch: int = 64
    channels: tuple[int, ...] = (24, 48, 64, 64)
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    average: float = 0.99
    share_of_dess: float = 0.75


COARSE = Settings(step_mm=2.2, guided=False, steps=1100)
"""Sees a whole scan of a knee in one patch."""
FINE = Settings(step_mm=0.8, guided=True, steps=1900)


def digital_knee(seed: list[int], step_mm: float) -> np.ndarray:
    """Tissues of one digital knee with its soft tissue."""
    rng = np.random.default_rng(seed)
    return dressed(knee_labels(draw_shape(rng), step_mm), step_mm, draw_dress(rng))


def make_pool(folder: Path, settings: Settings) -> list[np.ndarray]:
    """Make the pool's knees, or read those that are there."""
    pool = []
    for number in range(settings.knees):
        path = folder / f"knee_{settings.seed}_{number:03d}.npz"
        if not path.is_file():
            write_npz(path, tissues=digital_knee([settings.seed, number], POOL_MM))
        with np.load(path) as archive:
            pool.append(archive["tissues"])
    return pool


def random_patch(pool: list[np.ndarray], settings: Settings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the input of a network (channels first) and the wanted share of each class at each voxel."""
    return _guided_patch(pool, settings, rng) if settings.guided else _whole_knee(pool, settings, rng)


def _whole_knee(pool: list[np.ndarray], settings: Settings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture of a whole knee, rendered at half the voxels' edge and averaged; so are its classes."""
    knee = pool[int(rng.integers(len(pool)))]
    step = settings.step_mm / 2
    center = np.array(knee.shape) / 2 + rng.normal(0, 6.0, 3) / POOL_MM
    tissues = _posed(knee, center, 2 * settings.patch, step / POOL_MM, rng)
    picture = _halved(rendered(tissues, (step,) * 3, draw_look(rng, settings.share_of_dess), rng))
    classes = np.where(tissues < N_CLASSES, tissues, 0)
    shares = np.stack([_halved((classes == number).astype(np.float32)) for number in range(N_CLASSES)])
    return picture[np.newaxis], shares


def _halved(voxels: np.ndarray) -> np.ndarray:
    for axis in range(3):
        along = np.moveaxis(voxels, axis, 0)
        voxels = np.moveaxis((along[::2] + along[1::2]) / 2, 0, axis)
    return np.ascontiguousarray(voxels, np.float32)


def _guided_patch(
    pool: list[np.ndarray], settings: Settings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture of a part of a knee, and a guide like that of a coarse network: blurred, bent, partly wrong."""
    knee = pool[int(rng.integers(len(pool)))]
    tissues = _posed(knee, _center(knee, rng), settings.patch, settings.step_mm / POOL_MM, rng)
    picture = rendered(tissues, (settings.step_mm,) * 3, draw_look(rng, settings.share_of_dess), rng)
    classes = np.where(tissues < N_CLASSES, tissues, 0)
    shares = (np.arange(N_CLASSES)[:, None, None, None] == classes).astype(np.float32)
    return np.concatenate([picture[np.newaxis], _guide(classes, rng)]), shares


def _guide(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    half = classes[::2, ::2, ::2]
    places = np.indices(half.shape, np.float32)
    for every, sd in ((4.0, rng.uniform(0.1, 0.6)), (10.0, rng.uniform(0.2, 2.0))):
        places += np.float32(sd) * np.stack([smooth_noise(rng, half.shape, every) for _ in range(3)])
    bent = ndimage.map_coordinates(half, places, order=0, mode="nearest")
    guide = np.empty((N_CLASSES, *half.shape), np.float32)
    blur = rng.uniform(0.6, 1.3)
    for number in range(N_CLASSES):
        likelier = np.exp(rng.normal(0, 0.5)) if number else 1.0
        if number > 1 and rng.random() < 0.04:
            likelier = 0.0  # not found at all
        guide[number] = likelier * ndimage.gaussian_filter((bent == number).astype(np.float32), blur, truncate=2.5)
    wrong = np.clip(smooth_noise(rng, half.shape, 9.0) - rng.uniform(0.7, 3.0), 0, 1)
    guide = guide * (1 - wrong) + wrong * np.roll(guide, int(rng.integers(1, N_CLASSES)), axis=0)
    guide **= np.float32(np.exp(rng.normal(0.1, 0.3)))
    guide[0] += 1e-4
    guide /= guide.sum(axis=0)
    for axis in (1, 2, 3):
        guide = np.repeat(guide, 2, axis=axis)
    return guide


def _center(knee: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a place that is looked at: mostly near cartilage."""
    kind = rng.choice(4, p=[0.45, 0.25, 0.15, 0.15])
    wanted = (Tissue.FEMORAL_CARTILAGE, Tissue.TIBIAL_CARTILAGE, Tissue.PATELLAR_CARTILAGE)
    if kind == 3:
        return rng.uniform(0.1, 0.9, 3) * knee.shape
    at = np.flatnonzero(knee.ravel() == wanted[kind])
    if not at.size:
        return np.array(knee.shape) / 2
    place = np.array(np.unravel_index(int(at[rng.integers(at.size)]), knee.shape), float)
    return place + rng.normal(0, 12, 3)


def _posed(knee: np.ndarray, center: np.ndarray, edge: int, step: float, rng: np.random.Generator) -> np.ndarray:
    """Sample voxels round a place, turned, stretched, bent, and mirrored at random; beyond the box its border goes on.

    Args:
        knee: Of the pool.
        center: The place, in its voxels.
        edge: Of the patch, voxels.
        step: Edge of a voxel of the patch, in those of the knee.
        rng: Of the pose.
    """
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.normal(0, 6, 3))):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    matrix = step * turn @ np.diag(np.exp(rng.normal(0, 0.07, 3))) * np.exp(rng.normal(0, 0.05))
    size = np.array(knee.shape)
    reach = np.minimum(np.abs(matrix).sum(axis=1) * edge / 2, 0.35 * size)
    center = np.clip(center, reach, size - reach)
    axis = np.arange(edge, dtype=np.float32) - (edge - 1) / 2
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)
    places = (matrix.astype(np.float32) @ grid) + center.astype(np.float32)[:, None]
    if rng.random() < 0.5:
        shape, sd = (edge,) * 3, np.float32(rng.uniform(0.3, 1.5))
        places += sd * np.stack([smooth_noise(rng, shape, 16.0 / step).ravel() for _ in range(3)])
    tissues = ndimage.map_coordinates(knee, places, order=0, mode="nearest").reshape((edge,) * 3)
    return np.ascontiguousarray(tissues[::-1] if rng.random() < 0.5 else tissues)
