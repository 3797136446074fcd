"""Error against the size of the database: retrieval with only a share of the subjects, as a curve.

Embeddings are made once. A smaller database is a choice of rows: those of the first subjects of a random order, so that
within one draw each database holds the smaller ones. Queries, mask and filler are those of
`mris.evaluation.evaluate.evaluate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

import mris
from mris.baselines.mean_map import MeanMap
from mris.cohort.cohort import Cohort
from mris.cohort.workers import shown
from mris.database.embed import check_unit_norm
from mris.database.gallery import MEMORY_LIMIT, Gallery
from mris.database.search import Groups, exact_search
from mris.defaults import N_NEIGHBORS, N_RESAMPLES
from mris.errors import SettingsError
from mris.evaluation.bootstrap import Resamples, subject_codes
from mris.evaluation.bundle_evaluation import check_names
from mris.evaluation.evaluate import check_views
from mris.evaluation.image_error import error_numbers
from mris.evaluation.mask import evaluation_mask
from mris.evaluation.references import REFERENCE_NAMES
from mris.study.database_size_results import CURVE_METRICS, DatabaseSizeCurve, SizePoint
from mris.synthesis.bundle import Bundle
from mris.synthesis.bundle_checks import check_encoder_fits
from mris.synthesis.weights import Weights, similarity_weights
from mris.types import Embeddings, Encoder, Rows

SHARES = (0.01, 0.05, 0.10, 0.25, 0.5, 1.0)
MEAN_MAP = REFERENCE_NAMES[0]
"""Name of the reference: the mean target of the same subjects."""


@dataclass(frozen=True)
class Subset:
    """A database with some of the subjects.

    Args:
        n_subjects: How many.
        rows: (m,) their rows in the whole database, ascending.
    """

    n_subjects: int
    rows: Int64[np.ndarray, " m"]


def draw_subsets(
    subjects: Shaped[np.ndarray, " N"], sizes: Sequence[int], n_draws: int, rng: np.random.Generator
) -> tuple[Subset, ...]:
    """Choose subjects at random: for each draw one random order, of which a subset takes the first so many.

    Args:
        subjects: (N,) subject of each row of the whole database.
        sizes: Numbers of subjects, each from 1 to all.
        n_draws: Number of random orders.
        rng: Source of randomness.

    Returns:
        The subsets, draw by draw; the whole database, which is the same in every draw, once. Which subjects are chosen
        depends on the set of their names, not on the order of rows.

    Example:
        >>> found = draw_subsets(np.array(["b", "a", "b", "c"]), [1, 3], 2, np.random.default_rng(0))
        >>> [subset.n_subjects for subset in found], found[1].rows.tolist()
        ([1, 3, 1], [0, 1, 2, 3])
    """
    codes, n_subjects = subject_codes(list(subjects))
    subsets = []
    for draw in range(n_draws):
        rank = np.argsort(rng.permutation(n_subjects))
        subsets += [
            Subset(size, np.flatnonzero(rank[codes] < size)) for size in sizes if draw == 0 or size < n_subjects
        ]
    return tuple(subsets)


def database_size_curve(
    methods: Mapping[str, Bundle | Sequence[Encoder]],
    training: Cohort,
    queries: Cohort,
    *,
    rng: np.random.Generator,
    shares: Sequence[float] = SHARES,
    n_draws: int = 3,
    n_neighbors: int = N_NEIGHBORS,
    one_per_subject: bool = False,
    n_bootstrap: int = N_RESAMPLES,
    batch_size: int = 64,
    memory_limit: int = MEMORY_LIMIT,
    progress: bool = True,
) -> DatabaseSizeCurve:
    """Measure the error of retrieval when only a share of the subjects is in the database.

    The encoders stay as they were trained, on all subjects: the curve tells what a larger database gives, not what a
    larger training set gives. Of a database with fewer entries than `n_neighbors` all are averaged (Eq. 4). The mean
    map of the same subjects is the reference. Where a small database has no value inside the mask, the mean map of
    *all* training subjects speaks, as in `evaluate`; coverage tells how often.

    Args:
        methods: By name, a bundle (its own database is not used) or encoders that give each region of the cohort once.
        training: Pairs of the whole database.
        queries: Test pairs, of other subjects.
        rng: Source of randomness: which subjects, and the resamples.
        shares: Shares of the subjects, each in (0, 1]; less than one subject is one subject.
        n_draws: Random choices of subjects for each share; within a draw they are nested.
        n_neighbors: k.
        one_per_subject: At most one map of a person among the neighbors.
        n_bootstrap: Resamples of the queries' subjects.
        batch_size: Images read and embedded at once.
        memory_limit: Bytes of target pixels that may be held in memory; above it, rows are read from disk.
        progress: Show a progress bar on standard error.

    Returns:
        The curve: a point for each method, region, metric and share.

    Raises:
        SettingsError: A number is out of range, no method is given, one is named like the reference, or a method's
            encoders do not give each region once.
        CohortError: A cohort is empty, or the two do not fit together.
        SubjectLeakError: A query's subject is in the database.
        BundleError: The cohort was prepared otherwise than the one that a bundle was made of.

    Example:
        >>> cohort, bundle = Cohort.open("cohort"), Bundle.open("hands.bundle")          # doctest: +SKIP
        >>> curve = database_size_curve(
        ...     {"MRIS": bundle}, cohort.split("train"), cohort.split("test"), rng=np.random.default_rng(0)
        ... )                                                                            # doctest: +SKIP
        >>> [(point.n_subjects, point.value) for point in curve.line("MRIS", "median")]  # doctest: +SKIP
    """
    check_views(queries, training)
    shares = _checked_shares(shares, n_draws, n_neighbors)
    encoders = _encoders_by_method(methods, training)
    training = training.select(np.argsort(training.keys, kind="stable"))  # so that its order changes nothing
    n_subjects = len(set(training.subjects))
    sizes = [max(1, round(share * n_subjects)) for share in shares]
    subsets = draw_subsets(training.subjects, sorted(set(sizes)), n_draws, rng)
    gallery = Gallery.of_cohort(training, memory_limit)
    retrievals = [
        [_retrievals(e, training, gallery, queries, subsets, n_neighbors, one_per_subject, batch_size) for e in parts]
        for parts in encoders.values()
    ]
    filler = MeanMap.fit(training).without_gaps()[gallery.mask]
    values = _measure(retrievals, gallery, filler, queries, subsets, batch_size, progress)
    resamples = Resamples.draw(queries.subjects, n_bootstrap, rng)
    curve = DatabaseSizeCurve(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"mris": mris.__version__, "numpy": version("numpy")},
        cohort=queries.path.name,
        manifest_sha256=queries.header.manifest_sha256,
        unit=queries.header.unit,
        regions=queries.regions,
        methods=(*encoders, MEAN_MAP),
        n_queries=len(queries),
        n_query_subjects=resamples.n_subjects,
        n_neighbors=n_neighbors,
        one_per_subject=one_per_subject,
        n_draws=n_draws,
        n_bootstrap=n_bootstrap,
        confidence=resamples.confidence,
        points=(),
    )
    columns = []
    for share, size in zip(shares, sizes, strict=True):
        drawn = [i for i, subset in enumerate(subsets) if subset.n_subjects == size]
        n_entries = float(np.mean([len(subsets[i].rows) for i in drawn]))
        spread = 0.0 if size == n_subjects else None
        columns.append(_points(curve, values[:, drawn], share, size, n_entries, spread, resamples))
    return replace(curve, points=tuple(point for line in zip(*columns, strict=True) for point in line))


@dataclass(frozen=True)
class _Retrieval:
    """The neighbors that one encoder finds for every query in one subset.

    Args:
        gallery: The subset's pixels of the encoder's regions.
        columns: Where these stand among the pixels of all regions.
        rows: (n, k) rows of this gallery.
        weights: (n, k) their weights.
    """

    gallery: Gallery
    columns: Int64[np.ndarray, " q"]
    rows: Rows
    weights: Weights


def _retrievals(
    encoder: Encoder,
    training: Cohort,
    gallery: Gallery,
    queries: Cohort,
    subsets: Sequence[Subset],
    n_neighbors: int,
    one_per_subject: bool,
    batch_size: int,
) -> list[_Retrieval]:
    known = _embedded(training, encoder, "target", batch_size)
    asked = _embedded(queries, encoder, "source", batch_size)
    codes, _ = subject_codes(list(training.subjects))
    channels = training.region_channels(encoder.regions)
    own, columns = gallery.of_regions(channels), gallery.places(channels)
    retrievals = []
    for subset in subsets:
        groups = Groups.of(np.unique(codes[subset.rows], return_inverse=True)[1])
        found = exact_search(known[subset.rows], asked, n_neighbors, groups=groups, one_per_group=one_per_subject)
        weights = similarity_weights(found.similarities, found.rows)
        retrievals.append(_Retrieval(own.subset(subset.rows), columns, found.rows, weights))
    return retrievals


def _embedded(cohort: Cohort, encoder: Encoder, what: str, batch_size: int) -> Embeddings:
    parts = []
    for start in range(0, len(cohort), batch_size):
        positions = range(start, min(start + batch_size, len(cohort)))
        if what == "source":
            parts.append(encoder.encode_sources(cohort.read_sources(positions)))
        else:
            parts.append(encoder.encode_targets(cohort.read_targets(positions, regions=encoder.regions)))
    embeddings = np.ascontiguousarray(np.concatenate(parts), dtype=np.float32)
    check_unit_norm(embeddings, what)
    return embeddings


def _measure(
    retrievals: Sequence[Sequence[Sequence[_Retrieval]]],
    gallery: Gallery,
    filler: Float32[np.ndarray, " p"],
    queries: Cohort,
    subsets: Sequence[Subset],
    batch_size: int,
    progress: bool,
) -> Float64[np.ndarray, "methods subsets parts n metrics"]:
    """Measure every query with every method in every subset; the mean map is the last method.

    Retrievals stand method by method, encoder by encoder, subset by subset.
    """
    regions = gallery.columns
    members = np.zeros((len(subsets), len(gallery)), dtype=np.float32)
    for s, subset in enumerate(subsets):
        members[s, subset.rows] = 1
    stills = gallery.average_all(members)
    n_parts = len(regions) + (len(regions) > 1)
    values = np.empty((len(retrievals) + 1, len(subsets), n_parts, len(queries), len(CURVE_METRICS)))
    for batch in shown(queries.batches(batch_size), "database size", -(-len(queries) // batch_size), progress):
        truths = batch.targets[:, gallery.mask]
        masks = np.stack([evaluation_mask(truth, gallery.mask) for truth in batch.targets])[:, gallery.mask]
        for s, still in enumerate(stills):
            images = [_averages([part[s] for part in parts], batch.positions, gallery.n_pixels) for parts in retrievals]
            images.append(np.broadcast_to(still, truths.shape))
            for m, made in enumerate(images):
                for position, truth, image, mask in zip(batch.positions, truths, made, masks, strict=True):
                    values[m, s, :, position] = _line_errors(truth, image, mask, filler, regions)
    return values


def _averages(
    parts: Sequence[_Retrieval], positions: Int64[np.ndarray, " n"], n_pixels: int
) -> Float32[np.ndarray, "n p"]:
    """Average the neighbors of some queries, each region from the encoder that gives it."""
    images = np.full((len(positions), n_pixels), np.nan, dtype=np.float32)
    for part in parts:
        images[:, part.columns], _ = part.gallery.average(part.rows[positions], part.weights[positions])
    return images


def _line_errors(
    truth: Float32[np.ndarray, " p"],
    image: Float32[np.ndarray, " p"],
    mask: Bool[np.ndarray, " p"],
    filler: Float32[np.ndarray, " p"],
    regions: Sequence[slice],
) -> Float64[np.ndarray, "parts numbers"]:
    """Measure a synthesis as `mris.evaluation.image_error.image_errors` does, without PSNR and SSIM.

    Args:
        truth: (p,) the true pixels, finite inside the mask.
        image: (p,) the synthesis, NaN where it says nothing.
        mask: (p,) the evaluation mask.
        filler: (p,) what stands in for silence.
        regions: Places of each region's pixels.

    Returns:
        (parts, 5) median, MAD, MAE, RMSE and coverage of each region, and of all together where there are several; NaN
        without a pixel.
    """
    own = np.isfinite(image) & mask
    error = np.abs(np.where(own, image, filler).astype(np.float64) - truth.astype(np.float64))
    parts = [*regions, slice(None)] if len(regions) > 1 else list(regions)
    return np.array(
        [
            (*error_numbers(error[part][mask[part]]), own[part].sum() / n if (n := int(mask[part].sum())) else np.nan)
            for part in parts
        ]
    )


def _points(
    curve: DatabaseSizeCurve,
    values: Float64[np.ndarray, "methods draws parts n metrics"],
    share: float,
    n_subjects: int,
    n_entries: float,
    spread: float | None,
    resamples: Resamples,
) -> list[SizePoint]:
    """Average over draws and queries; the spread is given, or that of the draws."""
    rows = []
    for m, method in enumerate(curve.methods):
        for r, region in enumerate(curve.shown_regions):
            here = values[m, :, r]  # (draws, n, metrics); an image without a pixel is NaN in all draws
            known = np.isfinite(here[0, :, 0])
            low, high = resamples.of(known).interval(here.mean(axis=0)[known])
            means = here[:, known].mean(axis=1) if known.any() else np.full((len(here), len(CURVE_METRICS)), np.nan)
            between = means.std(axis=0, ddof=1) if len(means) > 1 else np.full(len(CURVE_METRICS), np.nan)
            for i, metric in enumerate(CURVE_METRICS):
                numbers = float(means[:, i].mean()), float(low[i]), float(high[i])
                apart = float(between[i]) if spread is None else spread
                rows.append(SizePoint(method, region, metric, share, n_subjects, n_entries, *numbers, apart))
    return rows


def _checked_shares(shares: Sequence[float], n_draws: int, n_neighbors: int) -> list[float]:
    for share in shares:
        if not 0 < share <= 1:
            raise SettingsError(f"a share of the database is {share}; give shares above 0, at most 1, such as 0.25")
    if not shares:
        raise SettingsError("no share of the database is given; give at least one, such as 1.0")
    for name, number in (("n_draws", n_draws), ("n_neighbors", n_neighbors)):
        if number < 1:
            raise SettingsError(f"{name} is {number}; give at least 1")
    return sorted(set(shares))


def _encoders_by_method(
    methods: Mapping[str, Bundle | Sequence[Encoder]], training: Cohort
) -> dict[str, list[Encoder]]:
    check_names("method", [*methods, MEAN_MAP])
    if not methods:
        raise SettingsError("no method is given; give at least one bundle or list of encoders")
    found: dict[str, list[Encoder]] = {}
    for name, method in methods.items():
        if isinstance(method, Bundle):
            for member in method.members:
                check_encoder_fits(member.encoder, training)
        found[name] = [member.encoder for member in method.members] if isinstance(method, Bundle) else list(method)
        given = [region for encoder in found[name] for region in encoder.regions]
        if sorted(given) != sorted(training.regions):
            raise SettingsError(
                f"method {name!r} gives regions {', '.join(given) or 'none'}; the cohort has "
                f"{', '.join(training.regions)}: give encoders that have each of them once"
            )
    return found
