"""Calibrate a member of a bundle on people whom neither its encoder nor its readout has seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from mris.cohort.cohort import Cohort
from mris.cohort.training_subjects import TrainingSubjects
from mris.database.gallery import MEMORY_LIMIT
from mris.errors import SettingsError, SubjectLeakError
from mris.synthesis.calibration import Calibrated
from mris.synthesis.calibration_record import FEWEST_PEOPLE, Calibration, Part, PeopleSample, Stratum
from mris.synthesis.intervals import LEVEL, risk_curves, smallest_factor, strata_limits, width
from mris.synthesis.parts import Parts
from mris.synthesis.strangeness import Reference, strangeness_scale
from mris.synthesis.synthesizer import Synthesizer
from mris.types import Features, Pixels, TargetMap
from mris.wording import counted, first_of

MOST_IMAGES = 1000
"""Baseline images, spread evenly over a split, that are calibrated on."""

_FOLDS = 5
_BATCH = 64


def calibration_pairs(cohort: Cohort) -> tuple[str, Cohort]:
    """Find whom to calibrate on: the baseline visits of the split "calibration" or, where there is none, of "val"."""
    split = "calibration" if (cohort.splits == "calibration").any() else "val"
    return split, cohort.select(np.flatnonzero((cohort.splits == split) & cohort.is_baseline))


def calibrate(
    synthesizer: Synthesizer, cohort: Cohort, *, parts: Parts | None = None, level: float = LEVEL
) -> Calibrated | None:
    """Calibrate intervals and strangeness of one member's syntheses.

    Maps of mean errors are cross-fitted: in five folds of people, none is judged by a map that has seen that person's
    own errors. The map that is kept is that of all of them.

    Args:
        synthesizer: With the readout to calibrate.
        cohort: A whole cohort; see `calibration_pairs`.
        parts: Parts of regions whose means get intervals; whole regions always do.
        level: Share of a person's pixels, and of means, that intervals hold.

    Returns:
        The calibration; None with fewer than `FEWEST_PEOPLE` people.

    Raises:
        SubjectLeakError: The encoder was trained on somebody in the split.
        SettingsError: A part is of another shape than the maps, or the level cannot be.
    """
    check_level(level)
    database = synthesizer.database
    split, pairs = calibration_pairs(cohort)
    check_unseen(getattr(synthesizer.encoder, "training_subjects", None), pairs)
    names, masks = part_masks(database.regions, database.header.target_shape, parts or {})
    most = min(MOST_IMAGES, max(1, MEMORY_LIMIT // (16 * int(database.atlas_mask.sum()))))
    pairs = pairs.select(np.linspace(0, len(pairs) - 1, min(len(pairs), most)).astype(int))
    if len(np.unique(pairs.subjects)) < FEWEST_PEOPLE:
        return None
    found = _judged(synthesizer, pairs)
    kept = np.isfinite(found.errors).any(axis=1)
    people = np.unique(pairs.subjects[kept], return_inverse=True)[1]
    if not kept.any() or people.max() + 1 < FEWEST_PEOPLE:
        return None
    pixels, spread, errors = found.pixels[kept], found.spread[kept], found.errors[kept]
    scale = float(np.nanmean(np.abs(errors)) / max(np.nanmean(spread), 1e-6))
    widths = _cross_fitted(np.abs(errors), spread, scale, people)
    means = np.nanmean(pixels, axis=1)
    limits = strata_limits(means, people)
    place = np.searchsorted(limits, means, side="right")
    inside = masks[:, database.atlas_mask]
    strata = []
    for index in range(len(limits) + 1):
        here = place == index
        risks = risk_curves(np.abs(errors[here]) / widths[here], people[here])
        factor = smallest_factor(risks, level)
        if factor is None:
            return None
        factors = tuple(
            smallest_factor(risk_curves(_mean_ratios(errors[here][:, one], widths[here][:, one]), people[here]), level)
            for one in inside
        )
        below = float(limits[index]) if index < len(limits) else None
        strata.append(Stratum(below=below, n_people=len(risks), factor=factor, part_factors=factors))
    # Whoever stands in the database is nobody new: its own center and axes would call that person usual.
    known = np.isin(pairs.subjects, database.subjects).any()
    reference = Reference.of(database) if found.features is not None and not known else None
    strange = None
    if reference is not None and found.features is not None:
        scores = reference.scores(found.features[kept], pairs.subjects[kept].tolist())
        strange = strangeness_scale(scores, people)
    residual: TargetMap = np.full(database.atlas_mask.shape, np.nan, dtype=np.float32)
    residual[database.atlas_mask] = _mean_map(np.abs(errors))
    return Calibrated(
        Calibration(
            level=level,
            split=split,
            n_people=int(people.max()) + 1,
            n_images=int(kept.sum()),
            n_entries=len(database),
            people=PeopleSample.of(database.subjects.tolist()),
            readout=synthesizer.readout,
            spread_scale=scale,
            strata=tuple(strata),
            parts=names,
            strangeness=strange,
        ),
        residual,
        masks,
    )


@dataclass(frozen=True)
class _Judged:
    """Syntheses of calibration images inside the atlas mask, and how far off they are."""

    pixels: Pixels
    spread: Pixels
    errors: Pixels
    features: Features | None


def _judged(synthesizer: Synthesizer, pairs: Cohort) -> _Judged:
    database = synthesizer.database
    mask = database.atlas_mask
    channels = [pairs.regions.index(region) for region in database.regions]
    pixels, spread, errors = (np.empty((len(pairs), int(mask.sum())), dtype=np.float32) for _ in range(3))
    features: list[Features] = []
    for batch in pairs.batches(_BATCH):
        embedded = synthesizer.embed(batch.sources)
        subjects = pairs.subjects[batch.positions].tolist()
        syntheses = synthesizer.synthesize_embedded(embedded, subjects, database.commit)
        for row, synthesis, truth in zip(batch.positions, syntheses, batch.targets, strict=True):
            pixels[row], spread[row] = synthesis.image[mask], synthesis.spread[mask]
            errors[row] = pixels[row] - truth[channels][mask]
        features += [] if embedded.features is None else [embedded.features]
    return _Judged(pixels, spread, errors, np.concatenate(features) if features else None)


def check_level(level: float) -> None:
    """Refuse a level that no interval can have.

    Raises:
        SettingsError: It is not from 0.5 to below 1.
    """
    if not 0.5 <= level < 1:
        raise SettingsError(f"level is {level:g}; give a share from 0.5 to below 1, such as 0.9")


def _cross_fitted(errors: Pixels, spread: Pixels, scale: float, people: Int64[np.ndarray, " n"]) -> Pixels:
    """Give widths, (n, p), each image's from the errors of people of other folds."""
    widths = np.empty_like(spread)
    for fold in range(_FOLDS):
        own = people % _FOLDS == fold
        widths[own] = width(_mean_map(errors[~own]), spread[own], scale)
    return widths


