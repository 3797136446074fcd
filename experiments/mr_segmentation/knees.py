"""Knees to judge on: digital ones that were never trained on, and real label maps dressed and rendered."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from judge import judged

from mris.knee.label_volume import canonical, read_label_volume
from mris.knee.mr.appearance import Look, draw_any, draw_dess, rendered
from mris.knee.mr.dress import draw_dress, dressed
from mris.knee.mr.phantom_scans import phantom_scan
from mris.knee.mr.resample import wanted_shape
from mris.knee.mr.series import Scan
from mris.knee.mr.tissues import Tissue

JUDGE_SEED = 777
REAL = np.array([0, 1, 2, 3, 4, 5, 6, 1, 3, 5], np.uint8)
"""Tissue of each number of the preset ``oai_knees``: lesions count as the bone they lie in."""
DRESSED_MM = 0.8


@dataclass(frozen=True, eq=False)
class Knee:
    """A scan with the truth behind it.

    Attributes:
        name: Of the knee.
        scan: The picture; its axes run right, anterior, superior.
        truth: Numbers of `judge.TISSUES` on its grid.
        side: Of the knee.
    """

    name: str
    scan: Scan
    truth: np.ndarray
    side: str


def digital(number: int) -> Knee:
    """Make a digital knee of a seed that training does not use."""
    made = phantom_scan(JUDGE_SEED, number)
    scan = Scan(made.voxels.astype(np.float32), made.affine, made.name, made.side)
    return Knee(made.name, scan, judged(made.labels), made.side)


def real(path: Path, number: int, condition: str) -> Knee:
    """Dress and render a real label map: its shapes are real, its picture is not."""
    volume = canonical(read_label_volume(path))
    truth = REAL[volume.voxels]
    side = "right" if "_R_" in path.name else "left"
    rng = np.random.default_rng([JUDGE_SEED, number, 9])
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    tissues = _dressed(truth, spacing, rng, side)
    look = draw_any(rng) if condition == "any contrast" else draw_dess(rng)
    voxels = rendered(tissues, tuple(spacing), _changed(look, condition), rng)
    affine = volume.affine
    if condition == "cut edges":
        voxels, truth, affine = _cut(voxels, truth, affine, spacing)
    return Knee(path.name.removesuffix("_seg.nii.gz"), Scan(voxels, affine, path.name, side), truth, side)


def _dressed(truth: np.ndarray, spacing: np.ndarray, rng: np.random.Generator, side: str) -> np.ndarray:
    shape = wanted_shape(truth.shape, tuple(spacing), (DRESSED_MM,) * 3)
    there = [
        np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(int) for n, m in zip(shape, truth.shape, strict=True)
    ]
    back = [
        np.minimum((np.arange(m) + 0.5) * n / m, n - 1).astype(int) for n, m in zip(shape, truth.shape, strict=True)
    ]
    soft = dressed(truth[np.ix_(*there)], DRESSED_MM, draw_dress(rng), 1.0 if side == "left" else -1.0)
    full = soft[np.ix_(*back)]
    full = np.where(np.isin(full, range(1, 7)) & (truth == 0), Tissue.FAT, full)
    return np.where(truth > 0, truth, full).astype(np.uint8)


def _changed(look: Look, condition: str) -> Look:
    if condition == "noise":
        return replace(look, noise=0.12)
    if condition == "thick slices":
        return replace(look, blur_mm=(1.3, 0.3, 0.3))
    return look


def _cut(voxels: np.ndarray, truth: np.ndarray, affine: np.ndarray, spacing: np.ndarray) -> tuple:
    """Cut 25 mm off above and below and 12 mm off one side."""
    above, aside = round(25 / spacing[2]), round(12 / spacing[0])
    box = (slice(aside, None), slice(None), slice(above, -above))
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [aside, 0, above]
    return np.ascontiguousarray(voxels[box]), np.ascontiguousarray(truth[box]), moved
