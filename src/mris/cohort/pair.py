"""One pair: from the files of a manifest's row to the two arrays that the cohort stores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float16, Float32

from mris.cohort.manifest import ManifestRow
from mris.cohort.prepare_settings import PrepareSettings
from mris.cohort.report import RowFinding
from mris.errors import ImageError
from mris.images.admission import admit
from mris.images.extent import Extent
from mris.images.header import Side
from mris.images.image import Image
from mris.images.read import read_image
from mris.images.transforms import mirror, prepare_source, resize_target, resized_spacing

LARGEST_VALUE = float(np.finfo(np.float16).max)
"""Largest value that a cohort can store: 65504."""

SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)
"""Smallest value that a cohort stores to 1 / 2048: 6.1e-5. Below it float16 has fixed steps of 6e-8, down to 0."""


@dataclass(frozen=True)
class PreparedPair:
    """What became of one row.

    Attributes:
        row: The row.
        source: Shape (c, h, w), in [0, 1]; None where a finding of severity "error" stands in the way.
        target: Shape (r, h, w), NaN where there is no value; None likewise.
        target_spacing: Row and column spacing in mm of the stored target, NaN where no file says.
        findings: What was found.
        file_sizes: Rows and columns of each target's file, in the order of the regions; empty without a target.
        extent_mm: Height and width of the source's file in mm, None where its spacing is unknown.
        constant: Whether each stored target has one value throughout, in the order of the regions.
        synthetic: Whether a file says that no patient is shown.
    """

    row: ManifestRow
    source: Float16[np.ndarray, "c h w"] | None
    target: Float16[np.ndarray, "r h w"] | None
    target_spacing: tuple[float, float]
    findings: tuple[RowFinding, ...]
    file_sizes: tuple[tuple[int, int], ...] = ()
    extent_mm: Extent | None = None
    constant: tuple[bool, ...] = ()
    synthetic: bool = False


def read_pairs(
    rows: Sequence[ManifestRow], regions: Sequence[str], settings: PrepareSettings, keep_pixels: bool
) -> list[PreparedPair]:
    """Read several pairs (the work of one task of a process).

    Args:
        rows: Rows of a manifest.
        regions: Its regions.
        settings: What to do.
        keep_pixels: Without them the targets come back empty of pixels, for a check; sources keep (c, 0, 0).

    Returns:
        One result a row.
    """
    try:
        pairs = [read_pair(row, regions, settings) for row in rows]
    finally:
        _plate.cache_clear()
    return pairs if keep_pixels else [_without_pixels(pair) for pair in pairs]


def read_pair(row: ManifestRow, regions: Sequence[str], settings: PrepareSettings) -> PreparedPair:
    """Read and prepare the files of one row; what is wrong with them becomes findings, not exceptions.

    Args:
        row: A sound row.
        regions: Names of the regions of `row.targets`.
        settings: What to do.

    Returns:
        Pixels and findings.
    """
    findings: list[RowFinding] = []
    source = _read_source(row, settings, findings) if settings.sources else _NO_SOURCE
    targets = _read_targets(row, regions, settings, findings)
    if source is None or any(target is None for target in targets):
        return PreparedPair(row, None, None, _NO_SPACING, tuple(findings))
    whole = [target for target in targets if target is not None]
    synthetic = source.synthetic or any(target.synthetic for target in whole)
    if synthetic and settings.origin == "real":
        reason = (
            "a header says that no patient is shown (SyntheticData), and the manifest or --real that images are of "
            "people; mend one of them"
        )
        findings.append(row.finding("source", reason, "origins disagree"))
        return PreparedPair(row, None, None, _NO_SPACING, tuple(findings))
    stacked = np.stack([target.pixels for target in whole]).astype(np.float16)
    spacings = {target.spacing for target in whole}
    if len(spacings) > 1:
        reason = f"the regions have different pixel sizes in mm ({sorted(spacings)}); none is recorded for this pair"
        findings.append(row.finding("target", reason, "pixel sizes differ", "note"))
    spacing = spacings.pop() if len(spacings) == 1 else _NO_SPACING
    return PreparedPair(
        row=row,
        source=source.pixels.astype(np.float16),
        target=stacked,
        target_spacing=spacing,
        findings=tuple(findings),
        file_sizes=tuple(target.file_size for target in whole),
        extent_mm=source.extent_mm,
        constant=tuple(bool(np.nanmin(target) == np.nanmax(target)) for target in stacked),
        synthetic=synthetic,
    )


def read_map(
    row: ManifestRow, regions: Sequence[str], settings: PrepareSettings
) -> Float16[np.ndarray, "r h w"] | None:
    """Read a row's targets alone, as the cohort would store them; None where `read_pair` reports an error in one."""
    targets = _read_targets(row, regions, settings, [])
    whole = [target.pixels for target in targets if target is not None]
    return np.stack(whole).astype(np.float16) if len(whole) == len(targets) else None


def target_columns(regions: Sequence[str]) -> tuple[str, ...]:
    """Name the columns of a manifest that hold the targets of its regions.

    Example:
        >>> target_columns(("upper", "lower"))
        ('target_upper', 'target_lower')
    """
    return ("target",) if tuple(regions) == ("target",) else tuple(f"target_{region}" for region in regions)


