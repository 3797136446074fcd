"""The header of a bundle: `bundle.json`, its identity, members and checksums."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mris.cohort.origin import Origin
from mris.errors import BundleError
from mris.records import Record, read_record
from mris.storage.folder import Folder
from mris.synthesis.calibration_record import Calibration
from mris.synthesis.onnx_encoder import GRAPH_FILES
from mris.synthesis.readouts import Readout
from mris.training.card import ENCODER_FILE

HEADER_FILE = "bundle.json"


class MemberHeader(Record):
    """One pair of encoders of a bundle: its name, regions, fingerprint, and SHA-256 (hex) of its files.

    Its readout was chosen on validation people; None in bundles from before there was a choice.
    Its calibration is None where there were too few people for one.
    """

    name: str
    regions: tuple[str, ...]
    fingerprint: str
    checksums: Mapping[str, str]
    readout: Readout | None = None
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _is_usable(self) -> "MemberHeader":
        if Path(self.name).name != self.name or not {*GRAPH_FILES, ENCODER_FILE} <= self.checksums.keys():
            raise ValueError("a member's name is that of a folder, and it has checksums of all its files")
        return self


class BundleHeader(Record):
    """What ``bundle.json`` holds: what stays as it is when entries come and go.

    Attributes:
        id: Identity of the bundle.
        created: ISO 8601, UTC.
        software: Name and version that made it.
        unit: Unit of the synthesized targets.
        manifest_sha256: SHA-256 (hex) of the manifest of the cohort that it was made from.
        members: In the order of the regions.
        origin: Whether it was made from images of people or, in any part, simulated ones.
        evaluation: What is known of its error, in sentences for the card; empty where nobody has said.
    """

    id: str
    created: str
    software: str
    unit: str
    manifest_sha256: str
    members: tuple[MemberHeader, ...] = Field(min_length=1)
    origin: Origin = "unknown"
    evaluation: str = ""
    format_version: Literal[2] = 2


def read_header(path: Folder) -> BundleHeader:
    """Read the header of a bundle's folder.

    Raises:
        BundleError: There is no bundle, or its header is damaged or of another version.
    """
    missing = f"{str(path)!r} is not a bundle (no {HEADER_FILE}); make one with `mris index`"
    return read_record(path / HEADER_FILE, BundleHeader, BundleError, "index again", missing=missing)
