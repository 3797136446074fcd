"""The maps of one knee: from a segmentation over registration and thickness to two flat maps and findings on them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from mris.finding import Finding
from mris.knee.alignment import apply
from mris.knee.atlas_bones import with_atlas_bones
from mris.knee.cartilage_atlas import AtlasRegion, CartilageAtlas
from mris.knee.flatten import flatten, map_mask, pixel_area, subregion_denuded, subregion_masks, subregion_means
from mris.knee.registration import Registration, register
from mris.knee.segmentation import FEMORAL_CARTILAGE, FEMUR, TIBIA, TIBIAL_CARTILAGE, Segmentation
from mris.knee.subregions import COMPARTMENTS
from mris.knee.template import template_of
from mris.knee.thickness import cartilage_thickness, sample_thickness

SMALLEST_COVERAGE = 0.95
"""A map with values in a smaller share of the atlas' pixels is warned of."""
LARGEST_DENUDED_SHARE = 0.5
"""A map with more bare bone than this is warned of: so much is rare even at the end stage."""
LARGEST_TROCHLEA_GAP_MM2 = 10.0
"""A femoral map with more area of 0 mm at the trochlea's edge is warned of: segmentations end early there."""

ThicknessMap = Float[np.ndarray, "310 310"]
_EDGE_VOXELS = 1.0


@dataclass(frozen=True, eq=False)
class ThicknessMaps:
    """Two maps of one knee, in the atlas' frame of a left knee, and how they came about.

    Attributes:
        femoral: Thickness in mm, NaN outside, 0 on bare bone.
        tibial: The same for both plates of the tibia.
        coverage: For each region the share of the atlas' pixels that have a value.
        denuded: For each region the share of these that are bare bone.
        subregions: Mean thickness (mm) of each named part of both regions, and of each compartment the sum of its two;
            NaN where nothing of it was in view.
        denuded_percent: Share (%) of the area of each named part of both regions that is bare bone.
        registration: The way from the atlas to the knee.
        findings: Warnings about segmentation, registration and maps.
        seconds: What each step took, in seconds of processor time.
    """

    femoral: ThicknessMap
    tibial: ThicknessMap
    coverage: Mapping[str, float]
    denuded: Mapping[str, float]
    subregions: Mapping[str, float]
    denuded_percent: Mapping[str, float]
    registration: Registration
    findings: tuple[Finding, ...]
    seconds: Mapping[str, float]


def thickness_maps(atlas: CartilageAtlas, segmentation: Segmentation) -> ThicknessMaps:
    """Make the femoral and the tibial thickness map of one knee.

    Args:
        atlas: The atlas that gives the frame.
        segmentation: One knee; a right one is mirrored to the atlas' left. Without bones, see `with_atlas_bones`.

    Returns:
        The maps. A poor registration or a small field of view is no error but a finding, a warning.

    Raises:
        ImageError: A cartilage lies nowhere on its bone, or the voxel axes are not at right angles.
    """
    clock = _Clock()
    template_of(atlas)
    clock.lap("atlas")
    registration = register(atlas, segmentation)
    if not segmentation.has_bones:
        segmentation = with_atlas_bones(segmentation, atlas, registration)
    clock.lap("registration")
    maps: list[ThicknessMap] = []
    coverage: dict[str, float] = {}
    denuded: dict[str, float] = {}
    subregions: dict[str, float] = {}
    denuded_percent: dict[str, float] = {}
    for region, bone_side, bone, cartilage in zip(
        (atlas.femoral, atlas.tibial),
        template_of(atlas).bone_side,
        (FEMUR, TIBIA),
        (FEMORAL_CARTILAGE, TIBIAL_CARTILAGE),
        strict=True,
    ):
        surface = cartilage_thickness(
            segmentation.labels == cartilage, segmentation.labels == bone, segmentation.affine
        )
        places = registration.to_subject(bone_side)
        values = sample_thickness(surface, places)
        values[~_in_view(segmentation, places)] = np.nan
        clock.lap(f"{region.name} thickness")
        flat = flatten(values, region)
        maps.append(flat)
        coverage[region.name], denuded[region.name] = _shares(flat, region)
        subregions |= subregion_means(flat, region)
        denuded_percent |= subregion_denuded(flat, region)
        clock.lap(f"{region.name} map")
    subregions |= {name: sum(subregions[part] for part in parts) for name, parts in COMPARTMENTS.items()}
    doubtful = (*_doubtful_shares(coverage, denuded), *_doubtful_trochlea(maps[0], atlas.femoral))
    findings = (
        *segmentation.findings,
        *registration.findings,
        *(Finding(reason, severity="warning") for reason in doubtful),
    )
    return ThicknessMaps(
        maps[0], maps[1], coverage, denuded, subregions, denuded_percent, registration, findings, clock.laps
    )


class _Clock:
    """Processor seconds of named steps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, name: str) -> None:
        now = time.process_time()
        self.laps[name] = round(now - self._last, 2)
        self._last = now


def _in_view(segmentation: Segmentation, places: np.ndarray) -> np.ndarray:
    voxels = apply(np.linalg.inv(segmentation.affine), places)
    last = np.array(segmentation.labels.shape) - 1
    return np.asarray(((voxels > -_EDGE_VOXELS) & (voxels < last + _EDGE_VOXELS)).all(axis=1))


def _shares(flat: ThicknessMap, region: AtlasRegion) -> tuple[float, float]:
    known = np.isfinite(flat)
    n_known = int(known.sum())
    bare = int((flat[known] <= 0.0).sum())
    return n_known / int(map_mask(region).sum()), bare / n_known if n_known else 0.0


def _doubtful_shares(coverage: Mapping[str, float], denuded: Mapping[str, float]) -> list[str]:
    small = [
        f"{name} map covers {100 * share:.0f} % of the atlas"
        for name, share in coverage.items()
        if share < SMALLEST_COVERAGE
    ]
    return small + [
        f"{100 * share:.0f} % of the {name} map is bare bone"
        for name, share in denuded.items()
        if share > LARGEST_DENUDED_SHARE
    ]


def trochlea_gap(femoral: ThicknessMap, region: AtlasRegion) -> float:
    """Area (mm2 of the atlas) of the patches of 0 mm that lie in the trochlea, most of each, and reach the map's edge.

    Cartilage of the trochlea wears in the middle; at its edge it is rather the segmentation that ends early.
    """
    mask, trochlea, area = map_mask(region), subregion_masks(region)["trochlea"], pixel_area(region)
    edge = trochlea & ~ndimage.binary_erosion(mask)
    patches, n_patches = ndimage.label(femoral == 0.0, np.ones((3, 3)))
    gap = 0.0
    for patch in (patches == number for number in range(1, n_patches + 1)):
        size = float(area[patch].sum())
        if (patch & edge).any() and area[patch & trochlea].sum() > size / 2:
            gap += size
    return gap


def _doubtful_trochlea(femoral: ThicknessMap, region: AtlasRegion) -> list[str]:
    gap = trochlea_gap(femoral, region)
    if gap <= LARGEST_TROCHLEA_GAP_MM2:
        return []
    return [f"{gap:.0f} mm2 of 0 mm at the edge of the trochlea: the segmentation may end early, not the cartilage"]
