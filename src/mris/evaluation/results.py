"""The numbers of one evaluation, and their file ``results.json``.

Everything in `Results` is an aggregate: no key, no subject, no pixel. What belongs to single images is in
`PerImage`, written to its own file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from jaxtyping import Float64, Int64
from numpy import ndarray

from mris.cohort.origin import Origin
from mris.errors import CohortError
from mris.evaluation.people_shown import PeopleShown
from mris.evaluation.record_file import read_record, write_record
from mris.evaluation.site_results import SiteAudit
from mris.synthesis.readouts import SynthesisSettings

FORMAT_VERSION = 1
ALL = "all"
"""Name of the stratum that holds every image."""
COMBINED = "combined"
"""Name of the region that is all regions as one image."""
MISSING = "missing"
"""Name of the stratum of images whose label is absent."""
WEIGHTED = "prevalence-weighted"
"""Name of the weighted mean of a label's strata, where a stratum's name stands."""


@dataclass(frozen=True)
class CohortDescription:
    """What was measured on.

    Args:
        name: Folder name of the test cohort.
        manifest_sha256: Checksum of the table that the cohort was prepared from.
        splits: Names of the splits that the test images come from.
        unit: Unit of the targets and of every error in it.
        regions: Names of the target regions.
        target_shape: (regions, height, width).
        n_images: Number of test images.
        n_subjects: Number of people they come from.
        n_baseline: Number of test images that are baseline visits (the queries of retrieval, where it is measured).
        n_without_target: Images without a single pixel to compare, by region; they count in no mean.
        n_training_images: Number of training images (mean map, atlas mask, data range).
        n_training_subjects: Number of people they come from.
        outside_atlas: Share of the test targets' finite pixels that lie outside the atlas mask and do not count.
        origin: Whether the images, of training too, are of people or, in any part, simulated.
    """

    name: str
    manifest_sha256: str
    splits: tuple[str, ...]
    unit: str
    regions: tuple[str, ...]
    target_shape: tuple[int, int, int]
    n_images: int
    n_subjects: int
    n_baseline: int
    n_without_target: Mapping[str, int]
    n_training_images: int
    n_training_subjects: int
    outside_atlas: float
    origin: Origin = "unknown"


@dataclass(frozen=True)
class EvaluationSettings:
    """How it was measured.

    Args:
        by: Labels that split the images into strata.
        n_bootstrap: Number of resamples of subjects.
        confidence: Share of resamples between the ends of an interval.
        seed: Seed of the resampling.
        batch_size: Queries given to a method at once.
        data_range: Range of target values that PSNR and SSIM refer to, in the target's unit.
        synthesis: The readout that was asked for; None where no bundle was evaluated.
        readouts: For each bundle the readout that it used, in words.
        reasons: For each bundle why it uses that readout; nothing where it was asked for.
    """

    by: tuple[str, ...]
    n_bootstrap: int
    confidence: float
    seed: int
    batch_size: int
    data_range: float
    synthesis: SynthesisSettings | None = None
    readouts: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a method cost before it could be asked; None is unknown.

    Args:
        n_parameters: Number of trained parameters, of all its networks.
        training_seconds: Wall time of its training, in s.
        peak_megabytes: Most memory in use while it was trained or asked, in MB (10^6 bytes).
    """

    n_parameters: int | None = None
    training_seconds: float | None = None
    peak_megabytes: float | None = None


_MAYBE_UNKNOWN = frozenset(
    ("synthesis", "site_audit", *(one.name for one in fields(Cost)), *(one.name for one in fields(SynthesisSettings)))
)


@dataclass(frozen=True)
class MethodSummary:
    """One method: its name and what it costs.

    Args:
        name: Name in tables and figures.
        ms_per_query: Mean wall time of ``predict`` per query, in ms, in batches; a method that reads its
            database at its first query has done so before.
        n_parameters: See `Cost`; None where it is unknown.
        training_seconds: See `Cost`.
        peak_megabytes: See `Cost`.
        origin: Whether it was made from images of people or, in any part, simulated ones, where it says so.
    """

    name: str
    ms_per_query: float
    n_parameters: int | None = None
    training_seconds: float | None = None
    peak_megabytes: float | None = None
    origin: Origin = "unknown"


