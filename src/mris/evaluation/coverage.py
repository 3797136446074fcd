"""Whether intervals hold what they state: the share of a person's pixels inside, by region and stratum, and width.

The mean is over images; its interval resamples people, as everywhere. What the synthesis itself predicts makes strata
of its own, those that the calibration has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from mris.cohort.few_people import FEWEST_SUBJECTS
from mris.evaluation.bootstrap import Resamples, percentile_interval
from mris.evaluation.predictor import Judgement, SynthesizerPredictor
from mris.evaluation.results import COMBINED, IntervalCoverage, Stratum
from mris.evaluation.strata import Group
from mris.synthesis.synthesis import Synthesis
from mris.types import AtlasMask, Sources, TargetMap, Targets

PREDICTED = "predicted mean"
"""Name of the label of strata by what the synthesis itself predicts."""


@dataclass(frozen=True)
class Gauge(SynthesizerPredictor):
    """A synthesizer as a method, whose intervals are compared with the truth as its syntheses are.

    Args:
        judged: Each synthesis beside its truth, in the order of the queries.
    """

    judged: list[Judgement] = field(default_factory=list)
    _answered: list[Synthesis] = field(default_factory=list)

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        """Synthesize one target a source, (n, r, h, w); `judge` is to follow."""
        self._answered[:] = self.synthesizer.stream(sources, exclude_subjects=subjects)
        return self.images(self._answered)

    def judge(self, truths: Targets, masks: Sequence[AtlasMask]) -> list[Judgement]:
        """Compare the syntheses of the last `predict` with their truths, inside a mask each."""
        found = [
            Judgement(None)
            if synthesis.level is None
            else Judgement(synthesis.level, tuple(_measured(synthesis, truth, mask, self.regions)), _stratum(synthesis))
            for synthesis, truth, mask in zip(self._answered, truths, masks, strict=True)
        ]
        self._answered.clear()
        return found

    def keep(self, judgements: Sequence[Judgement]) -> None:
        """Keep what was judged, here or elsewhere."""
        self.judged.extend(judgements)


def interval_coverage(
    name: str, gauge: Gauge, groups: Sequence[Group], resamples: Resamples
) -> tuple[IntervalCoverage, ...]:
    """Sum up the intervals of one method; nothing where it gives none.

    Args:
        name: The method's.
        gauge: What it has seen in an evaluation of all images.
        groups: Strata of the images.
        resamples: Of the images' subjects.
    """
    level = gauge.judged[0].level
    if level is None:
        return ()
    regions = gauge.regions
    measured = [one.measured for one in gauge.judged]
    strata = [one.stratum for one in gauge.judged]
    names = [*regions, *([COMBINED] if len(regions) > 1 else [])]
    columns = np.array(measured)
    by_prediction = np.array(strata)
    predicted = [Group(PREDICTED, name, by_prediction == name) for name in sorted(set(strata))]
    rows = []
    for group in [*groups, *(predicted if len(predicted) > 1 else [])]:
        values, own = columns[group.member], resamples.of(group.member)
        if group.label == PREDICTED and own.n_subjects < FEWEST_SUBJECTS:  # it would tell of each of them
            continue
        low, high = percentile_interval(own.means(values), own.confidence)
        inside, width, of_means = (
            _means(values[:, start : start + len(names)]) for start in range(0, 3 * len(names), len(names))
        )
        stratum = Stratum(group.label, group.name, len(values), own.n_subjects)
        strange = float(values[:, -1].mean())
        rows += [
            IntervalCoverage(name, region, stratum, level, value, lowest, highest, extent, mean, strange)
            for region, value, lowest, highest, extent, mean in zip(
                *(names, inside, low.tolist(), high.tolist(), width, of_means), strict=False
            )
        ]
    return tuple(rows)


def _measured(synthesis: Synthesis, truth: TargetMap, mask: AtlasMask, regions: tuple[str, ...]) -> list[float]:
    """Give shares inside, widths, and whether means are inside, by region and combined; and whether it is strange."""
    assert synthesis.lower is not None and synthesis.upper is not None
    channels = [synthesis.regions.index(region) for region in regions]
    lower, upper = synthesis.lower[channels], synthesis.upper[channels]
    inside, width = (lower <= truth) & (truth <= upper), upper - lower
    masks = [mask & (np.arange(len(regions)) == place)[:, None, None] for place in range(len(regions))]
    masks += [mask] if len(regions) > 1 else []
    facts = [part.intervals for part in synthesis.contributions if part.intervals is not None]
    means = {one.region: one for part in facts for one in part.means if not one.part}
    held = [
        float(means[region].lower <= truth[own].mean() <= means[region].upper)
        if region in means and own.any()
        else np.nan
        for region, own in zip(regions, masks, strict=False)
    ]
    held += [_means(np.array(held)[:, None])[0]] if len(regions) > 1 else []
    shares = [[float(values[own].mean()) if own.any() else np.nan for own in masks] for values in (inside, width)]
    strange = synthesis.strangeness
    return [*shares[0], *shares[1], *held, np.nan if strange is None else float(strange.unusual)]


def _stratum(synthesis: Synthesis) -> str:
    """Name the calibration's stratum of the first database: those of several need not agree."""
    facts = synthesis.contributions[0].intervals
    assert facts is not None
    return f"{facts.stratum + 1} of {facts.n_strata}"


def _means(values: Float64[np.ndarray, "n m"]) -> list[float]:
    known = np.isfinite(values)
    sums, sizes = np.where(known, values, 0).sum(axis=0), known.sum(axis=0)
    means: list[float] = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan).tolist()
    return means
