"""``means.csv``: what the maps of a folder come to, one row a query and region, and a row for each of its parts."""

import csv
import dataclasses
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mris.errors import OutputError, SettingsError
from mris.images.write import atomic_write
from mris.reading import LARGEST_LIST, read_text
from mris.synthesis.calibration import MeanInterval
from mris.synthesis.parts import Parts
from mris.synthesis.synthesis import Synthesis

MEANS_FILE = "means.csv"


@dataclass(frozen=True)
class MeanRow:
    """One row of the table, as text.

    Attributes:
        query: Beginning of the names of the query's results.
        region: Name of the region.
        part: Name of a part of it, "" for all of it.
        mean: Mean over the pixels that have a value; "" where none has.
        unit: Its unit.
        n_pixels: How many pixels have a value.
        lower: Lower end of the mean's interval; "" where none is calibrated.
        upper: Its upper end.
    """

    query: str
    region: str
    part: str
    mean: str
    unit: str
    n_pixels: str
    lower: str = ""
    upper: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(MeanRow))
_BEFORE_INTERVALS = COLUMNS[:-2]


def mean_rows(query: str, synthesis: Synthesis, parts: Parts) -> Iterator[MeanRow]:
    """Give the mean of each region of a synthesis, followed by those of its parts: given ones, and the bundle's own.

    The bundle's have intervals. Given ones have them where they are the same.

    Raises:
        SettingsError: A part is of another size than the map.
    """
    facts = [part.intervals for part in synthesis.contributions if part.intervals is not None]
    intervals = {(one.region, one.part): one for part in facts for one in part.means}
    for region, values in zip(synthesis.regions, synthesis.image, strict=True):
        own = parts.get(region, {})
        for part, mask in {"": np.ones(values.shape, bool), **own}.items():
            if mask.shape != values.shape:
                raise SettingsError(
                    f"part {part!r} of region {region!r} has {mask.shape} pixels, but maps have {values.shape}; give "
                    "parts of maps of that size"
                )
            found = values[mask & np.isfinite(values)]
            mean = f"{found.mean(dtype=np.float64):.6g}" if found.size else ""
            interval = intervals.get((region, part))
            # A given part may be another one than that of the same name in the bundle.
            same = interval is not None and interval.n_pixels == found.size
            ends = _ends(interval) if interval is not None and same else ("", "")
            yield MeanRow(query, region, part, mean, synthesis.unit, str(found.size), *ends)
        for (where, part), one in intervals.items():
            if where == region and part and part not in own:
                yield MeanRow(query, region, part, f"{one.mean:.6g}", synthesis.unit, str(one.n_pixels), *_ends(one))


def _ends(interval: MeanInterval) -> tuple[str, str]:
    return f"{interval.lower:.6g}", f"{interval.upper:.6g}"


def write_means(out_dir: Path, rows: Sequence[MeanRow]) -> Path:
    """Write the table of a folder, atomically and sorted by query; rows of other queries are kept.

    Raises:
        OutputError: It cannot be written, or there is one of another kind.
    """
    path = out_dir / MEANS_FILE
    written = {row.query for row in rows}
    kept = [row for row in read_means(path) if row.query not in written]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(dataclasses.astuple(row) for row in sorted([*kept, *rows], key=lambda row: row.query))
    return path


def read_means(path: Path) -> tuple[MeanRow, ...]:
    """Read a table that `write_means` wrote; empty if there is none.

    Raises:
        OutputError: The file is of another kind.
    """
    if not path.exists():
        return ()
    try:
        columns, *rows = csv.reader(io.StringIO(read_text(path, LARGEST_LIST, "utf-8-sig"), newline=""), strict=True)
        if tuple(columns) in (COLUMNS, _BEFORE_INTERVALS):
            return tuple(MeanRow(*row) for row in rows)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise OutputError(f"{path} cannot be read as a table of means ({error}); choose another folder") from error
    raise OutputError(f"{path} is another table than this command writes; choose another folder, or move it away")
