"""Bones for a segmentation that has none: a layer beneath each cartilage, on the side where the atlas has its bone."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree

from mris.finding import Finding
from mris.knee.alignment import apply
from mris.knee.cartilage_atlas import CartilageAtlas
from mris.knee.registration import Registration
from mris.knee.segmentation import FEMORAL_CARTILAGE, FEMUR, TIBIA, TIBIAL_CARTILAGE, Segmentation, box_round
from mris.knee.template import template_of

DEPTH_MM = 6.0
"""Depth of the layer, from the middle of the cartilage."""

_COARSE_MM = 1.5
_THINNEST_MM = 0.3

Points = Float[np.ndarray, "n 3"]


def with_atlas_bones(segmentation: Segmentation, atlas: CartilageAtlas, registration: Registration) -> Segmentation:
    """Give a segmentation without bones the layers of bone that the atlas lets expect, and a warning of it.

    The middle of the atlas' cartilage, carried to the knee, parts the side of the joint from that of the bone: it lies
    within the knee's cartilage wherever the registration is off by less than half of that. What is no cartilage, on
    the bone's side of it and near, becomes bone. So the surface between bone and cartilage is the segmentation's own.

    Args:
        segmentation: Both cartilages of one knee.
        atlas: The atlas.
        registration: From the atlas to this knee.
    """
    labels = segmentation.labels.copy()
    for region, bone_side, cartilage, bone in zip(
        (atlas.femoral, atlas.tibial),
        template_of(atlas).bone_side,
        (FEMORAL_CARTILAGE, TIBIAL_CARTILAGE),
        (FEMUR, TIBIA),
        strict=True,
    ):
        box = box_round(labels == cartilage, (DEPTH_MM + 2.0) / np.array(segmentation.spacing))
        joint, below = (registration.to_subject(points) for points in (region.points, bone_side))
        to_world = segmentation.affine.copy()
        to_world[:3, 3] += to_world[:3, :3] @ [part.start for part in box]
        part = labels[box]
        part[_is_below(part.shape, to_world, joint, below) & (part == 0)] = bone
    told = Finding("no bone labels: the bone side is the atlas's, and bare bone comes out smaller", severity="warning")
    return replace(segmentation, labels=labels, findings=(*segmentation.findings, told))


def _is_below(
    shape: tuple[int, ...], to_world: Float[np.ndarray, "4 4"], joint: Points, below: Points
) -> Bool[np.ndarray, "i j k"]:
    """Which voxels lie within `DEPTH_MM` of the middle between two surfaces, on the side of the second.

    Heights over the middle are linear but where the nearest point changes: few are reckoned, those between are blended.
    """
    inward = below - joint
    thickness = np.linalg.norm(inward, axis=1)
    thick = thickness > _THINNEST_MM
    middle, inward = ((joint + below) / 2)[thick], (inward[thick].T / thickness[thick]).T
    steps = np.maximum(np.floor(_COARSE_MM / np.linalg.norm(to_world[:3, :3], axis=0)), 1).astype(int)
    coarse = tuple(int(np.ceil((n - 1) / step)) + 1 for n, step in zip(shape, steps, strict=True))
    places = apply(to_world, np.moveaxis(np.indices(coarse), 0, -1).reshape(-1, 3) * steps.astype(float))
    farthest = DEPTH_MM + 2 * _COARSE_MM
    away, nearest = cKDTree(middle).query(places, distance_upper_bound=farthest)
    near = np.flatnonzero(np.isfinite(away))
    depth = np.full(len(places), -farthest)
    depth[near] = ((places[near] - middle[nearest[near]]) * inward[nearest[near]]).sum(axis=1)
    grids = [array.reshape(coarse).astype(np.float32) for array in (depth, np.minimum(away, farthest))]
    fine_depth, fine_away = (ndimage.affine_transform(grid, 1 / steps, output_shape=shape, order=1) for grid in grids)
    return np.asarray((fine_depth > 0) & (fine_away < DEPTH_MM))
