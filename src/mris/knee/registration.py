"""Registers one knee with the cartilage atlas: an affine map of point clouds, then a deformation of distance maps.

Everything happens in the frame of a left knee, the atlas' own: a right knee is mirrored (``x`` to ``-x``) before, and
points are mirrored back after. The atlas is fixed, so that its points are carried to the knee without inversion.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32

from mris.finding import Finding
from mris.knee.alignment import Alignment, align, apply, roughly_aligned
from mris.knee.cartilage_atlas import CartilageAtlas
from mris.knee.deformation import deform, jacobian
from mris.knee.distance import signed_distance
from mris.knee.interpolation import Cells
from mris.knee.segmentation import FEMORAL_CARTILAGE, FEMUR, TIBIA, TIBIAL_CARTILAGE, Segmentation, box_round, cropped
from mris.knee.template import FARTHEST_MM, GRID_MM, Template, cloud_of, sample, template_of

LOWEST_DICE = 0.65
"""A registration whose mean overlap is below is flagged."""
OTHER_SIDE_RATIO = 0.95
"""The other side fits clearly better if its residual is below this share of that of the stated side."""

_CROP_MM = 12.0
_BONE_MM = 0.8
_BAND_MM = FARTHEST_MM + 1.0
_MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
_CARTILAGES = (FEMORAL_CARTILAGE, TIBIAL_CARTILAGE)

Points = Float[np.ndarray, "n 3"]
Affine = Float[np.ndarray, "4 4"]


@dataclass(frozen=True, eq=False)
class Registration:
    """The way from the atlas to one knee.

    Attributes:
        affine: From the atlas' world to the (for a right knee: mirrored) world of the knee.
        displacement: What is added in the atlas before the affine map, mm, on the template's grid.
        grid: Voxel of that grid to the atlas' world.
        mirrored: Whether the knee is a right one.
        dice: Overlap of the carried atlas cartilage with the knee's, ``femoral`` and ``tibial``.
        dice_affine: The same before the deformation.
        jacobian_positive: Share of the grid in which the deformation does not fold.
        residual_mm: Mean distance of the surfaces' closest points after the affine map.
        residual_other_mm: The same for the other side's mirroring.
        findings: What is doubtful: warnings.
    """

    affine: Affine
    displacement: Float32[np.ndarray, "3 i j k"]
    grid: Affine
    mirrored: bool
    dice: dict[str, float]
    dice_affine: dict[str, float]
    jacobian_positive: float
    residual_mm: float
    residual_other_mm: float
    findings: tuple[Finding, ...] = ()

    def to_subject(self, points: Points) -> Points:
        """Carry points of the atlas' world (mm) to the world of the knee's volume (mm)."""
        moved = apply(self.affine, points + _displacement_at(self.displacement, self.grid, points))
        return apply(_MIRROR, moved) if self.mirrored else moved

    @property
    def mean_dice(self) -> float:
        """Mean of the two overlaps."""
        return float(np.mean(list(self.dice.values())))


def register(atlas: CartilageAtlas, segmentation: Segmentation) -> Registration:
    """Register a knee with the atlas.

    Affine: iterated closest points of both cartilages' surfaces. Deformation: demons on the signed distances to both
    cartilages and both bones, so that bone without cartilage stays where it is; of a segmentation without bones, on
    those to both cartilages alone.

    Args:
        atlas: The atlas, a left knee.
        segmentation: One knee with both bones, or without bones.

    Returns:
        The registration. A poor one is not an error but flagged: overlap below `LOWEST_DICE`, folds, a side doubtful.
    """
    template = template_of(atlas)
    knee = _as_left(cropped(segmentation, _CROP_MM))
    clouds = [cloud_of(knee.labels == tissue, knee.affine) for tissue in _CARTILAGES]
    alignment = align(template.clouds, clouds)
    other = roughly_aligned(template.clouds, [apply(_MIRROR, cloud) for cloud in clouds])
    to_voxel = np.linalg.inv(knee.affine) @ alignment.affine
    surfaces = _surfaces(knee, to_voxel @ template.affine, template)
    n = len(surfaces)
    displacement = deform(template.surfaces[:n], template.weights[:n], surfaces, GRID_MM)
    determinant = jacobian(displacement, GRID_MM)
    cells = template.sample_cells
    moved = [places + _sampled(displacement, of) for places, of in zip(template.samples, cells, strict=True)]
    sizes = [of.sample(determinant.astype(np.float32)) for of in cells]
    dice = _overlap(template, knee, to_voxel, moved, sizes)
    return Registration(
        affine=alignment.affine,
        displacement=displacement,
        grid=template.affine,
        mirrored=segmentation.side == "right",
        dice=dice,
        dice_affine=_overlap(template, knee, to_voxel, template.samples, [np.ones(len(s)) for s in template.samples]),
        jacobian_positive=float((determinant > 0).mean()),
        residual_mm=alignment.residual_mm,
        residual_other_mm=other.residual_mm,
        findings=_findings(dice, float((determinant > 0).mean()), alignment, other, segmentation.side),
    )


def _as_left(knee: Segmentation) -> Segmentation:
    """The knee as a left one, its first axis from medial to lateral: that of a mirrored knee holds the same arrays."""
    affine = _MIRROR @ knee.affine if knee.side == "right" else knee.affine
    if affine[0, 0] < 0:
        return replace(knee, affine=affine, side="left")
    reverse = np.diag([-1.0, 1.0, 1.0, 1.0])
    reverse[0, 3] = len(knee.labels) - 1
    return replace(knee, labels=knee.labels[::-1].copy(), affine=affine @ reverse, side="left")


def _surfaces(knee: Segmentation, to_voxel: Affine, template: Template) -> Float32[np.ndarray, "c i j k"]:
    """Signed distances of the knee on the template's grid; each bone near its own cartilage, where it counts.

    Four, in the order of the template's; two of a knee without bones.

    Voxels of bone that are much finer than that grid are thinned; cartilage needs them all.
    """
    shape = template.surfaces.shape[1:]
    boxes = [box_round(knee.labels == cartilage, _BAND_MM / np.array(knee.spacing)) for cartilage in _CARTILAGES]
    thin = np.maximum(np.floor(_BONE_MM / np.array(knee.spacing)), 1).astype(int)
    maps = []
    tissues = (*_CARTILAGES, FEMUR, TIBIA) if knee.has_bones else _CARTILAGES
    for tissue, box in zip(tissues, boxes * 2, strict=False):
        every = np.ones(3, int) if tissue in _CARTILAGES else thin
        scale = np.diag([*every, 1.0])
        to_box = to_voxel.copy()
        to_box[:3, 3] -= [part.start for part in box]
        few = tuple(slice(part.start, part.stop, step) for part, step in zip(box, every, strict=True))
        distance = signed_distance(knee.labels[few] == tissue, knee.affine @ scale, FARTHEST_MM)
        maps.append(sample(distance, np.linalg.inv(scale) @ to_box, shape))
    return np.asarray(np.clip(np.stack(maps), -FARTHEST_MM, FARTHEST_MM), np.float32)


def _overlap(
    template: Template, knee: Segmentation, to_voxel: Affine, samples: Sequence[Points], sizes: Sequence[np.ndarray]
) -> dict[str, float]:
    """Dice of the carried atlas cartilage, in mm3 of the knee: each sample of it counts as much as it becomes."""
    dice = {}
    scale = float(abs(np.linalg.det((knee.affine @ to_voxel)[:3, :3]))) * template.sample_mm3
    for name, tissue, places, size in zip(("femoral", "tibial"), _CARTILAGES, samples, sizes, strict=True):
        hit = _labels_at(knee, apply(to_voxel, places)) == tissue
        carried, own = float(size.sum()) * scale, float((knee.labels == tissue).sum()) * knee.voxel_mm3
        dice[name] = 2.0 * float(size[hit].sum()) * scale / (carried + own)
    return dice


def _labels_at(knee: Segmentation, voxels: Points) -> np.ndarray:
    """The label of the nearest voxel, 0 beyond the volume."""
    nearest = np.floor(voxels.T + 0.5).astype(np.intp)
    inside = np.ones(len(voxels), bool)
    for along, size in zip(nearest, knee.labels.shape, strict=True):
        inside &= (along >= 0) & (along < size)
    labels = np.zeros(len(voxels), knee.labels.dtype)
    labels[inside] = knee.labels[tuple(nearest[:, inside])]
    return labels


def _displacement_at(displacement: Float32[np.ndarray, "3 i j k"], grid: Affine, points: Points) -> Points:
    return _sampled(displacement, Cells.of(apply(np.linalg.inv(grid), points).T, displacement.shape[1:]))


def _sampled(displacement: Float32[np.ndarray, "3 i j k"], cells: Cells) -> Points:
    return np.stack([cells.sample(part) for part in displacement], axis=1).astype(float)


def _findings(
    dice: dict[str, float], positive: float, alignment: Alignment, other: Alignment, side: str
) -> tuple[Finding, ...]:
    found = []
    mean = float(np.mean(list(dice.values())))
    if mean < LOWEST_DICE:
        found.append(f"registration overlap {mean:.2f} is below {LOWEST_DICE}")
    if positive < 1.0:
        found.append(f"deformation folds in {100 * (1 - positive):.2f} % of the grid")
    if other.residual_mm < OTHER_SIDE_RATIO * alignment.residual_mm:
        found.append(f"side doubtful: {side} fits to {alignment.residual_mm:.2f} mm, the other {other.residual_mm:.2f}")
    return tuple(Finding(reason, severity="warning") for reason in found)
