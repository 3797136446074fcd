"""What the interface answers: the names are those of the Python API."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from mris.records import Record

Center = tuple[float, float]
"""Row and column in pixels of the file; 0 is the center of the first pixel."""

Find = Literal["auto", "true", "false"]


class PictureRecord(Record):
    """A picture to look at: ``rows * columns`` little-endian uint16, value = least + u / 65535 * (largest - least).

    It is the file's picture, each `step` x `step` pixels averaged; `low` and `high` are a first window.
    """

    url: str
    rows: int
    columns: int
    step: int
    least: float
    largest: float
    low: float
    high: float
    dtype: Literal["uint16"] = "uint16"


class RegionRecord(Record):
    """A region that is a query, and what names its side and center."""

    side: str | None
    center: Center
    side_source: str | None
    center_source: str | None
    confidence: float | None = None


class ImageRecord(Record):
    """A file that was read and is held in memory for a while.

    Attributes:
        id: For `/api/v1/synthesize`.
        suggested: "find" for a plate whose regions are looked for, "whole" for a file that is one query.
        region_mm: Edge of the square that is cut round a center; None where whole images are seen.
        regions: What would be synthesized.
        problem: Why nothing would be, in the words of ``mris synthesize``.
        needs: What has to be told before: "spacing", "side".
    """

    id: str
    name: str
    rows: int
    columns: int
    n_channels: int
    spacing: tuple[float, float] | None
    spacing_source: str
    extent_mm: tuple[float, float] | None
    laterality: str | None
    view: str
    mirrored: bool
    dicom: bool
    notes: tuple[str, ...]
    picture: PictureRecord
    suggested: Literal["find", "whole"]
    region_mm: float | None
    regions: tuple[RegionRecord, ...]
    problem: str | None
    needs: tuple[str, ...]


class ImageSettings(Record):
    """What a person tells of a picture; see `SynthesizeRequest`."""

    spacing: float | None = Field(default=None, gt=0)
    side: Literal["left", "right"] | None = None
    right: Center | None = None
    left: Center | None = None
    find: Find = "auto"
    bundle: str | None = None


class SynthesizeRequest(Record):
    """What is asked for; the names are those of the options of ``mris synthesize``.

    Attributes:
        image: An image that is held.
        find: "true": its regions are found, by the detector or at `right` and `left`; "false": it is one query.
        side: Where the file does not say.
        center: Of a file that is one query.
        right: Center of the right region of a plate.
        left: Center of the left one.
        spacing: Pixel spacing in mm where the file states none.
        exclude_subject: Whose images are left out.
        bundle: Name of the bundle; the first if None.
    """

    image: str = ""
    find: Find = "auto"
    side: Literal["left", "right"] | None = None
    center: Center | None = None
    right: Center | None = None
    left: Center | None = None
    spacing: float | None = Field(default=None, gt=0)
    exclude_subject: str | None = None
    bundle: str | None = None


class ArrayItem(Record):
    """One array of a result: where it begins, counted in floats, and its shape."""

    name: str
    offset: int
    shape: tuple[int, ...]


class Arrays(Record):
    """Where the arrays of a result are: one block of little-endian float32; NaN where there is no value."""

    url: str
    n_floats: int
    items: tuple[ArrayItem, ...]


class Scale(Record):
    """Ends of the colors of all panels of a result."""

    value: tuple[float, float]
    spread: tuple[float, float]
    width: tuple[float, float]
    difference: tuple[float, float]


class Usual(Record):
    """What is usual for people of the bundle who share a label: the 5th, 50th and 95th percentile of a mean."""

    label: str
    value: str
    n_people: int
    low: float
    median: float
    high: float


class MeanRecord(Record):
    """Mean over a region, or a part of it ("" for all), with its interval and what is usual."""

    region: str
    part: str
    mean: float | None
    lower: float | None
    upper: float | None
    n_pixels: int
    unit: str
    usual: tuple[Usual, ...]


class PersonRecord(Record):
    """One of the people who count."""

    key: str
    subject: str
    timepoint: str
    side: str
    similarity: float
    weight: float
    weight_text: str
    labels: dict[str, Any]


class IntervalsRecord(Record):
    """Where intervals come from."""

    level: float
    split: str
    n_people: int
    stratum: int
    n_strata: int
    stale: bool


class StrangenessRecord(Record):
    """How strange a query is."""

    p: float
    by_score: tuple[float, ...]
    strangest: str
    n_people: int
    stale: bool
    unusual: bool
    sentence: str


class ContributionRecord(Record):
    """What one database of a bundle gave."""

    regions: tuple[str, ...]
    readout: str
    readout_name: str
    n_contributors: int
    shown_share: float
    signed: bool
    people: tuple[PersonRecord, ...]
    intervals: IntervalsRecord | None
    strangeness: StrangenessRecord | None


class QueryRecord(Record):
    """What was asked, as the provenance tells it; its notes are on the file alone."""

    name: str
    sha256: str | None
    side: str | None
    side_source: str | None
    center: Center | None
    center_source: str | None
    confidence: float | None
    spacing_source: str | None
    outside: float | None
    region_mm: float | None
    view: str | None
    notes: tuple[str, ...]


class EdgesRecord(Record):
    """What lies at the edges of a region's maps."""

    top: str
    bottom: str
    left: str
    right: str


class ResultRecord(Record):
    """A synthesis: all but its arrays."""

    id: str
    image: str | None
    bundle: str
    bundle_id: str | None
    stem: str
    query: QueryRecord
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    mirrored: bool
    origin: str
    excluded_subject: str | None
    regions: tuple[str, ...]
    unit: str
    spacing: tuple[float, float] | None
    level: float | None
    edges: dict[str, EdgesRecord]
    arrays: Arrays
    scale: Scale
    means: tuple[MeanRecord, ...]
    contributions: tuple[ContributionRecord, ...]
    command: str
    timing_ms: dict[str, float]


class FileRecord(Record):
    """What became of one of several files."""

    index: int
    name: str
    image: ImageRecord | None = None
    results: tuple[ResultRecord, ...] = ()
    error: str | None = None
    detail: str | None = None


class Synthesized(Record):
    """What became of a request: the results of its one file, and what became of each file."""

    results: tuple[ResultRecord, ...] = ()
    files: tuple[FileRecord, ...] = ()


class ErrorRecord(Record):
    """Why a request was refused."""

    error: str
    detail: str
    request_id: str


def plain_labels(labels: Mapping[str, object]) -> dict[str, object]:
    """Labels as JSON can hold them: a table keeps grades as floats, but a grade is a whole number."""
    plain: dict[str, object] = {}
    for name, value in labels.items():
        if isinstance(value, float):
            value = None if not math.isfinite(value) else int(value) if value == int(value) else value
        plain[name] = value
    return plain
