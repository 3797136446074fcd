"""Values at the atlas' vertices as a flat map of 310 x 310 pixels, and back to means over named subregions.

The grid is that of the published maps (checked to 1e-12 mm on both): along each coordinate of the embedding 300 cells
from its smallest to its largest value and five more on either side, values at the cells' lower corners by linear
interpolation on the Delaunay triangulation of the vertices, NaN where neither the cell nor one of its eight neighbors
holds a vertex. No flip, no smoothing.

Orientation. Columns run from posterior (left) to anterior in both maps. Rows of the *femoral* map run from lateral
(top) to medial, one for each 0.27 mm; rows of the *tibial* map from medial (top) to lateral. The phantom's atlas
(`mris.knee.phantom.atlas`) has medial at the top of both.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.spatial import Delaunay

from mris.errors import ImageError
from mris.knee.cartilage_atlas import AtlasRegion
from mris.knee.subregions import subregions

MAP_SIZE = 310
"""Rows and columns of a map."""

_CELLS = 300
_BORDER = 5


@dataclass(frozen=True, eq=False)
class _Weights:
    """Linear interpolation from vertices to the pixels that have a value."""

    matrix: sparse.csr_array
    mask: Bool[np.ndarray, "310 310"]


def flatten(values: Float[np.ndarray, " n"], region: AtlasRegion) -> Float[np.ndarray, "310 310"]:
    """Lay values at the vertices of a region out as a flat map.

    Args:
        values: One value at each vertex of the region; NaN where there is none. Denuded bone is 0, not NaN.
        region: The atlas region whose vertices these are.

    Returns:
        The map; NaN outside the region, and at pixels whose three vertices are all NaN. A pixel with some NaN vertices
        takes the others, with their weights divided by the sum.

    Raises:
        ImageError: If the number of values is not that of the vertices.
    """
    if values.shape != (len(region.points),):
        n = len(region.points)
        raise ImageError(
            f"values of shape {values.shape} for the {region.name} atlas; give one at each of {n} vertices"
        )
    weights = _weights(region)
    known = np.isfinite(values)
    pixels = weights.matrix @ np.where(known, values, 0.0)
    if not known.all():
        share = weights.matrix @ known.astype(np.float64)
        pixels = np.divide(pixels, share, out=np.full_like(pixels, np.nan), where=share > 1e-9)
    flat = np.full((MAP_SIZE, MAP_SIZE), np.nan)
    flat[weights.mask] = pixels
    return flat


def map_mask(region: AtlasRegion) -> Bool[np.ndarray, "310 310"]:
    """Where the map of a region can have a value."""
    return _weights(region).mask.copy()


def subregion_masks(region: AtlasRegion) -> dict[str, Bool[np.ndarray, "310 310"]]:
    """Where each named part of a region (`mris.knee.subregions.subregions`) lies on its map."""
    mask = map_mask(region)
    places = np.stack([flatten(region.points[:, axis], region)[mask] for axis in range(3)], axis=1)
    masks = {}
    for name, inside in subregions(places, region).items():
        masks[name] = np.zeros((MAP_SIZE, MAP_SIZE), dtype=bool)
        masks[name][mask] = inside
    return masks


def subregion_means(flat: Float[np.ndarray, "310 310"], region: AtlasRegion) -> dict[str, float]:
    """Mean of a map over each named part of its region, each pixel counted by the area of bone that it stands for.

    Args:
        flat: A map of the region; denuded bone is 0 and counts, NaN does not.
        region: The region of the atlas.

    Returns:
        Means by name, NaN where a part has no pixel with a value.

    Raises:
        ImageError: If the map is not of 310 x 310 pixels.
    """
    if flat.shape != (MAP_SIZE, MAP_SIZE):
        raise ImageError(f"map of shape {flat.shape}: maps of the atlas have {MAP_SIZE} x {MAP_SIZE} pixels")
    area, known = pixel_area(region), np.isfinite(flat)
    means = {}
    for name, mask in _masks(region).items():
        use = mask & known
        means[name] = float(np.average(flat[use], weights=area[use])) if use.any() else float("nan")
    return means


def subregion_denuded(flat: Float[np.ndarray, "310 310"], region: AtlasRegion) -> dict[str, float]:
    """Share (%) of the area of each named part of a region whose bone is bare; as `subregion_means` otherwise."""
    return subregion_means(np.where(np.isnan(flat), np.nan, 100.0 * (flat <= 0.0)), region)


@lru_cache(maxsize=8)
def _masks(region: AtlasRegion) -> dict[str, Bool[np.ndarray, "310 310"]]:
    return subregion_masks(region)


@lru_cache(maxsize=8)
def pixel_area(region: AtlasRegion) -> Float[np.ndarray, "310 310"]:
    """Area (mm^2) of the atlas' surface that each pixel of a map stands for; NaN outside.

    The areas of the triangles round a vertex, on the surface and in the plane, give its stretch. It is held to ten
    times the median: triangles lie edge on where the unrolled surface folds over.
    """
    corners, flat = region.points[region.faces], region.embedding[region.faces]
    surface = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    a, b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    plane = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    at = region.faces.ravel()
    sums = [np.bincount(at, weights=np.repeat(size, 3), minlength=len(region.points)) for size in (surface, plane)]
    stretch = sums[0] / np.maximum(sums[1], 1e-12)
    stretch = np.minimum(stretch, 10 * np.median(stretch))
    return flatten(stretch, region) * float(np.prod(np.ptp(region.embedding, axis=0) / _CELLS))


@lru_cache(maxsize=8)
def _weights(region: AtlasRegion) -> _Weights:
    lowest = region.embedding.min(axis=0)
    step = (region.embedding.max(axis=0) - lowest) / _CELLS
    x, y = ((lowest[i] - _BORDER * step[i]) + np.arange(MAP_SIZE) * step[i] for i in (0, 1))
    mask = np.zeros((MAP_SIZE, MAP_SIZE), dtype=bool)
    column, row = (np.floor((region.embedding[:, i] - start[0]) / step[i]).astype(int) for i, start in ((0, x), (1, y)))
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            mask[row + down, column + across] = True
    rows, columns = np.nonzero(mask)
    places = np.stack([x[columns], y[rows]], axis=1)
    triangles = Delaunay(region.embedding)
    simplex: Int[np.ndarray, " p"] = triangles.find_simplex(places, tol=1e-9)  # the last row may be outside by rounding
    inside = simplex >= 0
    mask[rows[~inside], columns[~inside]] = False
    simplex, places = simplex[inside], places[inside]
    transform = triangles.transform[simplex]
    first = np.einsum("pij,pj->pi", transform[:, :2], places - transform[:, 2])
    barycentric = np.concatenate([first, 1.0 - first.sum(axis=1, keepdims=True)], axis=1)
    row_of = np.repeat(np.arange(len(places)), 3)
    vertex_of = triangles.simplices[simplex].ravel()
    matrix = sparse.csr_array((barycentric.ravel(), (row_of, vertex_of)), shape=(len(places), len(region.points)))
    return _Weights(matrix=matrix, mask=mask)
