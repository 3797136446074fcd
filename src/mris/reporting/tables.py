"""Results as tables: Markdown for a README, HTML for the report. Numbers are arranged and rounded, never computed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from math import floor, isfinite, log10

from mris.evaluation.aggregate import DIFFERENCE_METRICS
from mris.evaluation.image_error import METRIC, METRICS
from mris.evaluation.results import ALL, COMBINED, WEIGHTED, Difference, Estimate, Prevalence, Recall, Results
from mris.study.database_size_results import DatabaseSizeCurve, SizePoint

MISSING_NUMBER = "–"
UNIT_METRICS = tuple(name for name, metric in METRIC.items() if metric.unit == "target")
"""Errors in the unit of the targets."""


@dataclass(frozen=True)
class Cell:
    """One cell: a number, what stands small beside it, and whether it is the column's best.

    Args:
        text: The number or name.
        note: Its interval.
        strong: Set apart from the others.
    """

    text: str
    note: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Args:
        caption: What it shows, in one sentence.
        header: Names of the columns.
        rows: Rows of cells, each as long as the header; the first cell names the row.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def number(value: float, digits: int = 3) -> str:
    """Write a number with a fixed count of decimals (fewer for large ones); a dash where there is none.

    Example:
        >>> number(0.27941), number(27.94, 1), number(float("nan"))
        ('0.279', '27.9', '–')
    """
    if not isfinite(value):
        return MISSING_NUMBER
    size = abs(value)
    text = f"{size:,.0f}" if size >= 1000 else f"{size:.{min(digits, 2) if size >= 100 else digits}f}"
    return f"−{text}" if value < 0 and text.strip("0.") else text  # what rounds to 0 has no sign


def error_digits(columns: Iterable[Iterable[float]]) -> int:
    """Choose the decimals of errors by their size: 3, or as many as show three figures of the smallest column.

    Args:
        columns: The errors of each column. A column is as large as its largest error, so that a method without error
            decides nothing; one below 0.01 would show a single figure, or none.

    Example:
        >>> error_digits([[0.279, 0.301], [0.08, 0.09]]), error_digits([[2.8e-4, 3.0e-4], [8e-5, 0.0]])
        (3, 7)
    """
    sizes = [max((value for value in column if isfinite(value)), default=0.0) for column in columns]
    smallest = min((size for size in sizes if size > 0), default=1.0)
    return 3 if smallest >= 0.01 else 2 - floor(log10(smallest))


def unit_digits(results: Results) -> int:
    """Choose one count of decimals for all errors of a report that are in the unit of the targets."""
    columns = [
        [row.value for row in results.estimates if (row.metric, row.label) == (metric, "")] for metric in UNIT_METRICS
    ]
    return error_digits(columns)


def digits_of(metric: str, results: Results) -> int:
    """Decimals of a metric in a report."""
    digits = METRIC[metric].digits
    return unit_digits(results) if digits is None else digits


def writer_of(metric: str, results: Results) -> Callable[[float], str]:
    """How a metric is written in a report."""
    return percent if METRIC[metric].unit == "share" else partial(number, digits=digits_of(metric, results))


def title_of(metric: str, unit: str, name: str | None = None) -> str:
    """Name a metric, by its title if not otherwise, with its unit, which may be that of the targets."""
    in_unit = {"target": f" ({unit})", "dB": " (dB)"}
    return (name or METRIC[metric].title) + in_unit.get(METRIC[metric].unit, "")


def percent(value: float, digits: int = 1) -> str:
    """Write a share as a percentage; a dash where there is none."""
    return f"{number(100 * value, digits)} %" if isfinite(value) else MISSING_NUMBER


def markdown(table: Table) -> str:
    """Render a table as Markdown; the best are bold."""
    lines = [" | ".join(map(_escaped, table.header)), " | ".join(["---"] + ["---:"] * (len(table.header) - 1))]
    for row in table.rows:
        parts = [f"**{_escaped(cell.text)}**" if cell.strong else _escaped(cell.text) for cell in row]
        lines.append(" | ".join(f"{part} {cell.note}".strip() for part, cell in zip(parts, row, strict=True)))
    return "\n".join([f"{table.caption}", "", *(f"| {line} |" for line in lines), ""])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def html(table: Table) -> str:
    """Render a table as HTML; every text is escaped."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    body = []
    for row in table.rows:
        cells = [f'<th scope="row">{escape(row[0].text)}</th>', *(_html_cell(cell) for cell in row[1:])]
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table><caption>{escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def error_table(results: Results, region: str) -> Table:
    """All metrics of all methods over all images of one region, with intervals and the cost of a query."""
    cells = [_metric_column(results, region, metric) for metric in METRICS]
    cost = [Cell(number(method.ms_per_query, 1)) for method in results.methods]
    rows = tuple(
        (Cell(method.name), *(column[i] for column in cells), cost[i]) for i, method in enumerate(results.methods)
    )
    n = results.estimate(results.methods[0].name, "median", region=region)
    return Table(
        f"{region}: means over {n.n_images} images of {n.n_subjects} people, with {confidence_of(results)} intervals",
        ("method", *(title_of(metric, results.cohort.unit) for metric in METRICS), "ms per query"),
        rows,
    )


def strata_table(results: Results, region: str, label: str, metric: str = "median") -> Table:
    """One metric by stratum: a row a method, a column a value of the label, all images after them.

    For the median error the MAD stands beside the mean, as in the paper's Table 2. The prevalence-weighted mean comes
    last, where there is one, and the caption gives its weights.
    """
    strata = [s for s in results.strata if s.label == label]
    places = [(s.label, s.name) for s in strata] + [("", ALL)]
    titles = [f"{s.name} (n = {s.n_images})" for s in strata] + [f"all (n = {results.cohort.n_images})"]
    note = " ± median absolute deviation" if metric == "median" else ""
    unit = f" in {results.cohort.unit}" if metric in UNIT_METRICS else ""
    caption = f"{region}: {METRIC[metric].meaning}{note}{unit}, by {label}; n counts images"
    prevalence = prevalence_of(results, label)
    if prevalence is not None:
        places.append((label, WEIGHTED))
        titles.append(WEIGHTED)
        caption += f". {_weights_note(prevalence, region)}"
    columns = [_stratum_column(results, region, place, metric) for place in places]
    rows = tuple((Cell(method.name), *(column[i] for column in columns)) for i, method in enumerate(results.methods))
    return Table(caption, ("method", *titles), rows)


def prevalence_of(results: Results, label: str) -> Prevalence | None:
    """Find the weights of a label's strata, None where it has none."""
    return next((row for row in results.prevalences if row.label == label), None)


def difference_table(
    results: Results, region: str, label: str = "", stratum: str = ALL, method: str | None = None
) -> Table:
    """One method (the first) against each one after it, on the same people and the same resamples."""
    names = [row.name for row in results.methods]
    first = method or names[0]
    found = {
        (row.reference, row.metric): row
        for row in results.differences
        if (row.method, row.region, row.label, row.stratum) == (first, region, label, stratum)
    }
    digits = {name: digits_of(name, results) + (METRIC[name].unit == "dB") for name in DIFFERENCE_METRICS}
    rows = tuple(
        (
            Cell(f"{first} − {other}"),
            *(_difference_cell(found[other, name], digits[name]) for name in DIFFERENCE_METRICS),
        )
        for other in names[names.index(first) + 1 :]
    )
    titles = tuple(title_of(name, results.cohort.unit) for name in DIFFERENCE_METRICS)
    prevalence = prevalence_of(results, label) if stratum == WEIGHTED else None
    where = f", {label} = {stratum}" if label and prevalence is None else ""
    caption = (
        f"{region}{where}: paired differences{' of prevalence-weighted means' if prevalence else ''} with "
        f"{confidence_of(results)} intervals; bold where the interval leaves out 0"
    )
    if prevalence is not None:
        caption += f". {_weights_note(prevalence, region)}"
    return Table(caption, ("difference", *titles), rows)


def recall_table(results: Results) -> Table:
    """Recall of every encoder over all queries, beside chance: the paper's Table 1.

    A row is named by what the encoder reads: one region, or `COMBINED` for all of them.
    """
    rows_of: dict[str, list[Recall]] = {}
    for row in results.recalls:
        if row.label == "":
            rows_of.setdefault(row.encoder, []).append(row)
    anyone = next(iter(rows_of.values()))
    rows = [
        (
            Cell(_reads(recalls[0].regions, results)),
            Cell(name),
            *(Cell(percent(row.value), ends(row.low, row.high, percent)) for row in recalls),
            Cell(number(recalls[0].median_rank, 1)),
        )
        for name, recalls in rows_of.items()
    ]
    chance = [Cell(percent(row.chance)) for row in anyone]
    rows.append((Cell("chance"), Cell(""), *chance, Cell(number((anyone[0].gallery_size + 1) / 2, 1))))
    return Table(
        f"Recall of {anyone[0].n_queries} queries in a gallery of {anyone[0].gallery_size} targets, baseline visits "
        f"only, with {confidence_of(results)} intervals by subject",
        ("targets", "encoder", *(f"R@{row.k}" for row in anyone), "median rank"),
        tuple(rows),
    )


def _reads(regions: Sequence[str], results: Results) -> str:
    return COMBINED if 1 < len(regions) == len(results.cohort.regions) else ", ".join(regions)


def cost_table(results: Results) -> Table:
    """What each method costs: parameters, training, a query, memory; a dash where it is not known."""
    rows = tuple(
        (
            Cell(method.name),
            Cell(MISSING_NUMBER if method.n_parameters is None else f"{method.n_parameters:,}"),
            Cell(MISSING_NUMBER if method.training_seconds is None else duration(method.training_seconds)),
            Cell(number(method.ms_per_query, 1)),
            Cell(MISSING_NUMBER if method.peak_megabytes is None else number(method.peak_megabytes, 0)),
        )
        for method in results.methods
    )
    return Table(
        f"Cost: a query is asked in batches of {results.settings.batch_size}, without reading files; "
        "a dash is what is not known",
        ("method", "parameters", "training", "ms per query", "peak memory (MB)"),
        rows,
    )


def has_costs(results: Results) -> bool:
    """Say whether anything but the time of a query is known of any method's cost."""
    return any(
        part is not None
        for method in results.methods
        for part in (method.n_parameters, method.training_seconds, method.peak_megabytes)
    )


def duration(seconds: float) -> str:
    """Write a time in the two units that fit it.

    Example:
        >>> duration(8.25), duration(754), duration(12_400)
        ('8.2 s', '12 min 34 s', '3 h 26 min')
    """
    if seconds < 60:
        return f"{number(seconds, 1)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def difference_tables(results: Results) -> tuple[Table, ...]:
    """The first method against the others in every region, over all images and weighted by prevalence."""
    if len(results.methods) < 2:
        return ()
    places = [("", ALL)] + [(row.label, WEIGHTED) for row in results.prevalences]
    return tuple(difference_table(results, region, *place) for place in places for region in results.regions)


def database_size_table(curve: DatabaseSizeCurve, region: str, metric: str = "median") -> Table:
    """One metric with each share of the database's people: a row a method, a column a share.

    Beside each number stands its standard deviation over draws, below it the interval.
    """
    lines = [curve.line(method, metric, region) for method in curve.methods]
    digits = error_digits([[point.value for line in lines for point in line]])
    write: Callable[[float], str] = percent if METRIC[metric].unit == "share" else partial(number, digits=digits)
    rows = tuple(
        (Cell(method), *(Cell(_with_spread(p, write), ends(p.low, p.high, write)) for p in line))
        for method, line in zip(curve.methods, lines, strict=True)
    )
    what, unit = METRIC[metric].meaning, f" in {curve.unit}" if metric in UNIT_METRICS else ""
    return Table(
        f"{region}: {what}{unit} of {curve.n_queries} queries by the share of people in the database, mean ± standard "
        f"deviation of {curve.n_draws} draws, with {100 * curve.confidence:g} % intervals by subject; k = "
        f"{curve.n_neighbors}, or as many as there are",
        ("method", *(f"{100 * p.share:g} % (n = {p.n_subjects:,})" for p in lines[0])),
        rows,
    )


def _with_spread(point: SizePoint, write: Callable[[float], str]) -> str:
    return f"{write(point.value)} ± {write(point.spread)}" if isfinite(point.spread) else write(point.value)


def _metric_column(results: Results, region: str, metric: str) -> list[Cell]:
    found = [results.estimate(method.name, metric, region=region) for method in results.methods]
    if METRIC[metric].unit == "share":
        return [Cell(percent(row.value)) for row in found]
    write, best = writer_of(metric, results), _best(found, metric)
    return [Cell(write(row.value), ends(row.low, row.high, write), row is best) for row in found]


def _stratum_column(results: Results, region: str, place: tuple[str, str], metric: str) -> list[Cell]:
    label, name = place
    found = [
        results.estimate(method.name, metric, region=region, label=label, stratum=name) for method in results.methods
    ]
    best = _best(found, metric)
    write = writer_of(metric, results)
    if metric != "median":
        return [Cell(write(row.value), ends(row.low, row.high, write), row is best) for row in found]
    spreads = [
        results.estimate(method.name, "mad", region=region, label=label, stratum=name) for method in results.methods
    ]
    return [
        Cell(f"{write(row.value)} ± {write(mad.value)}", ends(row.low, row.high, write), row is best)
        for row, mad in zip(found, spreads, strict=True)
    ]


def _best(rows: Sequence[Estimate], metric: str) -> Estimate | None:
    known = [row for row in rows if isfinite(row.value)]
    if len(known) < 2:
        return None
    return (max if METRIC[metric].higher_is_better else min)(known, key=lambda row: row.value)


def _difference_cell(row: Difference, digits: int) -> Cell:
    text = signed(row.value, digits)
    if row.metric in UNIT_METRICS and isfinite(row.relative):
        text += f" ({signed(100 * row.relative, 1)} %)"
    ends = f"[{signed(row.low, digits)}, {signed(row.high, digits)}]" if isfinite(row.low) else ""
    return Cell(text, ends, strong=row.low > 0 or row.high < 0)


def signed(value: float, digits: int) -> str:
    """Write a number with its sign."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def ends(low: float, high: float, write: Callable[[float], str]) -> str:
    """Write an interval; nothing where there is none."""
    return f"[{write(low).removesuffix(' %')}, {write(high).removesuffix(' %')}]" if isfinite(low) else ""


def _weights_note(prevalence: Prevalence, region: str) -> str:
    shares = ", ".join(f"{name} {percent(share)}" for name, share in prevalence.shares(region).items())
    absent = prevalence.absent[region]
    lacking = f"; no image of {', '.join(absent)}, the other weights are divided by their sum" if absent else ""
    return f"Weights by prevalence of {prevalence.label}: {shares or 'none'}{lacking}"


def confidence_of(results: Results) -> str:
    """Write the share of resamples inside the intervals."""
    return f"{100 * results.settings.confidence:g} %"


def _html_cell(cell: Cell) -> str:
    note = f'<span class="note">{escape(cell.note)}</span>' if cell.note else ""
    text = f"<strong>{escape(cell.text)}</strong>" if cell.strong else escape(cell.text)
    return f"<td>{text}{note}</td>"
