"""`Calibrated`: the intervals of a member's syntheses.

The record stands in ``bundle.json``; the arrays, means over all calibration people and the masks of sub-regions, in
`CALIBRATION_FILE`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from mris.errors import BundleError
from mris.images.write import write_npz
from mris.reading import file_sha256
from mris.storage.folder import Folder
from mris.synthesis.bundle_header import MemberHeader
from mris.synthesis.calibration_record import Calibration
from mris.synthesis.intervals import width
from mris.types import TargetMap

CALIBRATION_FILE = "calibration.npz"
"""Name of the file of the arrays, in a member's folder."""


@dataclass(frozen=True)
class MeanInterval:
    """Interval of the mean over a region, or a named part of it ("" for all), in the unit of the targets."""

    region: str
    part: str
    n_pixels: int
    mean: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Intervals:
    """Where the intervals of a synthesis come from, and those of means.

    Attributes:
        level: Share of pixels, and of means, that they hold of a new person, on average.
        split: Split of the calibration people.
        n_people: Calibration people in the stratum.
        stratum: Place of the stratum among the strata, from 0 on.
        n_strata: How many strata there are.
        stale: The database has changed too much since for the level to hold.
        means: Of regions and their parts.
    """

    level: float
    split: str
    n_people: int
    stratum: int
    n_strata: int
    stale: bool
    means: tuple[MeanInterval, ...]


@dataclass(frozen=True)
class Calibrated:
    """A calibration, open.

    Attributes:
        record: The calibration.
        residual: (r, h, w) mean absolute error of calibration people at each pixel, NaN where none has a value.
        parts: (m, r, h, w) which pixels belong to each part.
    """

    record: Calibration
    residual: TargetMap
    parts: Bool[np.ndarray, "m r h w"]

    def intervals(self, image: TargetMap, spread: TargetMap, *, stale: bool) -> tuple[TargetMap, Intervals]:
        """Give half of the interval's width at each pixel of a synthesis, and all else about its intervals.

        Args:
            image: (r, h, w) the synthesis.
            spread: (r, h, w) its spread.
            stale: The database has changed too much since (`Calibration.is_stale`).
        """
        record = self.record
        widths = width(self.residual, spread, record.spread_scale)
        known = np.isfinite(image) & np.isfinite(widths)
        values, sizes = np.where(known, image, 0), np.where(known, widths, 0)
        stacked = np.stack([known, values, sizes]).reshape(3, -1).astype(np.float32)
        counts, sums, extents = stacked @ self._indicators
        place = record.stratum_of(float(values.sum(dtype=np.float64) / max(np.count_nonzero(known), 1)))
        stratum = record.strata[place]
        means = []
        for part, factor, count, total, extent in zip(
            record.parts, stratum.part_factors, counts.tolist(), sums.tolist(), extents.tolist(), strict=True
        ):
            if factor is not None and count:
                mean, half = total / count, factor * extent / count
                means.append(MeanInterval(part.region, part.name, int(count), mean, mean - half, mean + half))
        facts = Intervals(
            level=record.level,
            split=record.split,
            n_people=stratum.n_people,
            stratum=place,
            n_strata=len(record.strata),
            stale=stale,
            means=tuple(means),
        )
        return np.float32(stratum.factor) * widths, facts

    @cached_property
    def _indicators(self) -> Float32[np.ndarray, "q m"]:
        """The masks of the parts as numbers, cast once and not for every synthesis."""
        return np.ascontiguousarray(self.parts.reshape(len(self.parts), -1).T, dtype=np.float32)

    def write(self, folder: Path) -> None:
        """Write the arrays into a member's folder."""
        write_npz(folder / CALIBRATION_FILE, residual=self.residual, parts=self.parts)


def open_calibration(folder: Folder, header: MemberHeader) -> Calibrated | None:
    """Read the calibration in a member's folder; None where it has none.

    Raises:
        BundleError: The file of its arrays is missing, damaged or another one than was indexed.
    """
    record = header.calibration
    if record is None:
        return None
    path = folder / CALIBRATION_FILE
    try:
        if file_sha256(Path(path)) != header.checksums.get(CALIBRATION_FILE):
            raise BundleError(f"{path} is not the file that was indexed; restore a copy, or index again")
        with np.load(Path(path), allow_pickle=False) as file:
            return Calibrated(record, file["residual"], file["parts"])
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path} cannot be read ({error}); restore a copy, or index again") from error
