"""The result: an image, its spread, and the neighbors that it came from."""

from dataclasses import dataclass

from jaxtyping import Float32
from numpy import ndarray

from mris.cohort.origin import Origin
from mris.database.neighbors import Neighbors
from mris.defaults import N_NEIGHBORS, TEMPERATURE, WEIGHTS, WeightRule
from mris.errors import SettingsError
from mris.types import TargetMap


@dataclass(frozen=True)
class SynthesisSettings:
    """How neighbors are chosen and weighed; the defaults are Eq. 4 of the paper with k = 20.

    Attributes:
        n_neighbors: k, at least 1.
        weights: "similarity" (Eq. 4), "softmax" or "uniform".
        temperature: Of the softmax, above 0, in units of cosine similarity; other rules do not use it.
        one_per_subject: At most one neighbor of each subject.

    Raises:
        SettingsError: A value cannot work.
    """

    n_neighbors: int = N_NEIGHBORS
    weights: WeightRule = WEIGHTS
    temperature: float = TEMPERATURE
    one_per_subject: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.n_neighbors, bool) or not isinstance(self.n_neighbors, int) or self.n_neighbors < 1:
            raise SettingsError(f"n_neighbors is {self.n_neighbors!r}; give a whole number from 1 on, such as 20")
        if self.weights not in ("similarity", "softmax", "uniform"):
            raise SettingsError(f"weights is {self.weights!r}; give 'similarity', 'softmax' or 'uniform'")
        if not 0 < self.temperature < float("inf"):
            raise SettingsError(f"temperature is {self.temperature!r}; give a finite number above 0, such as 0.1")


@dataclass(frozen=True)
class Contribution:
    """What one database gave to a synthesis.

    Attributes:
        regions: The regions it gave.
        neighbors: Its neighbors of the query (n = 1).
        weights: (k,) their weights: convex, 0 where there is no neighbor.
        fingerprint: SHA-256 (hex) of the encoder.
        database_version: Version of the database's table; it grows with every change.
    """

    regions: tuple[str, ...]
    neighbors: Neighbors
    weights: Float32[ndarray, " k"]
    fingerprint: str
    database_version: int

    @property
    def n_neighbors(self) -> int:
        """How many neighbors were averaged: k, or as many as the database could give."""
        return int(self.neighbors.counts[0])


@dataclass(frozen=True)
class Synthesis:
    """A synthesized target image and where it came from.

    Attributes:
        image: (r, h, w) in `unit`, NaN where no neighbor has a value.
        spread: (r, h, w) weighted standard deviation of the neighbors, in `unit`, NaN where the image is. It is how
            far the neighbors are apart, not a confidence interval.
        regions: Names along the first axis.
        unit: Of image and spread, such as "mm".
        spacing: Size of a pixel (row, column) in mm, or None where it is unknown.
        contributions: One for each database that took part; their regions, in order, are `regions`.
        settings: How neighbors were chosen and weighed.
        excluded_subject: The subject that was kept out, or None.
        mirrored: True if the query was mirrored and targets are stored mirrored too: the image then is that of the
            mirrored body side.
        bundle_id: The bundle that was used, or None.
        origin: Whether it was made from images of people or, in any part, simulated ones.
    """

    image: TargetMap
    spread: TargetMap
    regions: tuple[str, ...]
    unit: str
    spacing: tuple[float, float] | None
    contributions: tuple[Contribution, ...]
    settings: SynthesisSettings
    excluded_subject: str | None = None
    mirrored: bool = False
    bundle_id: str | None = None
    origin: Origin = "unknown"

    @property
    def neighbors(self) -> Neighbors:
        """The neighbors (n = 1), where one database gave all regions.

        Raises:
            SettingsError: Several databases took part, each with neighbors of its own.
        """
        return self._only().neighbors

    @property
    def weights(self) -> Float32[ndarray, " k"]:
        """The neighbors' weights, (k,), where one database gave all regions.

        Raises:
            SettingsError: Several databases took part.
        """
        return self._only().weights

    def _only(self) -> Contribution:
        if len(self.contributions) != 1:
            names = "; ".join(", ".join(contribution.regions) for contribution in self.contributions)
            raise SettingsError(
                f"this synthesis mixes {len(self.contributions)} databases ({names}), each with neighbors of its own; "
                "read them from `contributions`"
            )
        return self.contributions[0]
