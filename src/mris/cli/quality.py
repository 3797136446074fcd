"""The part of ``mris check`` that compares target maps with each other and writes the page of those that stand out."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mris.errors import SettingsError

if TYPE_CHECKING:
    from mris.cohort.prepare import PrepareReport, PrepareSettings
    from mris.cohort.quality.check import QualityCheck


def require_page(page: Path, manifest: Path) -> None:
    """Refuse a page that could not be written, before the files are read.

    Raises:
        SettingsError: It is a folder, its name does not end in .html, or its scores would replace the manifest.
    """
    if page.suffix.lower() not in (".html", ".htm") or page.is_dir():
        raise SettingsError(f"--qc is {str(page)!r}; give the name of an HTML file, such as quality.html")
    beside = page.with_name(f"{page.stem}_scores.csv")
    if beside.resolve() == manifest.resolve():
        raise SettingsError(
            f"--qc {page} writes its scores to {beside}, which is the manifest; name the page otherwise"
        )


def check_quality_of_manifest(
    manifest: Path, settings: "PrepareSettings", page: Path, threshold: float, *, progress: bool
) -> "PrepareReport":
    """Check a manifest, judge its targets, write the page, and say what was found."""
    from mris.cohort.quality.check import check_manifest_quality

    report, checked = check_manifest_quality(manifest, settings, threshold=threshold, progress=progress)
    typer.echo(report.summary(most=None))
    _write(checked, page, report)
    return report


def check_quality_of_cohort(folder: Path, page: Path, threshold: float, *, progress: bool) -> None:
    """Judge the targets of a prepared cohort, write the page, and say what was found."""
    from mris.cohort.cohort import Cohort
    from mris.cohort.quality.check import check_cohort_quality

    _write(check_cohort_quality(Cohort.open(folder), threshold=threshold, progress=progress), page, None)


def _write(checked: "QualityCheck", page: Path, report: "PrepareReport | None") -> None:
    from mris.reporting.quality_page import write_quality

    written = write_quality(checked, page, report)
    typer.echo(checked.quality.summary())
    typer.echo(f"  page: {written.page}\n  scores: {written.scores}\n  list for --exclude: {written.flagged}")
