"""Several trainings of one experiment become one result: means over seeds, intervals by subject, spread over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from mris.cohort.cohort import Cohort
from mris.evaluation.aggregate import summarize
from mris.evaluation.bootstrap import Resamples
from mris.evaluation.prevalence import describe_prevalences
from mris.evaluation.results import Difference, PerImage, Recall, Results, read_results
from mris.evaluation.strata import Merge, groups_of
from mris.evaluation.verdict import turned


@dataclass(frozen=True)
class OverSeeds:
    """One experiment over its seeds.

    Args:
        mean: Means over seeds of each image's numbers, summarized as those of one seed are.
        single: The results of each seed.
    """

    mean: Results
    single: tuple[Results, ...]

    def extremes(self, method: str, metric: str, region: str) -> tuple[float, float]:
        """Least and greatest value of a seed, over all images."""
        values = [one.estimate(method, metric, region=region).value for one in self.single]
        return min(values), max(values)


def read_seeds(folders: Sequence[Path], queries: Cohort, merge: Merge) -> OverSeeds:
    """Read the evaluations of several seeds on the same queries, and average them.

    Args:
        folders: The evaluations' folders, each with results.json and per_image.npz; strata, weights and resamples of
            the first are those of the mean.
        queries: The test view that all were judged on.
        merge: Values of a label that share a stratum, as they were merged for the evaluations.
    """
    single = tuple(read_results(folder / "results.json") for folder in folders)
    first = single[0]
    values, ranks = [], []
    for folder in folders:
        with np.load(folder / "per_image.npz", allow_pickle=False) as archive:
            values.append(archive["values"])
            n_pixels = archive["n_pixels"]
            ranks.append({n.removeprefix("rank "): archive[n] for n in archive.files if n.startswith("rank ")})
    names = tuple(method.name for method in first.methods)
    metrics = tuple(dict.fromkeys(row.metric for row in first.estimates))
    keys = tuple(str(key) for key in queries.keys)
    per_image = PerImage(keys, names, first.regions, metrics, np.mean(values, axis=0), n_pixels, {})
    groups = groups_of(queries, first.settings.by, merge)
    settings = first.settings
    resamples = Resamples.draw(queries.subjects, settings.n_bootstrap, np.random.default_rng(0), settings.confidence)
    prevalences = describe_prevalences({row.label: row.weights for row in first.prevalences}, groups, per_image)
    estimates, differences = summarize(per_image, groups, resamples, prevalences)
    recalls = [_recall(row, [rank[row.encoder] for rank in ranks], resamples) for row in first.recalls if not row.label]
    methods = tuple(
        replace(
            method,
            ms_per_query=float(np.mean([one.methods[i].ms_per_query for one in single])),
            training_seconds=_mean([one.methods[i].training_seconds for one in single]),
            peak_megabytes=_mean([one.methods[i].peak_megabytes for one in single]),
        )
        for i, method in enumerate(first.methods)
    )
    mean = replace(
        first,
        estimates=estimates,
        differences=differences,
        recalls=tuple(recalls),
        methods=methods,
        prevalences=prevalences,
    )
    return OverSeeds(mean, single)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _recall(row: Recall, ranks: Sequence[Int64[np.ndarray, " n"]], resamples: Resamples) -> Recall:
    asked = ranks[0] > 0
    hits = np.mean([(rank[asked] <= row.k).astype(float) for rank in ranks], axis=0)
    low, high = resamples.of(asked).interval(hits[:, None])
    median = float(np.mean([np.median(rank[asked]) for rank in ranks]))
    return replace(row, value=float(hits.mean()), low=float(low[0]), high=float(high[0]), median_rank=median)


def reference_differences(seeds: OverSeeds, reference: str, region: str, metric: str) -> list[Difference]:
    """Each method against one, over all images; the sign is method minus reference."""
    found = []
    for row in seeds.mean.differences:
        if row.label or (row.region, row.metric) != (region, metric) or reference not in (row.method, row.reference):
            continue
        if row.reference == reference:
            found.append(row)
        else:
            flipped = seeds.mean.estimate(row.reference, metric, region=region).value
            base = seeds.mean.estimate(reference, metric, region=region).value
            found.append(turned(row, (flipped - base) / base if base else float("nan")))
    return found
