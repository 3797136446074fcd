"""The header of a prepared cohort: `cohort.json`, the last file that a preparation writes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mris.cohort.origin import Origin, read_origin
from mris.errors import CohortError, SettingsError
from mris.images.transforms import SourcePreparation
from mris.reading import read_json

FORMAT_VERSION = 1
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


def region_fault(region: str) -> str | None:
    """Tell why a region cannot bear a name, which is a folder of `mris train --separate` and a row of results.

    Example:
        >>> region_fault("upper") is None
        True
        >>> region_fault("combined")
        "'combined' names what results say of all regions together"
    """
    if region == RESERVED_REGION:
        return f"{region!r} names what results say of all regions together"
    if region in (".", "..") or "/" in region or "\\" in region or not region.isprintable():
        return "a region's name is also that of a folder; write it without '/' and '\\'"
    return None


@dataclass(frozen=True)
class CohortHeader:
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
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        """Give the header as plain JSON values."""
        return {**asdict(self), "source": self.source.to_dict()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CohortHeader":
        """Read what `to_json` gave.

        Raises:
            CohortError: The layout is of another version, or a field is absent or of the wrong kind.
        """
        version = values.get("format_version") if isinstance(values, Mapping) else None
        if version != FORMAT_VERSION:
            raise CohortError(
                f"the cohort header has format_version {version!r}; this software reads {FORMAT_VERSION}; "
                "prepare the cohort again, or use the version of mris that made it"
            )
        try:
            spacing = values["target_spacing"]
            return cls(
                regions=tuple(str(name) for name in values["regions"]),
                unit=str(values["unit"]),
                source=SourcePreparation.from_dict(values["source"]),
                source_shape=_three(values["source_shape"]),
                target_shape=_three(values["target_shape"]),
                target_spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
                mirror_targets=bool(values["mirror_targets"]),
                labels=tuple(str(name) for name in values["labels"]),
                n_pairs=int(values["n_pairs"]),
                n_manifest_rows=int(values["n_manifest_rows"]),
                split_rule=str(values["split_rule"]),
                manifest_sha256=str(values["manifest_sha256"]),
                software=str(values["software"]),
                precision=str(values["precision"]),
                origin=read_origin(values.get("origin")),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, SettingsError) as error:
            raise CohortError(
                f"the cohort header is damaged ({type(error).__name__}: {error}); prepare again"
            ) from error


def read_header(folder: Path) -> CohortHeader:
    """Read the header of a cohort's folder.

    Raises:
        CohortError: There is no cohort, its preparation is unfinished, or the header is damaged.
    """
    path = folder / HEADER_FILE
    if not path.is_file():
        if (folder / PROGRESS_FILE).is_file():
            raise CohortError(f"cohort {str(folder)!r} is not finished; run the same `mris prepare` again: it resumes")
        raise CohortError(f"{str(folder)!r} is not a cohort (no {HEADER_FILE}); make one with `mris prepare`")
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise CohortError(f"{path} is damaged ({error}); prepare the cohort again with --overwrite") from error
    try:
        return CohortHeader.from_json(values)
    except CohortError as error:
        raise CohortError(f"{path}: {error}") from error


def _three(values: Any) -> tuple[int, int, int]:
    first, second, third = values
    return int(first), int(second), int(third)