@dataclass(frozen=True)
class Stratum:
    """A group of images: those with one value of one label, or all.

    Args:
        label: Name of the label, "" for all images.
        name: Value of the label, `ALL` for all images, `MISSING` where it is absent.
        n_images: Images in it.
        n_subjects: People they come from.
    """

    label: str
    name: str
    n_images: int
    n_subjects: int


@dataclass(frozen=True)
class Prevalence:
    """How the strata of a label were weighted for the stratum `WEIGHTED`.

    Args:
        label: Name of the label.
        weights: Weight of each stratum, as it was given; of values that share the stratum "others", their sum.
        absent: By region the strata of positive weight without an image there. The weighted mean of that region is
            over the others, whose weights are divided by their sum.
    """

    label: str
    weights: Mapping[str, float]
    absent: Mapping[str, tuple[str, ...]]

    def shares(self, region: str) -> dict[str, float]:
        """Give the weights that a region's mean was made with: of the strata with images, summing to 1.

        Example:
            >>> Prevalence("grade", {"2": 3, "3": 1, "4": 1}, {"upper": ("4",)}).shares("upper")
            {'2': 0.75, '3': 0.25}
        """
        kept = {name: weight for name, weight in self.weights.items() if weight > 0 and name not in self.absent[region]}
        return {name: weight / sum(kept.values()) for name, weight in kept.items()}


@dataclass(frozen=True)
class Estimate:
    """The mean of one metric over the images of one stratum.

    Args:
        method: Name of the method.
        region: Name of the region, or `COMBINED`.
        label: Name of the stratum's label, "" for all images.
        stratum: Name of the stratum, or `WEIGHTED`.
        metric: One of `mris.evaluation.image_error.METRICS`.
        value: Mean over images.
        low: Lower end of the interval; NaN where there are too few people for one.
        high: Upper end of the interval.
        n_images: Images with a value.
        n_subjects: People they come from.
    """

    method: str
    region: str
    label: str
    stratum: str
    metric: str
    value: float
    low: float
    high: float
    n_images: int
    n_subjects: int


@dataclass(frozen=True)
class Difference:
    """Method minus reference on the same images and the same resamples.

    Args:
        method: Name of the method.
        reference: Name of the method it is compared with.
        region: Name of the region, or `COMBINED`.
        label: Name of the stratum's label, "" for all images.
        stratum: Name of the stratum, or `WEIGHTED`.
        metric: Name of the metric.
        value: Mean of the method minus mean of the reference.
        low: Lower end of the interval; an interval without 0 is a difference that resampling people does not undo.
        high: Upper end of the interval.
        relative: The difference as a share of the reference's mean: -0.2 is 20 % less.
        relative_low: Lower end of its interval.
        relative_high: Upper end of its interval.
    """

    method: str
    reference: str
    region: str
    label: str
    stratum: str
    metric: str
    value: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float


@dataclass(frozen=True)
class Recall:
    """Share of queries whose own target is among the k nearest of the gallery.

    Args:
        encoder: Name of the encoder.
        regions: Target regions it reads.
        label: Name of the queries' stratum's label, "" for all queries.
        stratum: Name of the queries' stratum; the gallery is always the whole one.
        k: Number of neighbors.
        value: Recall in [0, 1].
        low: Lower end of the interval.
        high: Upper end of the interval.
        chance: What guessing gives, k / gallery size.
        n_queries: Number of queries.
        gallery_size: Number of targets in the gallery.
        median_rank: Median rank of the own target, 1 the best.
    """

    encoder: str
    regions: tuple[str, ...]
    label: str
    stratum: str
    k: int
    value: float
    low: float
    high: float
    chance: float
    n_queries: int
    gallery_size: int
    median_rank: float


