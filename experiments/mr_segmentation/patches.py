"""A pool of digital knees on disk, and random patches of them: each with a pose, a side, and a contrast of its own.

A voxel of a patch is the mean of several points of the knee, as a scanner's is: edges are gray, and how much of a voxel
is cartilage can be learned.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from mris.images.write import write_npz
from mris.knee.mr.appearance import acquired, cortex, draw_look, signal
from mris.knee.mr.dress import draw_dress, dressed
from mris.knee.mr.knee_shape import draw_shape
from mris.knee.mr.shapes import knee_labels, smooth_noise
from mris.knee.mr.tissues import N_CLASSES, Tissue

POOL_MM = 0.6
"""Edge of a voxel of the pool's knees."""
OUTERMOST = 32
"""Added to a tissue of the pool where it is the cortex of a bone."""

_CORNERS = np.array([(i, j, k) for i in (-0.25, 0.25) for j in (-0.25, 0.25) for k in (-0.25, 0.25)])
"""Middles of the eighths of a voxel."""
_FOUR = _CORNERS[_CORNERS.prod(axis=1) > 0]


@dataclass(frozen=True)
class Settings:
    """All that decides a network but the machine.

    Attributes:
        step_mm: Edge of a voxel.
        guided: Whether it is told what the coarse network has found; the coarse one is not.
        steps: Optimizer steps, of one patch each. More of them go on from where fewer ended: no rate depends on them.
        seed: Of shapes, patches and starting weights; judged knees have others.
        knees: Digital knees in the pool.
        patch: Edge of a patch, voxels; a multiple of 16.
        channels: Of the network's levels.
        learning_rate: Of step `settled`; it rises until then, and falls as the root of the steps.
        settled: See there.
        weight_decay: Of AdamW.
        average: Decay of the running mean of the weights, which is what is shipped.
        share_of_dess: Share of the patches with a contrast like DESS.
    """

    step_mm: float
    guided: bool
    steps: int
    seed: int = 20261203
    knees: int = 40
    patch: int = 64
    channels: tuple[int, ...] = (24, 48, 64, 64)
    learning_rate: float = 2e-3
    settled: int = 400
    weight_decay: float = 1e-4
    average: float = 0.998
    share_of_dess: float = 0.75


COARSE = Settings(step_mm=2.2, guided=False, steps=3000)
"""Sees a whole scan of a knee in one patch."""
FINE = Settings(step_mm=0.65, guided=True, steps=6000)


def digital_knee(seed: list[int], step_mm: float) -> np.ndarray:
    """Tissues of one digital knee with its soft tissue; the cortex of its bones is marked by `OUTERMOST`."""
    rng = np.random.default_rng(seed)
    tissues = dressed(knee_labels(draw_shape(rng), step_mm), step_mm, draw_dress(rng))
    return tissues + np.uint8(OUTERMOST) * cortex(tissues, (step_mm,) * 3)


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
    """Draw a picture of a whole knee, at times of a scan that ends before the knee does."""
    knee = pool[int(rng.integers(len(pool)))]
    center = np.array(knee.shape) / 2 + rng.normal(0, 6.0, 3) / POOL_MM
    points = _posed(knee, center, settings.patch, settings.step_mm / POOL_MM, rng, _CORNERS)
    if rng.random() < 0.4:
        points = _cut(points, rng)
    picture, shares = _seen(points, settings, rng)
    return picture[np.newaxis], shares


def _cut(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Let the border of a smaller box go on, as a scan is continued that does not fill the patch."""
    edge = points.shape[1]
    for axis in range(1, 4):
        first, last = rng.integers(0, edge // 4, 2)
        points = points.take(np.clip(np.arange(edge), first, edge - 1 - last), axis=axis)
    return points


def _guided_patch(
    pool: list[np.ndarray], settings: Settings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture of a part of a knee, and a guide like that of a coarse network: blurred, bent, partly wrong."""
    knee = pool[int(rng.integers(len(pool)))]
    points = _posed(knee, _center(knee, rng), settings.patch, settings.step_mm / POOL_MM, rng, _FOUR)
    picture, shares = _seen(points, settings, rng)
    guide = _guide(shares[:, ::2, ::2, ::2].argmax(axis=0), settings.step_mm, rng)
    return np.concatenate([picture[np.newaxis], guide]), shares


def _seen(points: np.ndarray, settings: Settings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Take a picture of voxels of which points are known (first axis); gives it and the shares of the classes."""
    look = draw_look(rng, settings.share_of_dess)
    less = 0.6 if settings.guided else 0.3  # of the noise of a scanner's smaller voxels
    look = replace(look, noise=less * look.noise, texture=tuple(less**0.5 * one for one in look.texture))
    tissues = points % OUTERMOST
    gray, texture = (part.mean(axis=0) for part in signal(tissues, points >= OUTERMOST, look))
    shares = np.stack([(tissues == number).mean(axis=0, dtype=np.float32) for number in range(N_CLASSES)])
    shares[0] = 1 - shares[1:].sum(axis=0)
    return acquired(gray, texture, (settings.step_mm,) * 3, look, rng), shares


def _guide(half: np.ndarray, step_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Spoil the classes at every second voxel, and bring them back to every voxel."""
    places = np.indices(half.shape, np.float32)
    voxels = 1 / (2 * step_mm)  # for a millimeter
    for every, sd in ((6.0, rng.uniform(0.2, 1.0)), (16.0, rng.uniform(0.3, 3.2))):
        places += np.float32(sd * voxels) * np.stack([smooth_noise(rng, half.shape, every * voxels) for _ in range(3)])
    bent = ndimage.map_coordinates(half, places, order=0, mode="nearest")
    guide = np.empty((N_CLASSES, *half.shape), np.float32)
    blur = rng.uniform(1.0, 2.1) * voxels
    for number in range(N_CLASSES):
        likelier = np.exp(rng.normal(0, 0.5)) if number else 1.0
        if number > 1 and rng.random() < 0.04:
            likelier = 0.0  # not found at all
        guide[number] = likelier * ndimage.gaussian_filter((bent == number).astype(np.float32), blur, truncate=2.5)
    wrong = np.clip(smooth_noise(rng, half.shape, 14.0 * voxels) - rng.uniform(0.7, 3.0), 0, 1)
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
    return place + rng.normal(0, 8 / POOL_MM, 3)


def _posed(
    knee: np.ndarray, center: np.ndarray, edge: int, step: float, rng: np.random.Generator, parts: np.ndarray
) -> np.ndarray:
    """Sample voxels round a place, turned, stretched, bent, and mirrored at random; beyond the box its border goes on.

    Args:
        knee: Of the pool.
        center: The place, in its voxels.
        edge: Of the patch, voxels.
        step: Edge of a voxel of the patch, in those of the knee.
        rng: Of the pose.
        parts: Points of a voxel that are sampled, in voxels from its middle.

    Returns:
        Values of the knee, ``(points, edge, edge, edge)``.
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
        places += sd * np.stack([smooth_noise(rng, shape, 20.0 / step).ravel() for _ in range(3)])
    at = [places + (matrix @ part).astype(np.float32)[:, None] for part in parts]
    sampled = np.stack([ndimage.map_coordinates(knee, one, order=0, mode="nearest") for one in at])
    points = sampled.reshape(len(parts), edge, edge, edge)
    return np.ascontiguousarray(points[:, ::-1] if rng.random() < 0.5 else points)
