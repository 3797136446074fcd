"""Cartilage thickness in mm at the bone-side surface of a label volume, along the field lines of Laplace's equation.

Surfaces. The label of the cartilage is smoothed by a Gaussian of half a voxel along each axis (each voxel counted as
the box it is) and sampled on an isotropic grid as fine as the finest voxel spacing; its level 1/2 is the surface.
The surface is *inner* (bone side) where it faces the bone: bone within `max_gap`, normal within 60 degrees of the
bone's. Elsewhere it is *outer*.

Field. ``laplace(u) = 0`` in the cartilage, u = 0 on the inner and u = 1 on the outer surface, with the exact place of
the surface between two grid points (Gibou et al., J. Comput. Phys. 176, 205-227, 2002: symmetric, second order).

Thickness. The length of the line from an inner point along ``grad(u) / |grad(u)|`` to the outer surface
(Jones et al., Hum. Brain Mapp. 11, 12-32, 2000). The lines do not cross, so that the thickness at one place of the
joint side is that at one place of the bone side.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import sparse, special
from scipy.sparse.linalg import LinearOperator, cg
from scipy.spatial import cKDTree

from mris.errors import ImageError
from mris.knee.interpolation import Cells, strides
from mris.knee.separable import along_axes

MAX_GAP_MM = 1.5
"""Bone farther than this from the cartilage's surface does not make the surface a bone side."""

DENUDED_BEYOND_MM = 1.5
"""Bone where cartilage is expected is denuded, 0 mm, if no cartilage is within this distance."""

_SMOOTHING = 0.5
_BONE_SMOOTHING_MM = 1.0
_SMALLEST_FACING = 0.5
_LONGEST_MM = 15.0
_NEIGHBORS = 6

Field = Float32[np.ndarray, "i j k"]


@dataclass(frozen=True, eq=False)
class InnerSurface:
    """Bone-side surface of one cartilage, as points, with the thickness at each, and the bone round it.

    Attributes:
        points: World coordinates, mm (of the affine that was given).
        thickness: Length of the field line through each point, mm.
        bone: Points of the bone's surface in and round the cartilage's box, covered or bare, mm.
    """

    points: Float[np.ndarray, "n 3"]
    thickness: Float[np.ndarray, " n"]
    bone: Float[np.ndarray, "b 3"]


def cartilage_thickness(
    cartilage: Bool[np.ndarray, "i j k"],
    bone: Bool[np.ndarray, "i j k"],
    affine: Float[np.ndarray, "4 4"],
    *,
    max_gap: float = MAX_GAP_MM,
) -> InnerSurface:
    """Thickness of a cartilage at every point of its bone-side surface.

    Args:
        cartilage: Voxels of one cartilage (both plates of the tibia may come together).
        bone: Voxels of the bone that carries it, on the same grid.
        affine: From voxel indices to world coordinates in mm; axes orthogonal, spacing and direction as they like.
        max_gap: Widest gap between bone and cartilage, mm.

    Raises:
        ImageError: If shapes differ, a label is empty, the two overlap, no cartilage is near bone, or the
            affine is sheared.
    """
    spacing = _check(cartilage, bone, affine)
    margin = np.ceil(3.0 / spacing).astype(int) + 3
    grid = _Grid.around(cartilage, spacing, margin)
    level = _closed(_distance_like(grid.smooth(grid.crop(cartilage), _SMOOTHING * spacing)))
    bone_level = _distance_like(grid.smooth(grid.crop(bone), np.full(3, _BONE_SMOOTHING_MM)))
    edges = _Edges.of(level)
    places = edges.points()
    inner = _faces_bone(edges, level, bone_level, -max_gap / _BONE_SMOOTHING_MM)
    if not inner.any():
        raise ImageError(f"no cartilage within {max_gap} mm of its bone; check the label numbers of bone and cartilage")
    directions = _directions(level, edges, _potential(level, edges, inner))
    starts = places[inner & grid.within(places, cartilage.shape)]
    lengths = _line_lengths(starts, level, directions, _LONGEST_MM / grid.step)
    return InnerSurface(
        points=grid.to_world(starts, affine),
        thickness=lengths * grid.step,
        bone=grid.to_world(_Edges.of(bone_level).points(), affine),
    )


