"""Measure every image of every method, a batch at a time: here, or on the workers of an engine."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from mris.cohort.cohort import Cohort, PairBatch
from mris.cohort.workers import shown
from mris.engines.engine import Engine, in_this_process
from mris.errors import SettingsError
from mris.evaluation.image_error import METRICS, image_errors
from mris.evaluation.mask import evaluation_mask, fill_missing
from mris.evaluation.pictures import ErrorMaps, ErrorSums
from mris.evaluation.predictor import Judgement, Judging, Predictor, Reading
from mris.types import AtlasMask, TargetMap, Targets


@dataclass(frozen=True)
class Measured:
    """What was measured of all images.

    Attributes:
        values: Each number of `METRICS`, for each method, region (at last all together) and image.
        n_pixels: Pixels compared.
        seconds: What each method took to predict.
        outside_atlas: Share of the targets' values that lie outside the mask.
        error_maps: Mean errors at each pixel.
    """

    values: Float64[np.ndarray, "methods regions n metrics"]
    n_pixels: Int64[np.ndarray, "regions n"]
    seconds: Float64[np.ndarray, " methods"]
    outside_atlas: float
    error_maps: ErrorMaps


@dataclass(frozen=True)
class _OfBatch:
    """What was measured of a batch; see `Measured`."""

    values: Float64[np.ndarray, "methods regions b metrics"]
    n_pixels: Int64[np.ndarray, "regions b"]
    seconds: Float64[np.ndarray, " methods"]
    n_finite: int
    sums: ErrorSums
    judgements: Mapping[str, Sequence[Judgement]]


class Measurement:
    """What a batch of queries is measured with. It may be sent to another process, which opens what it needs."""

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        cohort: Cohort,
        atlas_mask: AtlasMask,
        filler: TargetMap,
        data_range: float,
    ) -> None:
        """See `mris.evaluation.evaluate.evaluate`; the filler, (r, h, w), speaks where a method is silent."""
        self.predictors, self.cohort = predictors, cohort
        self.n_rows = 1 if len(cohort.regions) == 1 else len(cohort.regions) + 1
        self._atlas_mask, self._filler, self._data_range = atlas_mask, filler, data_range
        self._has_read = False

    def of_batch(self, positions: range) -> Iterator[_OfBatch]:
        """Measure the pairs at some positions, all together."""
        cohort = self.cohort
        (batch,) = cohort.select(positions).batches(len(positions))
        if not self._has_read:  # before the clock runs
            for predictor in self.predictors.values():
                if isinstance(predictor, Reading):
                    predictor.read(batch.sources[0])
            self._has_read = True
        masks = [evaluation_mask(truth, self._atlas_mask) for truth in batch.targets]
        sums = ErrorSums(len(self.predictors), cohort.header.target_shape)
        n_pixels = np.zeros((self.n_rows, len(masks)), dtype=np.int64)
        for place, mask in enumerate(masks):
            counts = mask.sum(axis=(1, 2))
            n_pixels[:, place] = [*counts, counts.sum()][: self.n_rows]
            sums.count(mask)
        values = np.full((len(self.predictors), self.n_rows, len(masks), len(METRICS)), np.nan)
        seconds, judgements = np.zeros(len(self.predictors)), {}
        subjects = [str(subject) for subject in cohort.subjects[positions]]
        for m, (name, predictor) in enumerate(self.predictors.items()):
            start = time.perf_counter()
            predictions = _predict(name, predictor, batch, subjects, cohort.regions)
            seconds[m] = time.perf_counter() - start
            for place, (truth, image, mask) in enumerate(zip(batch.targets, predictions, masks, strict=True)):
                filled, own = fill_missing(image, mask, self._filler)
                errors = image_errors(truth, filled, mask, own, data_range=self._data_range)
                values[m, :, place] = errors[: self.n_rows]
                sums.add(m, truth, filled, mask)
            if isinstance(predictor, Judging):
                judgements[name] = predictor.judge(batch.targets, masks)
        yield _OfBatch(values, n_pixels, seconds, int(np.isfinite(batch.targets).sum()), sums, judgements)


def measure(
    measurement: Measurement, batch_size: int, *, progress: bool = True, engine: Engine | None = None
) -> Measured:
    """Measure all images of a cohort; memory here holds a batch, not the cohort.

    Args:
        measurement: What they are measured with; methods that judge keep what they have judged.
        batch_size: Queries given to a method at once.
        progress: Show a progress bar.
        engine: What does the work; this process if None.
    """
    predictors, cohort = measurement.predictors, measurement.cohort
    parts = [range(start, min(start + batch_size, len(cohort))) for start in range(0, len(cohort), batch_size)]
    values = np.full((len(predictors), measurement.n_rows, len(cohort), len(METRICS)), np.nan)
    n_pixels = np.zeros((measurement.n_rows, len(cohort)), dtype=np.int64)
    seconds, sums = np.zeros(len(predictors)), ErrorSums(len(predictors), cohort.header.target_shape)
    n_finite = 0
    done = (engine or in_this_process)(measurement.of_batch, parts)
    for part, found in zip(parts, shown(done, "evaluate", len(parts), progress), strict=True):
        own = slice(part.start, part.stop)
        values[:, :, own], n_pixels[:, own] = found.values, found.n_pixels
        seconds += found.seconds
        n_finite += found.n_finite
        sums.merge(found.sums)
        for name, judgements in found.judgements.items():
            predictor = predictors[name]
            assert isinstance(predictor, Judging)
            predictor.keep(judgements)
    compared = int(n_pixels[: len(cohort.regions)].sum())
    outside = 1 - compared / n_finite if n_finite else 0.0
    return Measured(values, n_pixels, seconds, outside, sums.maps(tuple(predictors), cohort.regions))


def _predict(
    name: str, predictor: Predictor, batch: PairBatch, subjects: Sequence[str], regions: Sequence[str]
) -> Targets:
    predictions = predictor.predict(batch.sources, subjects=subjects)
    if predictions.shape != batch.targets.shape:
        raise SettingsError(
            f"method {name!r} answered {len(batch.sources)} queries with shape {predictions.shape}; this cohort "
            f"(regions {', '.join(regions)}) needs {batch.targets.shape}: use a method made for its regions and "
            "size"
        )
    if np.isinf(predictions).any():
        raise SettingsError(
            f"method {name!r} answered with infinite values; only numbers and NaN (silence) are allowed"
        )
    return predictions
