"""The folder of a report: it holds one evaluation and nothing else, and appears whole or not at all."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from mris.errors import OutputError
from mris.images.write import check_writable_folder
from mris.reading import LARGEST_LIST, read_json

RESULTS = "results.json"
PER_IMAGE = "per_image.csv"
TABLES = "tables.md"
REPORT = "report.html"
FIGURES = "figures"
"""A folder of PNG."""

_FIGURE = re.compile(r"(intervals|error_map|bias_map|recall|by_\d+|example_\d+|neighbors_\d+|figure3_.+)\.png")
_UNFINISHED = ".unfinished"
_OF_FILE_BROWSERS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def check_report_folder(folder: Path) -> None:
    """Find out, before long work and without making anything, that a report can be written to a folder.

    A report replaces an earlier one, pictures of people among it; so nothing else may be in the folder.

    Args:
        folder: Absent, empty, or written by an earlier evaluation.

    Raises:
        OutputError: It holds something else, or cannot be written.
    """
    check_writable_folder(folder)
    foreign = _foreign(folder) if folder.is_dir() else None
    if foreign:
        raise OutputError(
            f"cannot write a report to {folder}: it holds {foreign!r}, which no evaluation wrote; choose another folder"
        )


@contextlib.contextmanager
def report_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for all files of a report; they then take the place of an earlier report's.

    If the block fails, the earlier report stays. ``report.html`` goes first and comes last: where it is, all files are
    of one evaluation.

    Args:
        folder: The report's folder, made if it is missing.

    Yields:
        A folder inside it, on the same disk: the report's own may be a mounted one, which cannot be renamed.

    Raises:
        OutputError: See `check_report_folder`.
    """
    check_report_folder(folder)
    unfinished = folder / _UNFINISHED
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a killed process
        unfinished.mkdir(parents=True)
        yield unfinished
        _take_over(unfinished, folder)
    except OSError as error:
        raise OutputError(
            f"cannot write a report to {folder}: {error.strerror or error}; free space, rights or another place would "
            "help"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _take_over(unfinished: Path, folder: Path) -> None:
    (folder / REPORT).unlink(missing_ok=True)
    (unfinished / RESULTS).replace(folder / RESULTS)  # first, because it tells whose folder this is
    if (folder / FIGURES).exists():
        (folder / FIGURES).rename(unfinished / "earlier")
    for name in (FIGURES, PER_IMAGE, TABLES, REPORT):
        (unfinished / name).replace(folder / name)


def _foreign(folder: Path) -> str | None:
    """Name one thing in a folder that is no evaluation's, None where there is none."""
    names = {path.name for path in folder.iterdir()} - _OF_FILE_BROWSERS - {_UNFINISHED}
    others = sorted(names - {RESULTS, PER_IMAGE, TABLES, REPORT, FIGURES})
    if others or not names:
        return others[0] if others else None
    if not _is_results(folder / RESULTS):
        return sorted(names)[0] if RESULTS not in names else RESULTS
    figures = folder / FIGURES
    if FIGURES in names and not figures.is_dir():
        return FIGURES
    shown = {path.name for path in figures.iterdir()} - _OF_FILE_BROWSERS if FIGURES in names else set()
    return next((f"{FIGURES}/{name}" for name in sorted(shown) if not _FIGURE.fullmatch(name)), None)


def _is_results(path: Path) -> bool:
    """Say whether a file is an evaluation's, also of another format version."""
    try:
        plain = read_json(path, LARGEST_LIST)
    except (OSError, ValueError):
        return False
    return {"format_version", "methods", "estimates"} <= plain.keys()