def sample_thickness(
    surface: InnerSurface, points: Float[np.ndarray, "m 3"], *, denuded_beyond: float = DENUDED_BEYOND_MM
) -> Float[np.ndarray, " m"]:
    """Thickness at places where cartilage is expected, 0 where the bone is bare.

    Each place is moved to the nearest point of the bone, so that a registration that is off across the surface bares no
    bone; the thickness is the mean of the six points of the bone-side surface nearest to that point.

    Args:
        surface: Bone-side surface of a cartilage.
        points: Expected places, mm, for example the atlas' vertices carried to this knee.
        denuded_beyond: Distance (mm) from the point of the bone to the nearest cartilage beyond which it is denuded.

    Example:
        >>> bone = np.arange(300.0).reshape(100, 3) * [0.1, 0.0, 0.0]
        >>> line = InnerSurface(points=bone[:50], thickness=np.full(50, 2.0), bone=bone)
        >>> sample_thickness(line, np.array([[3.0, 0.0, 1.0], [25.0, 0.0, 1.0]]))
        array([2., 0.])
    """
    on_bone = surface.bone[cKDTree(surface.bone).query(points)[1]]
    distance, nearest = cKDTree(surface.points).query(on_bone, k=min(_NEIGHBORS, len(surface.points)))
    distance, nearest = distance.reshape(len(points), -1), nearest.reshape(len(points), -1)
    return np.where(distance[:, 0] > denuded_beyond, 0.0, surface.thickness[nearest].mean(axis=1))


def _check(
    cartilage: Bool[np.ndarray, "i j k"], bone: Bool[np.ndarray, "i j k"], affine: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, " 3"]:
    """Spacing (mm) along the voxel axes of a pair of labels that can be measured."""
    if cartilage.shape != bone.shape or cartilage.ndim != 3:
        raise ImageError(f"cartilage {cartilage.shape} and bone {bone.shape}: give two volumes of one grid")
    for name, label in (("cartilage", cartilage), ("bone", bone)):
        if not label.any():
            raise ImageError(f"no voxel of {name}; check the label numbers")
    if (cartilage & bone).any():
        raise ImageError(
            f"{int((cartilage & bone).sum())} voxels are bone and cartilage at once; a voxel has one label"
        )
    axes = affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if not np.isfinite(affine).all() or (spacing <= 0).any():
        raise ImageError(f"voxel spacing {spacing.tolist()} mm: must be positive; mend the affine")
    cosines = (axes / spacing).T @ (axes / spacing)
    if np.abs(cosines - np.eye(3)).max() > 1e-3:
        raise ImageError("the voxel axes are not at right angles; resample the volume to a grid without shear")
    return np.asarray(spacing)


