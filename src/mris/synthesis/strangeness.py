"""How unlike a query is to everything known: three scores of its features, and p-values against new people.

The features of the database's sources are centered and scaled, so that what was learned and the principal components of
pixels have a variance of 1 each, all in all, each component the same: what hardly varies tells the strange. The scores
of a query are

- the distance to the k-th nearest of these sources, k = 10;
- the Mahalanobis distance to their mean, in the principal subspace that holds 90 % of their variance;
- the length of what lies outside of that subspace (as in ViM, Wang et al., CVPR 2022).

Each is compared with those of calibration people, whom the encoder has not seen either: people of the database would
look nearer than anybody new. The greatest of the three, each in standard deviations of its logarithm over these people,
is the combined score. A conformal p-value of at most p comes to at most a share of p of new, exchangeable people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from pydantic import Field

from mris.cohort.names import normal_form
from mris.database.database import EmbeddingDatabase
from mris.records import Record
from mris.types import Features

ScoreName = Literal["distance", "mahalanobis", "residual"]
SCORES: tuple[ScoreName, ...] = get_args(ScoreName)
"""Names of the scores, in the order of columns."""

UNUSUAL = 0.05
"""A p-value up to which a query is strange."""

LEVELS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""The p-values that are told."""

_NEAREST = 10
_SHARE = 0.9
_TINY = 1e-12

Scores = Float64[np.ndarray, "n 3"]


class Reference:
    """What the sources of a database look like, to compare queries with."""

    def __init__(self, features: Features, n_learned: int, subjects: Shaped[np.ndarray, " N"]) -> None:
        """Describe a database.

        Args:
            features: (N, q) of its sources, at least one.
            n_learned: How many of the q were learned; the rest are principal components of pixels.
            subjects: (N,) whose they are.
        """
        known = features.astype(np.float64)
        self._subjects = subjects
        self._center = known.mean(axis=0)
        variance = known.var(axis=0)
        learned, components = variance[:n_learned], variance[n_learned:]
        alive = components > _TINY * components.max(initial=_TINY)
        shares = np.where(alive, components * max(alive.sum(), 1), np.inf)
        self._scale = 1 / np.sqrt(np.concatenate([np.full(n_learned, max(learned.sum(), _TINY)), shares]))
        self._known = (known - self._center) * self._scale
        self._squares = np.square(self._known).sum(axis=1)
        values, vectors = np.linalg.eigh(self._known.T @ self._known / len(known))
        held = np.cumsum(values[::-1]) / max(values.sum(), _TINY)
        kept = min(int(np.searchsorted(held, _SHARE)) + 1, len(values))
        self._axes = vectors[:, ::-1][:, :kept]
        self._variances = np.maximum(values[::-1][:kept], _TINY)

    @classmethod
    def of(cls, database: EmbeddingDatabase) -> "Reference | None":
        """Describe the entries of a database that have sources; None where there is none."""
        header = database.header
        if not header.n_features:
            return None
        rows = np.flatnonzero(np.isfinite(database.features).all(axis=1))
        if not len(rows):
            return None
        return cls(database.features[rows], header.n_features - header.n_components, database.subjects[rows])

    def scores(self, features: Features, excluded: Sequence[str | None]) -> Scores:
        """Score queries, (n, 3) in the order of `SCORES`; the greater, the stranger.

        Args:
            features: (n, q) of the queries.
            excluded: For each query the subject whose sources do not count as near, or None.
        """
        standard = (features.astype(np.float64) - self._center) * self._scale
        squares = np.square(standard).sum(axis=1)
        apart = squares[:, None] + self._squares - 2 * standard @ self._known.T
        for line, subject in zip(apart, excluded, strict=True):
            if subject is not None:
                line[self._subjects == normal_form(subject)] = np.inf
        place = min(_NEAREST, apart.shape[1]) - 1
        nearest = np.partition(apart, place, axis=1)[:, place]
        inside = standard @ self._axes
        outside = squares - np.square(inside).sum(axis=1)
        columns = [nearest, (inside**2 / self._variances).sum(axis=1), outside]
        scores: Scores = np.sqrt(np.clip(np.stack(columns, axis=1), _TINY, 1 / _TINY))
        return scores


