"""Judges the target maps of a manifest or of a prepared cohort, one pair in memory at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mris.cohort.cohort import Cohort
from mris.cohort.manifest import ManifestRow, read_manifest
from mris.cohort.pair import PreparedPair, read_map
from mris.cohort.prepare import check_cohort
from mris.cohort.prepare_settings import PrepareSettings
from mris.cohort.quality.map_measures import MapMeasures, measure_map
from mris.cohort.quality.map_quality import MapQuality, check_threshold, judge_maps
from mris.cohort.report import PrepareReport
from mris.cohort.workers import shown
from mris.defaults import QC_THRESHOLD
from mris.types import Targets

_MAPS_PER_READ = 32

ReadMaps = Callable[[Sequence[int]], Targets]
"""Gives the maps of some rows of a judgment again: shape (n, r, h, w), NaN outside, all NaN if a file is gone."""


@dataclass(frozen=True)
class QualityCheck:
    """A judgment and where it comes from.

    Attributes:
        name: File or folder that was checked.
        quality: The judgment on its maps.
        read: Reads some of the maps again, to show them.
    """

    name: str
    quality: MapQuality
    read: ReadMaps


def check_manifest_quality(
    manifest_path: str | Path, settings: PrepareSettings, *, threshold: float = QC_THRESHOLD, progress: bool = True
) -> tuple[PrepareReport, QualityCheck]:
    """Do all checks of `check_cohort`, and compare the targets that would be stored with each other.

    Args:
        manifest_path: A CSV or Parquet file.
        settings: What `prepare_cohort` would be given.
        threshold: See `judge_maps`.
        progress: Show a progress bar on standard error.

    Returns:
        The account of all rows, and the judgment on those that would be kept. Of each map some kilobytes are kept.

    Raises:
        ManifestError: The manifest as a whole cannot be used.
        SettingsError: The subjects cannot be divided as asked, or the threshold is not above 0.
    """
    check_threshold(threshold)
    regions = read_manifest(manifest_path, settings.exclude).regions
    rows: list[ManifestRow] = []
    measures: list[MapMeasures] = []

    def watch(pair: PreparedPair) -> None:
        if pair.target is not None:
            rows.append(pair.row)
            measures.append(measure_map(pair.target))

    def read(wanted: Sequence[int]) -> Targets:
        maps = np.full((len(wanted), len(regions), *settings.target_size), np.nan, dtype=np.float32)
        for place, row in enumerate(wanted):
            found = read_map(rows[row], regions, settings)
            if found is not None:
                maps[place] = found
        return maps

    report = check_cohort(manifest_path, settings, progress, watch=watch)
    quality = judge_maps(
        measures,
        keys=[row.key for row in rows],
        subjects=[row.subject for row in rows],
        sides=[row.side for row in rows],
        regions=regions,
        unit=settings.unit,
        threshold=threshold,
    )
    return report, QualityCheck(str(manifest_path), quality, read)


def check_cohort_quality(cohort: Cohort, *, threshold: float = QC_THRESHOLD, progress: bool = True) -> QualityCheck:
    """Compare the targets of a prepared cohort with each other.

    Args:
        cohort: The cohort, or a view of it.
        threshold: See `judge_maps`.
        progress: Show a progress bar on standard error.

    Returns:
        The judgment on all its pairs.

    Raises:
        CohortError: The table is damaged.
        SettingsError: The threshold is not above 0.
    """
    check_threshold(threshold)
    starts = range(0, len(cohort), _MAPS_PER_READ)
    quality = judge_maps(
        [
            measure_map(target)
            for start in shown(starts, "Measuring maps", len(starts), progress)
            for target in cohort.read_targets(range(start, min(start + _MAPS_PER_READ, len(cohort))))
        ],
        keys=cohort.keys.tolist(),
        subjects=cohort.subjects.tolist(),
        sides=cohort.sides.tolist(),
        regions=cohort.regions,
        unit=cohort.header.unit,
        threshold=threshold,
    )
    return QualityCheck(str(cohort.path), quality, cohort.read_targets)
