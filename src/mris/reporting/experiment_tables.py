"""Tables of an experiment over several trainings: means, the spread of seeds, differences, costs."""

from collections.abc import Mapping, Sequence

from mris.reporting.tables import Cell, Table, duration, number, percent, signed
from mris.study.class_results import ClassEstimate
from mris.study.experiment_results import TRUE_MAPS, MethodCost
from mris.study.seeds import OverSeeds, reference_differences


def spread_table(seeds: OverSeeds, metric: str) -> Table:
    """Mean over seeds, and the least and greatest seed, of one metric for each method and region."""
    regions = seeds.mean.regions
    rows = []
    for method in seeds.mean.methods:
        cells = []
        for region in regions:
            value = seeds.mean.estimate(method.name, metric, region=region).value
            low, high = seeds.extremes(method.name, metric, region)
            cells.append(Cell(f"{number(value)} ({number(low)} to {number(high)})"))
        rows.append((Cell(method.name), *cells))
    caption = (
        f"{metric} error in {seeds.mean.cohort.unit}: mean over {len(seeds.single)} seeds (least to greatest seed)"
    )
    return Table(caption, ("method", *regions), tuple(rows))


def recall_spread_table(seeds: OverSeeds) -> Table:
    """Least and greatest seed of each recall."""
    rows: dict[str, list[Cell]] = {}
    for row in seeds.mean.recalls:
        own = [
            other.value
            for one in seeds.single
            for other in one.recalls
            if (other.encoder, other.k, other.label) == (row.encoder, row.k, "")
        ]
        rows.setdefault(row.encoder, []).append(
            Cell(f"{percent(row.value)} ({percent(min(own))} to {percent(max(own))})")
        )
    ks = sorted({row.k for row in seeds.mean.recalls})
    caption = f"Recall: mean over {len(seeds.single)} seeds (least to greatest seed)"
    return Table(caption, ("encoder", *(f"R@{k}" for k in ks)), tuple((Cell(n), *cells) for n, cells in rows.items()))


def differences_table(seeds: OverSeeds, reference: str, metric: str) -> Table:
    """Error of each method minus that of one, by region, over all images."""
    rows = []
    for region in seeds.mean.regions:
        for row in reference_differences(seeds, reference, region, metric):
            interval = f"[{signed(row.low, 3)}, {signed(row.high, 3)}]"
            share = f"{signed(100 * row.relative, 1)} %"
            rows.append((Cell(region), Cell(row.method), Cell(signed(row.value, 3), interval), Cell(share)))
    caption = (
        f"{metric} error minus that of {reference}, same images, same resamples of people; an interval without 0 "
        "is a difference that resampling people does not undo"
    )
    return Table(caption, ("region", "method", "difference", "relative"), tuple(rows))


def true_maps_table(differences: Mapping[str, Sequence[ClassEstimate]], metrics: Sequence[str]) -> Table:
    """Metrics of the classifier on each method's maps minus those of the classifier on true maps."""
    rows = []
    for method, parts in differences.items():
        own = {row.metric: row for row in parts if row.class_name == ""}
        cells = [Cell(signed(own[m].value, 3), f"[{signed(own[m].low, 3)}, {signed(own[m].high, 3)}]") for m in metrics]
        rows.append((Cell(method), *cells))
    caption = f"Classifier on each method's maps minus classifier on {TRUE_MAPS}, same people"
    return Table(caption, ("method", *metrics), tuple(rows))


def costs_table(seeds: OverSeeds, costs: Mapping[str, MethodCost], metric: str) -> Table:
    """What each method costs beside its error, over all images."""
    rows = tuple(
        (
            Cell(title),
            Cell(f"{cost.n_parameters:,}"),
            Cell(duration(cost.training_seconds)),
            Cell(number(cost.ms_single, 1)),
            Cell(number(cost.ms_batched, 1)),
            Cell(number(cost.peak_megabytes, 0)),
            Cell(number(seeds.mean.estimate(title, metric).value)),
        )
        for title, cost in costs.items()
    )
    caption = (
        "Cost beside error: each method in a process of its own; a query alone (median of 50) and in batches of 64, on "
        "ONNX Runtime, prepared sources in memory; for MRIS encoding, search and average together"
    )
    header = ("method", "parameters", "training", "ms, one query", "ms, batched", "peak memory (MB)", f"{metric} error")
    return Table(caption, header, rows)
