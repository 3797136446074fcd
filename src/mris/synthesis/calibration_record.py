"""The record of a member's calibration: how wide intervals are, and what is strange, as calibration people taught it.

It holds nothing of a single person: means over at least `FEWEST_PEOPLE` people, and quantiles.
"""

from pydantic import Field

from mris.records import Record
from mris.synthesis.intervals import LEVEL
from mris.synthesis.readouts import Readout
from mris.synthesis.strangeness import StrangenessScale

FEWEST_PEOPLE = 20
"""People below whom nothing is calibrated."""

STALE_SHARE = 0.1
"""Share by which a database may grow or shrink before its calibration is stale."""


class Part(Record):
    """A region (name ""), or a named part of it."""

    region: str
    name: str = ""


class Stratum(Record):
    """Images whose synthesis has a mean below a limit, and not below that of the stratum before.

    Attributes:
        below: The limit, in the unit of the targets; None for the last stratum.
        n_people: Calibration people in it.
        factor: What widths are multiplied by.
        part_factors: What the mean width of each part is multiplied by, for an interval of the mean; None where it
            cannot be told.
    """

    below: float | None
    n_people: int
    factor: float
    part_factors: tuple[float | None, ...]


class Calibration(Record):
    """Intervals and strangeness, as calibrated.

    Attributes:
        level: Share of a person's pixels that intervals hold, and share of means.
        split: Split of the calibration people: "calibration", or "val", whose people also chose epoch and readout.
        n_people: How many people.
        n_images: Images of theirs.
        n_entries: Entries of the database at that time.
        readout: The readout that was calibrated; others have no intervals.
        spread_scale: Mean error over mean spread.
        strata: By what the synthesis itself predicts, ascending.
        parts: Whose means have intervals.
        strangeness: Of features; None where the database knows no features of sources.
    """

    level: float = Field(default=LEVEL, gt=0, lt=1)
    split: str
    n_people: int
    n_images: int
    n_entries: int
    readout: Readout
    spread_scale: float
    strata: tuple[Stratum, ...] = Field(min_length=1)
    parts: tuple[Part, ...]
    strangeness: StrangenessScale | None = None

    def sentence(self) -> str:
        """Say on whom it was calibrated."""
        optimistic = "" if self.split == "calibration" else "; they chose epoch and readout too: slightly optimistic"
        return (
            f"intervals hold {100 * self.level:g} % of a new person's pixels on average, by {self.n_people:,} people "
            f"of the split {self.split!r}{optimistic}"
        )

    def is_stale(self, n_entries: int) -> bool:
        """Whether a database of so many entries has changed too much since."""
        return abs(n_entries - self.n_entries) > STALE_SHARE * self.n_entries

    def fits(self, readout: Readout) -> bool:
        """Whether a readout is the one that was calibrated."""
        return readout.model_copy(update={"reason": ""}) == self.readout.model_copy(update={"reason": ""})

    def stratum_of(self, mean: float) -> int:
        """Find the stratum of a synthesis by its mean."""
        return next(i for i, stratum in enumerate(self.strata) if stratum.below is None or mean < stratum.below)