_NO_SPACING = (float("nan"), float("nan"))


class _Source(NamedTuple):
    """A source as it is stored, height and width in mm of its file, and whether that says that no patient is shown."""

    pixels: Float32[np.ndarray, "c h w"]
    extent_mm: Extent | None
    synthetic: bool


_NO_SOURCE = _Source(np.full((1, 1, 1), np.nan, dtype=np.float32), None, synthetic=False)


class _Target(NamedTuple):
    """A target as it is stored, rows and columns of its file, and whether that says that no patient is shown."""

    pixels: Float32[np.ndarray, "h w"]
    spacing: tuple[float, float]
    file_size: tuple[int, int]
    synthetic: bool


def _read_source(row: ManifestRow, settings: PrepareSettings, findings: list[RowFinding]) -> _Source | None:
    image = _opened(row, row.source, "source", findings, _read_plate)
    if image is None:
        return None
    if row.side and image.laterality and row.side != image.laterality:
        reason = f"the file says {image.laterality}, the manifest says {row.side}; the manifest is believed"
        findings.append(row.finding("side", reason, "sides disagree", "note"))
    image = image.corrected(spacing=row.spacing, side=cast(Side, row.side) if row.side else None)
    try:
        admitted = admit(image, settings.source, anatomy=settings.anatomy, center=row.center)
    except ImageError as error:
        findings.append(row.finding("source", str(error), "source does not fit"))
        return None
    findings += [
        row.finding("source", f"image {image.origin}: {note}", "doubtful source", "note") for note in admitted.notes
    ]
    try:
        pixels = prepare_source(image, settings.source, side=admitted.side, center=row.center)
    except ImageError as error:
        findings.append(row.finding("source", str(error), "source cannot be prepared"))
        return None
    return _Source(pixels, image.extent_mm, image.header.synthetic)


def _read_targets(
    row: ManifestRow, regions: Sequence[str], settings: PrepareSettings, findings: list[RowFinding]
) -> list[_Target | None]:
    return [
        _read_target(row, path, column, settings, findings)
        for path, column in zip(row.targets, target_columns(regions), strict=True)
    ]


def _read_target(
    row: ManifestRow, path: str, column: str, settings: PrepareSettings, findings: list[RowFinding]
) -> _Target | None:
    image = _opened(row, path, column, findings)
    if image is None:
        return None

    def fail(reason: str, rule: str) -> None:
        findings.append(row.finding(column, f"image {image.origin}: {reason}", rule))

    if image.n_channels != 1:
        fail(f"has {image.n_channels} channels; a target file holds one region (one column each)", "many channels")
        return None
    target = resize_target(image.pixels[0], settings.target_size)
    valid = target[~np.isnan(target)]
    if valid.size == 0:
        fail(f"has no value left at {settings.target_size}; too few of its pixels are not NaN", "NaN-only target")
        return None
    largest = float(valid[np.abs(valid).argmax()])
    if abs(largest) > LARGEST_VALUE:
        reason = f"holds {largest:.6g}; float16 stores at most {LARGEST_VALUE:.0f}"
        fail(f"{reason}; choose a larger unit", "value too large")
        return None
    if 0 < abs(largest) < SMALLEST_NORMAL:
        reason = f"holds at most {abs(largest):.3g}; float16 stores less than {SMALLEST_NORMAL:.1e} coarsely or as 0"
        fail(f"{reason}; choose a smaller unit", "values too small")
        return None
    if largest == 0:
        reason = f"image {image.origin}: every value is 0"
        findings.append(row.finding(column, reason, "all zero", "note"))
    if settings.mirror_targets and (row.side or image.laterality) in settings.source.mirror_sides:
        target = mirror(target)
    spacing = image.spacing or settings.target_spacing
    stored = _NO_SPACING if spacing is None else resized_spacing(spacing, image.shape, target.shape)
    return _Target(target, stored, image.size, image.header.synthetic)


def _opened(
    row: ManifestRow,
    path: str,
    column: str,
    findings: list[RowFinding],
    read: Callable[[str], Image] = read_image,
) -> Image | None:
    try:
        return read(path)
    except ImageError as error:
        findings.append(row.finding(column, str(error), f"unreadable {column}"))
    except MemoryError:
        reason = f"image {path}: does not fit into memory; reduce it, or use fewer workers"
        findings.append(row.finding(column, reason, "out of memory"))
    return None


def _read_plate(path: str) -> Image:
    """Read a source; rows that follow each other and show two sides of one picture decode it once."""
    try:
        state = Path(path).stat()
    except (OSError, ValueError):
        return read_image(path)  # an array of an archive, or what cannot be read: it will say so
    return _plate(path, (state.st_ino, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=1)
def _plate(path: str, state: tuple[int, int, int]) -> Image:  # noqa: ARG001 - a file that has changed is another one
    return read_image(path)


def _without_pixels(pair: PreparedPair) -> PreparedPair:
    if pair.source is None or pair.target is None:
        return pair
    return replace(pair, source=pair.source[:, :0, :0], target=pair.target[:, :0, :0])
