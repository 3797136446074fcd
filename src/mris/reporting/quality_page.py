"""Map quality becomes a page that needs no other file, a CSV of scores, and a list for ``mris prepare --exclude``."""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from mris.cohort.quality.check import QualityCheck
from mris.cohort.quality.map_quality import LEAST_SUBJECTS, SCORES, MapQuality
from mris.cohort.report import PrepareReport
from mris.images.write import atomic_write
from mris.reporting import figures, quality_figures, tables
from mris.reporting.grid import Shades
from mris.reporting.page import Card, Picture, render_page, table_markup
from mris.reporting.tables import Cell, Table
from mris.wording import counted

MOST_SHOWN = 40
"""Flagged maps on contact sheets; the table and the CSV have all."""

_ROWS_A_SHEET = 8
_N_NEAREST = 4
_N_SAMPLE = 24
_N_FOR_MEDIAN = 100


class QualityFiles(NamedTuple):
    """What was written.

    Attributes:
        page: The page.
        scores: CSV, one row a map: key, flagged, outlier, reason, and every score of every region.
        flagged: The flagged keys, one a line, each under its reason as a comment.
    """

    page: Path
    scores: Path
    flagged: Path


def write_quality(checked: QualityCheck, page: str | Path, report: PrepareReport | None = None) -> QualityFiles:
    """Write a judgment on maps; the page comes last.

    Args:
        checked: The judgment.
        page: Where the page goes; CSV and list get its name with other endings.
        report: The account of the manifest's rows, if there is one.

    Returns:
        The three files.

    Raises:
        OutputError: A file cannot be written.
    """
    path = Path(page)
    written = QualityFiles(path, path.with_name(f"{path.stem}_scores.csv"), path.with_name(f"{path.stem}_flagged.txt"))
    write_scores(written.scores, checked.quality)
    write_flagged(written.flagged, checked)
    text = render_quality(checked, written, report, np.random.default_rng(0))
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return written


def write_scores(path: Path, quality: MapQuality) -> None:
    """Write one row a map, the most conspicuous first; with `flagged` edited it is a list for ``--exclude``."""
    names = [f"{region}_{score.name}" for region in quality.regions for score in SCORES]
    outlier, flagged = quality.outlier, quality.flagged
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "flagged", "outlier", "reason", *names])
        for row in quality.ranking:
            score = f"{outlier[row]:.3f}" if np.isfinite(outlier[row]) else ""
            values = [f"{value:.6g}" if np.isfinite(value) else "" for value in quality.scores[row].ravel()]
            reason = "; ".join(quality.reasons(row))
            writer.writerow([quality.keys[row], int(flagged[row]), score, reason, *values])


def write_flagged(path: Path, checked: QualityCheck) -> None:
    """Write the flagged keys, the most conspicuous first: a list for ``--exclude``."""
    quality = checked.quality
    lines = ["# Look at each map before you leave it out; take out the lines of those that are sound."]
    for row in quality.ranking:
        if quality.flagged[row]:
            lines += [f"# {reason}" for reason in quality.reasons(row)] + [quality.keys[row]]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def render_quality(
    checked: QualityCheck, written: QualityFiles, report: PrepareReport | None, rng: np.random.Generator
) -> str:
    """Fill the page: one HTML text with style and images inside, no scripts, no links outward."""
    quality, regions = checked.quality, range(len(checked.quality.regions))
    flagged = [row for row in quality.ranking if quality.flagged[row]]
    sound = np.flatnonzero(~quality.flagged)
    # Drawn among keys in order, so that the page does not depend on the order of the rows.
    drawn = sorted(sound.tolist(), key=lambda row: quality.keys[row])
    drawn = [drawn[place] for place in rng.permutation(len(drawn))[:_N_FOR_MEDIAN]]
    maps = checked.read(drawn)
    shades = quality_figures.shades_of(maps)
    return render_page(
        "quality.html",
        name=checked.name,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("mris"),
        quality=quality,
        least_subjects=LEAST_SUBJECTS,
        cards=_cards(quality, report),
        files=written,
        n_flagged=len(flagged),
        flagged_maps=counted(len(flagged), "map"),
        n_shown=min(len(flagged), MOST_SHOWN),
        sheets=_sheets(checked, flagged[:MOST_SHOWN], quality_figures.median_map(maps), shades),
        flagged_tables=[table_markup(_flagged_table(quality, flagged, region)) for region in regions],
        summaries=[table_markup(_summary_table(quality, region)) for region in regions],
        histograms=[_histogram(quality, region) for region in regions],
        samples=_samples(quality, drawn[:_N_SAMPLE], maps[:_N_SAMPLE], shades),
        scores=SCORES,
    )


class _Sheet(NamedTuple):
    picture: Picture
    first: int
    reasons: list[tuple[str, list[str]]]


