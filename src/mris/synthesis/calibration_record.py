"""The record of a member's calibration: how wide intervals are, and what is strange, as calibration people taught it.

It holds nothing of a single calibration person: means over at least `FEWEST_PEOPLE` people, and quantiles. Of people of
the database it holds keyed hashes, as the record of whom an encoder was trained on does.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterable

from pydantic import Field

from mris.records import Record
from mris.synthesis.intervals import LEVEL
from mris.synthesis.readouts import Readout
from mris.synthesis.strangeness import StrangenessScale

FEWEST_PEOPLE = 20
"""People below whom nothing is calibrated."""

STALE_SHARE = 0.1
"""Share of entries, or of people, that may come or go before a database's calibration is stale."""

_SAMPLED = 256
_BYTES = 8


class PeopleSample(Record):
    """Who stood in a database: a few of its people, by the order of a keyed hash, so that they are as if drawn.

    Attributes:
        salt: Key of the hashes, hex.
        hashes: The 256 least hashes of all people's, or all of them, ascending.
        complete: Whether these are all.

    Example:
        >>> sample = PeopleSample.of(["S01", "S02", "S03", "S04"])
        >>> sample.changed(["S01", "S02", "S03", "S05"]), sample.changed(["S04", "S03", "S02", "S01"])
        (0.25, 0.0)
    """

    salt: str
    hashes: tuple[str, ...] = Field(min_length=1)
    complete: bool

    @classmethod
    def of(cls, subjects: Iterable[str]) -> "PeopleSample":
        """Sample the people of a database, at least one; a name may occur several times."""
        salt = secrets.token_hex(_BYTES)
        hashes = _hashes(salt, subjects)
        return cls(salt=salt, hashes=hashes[:_SAMPLED], complete=len(hashes) <= _SAMPLED)

    def changed(self, subjects: Iterable[str]) -> float:
        """Estimate which share of people has gone since, or come, whichever is greater."""
        then = set(self.hashes)
        now = {one for one in _hashes(self.salt, subjects) if self.complete or one <= self.hashes[-1]}
        return max(len(then - now), len(now - then)) / len(then)


def _hashes(salt: str, subjects: Iterable[str]) -> tuple[str, ...]:
    names = {str(name).encode() for name in subjects}
    return tuple(sorted(hashlib.blake2b(name, key=salt.encode(), digest_size=_BYTES).hexdigest() for name in names))


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
        people: Its people at that time; None in bundles from before this was kept.
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
    people: PeopleSample | None = None
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

    def is_stale(self, subjects: Collection[str]) -> bool:
        """Whether a database with entries of these subjects, one an entry, has changed too much since."""
        grown = abs(len(subjects) - self.n_entries) > STALE_SHARE * self.n_entries
        return grown or (self.people is not None and self.people.changed(subjects) > STALE_SHARE)

    def fits(self, readout: Readout) -> bool:
        """Whether a readout is the one that was calibrated."""
        return readout.model_copy(update={"reason": ""}) == self.readout.model_copy(update={"reason": ""})

    def stratum_of(self, mean: float) -> int:
        """Find the stratum of a synthesis by its mean."""
        return next(i for i, stratum in enumerate(self.strata) if stratum.below is None or mean < stratum.below)
