"""The numbers of a database-size curve, and their file: aggregates only, no key, no subject, no pixel."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mris.errors import CohortError
from mris.evaluation.record_file import read_record, write_record
from mris.evaluation.results import COMBINED

FORMAT_VERSION = 1
CURVE_METRICS = ("median", "mad", "mae", "rmse", "coverage")
"""Metrics of a curve, each as `mris.evaluation.image_error.METRICS` defines it."""


@dataclass(frozen=True)
class SizePoint:
    """The error of one method with one share of the database's subjects.

    Args:
        method: Name of the method.
        region: Name of the region, or `COMBINED`.
        metric: One of `CURVE_METRICS`.
        share: Share of the subjects that was asked for, in (0, 1].
        n_subjects: Subjects in the database, the same in every draw.
        n_entries: Entries in the database, mean over draws.
        value: Mean over draws of the mean over queries.
        low: Lower end of the interval: it resamples the queries' subjects and keeps the draws. NaN where there are too
            few people for one.
        high: Upper end of the interval.
        spread: Standard deviation over draws of the mean over queries (n - 1 in the denominator); NaN for one draw, 0
            for the whole database, which is the same in every draw.
    """

    method: str
    region: str
    metric: str
    share: float
    n_subjects: int
    n_entries: float
    value: float
    low: float
    high: float
    spread: float


@dataclass(frozen=True)
class DatabaseSizeCurve:
    """Error of retrieval against the number of people in the database.

    Args:
        created: Date and time, ISO 8601, UTC.
        versions: Versions of the packages that the numbers depend on.
        cohort: Folder name of the queries' cohort.
        manifest_sha256: Checksum of the table that it was prepared from.
        unit: Unit of the targets and of every error in it.
        regions: Names of the target regions.
        methods: Names of the methods, the mean map of the same subset last.
        n_queries: Number of queries.
        n_query_subjects: Number of people they come from.
        n_neighbors: k; fewer where a database has fewer entries.
        one_per_subject: At most one map of a person among the neighbors.
        n_draws: Draws of subjects for each share.
        n_bootstrap: Resamples of the queries' subjects.
        confidence: Share of resamples between the ends of an interval.
        points: Method by method, region by region, metric by metric, by ascending share.
        format_version: Version of the file's layout.
    """

    created: str
    versions: Mapping[str, str]
    cohort: str
    manifest_sha256: str
    unit: str
    regions: tuple[str, ...]
    methods: tuple[str, ...]
    n_queries: int
    n_query_subjects: int
    n_neighbors: int
    one_per_subject: bool
    n_draws: int
    n_bootstrap: int
    confidence: float
    points: tuple[SizePoint, ...]
    format_version: int = FORMAT_VERSION

    @property
    def shown_regions(self) -> tuple[str, ...]:
        """Regions of the points: the cohort's, and `COMBINED` last where there are several."""
        return self.regions if len(self.regions) == 1 else (*self.regions, COMBINED)

    def line(self, method: str, metric: str, region: str | None = None) -> tuple[SizePoint, ...]:
        """Look up the points of one line; the region defaults to the last (the combined one).

        Raises:
            CohortError: There is no such line.
        """
        wanted = (method, region or self.shown_regions[-1], metric)
        found = tuple(point for point in self.points if (point.method, point.region, point.metric) == wanted)
        if not found:
            raise CohortError(f"the curve holds no point for (method, region, metric) = {wanted}")
        return found


def write_size_curve(path: Path, curve: DatabaseSizeCurve) -> None:
    """Write a curve as JSON, atomically; a number that does not exist (NaN) is null."""
    write_record(path, curve)


def read_size_curve(path: Path) -> DatabaseSizeCurve:
    """Read what `write_size_curve` wrote.

    Raises:
        CohortError: The file is missing, no such file, damaged, or of another format version.
    """
    return read_record(path, DatabaseSizeCurve, "database-size", FORMAT_VERSION)