def _sheets(
    checked: QualityCheck, rows: Sequence[int], usual: Float32[np.ndarray, "r h w"], shades: Shades
) -> list[_Sheet]:
    quality, sheets = checked.quality, []
    for start in range(0, len(rows), _ROWS_A_SHEET):
        part = rows[start : start + _ROWS_A_SHEET]
        shown = [_sheet_row(checked, row, start + place, usual) for place, row in enumerate(part, start=1)]
        picture = Picture(
            f"flagged_{start + 1}",
            figures.png(quality_figures.flagged_sheet(shown, shades, quality.unit)),
            f"Flagged maps {start + 1} to {start + len(part)}, each beside the median map and the nearest maps",
            f"Each flagged map ({quality.unit}) in the region that stands out most, the cohort's median map, and the "
            "maps of other people that are nearest to it, with their keys.",
        )
        reasons = [(quality.keys[row], quality.reasons(row)) for row in part]
        sheets.append(_Sheet(picture, start + 1, reasons))
    return sheets


def _sheet_row(
    checked: QualityCheck, row: int, number: int, usual: Float32[np.ndarray, "r h w"]
) -> quality_figures.SheetRow:
    quality = checked.quality
    region, _ = quality.worst(row)
    near = [int(other) for other in quality.nearest[row, region, :_N_NEAREST] if other >= 0]
    maps = checked.read([row, *near])[:, region]
    missing = np.full((_N_NEAREST - len(near), *maps.shape[1:]), np.nan, dtype=np.float32)
    return quality_figures.SheetRow(
        title=f"{number}: {quality.keys[row]}",
        label=quality.regions[region] if len(quality.regions) > 1 else "",
        shown=maps[0],
        usual=usual[region],
        nearest=np.concatenate([maps[1:], missing]),
        nearest_titles=(*(quality.keys[other] for other in near), *[""] * len(missing)),
    )


def _samples(
    quality: MapQuality, rows: Sequence[int], maps: Float32[np.ndarray, "n r h w"], shades: Shades
) -> list[Picture]:
    if not rows:
        return []
    titles = [quality.keys[row] for row in rows]
    return [
        Picture(
            f"sample_{region}",
            figures.png(quality_figures.sample_sheet(maps[:, region], titles, shades, quality.unit)),
            f"Maps drawn at random, {name}",
            f"{name}: {counted(len(rows), 'map')} drawn at random among those not flagged ({quality.unit}).",
        )
        for region, name in enumerate(quality.regions)
    ]


def _histogram(quality: MapQuality, region: int) -> Picture:
    name = quality.regions[region]
    return Picture(
        f"scores_{region}",
        figures.png(quality_figures.histograms(quality, region)),
        f"Histograms of the scores, {name}",
        f"{name}: every score over all maps. A triangle is a map that this very score flags; what lies beyond an axis "
        "is drawn at its end.",
    )


def _cards(quality: MapQuality, report: PrepareReport | None) -> list[Card]:
    cards = [] if report is None else [Card(f"{report.n_rows}", "rows of the manifest")]
    if report is not None and report.n_excluded:
        cards.append(Card(f"{report.n_excluded}", "excluded by list"))
    if report is not None and report.n_dropped > report.n_excluded:
        cards.append(Card(f"{report.n_dropped - report.n_excluded}", "cannot be used"))
    verb = "compared" if quality.judged else "read, none judged"
    cards.append(Card(f"{len(quality.keys)}", f"maps of {quality.n_subjects} people {verb}"))
    if quality.judged:
        n_flagged = int(np.count_nonzero(quality.flagged))
        share = tables.percent(n_flagged / max(len(quality.keys), 1))
        cards.append(
            Card(f"{n_flagged}", f"flagged ({share}), {quality.threshold:g} robust SDs or more from the median")
        )
    return cards


def _flagged_table(quality: MapQuality, rows: Sequence[int], region: int) -> Table:
    def cell(row: int, place: int) -> Cell:
        deviation = quality.deviations[row, region, place]
        note = f"{tables.signed(float(deviation), 1)} SD" if np.isfinite(deviation) and abs(deviation) >= 1 else ""
        text = quality.written(place, float(quality.scores[row, region, place]))
        return Cell(text, note, strong=bool(np.nan_to_num(abs(deviation)) >= quality.threshold))

    return Table(
        f"{quality.regions[region]}: scores of the flagged maps; small print: robust SDs from the cohort's median",
        ("key", *(score.name for score in SCORES)),
        tuple((Cell(quality.keys[row]), *(cell(row, place) for place in range(len(SCORES)))) for row in rows),
    )


def _summary_table(quality: MapQuality, region: int) -> Table:
    rows = []
    for place, score in enumerate(SCORES):
        values = quality.scores[:, region, place]
        known = values[np.isfinite(values)]
        beyond = np.nan_to_num(np.abs(quality.deviations[:, region, place])) >= quality.threshold
        ends = [float(end) for end in np.percentile(known, [0, 5, 50, 95, 100])] if known.size else [np.nan] * 5
        rows.append(
            (
                Cell(score.name),
                *(Cell(quality.written(place, end)) for end in ends),
                Cell(str(known.size)),
                Cell(str(int(beyond.sum())), strong=bool(beyond.any())),
            )
        )
    header = ("score", "least", "5th percentile", "median", "95th percentile", "largest", "maps", "flagged by it")
    return Table(f"{quality.regions[region]}: the cohort's scores", header, tuple(rows))
