"""Every table of a report, in its order."""

from mris.evaluation.results import Results
from mris.reporting.interval_table import interval_table
from mris.reporting.site_tables import site_tables
from mris.reporting.tables import (
    Cell,
    Table,
    cost_table,
    difference_tables,
    error_table,
    has_costs,
    number,
    percent,
    recall_table,
    strata_table,
)


def all_tables(results: Results) -> tuple[Table, ...]:
    """Every table that has numbers."""
    tables = [error_table(results, region) for region in results.regions]
    tables += difference_tables(results)
    tables += [strata_table(results, region, label) for label in results.settings.by for region in results.regions]
    if results.intervals:
        tables.append(interval_table(results))
    if results.recalls:
        tables.append(recall_table(results))
    tables += site_tables(results)
    if results.people_shown:
        tables.append(people_table(results))
    if has_costs(results):
        tables.append(cost_table(results))
    return tuple(tables)


def people_table(results: Results) -> Table:
    """The share of a map that the people who count most make up, a row a bundle."""
    first = results.people_shown[0]
    rows = tuple(
        (Cell(row.method), *(Cell(percent(share)) for share in row.shares), Cell(number(row.n_contributing, 0)))
        for row in results.people_shown
    )
    return Table(
        "How many people make up a map: the share of all weights, without their signs, that those have who count "
        f"most, mean over {first.n_queries} queries",
        ("method", *(f"{n} {'person' if n == 1 else 'people'}" for n in first.n_people), "who count at all"),
        rows,
    )
