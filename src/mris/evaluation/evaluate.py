"""Measure any number of methods on the same images, the same pixels and the same resamples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

import mris
from mris.baselines.mean_map import MeanMap, evenly_spaced
from mris.cohort.cohort import Cohort
from mris.cohort.origin import common_origin
from mris.defaults import CONFIDENCE, N_RESAMPLES
from mris.engines.engine import Engine
from mris.errors import CohortError, SettingsError, SubjectLeakError
from mris.evaluation.aggregate import describe_groups, summarize
from mris.evaluation.bootstrap import Resamples
from mris.evaluation.image_error import METRICS
from mris.evaluation.measure import Measured, Measurement, measure
from mris.evaluation.pictures import ErrorMaps, Example, choose_examples, collect_examples
from mris.evaluation.predictor import Originated, Predictor, as_predictors
from mris.evaluation.prevalence import Prevalences, check_prevalences, describe_prevalences
from mris.evaluation.recall_table import measure_recall
from mris.evaluation.results import (
    COMBINED,
    CohortDescription,
    Cost,
    EvaluationSettings,
    MethodSummary,
    PerImage,
    Results,
)
from mris.evaluation.strata import Merge, check_merge, groups_of, values_by_label
from mris.synthesis.batch_synthesizer import BatchSynthesizer
from mris.types import Encoder
from mris.wording import first_of

RANGE_PERCENTILES = (0.1, 99.9)
MAX_RANGE_ROWS = 500
"""Training targets, spread evenly, that the data range of PSNR and SSIM is taken from."""

_PACKAGES = ("numpy", "scikit-image", "scikit-learn", "scipy")


@dataclass(frozen=True)
class Evaluation:
    """All that one evaluation gives.

    Args:
        results: Aggregates: what tables and conclusions are made of.
        per_image: One number an image, method, region and metric.
        examples: A few queries, chosen by rule (see `mris.evaluation.pictures.choose_examples`).
        error_maps: Mean error at each pixel.
    """

    results: Results
    per_image: PerImage
    examples: tuple[Example, ...]
    error_maps: ErrorMaps


def evaluate(
    predictors: Mapping[str, Predictor | BatchSynthesizer],
    cohort: Cohort,
    *,
    training: Cohort,
    by: Sequence[str] = (),
    merge: Merge | None = None,
    prevalence: Prevalences | None = None,
    costs: Mapping[str, Cost] | None = None,
    retrieval: Mapping[str, Encoder] | None = None,
    n_bootstrap: int = N_RESAMPLES,
    seed: int = 0,
    batch_size: int = 64,
    progress: bool = True,
    engine: Engine | None = None,
) -> Evaluation:
    """Measure methods side by side on a test cohort that shares no subject with the training cohort.

    One mask per query that no method can change: pixels where the truth has a value and the training cohort's atlas
    mask allows one. Where a method is silent inside the mask, the training mean map speaks for it, and the share it
    predicted itself is reported as coverage. Means are over images; intervals resample subjects (95 %). Images
    stream: memory holds a batch, not the cohort.

    Args:
        predictors: Methods by name: synthesizers, or anything else with ``predict(sources, subjects=...)``. The first
            one chooses the examples and is the one that the others are compared with.
        cohort: The test view of a cohort.
        training: The training view, for mean map, atlas mask and data range.
        by: Labels whose values split the images into strata; a missing label is a stratum of its own.
        merge: Values of a label that share a stratum, ``{"grade": {"0": "0-1", "1": "0-1"}}``.
        prevalence: For a label of `by` the weight of each stratum, ``{"grade": {"0-1": 0.56, "2": 0.27, "3": 0.17}}``:
            one more stratum `WEIGHTED`, the weighted mean of the strata's means. Weights need not sum to 1; a stratum
            without test images is left out and named.
        costs: What is known of a method's cost, by its name.
        retrieval: Encoders, by name, to measure recall of; None for none. It is left out where no baseline visit has a
            pixel to compare in every region.
        n_bootstrap: Resamples of subjects.
        seed: Seed of the resampling.
        batch_size: Queries given to a method at once.
        progress: Show a progress bar on standard error.
        engine: What predicts, measures and embeds, a batch at a time; this process if None. The numbers are the same.

    Returns:
        Results, numbers of single images, examples and error maps.

    Raises:
        SettingsError: No method, a setting out of range, a method that answers with the wrong shape, a weight of what
            is no stratum, or a cost of what is no method.
        CohortError: A cohort is empty or has no pixel to compare, the two do not fit together, or a label or region
            does not exist.
        SubjectLeakError: A test subject is among the training subjects.

    Example:
        >>> cohort = mris.Cohort.open("cohort")                                      # doctest: +SKIP
        >>> training = cohort.split("train")                                         # doctest: +SKIP
        >>> methods = reference_predictors(training, np.random.default_rng(0))       # doctest: +SKIP
        >>> evaluation = evaluate(methods, cohort.split("test"), training=training)  # doctest: +SKIP
        >>> evaluation.results.estimate("PCA k-NN", "rmse").value                    # doctest: +SKIP
    """
    check_views(cohort, training)
    if not predictors:
        raise SettingsError("no method to evaluate; give at least one, such as the references")
    methods = as_predictors(predictors, cohort.regions)
    costs = _checked_costs(costs or {}, methods)
    groups = groups_of(cohort, by, merge)
    check_merge(merge or {}, (cohort, training))
    if prevalence:
        known = values_by_label(groups_of(training, by, merge))
        check_prevalences(prevalence, groups, known)
    resamples = Resamples.draw(cohort.subjects, n_bootstrap, np.random.default_rng(seed))
    mean_map = MeanMap.fit(training).without_gaps()
    data_range = target_range(training)
    measurement = Measurement(methods, cohort, training.atlas_mask, mean_map, data_range)
    measured = measure(measurement, batch_size, progress=progress, engine=engine)
    if not measured.n_pixels.any():
        raise CohortError(
            f"cohort {cohort.path.name!r}: none of {len(cohort)} images has a pixel to compare: where training targets "
            "have values, these have none; evaluate a split that has some"
        )
    has_target = np.all(measured.n_pixels[: len(cohort.regions)] > 0, axis=0)
    recalls, ranks = measure_recall(retrieval or {}, cohort, has_target, groups, resamples, batch_size, engine=engine)
    names = tuple(methods)
    regions = cohort.regions if len(cohort.regions) == 1 else (*cohort.regions, COMBINED)
    per_image = PerImage(
        tuple(str(key) for key in cohort.keys), names, regions, METRICS, measured.values, measured.n_pixels, ranks
    )
    prevalences = describe_prevalences(prevalence or {}, groups, per_image)
    estimates, differences = summarize(per_image, groups, resamples, prevalences)
    results = Results(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"mris": mris.__version__} | {name: version(name) for name in _PACKAGES},
        cohort=_describe(cohort, training, measured),
        settings=EvaluationSettings(tuple(by), n_bootstrap, CONFIDENCE, seed, batch_size, data_range),
        methods=tuple(
            MethodSummary(
                name,
                float(1000 * seconds / len(cohort)),
                **asdict(costs.get(name, Cost())),
                origin=method.origin if isinstance(method, Originated) else "unknown",
            )
            for (name, method), seconds in zip(methods.items(), measured.seconds, strict=True)
        ),
        strata=describe_groups(groups, resamples.codes),
        estimates=estimates,
        differences=differences,
        recalls=recalls,
        prevalences=prevalences,
    )
    chosen = choose_examples(per_image.values[0, -1, :, METRICS.index("median")], groups)
    examples = collect_examples(chosen, methods, cohort, training.atlas_mask, mean_map)
    return Evaluation(results, per_image, examples, measured.error_maps)


def target_range(training: Cohort) -> float:
    """Return the range of training target values: from 0, or the 0.1th percentile if that is negative, to the 99.9th.

    Raises:
        CohortError: All values are equal, so that there is no range.
    """
    rows = evenly_spaced(len(training), MAX_RANGE_ROWS)
    targets = training.read_targets(rows)
    low, high = np.percentile(targets[np.isfinite(targets)], RANGE_PERCENTILES)
    spread = float(high - min(low, 0.0))
    if not spread > 0:
        raise CohortError(
            f"cohort {training.path.name!r}: training targets reach from {low:g} to {high:g} {training.header.unit}; "
            "PSNR and SSIM need a range above 0: check the target files and their unit"
        )
    return spread


def _checked_costs(costs: Mapping[str, Cost], methods: Mapping[str, object]) -> Mapping[str, Cost]:
    stray = [name for name in costs if name not in methods]
    if stray:
        raise SettingsError(f"costs name {stray[0]!r}, which is no method; methods: {', '.join(methods)}")
    return costs


def check_views(cohort: Cohort, training: Cohort) -> None:
    """Refuse views that cannot be measured against each other.

    Args:
        cohort: The test view.
        training: The training view.

    Raises:
        CohortError: A view is empty, or the two differ in regions, unit or shapes.
        SubjectLeakError: A test subject is among the training subjects.
    """
    for role, view in (("test", cohort), ("training", training)):
        if len(view) == 0:
            raise CohortError(f"the {role} view of cohort {view.path.name!r} has no images; name another split")
    for what in ("regions", "unit", "source_shape", "target_shape"):
        ours, theirs = getattr(cohort.header, what), getattr(training.header, what)
        if ours != theirs:
            raise CohortError(
                f"test and training cohort differ in {what}: {ours} and {theirs}; prepare both with the same settings"
            )
    shared = sorted(set(cohort.subjects) & set(training.subjects))
    if shared:
        raise SubjectLeakError(
            f"{len(shared)} test subjects are also training subjects: {first_of(shared)}; give each subject one split"
        )


def _describe(cohort: Cohort, training: Cohort, measured: Measured) -> CohortDescription:
    without = (measured.n_pixels == 0).sum(axis=1)
    return CohortDescription(
        name=cohort.path.name,
        manifest_sha256=cohort.header.manifest_sha256,
        splits=tuple(sorted({str(name) for name in cohort.splits})),
        unit=cohort.header.unit,
        regions=cohort.regions,
        target_shape=cohort.header.target_shape,
        n_images=len(cohort),
        n_subjects=len(set(cohort.subjects)),
        n_baseline=int(cohort.is_baseline.sum()),
        n_without_target={region: int(n) for region, n in zip(cohort.regions, without, strict=False)},
        n_training_images=len(training),
        n_training_subjects=len(set(training.subjects)),
        outside_atlas=measured.outside_atlas,
        origin=common_origin([cohort.header.origin, training.header.origin]),
    )
