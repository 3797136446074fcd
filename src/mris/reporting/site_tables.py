"""An audit of sites as tables."""

from mris.evaluation.results import Results
from mris.evaluation.site_results import PIXELS, SiteAudit, SiteShare
from mris.reporting.tables import Cell, Table, confidence_of, ends, number, percent, unit_digits


def site_tables(results: Results) -> tuple[Table, ...]:
    """What can be seen of the site, recall within it, and the error without it; nothing where it was not asked."""
    audit = results.site_audit
    if audit is None:
        return ()
    tables = [_seen_table(audit, results)]
    tables += [_recall_table(audit, results)] if audit.recalls else []
    tables += [_left_out_table(audit, results)] if audit.left_out else []
    return tuple(tables)


def _seen_table(audit: SiteAudit, results: Results) -> Table:
    shares = {(row.encoder, row.what): row for row in audit.shares}
    rows = tuple(
        (Cell(name), *(cell for what in ("neighbors", "told") for cell in _beside_chance(shares.get((name, what)))))
        for name in (*audit.encoders, PIXELS)
    )
    without = f"; {audit.n_without} more images have none" if audit.n_without else ""
    images = audit.shares[0]
    return Table(
        f"What tells the {audit.label}, over {images.n_images} images of {images.n_subjects} people and "
        f"{audit.n_sites} values{without}: the share of the {audit.n_neighbors} nearest entries of other people that "
        f"have the query's own, and the share of images of which a regression names it (cross-validated by "
        f"person in {audit.n_folds} parts), with {confidence_of(results)} intervals by subject; bold where chance lies "
        "below",
        ("encoder", "of the nearest", "chance", "named", "chance"),
        rows,
    )


def _beside_chance(row: SiteShare | None) -> tuple[Cell, Cell]:
    if row is None:
        return Cell(percent(float("nan"))), Cell(percent(float("nan")))
    found = Cell(percent(row.value), ends(row.low, row.high, percent), row.low > row.expected)
    return found, Cell(percent(row.expected))


def _recall_table(audit: SiteAudit, results: Results) -> Table:
    rows = tuple(
        (
            Cell(f"{row.encoder}, R@{row.k}"),
            Cell(percent(row.value), ends(row.low, row.high, percent)),
            Cell(percent(row.any_site)),
            Cell(percent(row.chance)),
        )
        for row in audit.recalls
    )
    return Table(
        f"Recall of {audit.recalls[0].n_queries} queries in a gallery of their own {audit.label} alone, with "
        f"{confidence_of(results)} intervals by subject, beside that in galleries as large of any {audit.label}",
        ("encoder", f"own {audit.label}", f"any {audit.label}", "chance"),
        rows,
    )


def _left_out_table(audit: SiteAudit, results: Results) -> Table:
    digits = unit_digits(results)
    rows = tuple(
        (
            Cell(f"{row.encoder}, {row.site} (n = {row.n_images})"),
            Cell(number(row.error, digits)),
            Cell(number(row.left_out, digits)),
            Cell(
                percent((row.left_out - row.error) / row.error),
                ends(row.low / row.error, row.high / row.error, percent),
                row.low > 0 or row.high < 0,
            ),
        )
        for row in audit.left_out
    )
    return Table(
        f"Median absolute error in {results.cohort.unit} of the {audit.n_neighbors} nearest (Eq. 4) with the whole "
        f"database, and without the entries of the query's own {audit.label}; their difference with its "
        f"{confidence_of(results)} interval by subject. The encoder has still seen that {audit.label}, and the "
        "database is smaller",
        ("queries", "whole", "without", "difference"),
        rows,
    )