class StrangenessScale(Record):
    """How the scores of calibration people are spread: quantiles, and no person's own.

    Attributes:
        n_people: How many people.
        centers: Mean logarithm of each score.
        spreads: Standard deviation of that logarithm.
        thresholds: For each score, and last for the combined one, the value above which the p-value is at most that of
            `LEVELS`; None where so few people cannot show it.
    """

    n_people: int
    centers: tuple[float, ...] = Field(min_length=len(SCORES), max_length=len(SCORES))
    spreads: tuple[float, ...] = Field(min_length=len(SCORES), max_length=len(SCORES))
    thresholds: tuple[tuple[float | None, ...], ...] = Field(min_length=len(SCORES) + 1, max_length=len(SCORES) + 1)


@dataclass(frozen=True)
class Strangeness:
    """How strange a query is.

    Attributes:
        p: The least p-value of `LEVELS` that the combined score has, 1 if none: at most a share of p of people who are
            like those of the calibration come to it.
        by_score: The p-value of each score by itself.
        strangest: The score that stands out most.
        n_people: Calibration people.
        stale: The database has changed too much since for the p-values to hold.
    """

    p: float
    by_score: tuple[float, ...]
    strangest: ScoreName
    n_people: int
    stale: bool = False

    @property
    def unusual(self) -> bool:
        """Whether a user should be told."""
        return self.p <= UNUSUAL

    def sentence(self, *, simulated: bool = False) -> str:
        """Say what stands out, how unusual it is, and what that can mean.

        Args:
            simulated: The bundle was made from simulated images.
        """
        what = {
            "distance": "it is far from every source of the database",
            "mahalanobis": "its features lie far from the mean source of the database",
            "residual": "its features vary as those of no source of the database do",
        }[self.strangest]
        real = "a real image where the bundle knows simulated ones, " if simulated else ""
        return (
            f"unlike anything known (p <= {self.p:g} against {self.n_people:,} calibration people): {what}; it may be "
            f"{real}another view or part of the body, turned, of inverted grays, or no such image at all"
        )


def strangeness_scale(scores: Scores, people: Int64[np.ndarray, " n"]) -> StrangenessScale:
    """Make the scale from the scores of calibration people; every person counts once, whatever images there are."""
    logarithms = np.log(scores)
    centers, spreads = logarithms.mean(axis=0), np.maximum(logarithms.std(axis=0), _TINY)
    combined = ((logarithms - centers) / spreads).max(axis=1)
    columns = [*scores.T, combined]
    thresholds = tuple(tuple(_threshold(column, people, level) for level in LEVELS) for column in columns)
    return StrangenessScale(
        n_people=len(np.unique(people)), centers=tuple(centers), spreads=tuple(spreads), thresholds=thresholds
    )


def combined(scores: Scores, scale: StrangenessScale) -> Float64[np.ndarray, " n"]:
    """Give the combined score of queries, which is not bounded: it goes on growing where the p-value cannot."""
    return np.asarray(_standardized(scores, scale).max(axis=1))


def strangeness(scores: Scores, scale: StrangenessScale, *, stale: bool = False) -> list[Strangeness]:
    """Give the p-values of queries."""
    standard = _standardized(scores, scale)
    return [
        Strangeness(
            p=_p_value(apart.max(), scale.thresholds[-1]),
            by_score=tuple(_p_value(value, limits) for value, limits in zip(line, scale.thresholds[:-1], strict=True)),
            strangest=SCORES[int(apart.argmax())],
            n_people=scale.n_people,
            stale=stale,
        )
        for line, apart in zip(scores, standard, strict=True)
    ]


def _standardized(scores: Scores, scale: StrangenessScale) -> Scores:
    standard: Scores = (np.log(scores) - np.array(scale.centers)) / np.array(scale.spreads)
    return standard


def _threshold(values: Float64[np.ndarray, " n"], people: Int64[np.ndarray, " n"], level: float) -> float | None:
    """The value above which (1 + sum over people of the share of their images at least as strange) / (n + 1) <= level.

    Example:
        >>> _threshold(np.arange(1.0, 100.0), np.arange(99), 0.05)
        95.0
    """
    _, codes, counts = np.unique(people, return_inverse=True, return_counts=True)
    order = np.argsort(-values, kind="stable")
    at_least = 1 + np.cumsum((1 / counts[codes])[order])  # as strange as the value at this place
    if level * (len(counts) + 1) + _TINY < 1:
        return None
    too_common = np.flatnonzero(at_least > level * (len(counts) + 1) + _TINY)
    return float(values[order[too_common[0]]])


def _p_value(value: float, thresholds: Sequence[float | None]) -> float:
    reached = [level for level, limit in zip(LEVELS, thresholds, strict=True) if limit is not None and value > limit]
    return min(reached, default=1.0)
