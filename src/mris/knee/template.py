"""The atlas as registration sees it: signed distances to its surfaces on a grid of 1 mm, and points on them.

The atlas' meshes are those of the joint side of the cartilage (checked: along their normals the cartilage lies below
them, and on the femur they have the larger radius). Thickness and registration need the bone side: each vertex goes
along its normal through the cartilage until it leaves it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage, sparse
from scipy.spatial import KDTree

from mris.knee.alignment import apply
from mris.knee.cartilage_atlas import AtlasRegion, CartilageAtlas
from mris.knee.distance import signed_distance
from mris.knee.interpolation import Cells
from mris.knee.neighbors import border
from mris.knee.segmentation import box_round

GRID_MM = 1.0
MARGIN_MM = 10.0
FARTHEST_MM = 6.0
"""Signed distances are clipped here."""
N_CLOUD = 3000
_DEEPEST_MM = 7.0
_SMOOTH_NORMALS = 30

Grid = Float32[np.ndarray, "i j k"]
Points = Float[np.ndarray, "n 3"]
Affine = Float[np.ndarray, "4 4"]


@dataclass(frozen=True, eq=False)
class Template:
    """What a knee is registered to.

    Attributes:
        affine: Voxel of the grid to world, in mm; cubic voxels of `GRID_MM` along the axes of the world.
        surfaces: Signed distances (mm, negative inside, clipped) to femoral cartilage, tibial cartilage, femur, tibia.
        weights: Where a signed distance means something: everywhere for cartilage, beneath and in it for bone.
        clouds: Points on the surface of the femoral and of the tibial cartilage.
        samples: Centers of the eight eighths of every voxel of femoral and of tibial cartilage.
        sample_cells: Where these lie in the grid.
        sample_mm3: Volume that a sample stands for.
        bone_side: For each vertex of the femoral and of the tibial mesh its point on the bone.
    """

    affine: Affine
    surfaces: Float32[np.ndarray, "4 i j k"]
    weights: Float32[np.ndarray, "4 i j k"]
    clouds: tuple[Points, Points]
    samples: tuple[Points, Points]
    sample_cells: tuple[Cells, Cells]
    sample_mm3: float
    bone_side: tuple[Points, Points]


@lru_cache(maxsize=2)
def template_of(atlas: CartilageAtlas) -> Template:
    """Prepare an atlas for registration (some seconds, once a process)."""
    volumes = (atlas.femoral_volume, atlas.tibial_volume)
    box = box_round(volumes[0] | volumes[1], MARGIN_MM / np.linalg.norm(atlas.affine[:3, :3], axis=0))
    affine = atlas.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    masks = [volume[box] for volume in volumes]
    grid, shape = _grid_over(masks[0].shape, affine)
    places = apply(grid, np.argwhere(np.ones(shape, bool)).astype(float))
    surfaces, weights, bones, bone_weights, bone_side = [], [], [], [], []
    for mask, region in zip(masks, (atlas.femoral, atlas.tibial), strict=True):
        distance = signed_distance(mask, affine, FARTHEST_MM)
        points = _bone_side(region, distance, affine)
        cartilage = sample(distance, np.linalg.inv(affine) @ grid, shape)
        bone, known = _bone_distance(cartilage, places, points)
        surfaces.append(cartilage)
        weights.append(np.ones(shape, np.float32))
        bones.append(bone)
        bone_weights.append(known.astype(np.float32))
        bone_side.append(points)
    samples = [apply(affine, _eighths(np.argwhere(mask))) for mask in masks]
    cells = [Cells.of(apply(np.linalg.inv(grid), places).T, shape) for places in samples]
    clouds = [cloud_of(mask, affine) for mask in masks]
    return Template(
        affine=grid,
        surfaces=np.clip(np.stack(surfaces + bones), -FARTHEST_MM, FARTHEST_MM).astype(np.float32),
        weights=np.stack(weights + bone_weights),
        clouds=(clouds[0], clouds[1]),
        samples=(samples[0], samples[1]),
        sample_cells=(cells[0], cells[1]),
        sample_mm3=float(abs(np.linalg.det(affine[:3, :3]))) / 8,
        bone_side=(bone_side[0], bone_side[1]),
    )


def sample(volume: Grid, to_voxel: Affine, shape: tuple[int, ...]) -> Grid:
    """Sample a volume linearly on another grid; beyond its border the nearest voxel counts."""
    return np.asarray(
        ndimage.affine_transform(volume, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=1, mode="nearest")
    )


def cloud_of(mask: Bool[np.ndarray, "i j k"], affine: Affine) -> Points:
    """About `N_CLOUD` voxels of the surface of a mask, as points of the world."""
    box = box_round(mask)
    surface = np.argwhere(border(mask[box])) + [part.start for part in box]
    return apply(affine, surface[:: max(len(surface) // N_CLOUD, 1)].astype(float))


def _eighths(voxels: np.ndarray) -> Points:
    # A voxel of the atlas is half as thick as thin cartilage: its center alone would overrate the overlap.
    offsets = np.stack(np.meshgrid(*[(-0.25, 0.25)] * 3), axis=-1).reshape(-1, 3)
    return np.asarray((voxels[:, np.newaxis] + offsets).reshape(-1, 3))


def _grid_over(shape: tuple[int, ...], affine: Affine) -> tuple[Affine, tuple[int, ...]]:
    corners = apply(affine, np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T.astype(float))
    grid = np.diag([GRID_MM, GRID_MM, GRID_MM, 1.0])
    grid[:3, 3] = corners.min(axis=0)
    extent = np.floor(np.ptp(corners, axis=0) / GRID_MM).astype(int) + 1
    return grid, tuple(int(n) for n in extent)


def _bone_side(region: AtlasRegion, distance: Grid, affine: Affine) -> Points:
    to_voxel = np.linalg.inv(affine)

    def at(points: Points) -> np.ndarray:
        return Cells.of(apply(to_voxel, points).T, distance.shape).sample(distance)

    inward = _normals(region)
    if at(region.points + inward).sum() > at(region.points - inward).sum():
        inward = -inward
    steps = np.arange(-0.3, _DEEPEST_MM, 0.1)
    along = np.stack([at(region.points + step * inward) for step in steps])
    entered = np.maximum.accumulate(along < 0, axis=0)
    left = entered & (along > 0)
    depth = np.where(left.any(axis=0), steps[left.argmax(axis=0)], 0.0)
    return np.asarray(region.points + inward * depth[:, None])


def _normals(region: AtlasRegion) -> Points:
    """Unit normals of the vertices, averaged along the mesh (its faces are stairs of voxels)."""
    a, b, c = (region.points[region.faces[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    rows = region.faces.ravel()
    of_face = np.repeat(np.arange(len(faces)), 3)
    gather = sparse.csr_array((np.ones(len(rows)), (rows, of_face)), shape=(len(region.points), len(faces)))
    share = gather @ gather.T
    share = sparse.diags_array(1.0 / np.maximum(share.sum(axis=1), 1e-12)) @ share
    normals = gather @ faces
    for _ in range(_SMOOTH_NORMALS):
        normals = share @ normals
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))


def _bone_distance(cartilage: Grid, places: Points, bone_side: Points) -> tuple[Grid, Bool[np.ndarray, "i j k"]]:
    """Signed distance to the bone, and where it is known: in the cartilage, and below it (nearest to its bone side)."""
    flat = cartilage.ravel()
    near = np.abs(flat) < FARTHEST_MM
    distance = np.full(len(flat), FARTHEST_MM)
    distance[near] = KDTree(bone_side).query(places[near])[0]
    inside = flat < 0
    below = near & ~inside & (np.abs(distance - flat) < GRID_MM / 3)
    signed = np.where(inside, distance, -distance).astype(np.float32)
    return signed.reshape(cartilage.shape), (inside | below).reshape(cartilage.shape)
