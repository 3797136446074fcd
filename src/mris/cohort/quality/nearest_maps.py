"""Distances between the small copies of target maps: to the nearest ones of other subjects, and to other visits."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

_LEAST_SHARED = 0.5
_ROWS_PER_PRODUCT = 512


class NearestMaps(NamedTuple):
    """The nearest maps of other subjects.

    Attributes:
        rows: Their rows, nearest first, -1 where there is no further one; shape (n, k).
        differences: Mean absolute differences to them over the shared cells, NaN where there is none; shape (n, k).
    """

    rows: Int64[np.ndarray, "n k"]
    differences: Float64[np.ndarray, "n k"]


def nearest_of_others(
    values: Float32[np.ndarray, "n p"],
    shares: Float32[np.ndarray, "n p"],
    subjects: Sequence[str],
    names: Sequence[str],
    *,
    k: int = 5,
    most_references: int = 4096,
) -> NearestMaps:
    """Find each map's nearest maps among those of other subjects, at most one of each.

    With the share w of a cell's pixels that are valid, two maps x, y are apart by the root of
    sum w_x w_y (x - y)^2 / sum w_x w_y, which is one matrix product for all pairs; the mean absolute difference,
    weighted alike, is then taken to the k nearest. Maps that share less than half of the map's valid cells are not
    compared.

    Args:
        values: Means of the cells' valid pixels.
        shares: Share of each cell's pixels that are valid.
        subjects: Whose map each row is; a subject's own maps are never its neighbors.
        names: A name of each row, all different: where there are more rows than `most_references`, a sample is
            compared with, drawn by the hash of the name and hence the same in any order of the rows.
        k: Number of neighbors.
        most_references: Most maps that each map is compared with.

    Returns:
        Rows and mean absolute differences.
    """
    owner = np.unique(np.asarray(subjects, dtype=np.str_), return_inverse=True)[1]
    references = _sampled(names, most_references)
    references = references[np.argsort(owner[references], kind="stable")]
    _, firsts = np.unique(owner[references], return_index=True)
    ends = np.append(firsts[1:], len(references))
    used = shares.any(axis=0)
    w = np.ascontiguousarray(shares[:, used])
    # Less the mean of all: the square of a difference is taken as a difference of squares, which must not be large.
    weight = w.sum(axis=0, dtype=np.float64)
    center = ((w * values[:, used]).sum(axis=0, dtype=np.float64) / weight).astype(np.float32)
    x = values[:, used] - center
    wx, wxx = w * x, w * x * x
    right = np.ascontiguousarray(np.concatenate([w[references], wxx[references], wx[references]], axis=1).T)
    right_w = np.ascontiguousarray(w[references].T)
    rows = np.full((len(x), k), -1, dtype=np.int64)
    differences = np.full((len(x), k), np.nan)
    for start in range(0, len(x), _ROWS_PER_PRODUCT):
        part = slice(start, start + _ROWS_PER_PRODUCT)
        shared = w[part] @ right_w
        squares = np.concatenate([wxx[part], w[part], -2 * wx[part]], axis=1) @ right
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.where(shared > 0, np.maximum(squares, 0) / shared, np.inf)
        own = (w[part] * w[part]).sum(axis=1, keepdims=True)
        apart[(owner[part, None] == owner[references]) | (shared < _LEAST_SHARED * own)] = np.inf
        of_person = np.minimum.reduceat(apart, firsts, axis=1)
        near = np.argsort(of_person, axis=1, kind="stable")[:, :k]
        for row, found in enumerate(near, start=start):
            distances = apart[row - start]
            found = found[np.isfinite(of_person[row - start, found])]
            usable = references[
                np.array([firsts[p] + distances[firsts[p] : ends[p]].argmin() for p in found], dtype=np.int64)
            ]
            exact = _mean_absolute(x[row], w[row], x[usable], w[usable])
            order = np.argsort(exact, kind="stable")
            rows[row, : len(usable)], differences[row, : len(usable)] = usable[order], exact[order]
    return NearestMaps(rows, differences)


def least_change(
    values: Float32[np.ndarray, "n p"],
    shares: Float32[np.ndarray, "n p"],
    groups: Sequence[Hashable],
    sound: Bool[np.ndarray, " n"],
) -> Float64[np.ndarray, " n"]:
    """Give each map's mean absolute difference to the least different sound map of its group (its other visits).

    Args:
        values: Means of the cells' valid pixels.
        shares: Share of each cell's pixels that are valid.
        groups: What each row belongs to.
        sound: Maps that others may be compared with.

    Returns:
        Shape (n,); NaN where a map has no other sound one in its group, or shares no cell with any.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    least = np.full(len(values), np.nan)
    for rows in members.values():
        for row in rows:
            others = [other for other in rows if other != row and sound[other]]
            found = _mean_absolute(values[row], shares[row], values[others], shares[others])
            if np.isfinite(found).any():
                least[row] = np.nanmin(found)
    return least


def _mean_absolute(
    x: Float32[np.ndarray, " p"], w: Float32[np.ndarray, " p"], others: np.ndarray, their_w: np.ndarray
) -> Float64[np.ndarray, " m"]:
    weight = w * their_w
    total = weight.sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray((weight * np.abs(x - others)).sum(axis=1, dtype=np.float64) / total)


def _sampled(names: Sequence[str], most: int) -> Int64[np.ndarray, " m"]:
    if len(names) <= most:
        return np.arange(len(names), dtype=np.int64)
    ranked = sorted(range(len(names)), key=lambda row: hashlib.sha256(names[row].encode()).digest())
    return np.sort(np.array(ranked[:most], dtype=np.int64))