@dataclass(frozen=True)
class _Grid:
    """An isotropic grid round a label, centered on the crop of voxels that it samples."""

    first: Int[np.ndarray, " 3"]
    n_voxels: Int[np.ndarray, " 3"]
    spacing: Float[np.ndarray, " 3"]
    step: float
    n: Int[np.ndarray, " 3"]
    origin: Float[np.ndarray, " 3"]

    @classmethod
    def around(
        cls, label: Bool[np.ndarray, "i j k"], spacing: Float[np.ndarray, " 3"], margin: Int[np.ndarray, " 3"]
    ) -> "_Grid":
        """The grid over the box of a label and a margin of voxels, which may leave the volume."""
        box = [np.flatnonzero(label.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        first = np.array([axis[0] for axis in box]) - margin
        n_voxels = np.array([axis[-1] for axis in box]) + margin + 1 - first
        step = float(spacing.min())
        length = (n_voxels - 1) * spacing
        n = np.floor(length / step + 1e-6).astype(int) + 1
        origin = first * spacing + (length - (n - 1) * step) / 2  # centered, so that a mirrored label is sampled alike
        return cls(first=first, n_voxels=n_voxels, spacing=spacing, step=step, n=n, origin=origin)

    def crop(self, label: Bool[np.ndarray, "i j k"]) -> Float32[np.ndarray, "a b c"]:
        """The voxels below the grid; those outside the volume repeat its faces, as bone and cartilage go on there."""
        end = self.first + self.n_voxels
        within = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(self.first, end, label.shape, strict=True))
        beyond = [(max(-a, 0), max(b - n, 0)) for a, b, n in zip(self.first, end, label.shape, strict=True)]
        return np.pad(label[within].astype(np.float32, order="C"), beyond, mode="edge")

    def to_world(self, places: Float[np.ndarray, "n 3"], affine: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "n 3"]:
        """World coordinates of places given in steps of the grid."""
        return np.asarray(self._voxels(places) @ affine[:3, :3].T + affine[:3, 3])

    def within(self, places: Float[np.ndarray, "n 3"], shape: tuple[int, ...]) -> Bool[np.ndarray, " n"]:
        """Which places lie in the volume, not in the margin beyond its faces."""
        voxels = self._voxels(places)
        return np.asarray(((voxels > -0.5) & (voxels < np.array(shape) - 0.5)).all(axis=1))

    def _voxels(self, places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return np.asarray((self.origin + places * self.step) / self.spacing)

    def smooth(self, voxels: Float32[np.ndarray, "a b c"], width: Float[np.ndarray, " 3"]) -> Field:
        """Convolve boxes of the voxels' size with a Gaussian (standard deviation in mm for each axis), on the grid."""
        kernels = []
        for axis in range(3):
            centers = (self.first[axis] + np.arange(self.n_voxels[axis])) * self.spacing[axis]
            places = self.origin[axis] + np.arange(self.n[axis]) * self.step
            away = (places[:, None] - centers[None, :]) / width[axis]
            half = self.spacing[axis] / 2 / width[axis]
            kernel = special.ndtr(away + half) - special.ndtr(away - half)
            kernel /= kernel.sum(axis=1, keepdims=True)
            kernels.append(np.where(kernel > 1e-9, kernel, 0.0).astype(np.float32))
        return np.asarray(along_axes(voxels[np.newaxis], kernels)[0])


@dataclass(frozen=True)
class _Edges:
    """Edges of the grid that a surface crosses: the end inside, the end outside, and where between them (0 to 1)."""

    inside: Int[np.ndarray, " n"]
    outside: Int[np.ndarray, " n"]
    fraction: Float[np.ndarray, " n"]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, level: Field) -> "_Edges":
        """The edges that the zero of a level (positive inside) crosses."""
        flat, positive = level.ravel(), level > 0.0
        ends = []
        for axis, stride in enumerate(strides(level.shape)):
            crossed = np.zeros(level.shape, dtype=bool)
            ahead, along = (np.moveaxis(array, axis, 0) for array in (crossed, positive))
            np.not_equal(along[:-1], along[1:], out=ahead[:-1])
            first = np.flatnonzero(crossed)
            ends.append(np.where(flat[first] > 0.0, [first, first + stride], [first + stride, first]))
        inside, outside = np.concatenate(ends, axis=1)
        return cls(inside, outside, flat[inside] / (flat[inside] - flat[outside]), level.shape)

    def points(self) -> Float[np.ndarray, "n 3"]:
        """Places of the crossings in steps of the grid."""
        return self.between(*(np.stack(np.unravel_index(i, self.shape), axis=1) for i in (self.inside, self.outside)))

    def between(self, inside: Float[np.ndarray, "n 3"], outside: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """What lies at the crossings, from what lies at the two ends."""
        return np.asarray(inside + self.fraction[:, None] * (outside - inside))


def _faces_bone(edges: _Edges, level: Field, bone_level: Field, least: float) -> Bool[np.ndarray, " n"]:
    """Which crossings of the cartilage's surface lie near the bone and look at it."""
    steps, bone = strides(level.shape), bone_level.ravel()
    into, toward_bone = (
        edges.between(_gradient(flat, edges.inside, steps), _gradient(flat, edges.outside, steps))
        for flat in (level.ravel(), bone)
    )
    facing = -(_unit(into) * _unit(toward_bone)).sum(axis=1)
    near = bone[edges.inside] + edges.fraction * (bone[edges.outside] - bone[edges.inside]) > least
    return np.asarray(near & (facing > _SMALLEST_FACING))


def _distance_like(smoothed: Field) -> Field:
    """Turn a smoothed label into what is linear across a plane surface, and 0 on it."""
    between = np.flatnonzero((smoothed > 1e-4) & (smoothed < 1 - 1e-4))
    # Most of the grid is far from the surface, on one side or the other: two values are enough there.
    level = np.where(smoothed > 0.5, *special.ndtri(np.array([1 - 1e-4, 1e-4], smoothed.dtype)))
    level.ravel()[between] = special.ndtri(smoothed.ravel()[between])
    return np.asarray(level)


def _closed(level: Field) -> Field:
    """The level with an end before the grid's faces, so that the points of the surface have neighbors in the grid."""
    lowest = level.min()
    for axis in range(3):
        along = np.moveaxis(level, axis, 0)
        along[:3], along[-3:] = lowest, lowest
    return level


def _gradient(
    flat: Float32[np.ndarray, " v"], index: Int[np.ndarray, " n"], steps: tuple[int, int, int]
) -> Float[np.ndarray, "n 3"]:
    return np.asarray(np.stack([flat[index + s].astype(np.float64) - flat[index - s] for s in steps], axis=1) / 2)


def _potential(level: Field, edges: _Edges, inner: Bool[np.ndarray, " n"]) -> Field:
    """Laplace's potential in the cartilage, continued linearly to the grid points next to it; NaN elsewhere."""
    flat = level.ravel()
    index = np.flatnonzero(flat > 0.0)
    number = np.full(flat.size, -1, dtype=np.int32)
    number[index] = np.arange(len(index), dtype=np.int32)
    fraction = np.maximum(edges.fraction, 0.01)
    value = np.where(inner, 0.0, 1.0)
    own = number[edges.inside]
    diagonal = np.bincount(own, weights=1 / fraction, minlength=len(index))
    right = np.bincount(own, weights=value / fraction, minlength=len(index))
    links = []
    for stride in strides(level.shape):
        other = number[index + stride]
        linked = np.flatnonzero(other >= 0)
        links.append(np.stack([linked, other[linked]]))
    diagonal = diagonal + np.bincount(np.concatenate(links, axis=None), minlength=len(index))
    even = np.stack(np.unravel_index(index, level.shape)).sum(axis=0) % 2 == 0
    solution = _solve(diagonal, np.concatenate(links, axis=1), even, right)
    potential = np.full(flat.size, np.nan, dtype=np.float32)
    potential[index] = solution
    inside = solution[own]
    beyond = inside + (value - inside) / np.maximum(fraction, 0.25)
    ghosts = _each_once(edges.outside, flat.size)
    number[ghosts] = np.arange(len(ghosts), dtype=np.int32)
    which = number[edges.outside]
    potential[ghosts] = np.bincount(which, weights=beyond) / np.bincount(which)
    return potential.reshape(level.shape)


def _solve(
    diagonal: Float[np.ndarray, " n"],
    links: Int[np.ndarray, "2 l"],
    even: Bool[np.ndarray, " n"],
    right: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Solve a symmetric system with -1 at the links, each of which joins an even unknown with an odd one.

    The even ones follow from the odd ones, so that these alone are sought: in half the iterations, of half the size.
    """
    scale = 1 / np.sqrt(diagonal)
    place = np.where(even, np.cumsum(even), np.cumsum(~even)) - 1
    swapped = even[links[1]]
    of_even, of_odd = np.where(swapped, links[1], links[0]), np.where(swapped, links[0], links[1])
    shape = (int(even.sum()), int((~even).sum()))
    to_even = sparse.coo_array((scale[of_even] * scale[of_odd], (place[of_even], place[of_odd])), shape=shape).tocsr()
    to_odd = to_even.T.tocsr()
    scaled = right * scale
    operator = LinearOperator((shape[1], shape[1]), matvec=lambda odd: odd - to_odd @ (to_even @ odd), dtype=float)
    known = scaled[~even] + to_odd @ scaled[even]
    odd, unfinished = cg(operator, known, x0=0.5 / scale[~even], rtol=1e-5, maxiter=2000)
    if unfinished:
        raise ImageError("the field in the cartilage does not settle; is the label a thin sheet next to bone?")
    solution = np.empty(len(right))
    solution[~even], solution[even] = odd, scaled[even] + to_even @ odd
    return np.asarray(solution * scale)


def _directions(level: Field, edges: _Edges, potential: Field) -> Float32[np.ndarray, "3 i j k"]:
    """Unit vectors along the field, in the cartilage and continued two grid points beyond it."""
    steps = strides(level.shape)
    directions = np.zeros((3, level.size), dtype=np.float32)
    done = level.ravel() > 0.0
    known = np.flatnonzero(done)
    slopes = np.stack([potential.ravel()[known + stride] - potential.ravel()[known - stride] for stride in steps])
    slopes /= np.maximum(np.sqrt(np.einsum("an,an->n", slopes, slopes)), np.float32(1e-12))
    for along, slope in zip(directions, slopes, strict=True):
        along[known] = slope
    ring = _each_once(edges.outside, level.size)
    for _ in range(2):
        around = np.stack([ring + s for stride in steps for s in (stride, -stride)])
        directions[:, ring] = _unit(directions[:, around].sum(axis=1).T).T
        done[ring] = True
        ring = _each_once(around[~done[around]], level.size)
    return directions.reshape(3, *level.shape)


def _each_once(index: Int[np.ndarray, " n"], n_voxels: int) -> Int[np.ndarray, " m"]:
    """What ``np.unique`` gives, several times as fast where many of the voxels are meant."""
    meant = np.zeros(n_voxels, dtype=bool)
    meant[index] = True
    return np.flatnonzero(meant)


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _line_lengths(
    starts: Float[np.ndarray, "n 3"], level: Field, directions: Float32[np.ndarray, "3 i j k"], longest: float
) -> Float[np.ndarray, " n"]:
    """Lengths of the field lines from the starts to the level's end, in steps of the grid."""
    stride = 1.0

    def direction(places: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3"]:
        cells = Cells.of(places.T, level.shape)
        return _unit(np.stack([cells.sample(along) for along in directions], axis=1).astype(float))

    lengths = np.zeros(len(starts))
    active, places = np.arange(len(starts)), starts
    before = np.zeros(len(starts))
    for _ in range(int(longest / stride)):
        middle = places + stride / 2 * direction(places)
        places = places + stride * direction(middle)
        now = Cells.of(places.T, level.shape).sample(level)
        ended = now <= 0.0
        rest = np.clip(before / np.maximum(before - now, 1e-6), 0, 1)
        lengths[active] += stride * np.where(ended, rest, 1.0)
        active, places, before = active[~ended], places[~ended], now[~ended]
        if not len(active):
            break
    return lengths
