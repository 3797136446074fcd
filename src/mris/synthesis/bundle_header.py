"""The header of a bundle: `bundle.json`, its identity, members and checksums."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mris.cohort.origin import Origin, read_origin
from mris.errors import BundleError
from mris.reading import read_json
from mris.synthesis.onnx_encoder import CARD_FILE, GRAPH_FILES

FORMAT_VERSION = 2
HEADER_FILE = "bundle.json"


@dataclass(frozen=True)
class MemberHeader:
    """One pair of encoders of a bundle: its name, regions, fingerprint, and SHA-256 (hex) of its files."""

    name: str
    regions: tuple[str, ...]
    fingerprint: str
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class BundleHeader:
    """What ``bundle.json`` holds: what stays as it is when entries come and go.

    Attributes:
        id: Identity of the bundle.
        created: ISO 8601, UTC.
        software: Name and version that made it.
        unit: Unit of the synthesized targets.
        manifest_sha256: SHA-256 (hex) of the manifest of the cohort that it was made from.
        members: In the order of the regions.
        origin: Whether it was made from images of people or, in any part, simulated ones.
    """

    id: str
    created: str
    software: str
    unit: str
    manifest_sha256: str
    members: tuple[MemberHeader, ...]
    origin: Origin = "unknown"

    def to_json(self) -> dict[str, Any]:
        """Give the header as plain JSON values."""
        members = [
            {"name": m.name, "regions": m.regions, "fingerprint": m.fingerprint, "checksums": dict(m.checksums)}
            for m in self.members
        ]
        fields = {name: getattr(self, name) for name in ("id", "created", "software", "unit")}
        return {
            "format_version": FORMAT_VERSION,
            **fields,
            "manifest_sha256": self.manifest_sha256,
            "members": members,
            "origin": self.origin,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "BundleHeader":
        """Read what `to_json` gave.

        Raises:
            BundleError: The layout is of another version, or a field is absent or of the wrong kind.
        """
        version = values.get("format_version") if isinstance(values, Mapping) else None
        if version != FORMAT_VERSION:
            raise BundleError(f"format_version is {version!r}; this software reads {FORMAT_VERSION}; index again")
        try:
            members = tuple(
                MemberHeader(
                    name=str(member["name"]),
                    regions=tuple(str(region) for region in member["regions"]),
                    fingerprint=str(member["fingerprint"]),
                    checksums={str(name): str(value) for name, value in member["checksums"].items()},
                )
                for member in values["members"]
            )
            text = {name: str(values[name]) for name in ("id", "created", "software", "unit", "manifest_sha256")}
            return cls(members=members, origin=read_origin(values.get("origin")), **text)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"it is damaged ({type(error).__name__}: {error}); restore a copy or index again"
            ) from error


def read_header(path: Path) -> BundleHeader:
    """Read the header of a bundle's folder.

    Raises:
        BundleError: There is no bundle, or its header is damaged.
    """
    file = path / HEADER_FILE
    try:
        values = read_json(file)
    except FileNotFoundError as error:
        raise BundleError(f"{str(path)!r} is not a bundle (no {HEADER_FILE}); make one with `mris index`") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{file} cannot be read ({error}); restore a copy, or index again") from error
    try:
        header = BundleHeader.from_json(values)
    except BundleError as error:
        raise BundleError(f"{file}: {error}") from error
    needed = {*GRAPH_FILES, CARD_FILE}
    if not header.members or any(
        Path(member.name).name != member.name or not needed.issubset(member.checksums) for member in header.members
    ):
        raise BundleError(f"{file}: it names no usable member; restore a copy, or index again")
    return header
