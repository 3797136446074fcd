"""Coarse alignment of two labelled point clouds: an affine map by iterated closest points.

Besl & McKay, "A method for registration of 3-D shapes", PAMI 14 (1992); the scaled rotation is that of Umeyama, PAMI
13 (1991). A point looks for its closest one among the points of its own tissue, in both directions, so that a cloud
does not shrink into the other; the worst fifth is left out, so that lost cartilage does not pull.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

Points = Float[np.ndarray, "n 3"]
Affine = Float[np.ndarray, "4 4"]

KEPT_SHARE = 0.8
"""Share of the closest pairs that an iteration fits."""
_STARTS_DEGREES = (-40.0, 0.0, 40.0)
_N_COARSE_POINTS, _N_ROUGH_POINTS = 300, 600
_N_TRIED, _N_KEPT, _N_COARSE = 3, 5, 5
_SETTLED_MM = 1e-4


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine map between two clouds.

    Attributes:
        affine: Takes points of the first cloud to the second.
        residual_mm: Mean distance of the closest pairs that were fitted, in mm.
    """

    affine: Affine
    residual_mm: float


def align(fixed: Sequence[Points], moving: Sequence[Points], n_rigid: int = 60, n_affine: int = 60) -> Alignment:
    """Find the affine map that takes one cloud to the other, tissue by tissue.

    First a rotation, one scale and a shift, from the centers of mass and 27 tilts, with few points: all tilts go a few
    steps, and the best five go on; the best of these goes on with all points; then all twelve numbers.

    Args:
        fixed: One cloud a tissue, in mm.
        moving: The same tissues of the other, in mm.
        n_rigid: Iterations with a scaled rotation.
        n_affine: Iterations with an affine map.

    Returns:
        The map from `fixed` to `moving`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> cloud = rng.normal(size=(300, 3)) * [30, 20, 5]
        >>> found = align([cloud], [cloud * 1.1 + [5, 0, 2]])
        >>> np.allclose(found.affine[:3, :3], np.eye(3) * 1.1, atol=1e-3)
        True
    """
    few = _looks(_ClosestOfFew, _thinned(fixed, _N_COARSE_POINTS), _thinned(moving, _N_COARSE_POINTS))
    tilts = np.stack(np.meshgrid(*[_STARTS_DEGREES] * 3), axis=-1).reshape(-1, 3)
    starts = [_start(fixed, moving, Rotation.from_euler("xyz", tilt, degrees=True).as_matrix()) for tilt in tilts]
    tried = [_iterate(few, start, _N_TRIED, rigid=True) for start in starts]
    kept = sorted(tried, key=lambda alignment: alignment.residual_mm)[:_N_KEPT]
    coarse = [_iterate(few, alignment.affine, _N_COARSE, rigid=True) for alignment in kept]
    best = min(coarse, key=lambda alignment: alignment.residual_mm)
    looks = _looks(_Closest, fixed, moving)
    rigid = _iterate(looks, best.affine, n_rigid, rigid=True)
    return _iterate(looks, rigid.affine, n_affine, rigid=False)


def roughly_aligned(fixed: Sequence[Points], moving: Sequence[Points], n_last: int = 20) -> Alignment:
    """The same in half the time, with few points until the last iterations: good enough to compare residuals.

    Args:
        fixed: One cloud a tissue, in mm.
        moving: The same tissues of the other, in mm.
        n_last: Iterations with all points.
    """
    rough = align(_thinned(fixed, _N_ROUGH_POINTS), _thinned(moving, _N_ROUGH_POINTS))
    return _iterate(_looks(_Closest, fixed, moving), rough.affine, n_last, rigid=False)


def apply(affine: Affine, points: Points) -> Points:
    """Take points through an affine map.

    Example:
        >>> apply(np.diag([2.0, 1.0, 1.0, 1.0]), np.array([[1.0, 1.0, 1.0]])).tolist()
        [[2.0, 1.0, 1.0]]
    """
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


