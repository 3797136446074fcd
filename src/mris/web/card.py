"""What is told of a bundle: the badge that is always in sight, and all that a page needs to draw its results."""

import functools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mris.cohort.origin import SIMULATED_NOTE, Origin
from mris.colors import BIAS_COLORS, ERROR_COLORS, VALUE_COLORS
from mris.knee.anatomy import KNEE
from mris.records import Record
from mris.synthesis.bundle import CARD
from mris.web.served import ServedBundle, State
from mris.web.settings import ServeSettings

NOTICE = "research use, not a medical device"


class AnatomyRecord(Record):
    """What images show one of, and several."""

    name: str
    plural: str


class LimitsRecord(Record):
    """What an upload may hold."""

    file_bytes: int
    files: int


class CardRecord(Record):
    """A bundle, as a page shows it.

    Attributes:
        origin_note: What every result must say; "" where images are of people.
        map_shape: Rows and columns of maps.
        source_shape: (c, h, w) of what the encoder sees.
        region_mm: Edge of the square that is cut out; None where whole images are seen.
        labels: Names of what is known of entries.
        calibration: A sentence for each calibrated member.
        intervals: Whether syntheses have intervals.
        markdown: The model card.
        archive: Whether an archive can be asked.
        dicom: Whether DICOM results can be made.
    """

    name: str
    id: str
    created: str
    software: str
    origin: Origin
    origin_note: str
    regions: tuple[str, ...]
    unit: str
    spacing: tuple[float, float] | None
    map_shape: tuple[int, int]
    source_shape: tuple[int, int, int]
    region_mm: float | None
    n_entries: int
    n_subjects: int
    labels: tuple[str, ...]
    sides: tuple[str, ...]
    readouts: tuple[str, ...]
    calibration: tuple[str, ...]
    intervals: bool
    markdown: str
    anatomy: AnatomyRecord
    archive: bool
    dicom: bool
    limits: LimitsRecord
    notice: str = NOTICE


class Colors(Record):
    """Red, green and blue of 256 colors each, of values, spreads and differences."""

    value: tuple[tuple[int, int, int], ...]
    spread: tuple[tuple[int, int, int], ...]
    difference: tuple[tuple[int, int, int], ...]


class CardWithColors(CardRecord):
    """A bundle, and the colors of its maps."""

    colors: Colors


def card_of(served: ServedBundle, settings: ServeSettings) -> CardRecord:
    """Describe a bundle as it is now.

    Raises:
        BundleError: It cannot be used.
        DatabaseError: Its database cannot.
    """
    return CardRecord(**_values(served.use(), served.name, settings))


def card_with_colors(served: ServedBundle, settings: ServeSettings) -> CardWithColors:
    """Describe a bundle and the colors of its maps."""
    return CardWithColors(**_values(served.use(), served.name, settings), colors=colors())


@functools.cache
def colors() -> Colors:
    """The colors of all pictures of this package."""
    from mris.drawing import colormaps

    tables = [
        np.round(255 * colormaps[name](np.arange(256))[:, :3]) for name in (VALUE_COLORS, ERROR_COLORS, BIAS_COLORS)
    ]
    value, spread, difference = (tuple(map(tuple, table.astype(int).tolist())) for table in tables)
    return Colors(value=value, spread=spread, difference=difference)


def _values(state: State, name: str, settings: ServeSettings) -> dict[str, Any]:
    bundle = state.bundle
    header, first = bundle.header, bundle.members[0]
    calibrations = [member.calibration for member in header.members]
    labels = sorted({label for entry in state.entries.values() for label in entry.labels})
    try:
        markdown = Path(bundle.path / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        markdown = ""
    return {
        "name": name,
        "id": header.id,
        "created": header.created,
        "software": header.software,
        "origin": header.origin,
        "origin_note": SIMULATED_NOTE if header.origin == "simulated" else "",
        "regions": bundle.regions,
        "unit": header.unit,
        "spacing": first.database.header.target_spacing,
        "map_shape": first.database.header.target_shape[1:],
        "source_shape": first.encoder.card.source_shape,
        "region_mm": first.encoder.card.preparation.region_mm,
        "n_entries": len(bundle.keys),
        "n_subjects": len(np.unique(bundle.subjects)),
        "labels": tuple(labels),
        "sides": tuple(sorted({entry.side for entry in state.entries.values() if entry.side})),
        "readouts": tuple(
            f"{', '.join(member.regions)}: {member.readout.describe()}"
            for member in header.members
            if member.readout is not None
        ),
        "calibration": tuple(one.sentence() for one in calibrations if one is not None),
        "intervals": all(one is not None for one in calibrations),
        "markdown": markdown,
        "anatomy": AnatomyRecord(name=KNEE.name, plural=KNEE.plural),
        "archive": settings.archive is not None,
        "dicom": find_spec("highdicom") is not None,
        "limits": LimitsRecord(file_bytes=settings.limits.file_bytes, files=settings.limits.files),
    }
