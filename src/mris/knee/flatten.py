"""Values at the atlas' vertices as a flat map of 310 x 310 pixels, and back to means over named subregions.

The grid is that of the published maps (checked to 1e-12 mm on both): along each coordinate of the embedding 300 cells
from its smallest to its largest value and five more on either side, values at the cells' lower corners by linear
interpolation on the Delaunay triangulation of the vertices, NaN where neither the cell nor one of its eight neighbors
holds a vertex. No flip, no smoothing.

Orientation. Columns run from posterior (left) to anterior in both maps. Rows of the *femoral* map run from lateral
(top) to medial, one for each 0.27 mm; rows of the *tibial* map from medial (top) to lateral. The phantom's atlas
(`mris.knee.atlas`) has medial at the top of both.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.spatial import Delaunay

from mris.errors import ImageError
from mris.knee.cartilage_atlas import AtlasRegion

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
