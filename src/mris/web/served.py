"""`ServedBundle`: a bundle that others may change, damage or replace while it is served."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mris.database.commit import COMMIT_FILE
from mris.errors import MrisError
from mris.knee.anatomy import KNEE
from mris.serving.pictures import most_values
from mris.serving.usual_means import UsualMeans, usual_means
from mris.synthesis.bundle import Bundle
from mris.synthesis.bundle_header import HEADER_FILE
from mris.synthesis.bundle_synthesizer import BundleSynthesizer
from mris.synthesis.calibration import open_calibration
from mris.web.errors import NotFoundError
from mris.web.records import Usual, plain_labels

_FEW = 16

_Signature = tuple[tuple[int, int, int] | None, ...]


class Entry(NamedTuple):
    """One entry of a database, without its pixels."""

    key: str
    subject: str
    timepoint: str
    side: str
    split: str
    labels: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class State:
    """One committed state of a bundle, open.

    Attributes:
        number: Grows with every change that was noticed.
        bundle: The bundle.
        synthesizer: Of it.
    """

    number: int
    bundle: Bundle
    synthesizer: BundleSynthesizer

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """The entries of the database by key, in its order."""
        database = self.bundle.members[0].database
        columns = (database.keys, database.subjects, database.timepoints, database.sides, database.splits)
        rows = zip(*(column.tolist() for column in columns), map(plain_labels, database.labels), strict=True)
        return {row[0]: Entry(*row) for row in rows}

    @cached_property
    def value_limits(self) -> tuple[float, float]:
        """Ends of the colors of all thumbnails: nearly all values of a few entries."""
        databases = [member.database for member in self.bundle.members]
        rows = np.unique(np.linspace(0, len(databases[0]) - 1, _FEW).astype(np.int64))
        return most_values(np.concatenate([database.read_targets(rows).ravel() for database in databases]))

    @cached_property
    def usual(self) -> Mapping[tuple[str, str], tuple[Usual, ...]]:
        """What is usual for people of the database, for each region and its parts."""
        found: UsualMeans = {}
        for member, header in zip(self.bundle.members, self.bundle.header.members, strict=True):
            calibrated = open_calibration(self.bundle.path / "members" / member.name, header)
            parts: dict[str, dict[str, np.ndarray]] = {}
            if calibrated is not None:
                for part, mask in zip(calibrated.record.parts, calibrated.parts, strict=True):
                    if part.name:
                        place = member.encoder.regions.index(part.region)
                        parts.setdefault(part.region, {})[part.name] = mask[place]
            found = {**found, **usual_means(member.database, parts)}
        return {where: tuple(Usual(**vars(one)) for one in usual) for where, usual in found.items()}


class ServedBundle:
    """A bundle by its name; `use` gives the state that counts now."""

    def __init__(self, name: str, path: Path) -> None:
        """Name a bundle; it is opened when it is first used.

        Args:
            name: How requests name it.
            path: Its folder, as it was given.
        """
        self.name = name
        self.path = path
        self.changed: list[Callable[[int], None]] = []
        self._lock = threading.Lock()
        self._signature: _Signature = ()
        self._number = 0
        self._state: State | None = None

    def use(self) -> State:
        """Give the state that counts now; it is opened anew where somebody has changed it.

        Raises:
            BundleError: The bundle is missing, damaged or replaced by what is none.
            DatabaseError: Its database is.
        """
        with self._lock:
            signature = self._signature_now()
            if self._state is None or signature != self._signature:
                self._number += 1
                before, self._state = self._state, None
                for tell in self.changed:
                    tell(self._number)
                self._state = self._opened(before, same_header=signature[:1] == self._signature[:1])
                self._signature = signature
            return self._state

    @property
    def problem(self) -> str | None:
        """Why it cannot be used; None if it can."""
        try:
            self.use()
        except MrisError as error:
            return str(error)
        return None

    def _opened(self, before: State | None, *, same_header: bool) -> State:
        if before is not None and same_header:  # its networks stay loaded
            bundle = before.bundle
            bundle.refresh()
        else:
            bundle = Bundle.open(self.path)
        return State(self._number, bundle, bundle.synthesizer(anatomy=KNEE))

    def _signature_now(self) -> _Signature:
        return tuple(_stat(self.path / name) for name in (HEADER_FILE, COMMIT_FILE))


def warm(served: ServedBundle) -> None:
    """Load networks and readout, so that the first query need not wait for them."""
    state = served.use()
    shape = state.bundle.members[0].encoder.card.source_shape
    source = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    (synthesis,) = state.synthesizer.synthesize(source[None])
    state.synthesizer.neighbor_maps(synthesis, 1)
    _ = state.entries, state.usual


def bundle_of(bundles: Sequence[ServedBundle], name: str | None) -> ServedBundle:
    """Find a bundle by its name; the first without one.

    Raises:
        NotFoundError: There is none of that name.
    """
    if not name:
        return bundles[0]
    for served in bundles:
        if served.name == name:
            return served
    raise NotFoundError(f"no bundle {name[:80]!r} is served; {', '.join(one.name for one in bundles)} are")


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
