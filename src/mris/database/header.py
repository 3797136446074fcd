"""The header of an embedding database: `database.json`, what one must know before reading an embedding."""

from typing import Literal

from pydantic import Field

from mris.errors import DatabaseError
from mris.records import Record, read_record
from mris.storage.folder import Folder

HEADER_FILE = "database.json"
TABLE_FOLDER = "entries.lance"


class DatabaseHeader(Record):
    """What never changes while entries come and go.

    Attributes:
        fingerprint: SHA-256 (hex) of the encoder that made the embeddings.
        embedding_dim: Length d of an embedding.
        n_features: Length q of what a linear readout reads of each entry's source; 0 where the table holds none.
        n_components: How many of these, the last, are principal components of the source.
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
    n_features: int = Field(default=0, ge=0)
    n_components: int = Field(default=0, ge=0)
    format_version: Literal[2] = 2


def read_header(folder: Folder) -> DatabaseHeader:
    """Read the header of a database's folder.

    Raises:
        DatabaseError: There is no database, or its header is damaged or of another version.
    """
    missing = f"{str(folder)!r} is not an embedding database (no {HEADER_FILE}); make one with `mris index`"
    return read_record(folder / HEADER_FILE, DatabaseHeader, DatabaseError, "index again", missing=missing)
