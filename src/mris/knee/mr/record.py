"""`record.json` of a segmented scan."""

from collections.abc import Mapping
from typing import Literal

from mris.finding import Severity
from mris.images.header import Side
from mris.records import Record

METHOD_VERSION = 1
"""Raised whenever the same scan and network would give another segmentation."""


class FoundRecord(Record):
    """A finding.

    Attributes:
        reason: What was found, and the rule.
        rule: Short name of its kind.
        severity: "error", "warning" or "note".
    """

    reason: str
    rule: str
    severity: Severity


class SegmentationRecord(Record):
    """What is known about one segmentation.

    Attributes:
        format_version: Of this file.
        method: `METHOD_VERSION` of the software that made it.
        scan: Name of the scan's file or folder.
        scan_sha256: Of the scan.
        model_sha256: Of the network.
        subject: Whose knee it is.
        side: Which one.
        timepoint: When.
        shape: Voxels along each axis of the scan.
        spacing_mm: Their edges.
        notes: What was done when the scan was read.
        findings: Doubts about the segmentation.
        certainty: Mean probability of each tissue where it is the likeliest.
        volumes_ml: Of the tissues, in milliliters.
        seconds: What it took.
        software: Name and version.
    """

    format_version: Literal[1] = 1
    method: int = METHOD_VERSION
    scan: str
    scan_sha256: str
    model_sha256: str
    subject: str
    side: Side
    timepoint: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...]
    findings: tuple[FoundRecord, ...]
    certainty: Mapping[str, float]
    volumes_ml: Mapping[str, float]
    seconds: float
    software: str
