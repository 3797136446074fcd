"""The result: an image, its spread, and the neighbors that it came from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

from mris.cohort.origin import Origin
from mris.database.neighbors import Neighbors
from mris.errors import SettingsError
from mris.synthesis.calibration import Intervals
from mris.synthesis.readouts.readout import Readout
from mris.synthesis.strangeness import Strangeness
from mris.types import TargetMap


@dataclass(frozen=True)
class Contribution:
    """What one database gave to a synthesis: the sum of `all_weights` times the targets under `all_keys`.

    Attributes:
        regions: The regions it gave.
        readout: How people were chosen and weighed.
        neighbors: The people who count most (n = 1), most first; all of them, where a few were averaged.
        weights: (k,) their weights, signed for a readout with a regression.
        all_rows: (m,) rows of everybody who counts.
        all_weights: (m,) their weights; they sum to 1.
        entries: (N,) keys of the database's entries, by row.
        fingerprint: SHA-256 (hex) of the encoder.
        database_version: Version of the database's table; it grows with every change.
        intervals: Where the intervals come from, and those of means; None where nothing is calibrated.
        strangeness: How unlike the query is to what is known; None where nothing is calibrated.
    """

    regions: tuple[str, ...]
    readout: Readout
    neighbors: Neighbors
    weights: Float32[ndarray, " k"]
    all_rows: Int64[ndarray, " m"]
    all_weights: Float32[ndarray, " m"]
    entries: Shaped[ndarray, " N"]
    fingerprint: str
    database_version: int
    intervals: Intervals | None = None
    strangeness: Strangeness | None = None

    @property
    def n_neighbors(self) -> int:
        """How many people are shown: k, or as many as the database could give."""
        return int(self.neighbors.counts[0])

    @property
    def all_keys(self) -> Shaped[ndarray, " m"]:
        """Keys of everybody who counts."""
        return np.asarray(self.entries[self.all_rows])

    @property
    def n_contributors(self) -> int:
        """How many entries count at all."""
        return len(self.all_rows)

    @property
    def signed(self) -> bool:
        """Whether some weights are negative: the map was moved away from these people."""
        return bool((self.all_weights < 0).any())

    def weight_text(self, rank: int) -> str:
        """Write the weight of one of the people shown, in percent; with its sign where signs differ."""
        percent = 100 * float(self.weights[rank])
        return f"{percent:+.1f} %" if self.signed else f"{percent:.1f} %"

    @property
    def shown_share(self) -> float:
        """Share of the people shown in the sum of all weights without their signs, 0 to 1."""
        return float(abs(self.weights).sum() / abs(self.all_weights).sum())


@dataclass(frozen=True)
class Synthesis:
    """A synthesized target image and where it came from.

    Attributes:
        image: (r, h, w) in `unit`, NaN where no neighbor has a value.
        spread: (r, h, w) weighted standard deviation of the people averaged, or of the 20 nearest where everybody is
            weighed, in `unit`, NaN where none of them has a value. It is how far they are apart, not a confidence
            interval.
        lower: (r, h, w) lower end of the interval of each pixel; None where no interval is calibrated (`level`).
        upper: (r, h, w) its upper end.
        regions: Names along the first axis.
        unit: Of image and spread, such as "mm".
        spacing: Size of a pixel (row, column) in mm, or None where it is unknown.
        contributions: One for each database that took part; their regions, in order, are `regions`.
        excluded_subject: The subject that was kept out, or None.
        mirrored: True if the query was mirrored and targets are stored mirrored too: the image then is that of the
            mirrored body side.
        bundle_id: The bundle that was used, or None.
        origin: Whether it was made from images of people or, in any part, simulated ones.
        doubts: What speaks against the source's showing what it should (`mris.images.anatomy.Anatomy.doubts`).
        notes: What deserves a look in the header and the extent of the `Image` that it was asked of
            (`mris.images.admission.admit`); nothing where it was asked of a prepared array.
    """

    image: TargetMap
    spread: TargetMap
    regions: tuple[str, ...]
    unit: str
    spacing: tuple[float, float] | None
    contributions: tuple[Contribution, ...]
    excluded_subject: str | None = None
    mirrored: bool = False
    bundle_id: str | None = None
    origin: Origin = "unknown"
    lower: TargetMap | None = None
    upper: TargetMap | None = None
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def level(self) -> float | None:
        """Share of a new person's pixels that intervals hold on average; None without intervals."""
        levels = [part.intervals.level for part in self.contributions if part.intervals is not None]
        return None if self.lower is None else min(levels)

    @property
    def stale(self) -> bool:
        """Whether a database has changed too much since its calibration."""
        calibrated = [part.intervals for part in self.contributions] + [part.strangeness for part in self.contributions]
        return any(one is not None and one.stale for one in calibrated)

    @property
    def strangeness(self) -> Strangeness | None:
        """How unlike the query is to what is known, by the database to which it is the strangest; None if unknown."""
        known = [part.strangeness for part in self.contributions if part.strangeness is not None]
        return min(known, key=lambda one: one.p, default=None)

    @property
    def neighbors(self) -> Neighbors:
        """The people who count most (n = 1), where one database gave all regions.

        Raises:
            SettingsError: Several databases took part, each with neighbors of its own.
        """
        return self._only().neighbors

    @property
    def weights(self) -> Float32[ndarray, " k"]:
        """The weights of the people who count most, (k,), where one database gave all regions.

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