@dataclass(frozen=True)
class IntervalCoverage:
    """How much the intervals of a bundle's syntheses hold of people it has never seen.

    Args:
        method: Name of the bundle.
        region: Name of the region, or `COMBINED`.
        stratum: The group of images.
        level: Share of pixels, and of means, that the intervals state.
        value: Share of an image's pixels inside, mean over images.
        low: Lower end of its interval.
        high: Upper end of its interval.
        width: Width of the intervals, mean over pixels and images, in the unit of the targets.
        of_means: Share of images whose mean lies inside its interval.
        strange: Share of images that are called unlike anything known, rightly or not; NaN where that is not judged.
    """

    method: str
    region: str
    stratum: Stratum
    level: float
    value: float
    low: float
    high: float
    width: float
    of_means: float
    strange: float


@dataclass(frozen=True)
class Results:
    """All numbers of one evaluation.

    Args:
        created: Date and time, ISO 8601, UTC.
        versions: Versions of the packages that the numbers depend on.
        cohort: What was measured on.
        settings: How.
        methods: The methods, in the order of the tables.
        strata: The groups of images, all images first.
        estimates: Means with intervals.
        differences: Each method against each other.
        recalls: Retrieval, one row an encoder, stratum and k.
        prevalences: The weights of each label that has a prevalence-weighted mean.
        people_shown: How many people make up the maps of each bundle.
        site_audit: Whether bundles see where an image was made; None where it was not asked.
        intervals: How much the intervals of bundles hold, one row a bundle, region and stratum.
        format_version: Version of the file's layout.
    """

    created: str
    versions: Mapping[str, str]
    cohort: CohortDescription
    settings: EvaluationSettings
    methods: tuple[MethodSummary, ...]
    strata: tuple[Stratum, ...]
    estimates: tuple[Estimate, ...]
    differences: tuple[Difference, ...]
    recalls: tuple[Recall, ...]
    prevalences: tuple[Prevalence, ...] = ()
    people_shown: tuple[PeopleShown, ...] = ()
    site_audit: SiteAudit | None = None
    intervals: tuple[IntervalCoverage, ...] = ()
    format_version: int = FORMAT_VERSION

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions of the tables: the cohort's, and `COMBINED` last where there are several."""
        own = self.cohort.regions
        return own if len(own) == 1 else (*own, COMBINED)

    def estimate(
        self, method: str, metric: str, *, region: str | None = None, label: str = "", stratum: str = ALL
    ) -> Estimate:
        """Look up one estimate; the region defaults to the last of `regions` (the combined one).

        Raises:
            CohortError: There is no such estimate.
        """
        wanted = (method, region or self.regions[-1], label, stratum, metric)
        for row in self.estimates:
            if (row.method, row.region, row.label, row.stratum, row.metric) == wanted:
                return row
        raise CohortError(f"results hold no estimate for (method, region, label, stratum, metric) = {wanted}")


@dataclass(frozen=True)
class PerImage:
    """One number an image, method, region and metric: what the means are made of.

    Args:
        keys: (n,) the images' keys. Keys name people's visits: treat this table as personal data.
        methods: Names along the first axis of `values`.
        regions: Names along the second axis, `COMBINED` last where there are several.
        metrics: Names along the last axis.
        values: (methods, regions, n, metrics); NaN where an image has no pixel to compare in a region.
        n_pixels: (regions, n) pixels that were compared.
        ranks: Rank of the own target by encoder, (n,) each, 0 where the image was no query.
    """

    keys: tuple[str, ...]
    methods: tuple[str, ...]
    regions: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Float64[ndarray, "methods regions n metrics"]
    n_pixels: Int64[ndarray, "regions n"]
    ranks: Mapping[str, Int64[ndarray, " n"]]


def write_results(path: Path, results: Results) -> None:
    """Write results as JSON, atomically; a number that does not exist (NaN) is null."""
    write_record(path, results)


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        CohortError: The file is missing, no results file, or of another format version.
    """
    return read_record(path, Results, "results", FORMAT_VERSION, optional=_MAYBE_UNKNOWN)
