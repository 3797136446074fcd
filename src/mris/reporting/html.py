"""One evaluation becomes a folder: numbers, figures, and ``report.html``, a page that needs no other file."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from mris.drawing import Figure
from mris.evaluation.evaluate import Evaluation
from mris.evaluation.pictures import Example
from mris.evaluation.results import PerImage, Results, write_results
from mris.evaluation.trust import trust
from mris.evaluation.verdict import on_origin, shown_recall, verdict
from mris.images.write import atomic_write
from mris.reporting import comparison, figures, panels, tables
from mris.reporting.interval_table import interval_table
from mris.reporting.page import Card, Picture, render_page, table_markup
from mris.reporting.report_folder import FIGURES, PER_IMAGE, REPORT, RESULTS, TABLES, report_folder
from mris.reporting.report_tables import all_tables, people_table
from mris.reporting.site_tables import site_tables


def write_evaluation(evaluation: Evaluation, out_dir: str | Path) -> Path:
    """Write an evaluation: numbers, single images' numbers, figures, page.

    They appear when all of them are written; ``report.html`` comes last, so that where it is, the rest is.

    Args:
        evaluation: What `mris.evaluate` gave.
        out_dir: Folder, made if it is missing. An earlier evaluation is replaced: none of its pictures of people stays.

    Returns:
        Path of ``report.html``.

    Raises:
        OutputError: The folder holds what no evaluation wrote, or a file cannot be written.
    """
    folder = Path(out_dir)
    pictures = draw(evaluation)
    with report_folder(folder) as unfinished:
        write_results(unfinished / RESULTS, evaluation.results)
        write_per_image(unfinished / PER_IMAGE, evaluation.per_image)
        with atomic_write(unfinished / TABLES) as path:
            texts = [f"{note}\n" for note in on_origin(evaluation.results)]
            texts += map(tables.markdown, all_tables(evaluation.results))
            path.write_text("\n".join(texts), encoding="utf-8")
        for shown in pictures.values():
            with atomic_write(unfinished / FIGURES / f"{shown.name}.png") as path:
                path.write_bytes(shown.data)
        with atomic_write(unfinished / REPORT) as path:
            path.write_text(render(evaluation, pictures), encoding="utf-8")
    return folder / REPORT


def write_per_image(path: Path, per_image: PerImage) -> None:
    """Write one row an image, method and region; empty where an image has no pixel to compare.

    Retrieval ranks stand beside, one column an encoder, empty where the image was no query.
    """
    ranks = [f"rank {name}" for name in per_image.ranks]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "method", "region", "n_pixels", *per_image.metrics, *ranks])
        for i, key in enumerate(per_image.keys):
            own = [int(rank[i]) or "" for rank in per_image.ranks.values()]
            for m, method in enumerate(per_image.methods):
                for r, region in enumerate(per_image.regions):
                    n_pixels = int(per_image.n_pixels[r, i])
                    numbers = [f"{value:.6g}" if n_pixels else "" for value in per_image.values[m, r, i]]
                    writer.writerow([key, method, region, n_pixels, *numbers, *own])


def draw(evaluation: Evaluation) -> dict[str, Picture]:
    """Draw every figure of a report, by name."""
    results, unit = evaluation.results, evaluation.results.cohort.unit
    regions, first = results.cohort.regions, results.methods[0].name
    scales = panels.shared_scales(evaluation.examples)
    drawn = [
        _picture(
            "intervals",
            figures.interval_figure(results, "median", f"median absolute error ({unit})"),
            "Median absolute error of each method with its interval",
            f"Median absolute error per image, mean over images, with its interval; left is better ({unit}).",
        ),
        _picture(
            "error_map",
            panels.error_map_figure(evaluation.error_maps, unit),
            "Maps of the mean absolute error of each method",
            f"Mean absolute error at each pixel over all test images ({unit}); bright is worse. "
            "One scale for all methods.",
        ),
        _picture(
            "bias_map",
            panels.bias_map_figure(evaluation.error_maps, unit),
            "Maps of the mean signed error of each method",
            f"Mean of synthesis minus truth ({unit}): red where a method gives too much, blue where too little.",
        ),
    ]
    drawn += [
        _picture(
            f"by_{i}",
            figures.strata_figure(results, label, "median", f"median absolute error ({unit})"),
            f"Median absolute error of each method by {label}",
            f"Median absolute error by {label}, mean over the images of each group, with intervals; lower is better.",
        )
        for i, label in enumerate(results.settings.by, start=1)
    ]
    if results.recalls:
        drawn.append(
            _picture(
                "recall",
                figures.recall_figure(results),
                "Recall against the number of neighbors",
                f"Share of queries whose own target is among their k nearest of {results.recalls[0].gallery_size}; "
                "shaded: interval; dashed: what guessing gives.",
            )
        )
    drawn += comparison_pictures(evaluation, scales)
    for i, example in enumerate(evaluation.examples, start=1):
        drawn.append(_example_picture(i, example, regions, unit, scales, first))
        strip = panels.neighbors_figure(example, regions, unit, scales)
        if strip is not None:
            drawn.append(
                _picture(
                    f"neighbors_{i:02d}",
                    strip,
                    f"Who counts most for {example.key}",
                    "The training targets that count most in the synthesis, most first; above each its cosine "
                    "similarity and its weight, negative where the synthesis was moved away from it. They are other "
                    "people's images.",
                )
            )
    return {shown.name: shown for shown in drawn}


def render(evaluation: Evaluation, pictures: Mapping[str, Picture]) -> str:
    """Fill the page: one HTML text with style and images inside, no scripts, no links outward."""
    results = evaluation.results
    strata = [
        {
            "label": label,
            "figure": pictures[f"by_{i}"],
            "tables": [table_markup(tables.strata_table(results, region, label)) for region in results.regions],
        }
        for i, label in enumerate(results.settings.by, start=1)
    ]
    examples = [
        {
            "title": f"{example.title.capitalize() if example.title.isalpha() else example.title}: {example.key}",
            "figure": pictures[f"example_{i:02d}"],
            "neighbors": pictures.get(f"neighbors_{i:02d}"),
        }
        for i, example in enumerate(evaluation.examples, start=1)
    ]
    answers = trust(results)
    told = [sentence for answer in answers for sentence in answer.sentences]
    return render_page(
        "report.html",
        first=results.methods[0].name,
        cohort=results.cohort,
        created=results.created.replace("T", " ").replace("+00:00", " UTC"),
        versions=results.versions,
        confidence=f"{100 * results.settings.confidence:g} %",
        n_bootstrap=results.settings.n_bootstrap,
        seed=results.settings.seed,
        batch_size=results.settings.batch_size,
        data_range=tables.number(results.settings.data_range, tables.unit_digits(results)),
        outside=tables.percent(results.cohort.outside_atlas, 2),
        by=results.settings.by,
        synthesis=synthesis_text(results),
        cards=_cards(results),
        trust=answers,
        verdict=[sentence for sentence in verdict(results) if sentence not in told],
        figures=pictures,
        tables={
            "error": [table_markup(tables.error_table(results, region)) for region in results.regions],
            "difference": [table_markup(table) for table in tables.difference_tables(results)],
            "people": table_markup(people_table(results)) if results.people_shown else None,
            "sites": [table_markup(table) for table in site_tables(results)],
            "cost": table_markup(tables.cost_table(results)) if tables.has_costs(results) else None,
        },
        strata=strata,
        retrieval={
            "gallery_size": results.recalls[0].gallery_size,
            "n_queries": next(row.n_queries for row in results.recalls if row.label == ""),
            "figure": pictures["recall"],
            "table": table_markup(tables.recall_table(results)),
        }
        if results.recalls
        else None,
        intervals=table_markup(interval_table(results)) if results.intervals else None,
        comparison=[shown for name, shown in pictures.items() if name.startswith("figure3_")],
        examples=examples,
        contents=_contents(results, any(name.startswith("figure3_") for name in pictures)),
    )


def synthesis_text(results: Results) -> str:
    """Say how each bundle chose and weighed people; nothing where none was evaluated."""
    return ". ".join(f"{name}: {readout}" for name, readout in results.settings.readouts.items())


def _contents(results: Results, has_comparison: bool) -> list[tuple[str, str]]:
    return [
        *([("trust", "Can it be trusted here?")] if trust(results) else []),
        ("summary", "In short"),
        ("error", "Error of the images"),
        *((f"by-{i}", f"By {label}") for i, label in enumerate(results.settings.by, start=1)),
        *([("coverage", "Intervals")] if results.intervals else []),
        *([("retrieval", "Retrieval")] if results.recalls else []),
        *([("people", "People behind a map")] if results.people_shown else []),
        *([("sites", "Sites")] if results.site_audit is not None else []),
        *([("cost", "Cost")] if tables.has_costs(results) else []),
        *([("methods", "Methods side by side")] if has_comparison else []),
        ("maps", "Where the errors lie"),
        ("examples", "Examples"),
        ("method", "How it was measured"),
    ]


def _cards(results: Results) -> list[Card]:
    first, region, unit = results.methods[0].name, results.regions[-1], results.cohort.unit
    error = results.estimate(first, "median")
    value, low, high = (tables.number(x, tables.unit_digits(results)) for x in (error.value, error.low, error.high))
    ends = _unbroken(low, high)
    cards = [Card(f"{value} {unit}", f"median absolute error of {first}, {region} {ends}")]
    cards += [
        Card(
            f"{tables.signed(100 * row.relative, 1)} %",
            f"median error against {row.reference}, below 0 is better "
            f"{_unbroken(tables.signed(100 * row.relative_low, 1), tables.signed(100 * row.relative_high, 1))}",
        )
        for row in results.differences
        if (row.method, row.region, row.label, row.metric) == (first, region, "", "median")
    ][:3]
    shown = shown_recall([row for row in results.recalls if row.label == ""])
    if shown is not None:
        cards.append(
            Card(
                tables.percent(shown.value),
                f"find their own target among the {shown.k} nearest of {shown.gallery_size} "
                f"(chance {tables.percent(shown.chance)})",
            )
        )
    return cards


def _unbroken(low: str, high: str) -> str:
    """Write an interval that no line break divides."""
    return f"[{low},\N{NO-BREAK SPACE}{high}]"


def comparison_pictures(evaluation: Evaluation, scales: panels.Scales) -> list[Picture]:
    """Draw Figure 3 of the paper: two pictures a region; none where an evaluation has no example to show."""
    results = evaluation.results
    label, unit = next(iter(results.settings.by), None), results.cohort.unit
    shown = comparison.one_a_stratum(evaluation.examples, label)
    if not shown:
        return []
    rows = f"one example of each group of {label}" if label else "the best, the median and the worst of all images"
    chosen = (
        f"{rows[0].upper()}{rows[1:]}, chosen by rule: "
        f"{'the median one' if label else 'ranked'} by the error of {results.methods[0].name}."
    )
    drawn: list[Picture] = []
    for r, region in enumerate(results.cohort.regions):
        name = file_name(region)
        name = f"{name}_{r}" if f"figure3_{name}" in [shown.name for shown in drawn] else name
        drawn += [
            _picture(
                f"figure3_{name}",
                comparison.comparison_figure(shown, r, unit, scales),
                f"Source, truth and the synthesis of every method, {region}: {rows}",
                f"{region}: source, truth and synthesis ({unit}). {chosen} One scale for truth and methods; gray is "
                "outside the mask.",
                comparison.DPI,
            ),
            _picture(
                f"figure3_errors_{name}",
                comparison.comparison_error_figure(shown, r, unit, scales),
                f"Absolute error of every method, {region}: {rows}",
                f"{region}: absolute error of the same examples ({unit}) on one scale; above each its median in this "
                "region.",
                comparison.DPI,
            ),
        ]
    return drawn


def file_name(text: str) -> str:
    """Make a name of a file of any text.

    Example:
        >>> file_name("upper half/left")
        'upper_half_left'
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._") or "region"


def _example_picture(
    i: int, example: Example, regions: tuple[str, ...], unit: str, scales: panels.Scales, first: str
) -> Picture:
    digits = tables.error_digits([[p.median_error for p in example.pictures]])
    errors = ", ".join(f"{p.method} {tables.number(p.median_error, digits)}" for p in example.pictures)
    return _picture(
        f"example_{i:02d}",
        panels.example_figure(example, regions, unit, scales),
        f"Source, truth and every method's synthesis for {example.key}",
        f"Chosen as: {example.title} (by the error of {first}). Median absolute error ({unit}): {errors}.",
    )


def _picture(name: str, figure: Figure, alt: str, caption: str, dpi: int = figures.DPI) -> Picture:
    return Picture(name, figures.png(figure, dpi), alt, caption, dpi)
