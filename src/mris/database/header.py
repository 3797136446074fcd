"""The header of an embedding database: `database.json`, what one must know before reading an embedding."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mris.errors import DatabaseError
from mris.reading import read_json

FORMAT_VERSION = 2
HEADER_FILE = "database.json"
TABLE_FOLDER = "entries.lance"


@dataclass(frozen=True)
class DatabaseHeader:
    """What never changes while entries come and go.

    Attributes:
        fingerprint: SHA-256 (hex) of the encoder that made the embeddings.
        embedding_dim: Length d of an embedding.
        regions: Names of the target regions, in the order of a target's first axis.
        target_shape: (r, h, w) of every target.
        target_spacing: Size of a target pixel (row, column) in mm, or None where it is unknown.
        unit: Unit of the target values, such as "mm".
        mirror_targets: Whether targets of the mirrored sides were mirrored too.
        created: When the database was built, ISO 8601, UTC.
        software: Name and version that built it.
        format_version: Version of this layout.
    """

    fingerprint: str
    embedding_dim: int
    regions: tuple[str, ...]
    target_shape: tuple[int, int, int]
    target_spacing: tuple[float, float] | None
    unit: str
    mirror_targets: bool
    created: str
    software: str
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        """Give the header as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DatabaseHeader":
        """Read what `to_json` gave.

        Raises:
            DatabaseError: The layout is of another version, or a field is absent or of the wrong kind.
        """
        version = values.get("format_version") if isinstance(values, Mapping) else None
        if version != FORMAT_VERSION:
            raise DatabaseError(
                f"the database header has format_version {version!r}; this software reads {FORMAT_VERSION}; "
                "build the database again, or use the version of mris that made it"
            )
        try:
            r, h, w = (int(size) for size in values["target_shape"])
            spacing = values["target_spacing"]
            return cls(
                fingerprint=str(values["fingerprint"]),
                embedding_dim=int(values["embedding_dim"]),
                regions=tuple(str(name) for name in values["regions"]),
                target_shape=(r, h, w),
                target_spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
                unit=str(values["unit"]),
                mirror_targets=bool(values["mirror_targets"]),
                created=str(values["created"]),
                software=str(values["software"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DatabaseError(
                f"the database header is damaged ({type(error).__name__}: {error}); build the database again"
            ) from error


def read_header(folder: Path) -> DatabaseHeader:
    """Read the header of a database's folder.

    Raises:
        DatabaseError: There is no database, or its header is damaged.
    """
    path = folder / HEADER_FILE
    try:
        values = read_json(path)
    except FileNotFoundError as error:
        raise DatabaseError(
            f"{str(folder)!r} is not an embedding database (no {HEADER_FILE}); make one with `mris index`"
        ) from error
    except (OSError, ValueError) as error:
        raise DatabaseError(f"{path} cannot be read ({error}); restore a copy, or build the database again") from error
    try:
        return DatabaseHeader.from_json(values)
    except DatabaseError as error:
        raise DatabaseError(f"{path}: {error}") from error