class _Closest:
    """Looks up which points of a cloud are closest to those of another, which moves little from look to look.

    A point keeps its closest one until it has gone half as far as the second closest was farther off: before, no other
    can be closer. So few are looked up again as an alignment settles, and the answers are those of a full search.
    """

    def __init__(self, cloud: Points) -> None:
        self.cloud = cloud
        self._tree = KDTree(cloud)
        self._asked = np.zeros((0, 3))
        self._reach = np.zeros(0)
        self._found = np.zeros(0, np.intp)

    def to(self, points: Points) -> Points:
        """The closest point of the cloud to each; always as many points, in one order."""
        if not len(self._asked):
            n = len(points)
            self._asked, self._reach, self._found = np.full((n, 3), np.inf), np.zeros(n), np.zeros(n, np.intp)
        gone = _lengths(points - self._asked)
        stale = np.flatnonzero(gone >= self._reach)
        if len(stale):
            distance, found = self._tree.query(points[stale], k=2)
            self._asked[stale], self._found[stale] = points[stale], found[:, 0]
            self._reach[stale] = (distance[:, 1] - distance[:, 0]) / 2
        return np.asarray(self.cloud[self._found])


class _ClosestOfFew:
    """The same for so few points that all distances are sooner reckoned than searched."""

    def __init__(self, cloud: Points) -> None:
        self.cloud = cloud
        self._squares = (cloud**2).sum(axis=1)

    def to(self, points: Points) -> Points:
        """The closest point of the cloud to each."""
        return np.asarray(self.cloud[(self._squares - 2 * points @ self.cloud.T).argmin(axis=1)])


_Look = _Closest | _ClosestOfFew


def _looks(
    kind: type[_Closest] | type[_ClosestOfFew], fixed: Sequence[Points], moving: Sequence[Points]
) -> list[tuple[_Look, _Look]]:
    return [(kind(f), kind(m)) for f, m in zip(fixed, moving, strict=True)]


def _thinned(clouds: Sequence[Points], n_points: int) -> list[Points]:
    return [cloud[:: max(len(cloud) // n_points, 1)] for cloud in clouds]


def _start(fixed: Sequence[Points], moving: Sequence[Points], rotation: np.ndarray) -> Affine:
    f, m = np.concatenate(fixed), np.concatenate(moving)
    spread = [np.sqrt(((cloud - cloud.mean(axis=0)) ** 2).sum(axis=1).mean()) for cloud in (f, m)]
    affine = np.eye(4)
    affine[:3, :3] = rotation * (spread[1] / max(spread[0], 1e-6))
    affine[:3, 3] = m.mean(axis=0) - affine[:3, :3] @ f.mean(axis=0)
    return affine


def _iterate(looks: Sequence[tuple[_Look, _Look]], affine: Affine, n: int, *, rigid: bool) -> Alignment:
    residual = np.inf
    for _ in range(n):
        source, target = _closest_pairs(looks, affine)
        distance = _lengths(apply(affine, source) - target)
        n_kept = int(KEPT_SHARE * (len(distance) - 1))
        kept = distance <= np.partition(distance, n_kept)[n_kept]
        now = float(distance[kept].mean())
        if now > residual - _SETTLED_MM:
            break
        residual = now
        fit = _scaled_rotation if rigid else _least_squares
        affine = fit(source[kept], target[kept])
    return Alignment(affine, residual)


def _closest_pairs(looks: Sequence[tuple[_Look, _Look]], affine: Affine) -> tuple[Points, Points]:
    sources, targets = [], []
    back = np.linalg.inv(affine)
    for fixed, moving in looks:
        sources += [fixed.cloud, fixed.to(apply(back, moving.cloud))]
        targets += [moving.to(apply(affine, fixed.cloud)), moving.cloud]
    return np.concatenate(sources), np.concatenate(targets)


def _lengths(vectors: Points) -> Float[np.ndarray, " n"]:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))


def _scaled_rotation(source: Points, target: Points) -> Affine:
    centers = source.mean(axis=0), target.mean(axis=0)
    a, b = source - centers[0], target - centers[1]
    u, s, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    affine = np.eye(4)
    affine[:3, :3] = (u * signs) @ vt * (float((s * signs).sum()) / max(float((a**2).sum()), 1e-9))
    affine[:3, 3] = centers[1] - affine[:3, :3] @ centers[0]
    return affine


def _least_squares(source: Points, target: Points) -> Affine:
    design = np.column_stack([source, np.ones(len(source))])
    affine = np.eye(4)
    affine[:3] = np.linalg.lstsq(design, target, rcond=None)[0].T
    return affine
