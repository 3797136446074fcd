"""The table of the intervals of bundles."""

from functools import partial

from mris.evaluation.results import ALL, IntervalCoverage, Results
from mris.reporting import tables
from mris.reporting.tables import Cell, Table


def interval_table(results: Results) -> Table:
    """How much the intervals hold, by region and stratum, and how wide they are."""
    levels = ", ".join(dict.fromkeys(tables.percent(row.level, 0) for row in results.intervals))
    write = partial(tables.number, digits=tables.unit_digits(results))
    rows = tuple(
        (
            Cell(_named(row)),
            Cell(f"{row.stratum.n_images:,}"),
            Cell(tables.percent(row.value), tables.ends(row.low, row.high, tables.percent)),
            Cell(write(row.width)),
            Cell(tables.percent(row.of_means)),
            Cell(tables.percent(row.strange)),
        )
        for row in results.intervals
    )
    return Table(
        f"Intervals: the share of an image's pixels, and of means, that they hold ({levels} stated), their width in "
        f"{results.cohort.unit}, and the share of images called unlike anything known (5 % are false alarms)",
        ("bundle, region, group", "images", "pixels inside", "width", "means inside", "called strange"),
        rows,
    )


def _named(row: IntervalCoverage) -> str:
    group = "" if row.stratum.name == ALL else f", {row.stratum.label} {row.stratum.name}"
    return f"{row.method}, {row.region}{group}"