def _mean_map(errors: Pixels) -> Float32[np.ndarray, " p"]:
    """Mean of each pixel over the images that have a value there; the mean of all where none has."""
    known = np.isfinite(errors)
    counts = known.sum(axis=0)
    sums = np.where(known, errors, 0).sum(axis=0, dtype=np.float64)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / counts.sum())
    return np.asarray(means, dtype=np.float32)


def _mean_ratios(errors: Pixels, widths: Pixels) -> Float64[np.ndarray, "n 1"]:
    """Error of each image's mean, over the mean width; NaN where no pixel can be compared."""
    known = np.isfinite(errors)
    counts = np.maximum(known.sum(axis=1), 1)
    gaps = np.abs(np.where(known, errors, 0).sum(axis=1, dtype=np.float64)) / counts
    sizes = np.where(known, widths, 0).sum(axis=1, dtype=np.float64) / counts
    return np.asarray(np.where(known.any(axis=1), gaps / np.maximum(sizes, 1e-12), np.nan)[:, None])


def part_masks(
    regions: Sequence[str], shape: tuple[int, int, int], parts: Parts
) -> tuple[tuple[Part, ...], Bool[np.ndarray, "m r h w"]]:
    """Lay out whose means get intervals: each region, followed by its parts.

    Raises:
        SettingsError: A part is of another shape than the maps.
    """
    names, masks = [], []
    for channel, region in enumerate(regions):
        for name, mask in {"": np.ones(shape[1:], dtype=bool), **parts.get(region, {})}.items():
            if mask.shape != shape[1:]:
                raise SettingsError(
                    f"part {name!r} of region {region!r} has {mask.shape} pixels, but maps have {shape[1:]}; give "
                    "parts of maps of that size"
                )
            names.append(Part(region=region, name=name))
            masks.append(np.zeros(shape, dtype=bool))
            masks[-1][channel] = mask
    return tuple(names), np.stack(masks)


def check_unseen(record: TrainingSubjects | None, pairs: Cohort, what: str = "calibration people") -> None:
    """Refuse to judge an encoder by people whom it was trained on: its errors on new ones are greater.

    Args:
        record: Whom it was trained on.
        pairs: Those to judge it by.
        what: These people, for the message.

    Raises:
        SubjectLeakError: Somebody is among them.
    """
    seen = [] if record is None else record.among(pairs.subjects.tolist())
    if seen:
        raise SubjectLeakError(
            f"the encoder was trained on {counted(len(seen), 'subject')} of the {what}: {first_of(seen)}; "
            "index with the splits that it was trained with"
        )
