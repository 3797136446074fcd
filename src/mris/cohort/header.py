"""The header of a prepared cohort: `cohort.json`, the last file that a preparation writes."""

from pathlib import Path
from typing import Literal

from mris.cohort.origin import Origin
from mris.errors import CohortError
from mris.images.transforms import SourcePreparation
from mris.records import Record, read_record
from mris.storage.folder import Folder

HEADER_FILE = "cohort.json"
TABLE_FILE = "pairs.lance"
ATLAS_MASK_FILE = "atlas_mask.npz"
PROGRESS_FILE = "prepare.json"
REPORT_FILE = "report.json"

IMAGE_COLUMNS = ("source", "target")
OWN_COLUMNS = ("key", "subject", "timepoint", "side", "split", "manifest_row", "target_spacing", *IMAGE_COLUMNS)
"""Columns that the table of every cohort has; a label may not bear one of these names."""

RESERVED_REGION = "combined"
"""Under this name results stand for all regions together (`mris.evaluation.results.COMBINED`)."""


def label_column(label: str) -> str:
    """Name the table's column of a label: Lance takes "a.b" for a field inside a struct."""
    return label.replace(".", "_")


def region_finding(region: str) -> str | None:
    """Tell why a region cannot bear a name, which is a folder of `mris train --separate` and a row of results.

    Example:
        >>> region_finding("upper") is None
        True
        >>> region_finding("combined")
        "'combined' names what results say of all regions together"
    """
    if region == RESERVED_REGION:
        return f"{region!r} names what results say of all regions together"
    if region in (".", "..") or "/" in region or "\\" in region or not region.isprintable():
        return "a region's name is also that of a folder; write it without '/' and '\\'"
    return None


class CohortHeader(Record):
    """What one must know of a cohort before reading a pixel of it.

    Attributes:
        regions: Names of the target regions, in the order of the target's first axis.
        unit: Unit of the target values, such as "mm".
        source: How source files became arrays; a query must be prepared the same way.
        source_shape: (c, h, w) of every source.
        target_shape: (r, h, w) of every target.
        target_spacing: Size of a target pixel (row, column) in mm, or None where files do not say or disagree.
        mirror_targets: Whether targets of the mirrored sides were mirrored too.
        labels: Names of the label columns, in the order of the manifest.
        n_pairs: Number of rows.
        n_manifest_rows: Number of rows of the manifest (the dropped ones are in report.json).
        split_rule: Where the splits come from, in words.
        manifest_sha256: SHA-256 (hex) of the manifest's bytes.
        software: Name and version that wrote the cohort.
        precision: Type of the stored pixels. "float16" has 11 significant bits: a relative error of at most
            1 / 2048 (0.0015 for a thickness of 3 mm) from 6.1e-5 on, an error of at most 3e-8 below, and no value
            beyond 65504.
        origin: Whether the images are of people or simulated; see `mris.cohort.origin`.
        has_sources: Whether there are sources; without, one pixel that is NaN stands for each.
        format_version: Version of this layout.
    """

    regions: tuple[str, ...]
    unit: str
    source: SourcePreparation
    source_shape: tuple[int, int, int]
    target_shape: tuple[int, int, int]
    target_spacing: tuple[float, float] | None
    mirror_targets: bool
    labels: tuple[str, ...]
    n_pairs: int
    n_manifest_rows: int
    split_rule: str
    manifest_sha256: str
    software: str
    precision: str = "float16"
    origin: Origin = "unknown"
    has_sources: bool = True
    format_version: Literal[1] = 1


def read_header(folder: Folder) -> CohortHeader:
    """Read the header of a cohort's folder.

    Raises:
        CohortError: There is no cohort, its preparation is unfinished, or the header is damaged.
    """
    path = folder / HEADER_FILE
    if not Path(path).is_file():
        if Path(folder / PROGRESS_FILE).is_file():
            raise CohortError(f"cohort {str(folder)!r} is not finished; run the same `mris prepare` again: it resumes")
        raise CohortError(f"{str(folder)!r} is not a cohort (no {HEADER_FILE}); make one with `mris prepare`")
    return read_record(path, CohortHeader, CohortError, "prepare the cohort again with --overwrite")
