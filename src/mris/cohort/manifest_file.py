"""Reads the file of a manifest into named columns of text; what the cells mean is not decided here."""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from mris.errors import ManifestError

_DELIMITERS = (",", ";", "\t")
_SEPARATOR_LINE = re.compile(r'\A"?sep=([,;|\t])"?(?:\r?\n|\Z)', re.IGNORECASE)


@dataclass(frozen=True)
class ManifestCells:
    """The cells of a manifest as text, stripped of blanks round them.

    Attributes:
        columns: Names in the order of the file.
        cells: For each column its values, "" where empty.
        row_numbers: Number of each row as a spreadsheet shows it (header: 1).
        damage: For each row "" or why its cells cannot be trusted.
        sha256: SHA-256 (hex) of the file's bytes.
    """

    columns: tuple[str, ...]
    cells: dict[str, tuple[str, ...]]
    row_numbers: tuple[int, ...]
    damage: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.row_numbers)

    def text(self, column: str) -> tuple[str, ...]:
        """Give a column, or empty texts if the manifest has none of that name."""
        return self.cells.get(column) or ("",) * len(self)


def read_cells(path: Path, called: str = "manifest") -> ManifestCells:
    """Read a CSV or Parquet file; which of them it is, its first bytes tell.

    Args:
        path: The file.
        called: What messages call it.

    Raises:
        ManifestError: The file is absent, empty, not text, of another format, or its header is unusable.
    """
    file = f"{called} {str(path)!r}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{file} cannot be read: {error.strerror or error}") from error
    if not data.strip():
        raise ManifestError(f"{file} is empty; it needs a header and rows")
    if data.startswith(b"PK\x03\x04") or data.startswith(b"\xd0\xcf\x11\xe0"):
        raise ManifestError(f"{file} is a spreadsheet or an archive; save it as CSV (UTF-8)")
    header, rows, numbers = _parquet_rows(file, data) if data.startswith(b"PAR1") else _csv_rows(file, data)
    _check_header(file, header)
    if not rows:
        raise ManifestError(f"{file} has a header and no rows; it needs some")
    damage = [
        "" if len(row) == len(header) else f"{len(row)} cells under {len(header)} columns; quote a cell with commas"
        for row in rows
    ]
    padded = [[*row, *[""] * len(header)][: len(header)] for row in rows]
    columns = list(zip(*padded, strict=True))
    return ManifestCells(
        columns=tuple(header),
        cells={name: tuple(value.strip() for value in column) for name, column in zip(header, columns, strict=True)},
        row_numbers=tuple(numbers),
        damage=tuple(damage),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def without_separator_line(text: str) -> tuple[str, str | None]:
    r"""Take off a first line that tells Excel how cells are parted; Excel does not count it as a row.

    Args:
        text: Of a CSV file.

    Returns:
        The text without such a line, and the delimiter that it names, or None.

    Example:
        >>> without_separator_line("sep=;\nsubject;source")
        ('subject;source', ';')
        >>> without_separator_line("subject;source")
        ('subject;source', None)
    """
    found = _SEPARATOR_LINE.match(text)
    return (text, None) if found is None else (text[found.end() :], found[1])


_Table = tuple[list[str], list[Sequence[str]], list[int]]


def _csv_rows(file: str, data: bytes) -> _Table:
    # The csv module and not Arrow's reader: a torn line must cost one row, under its own number, and not the file.
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{file} is not UTF-8 text (byte {error.start} is {data[error.start]:#04x}); save it as CSV (UTF-8)"
        ) from error
    text, declared = without_separator_line(text)
    first_line = text.split("\n", 1)[0]
    delimiter = declared or max(_DELIMITERS, key=first_line.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ManifestError(f"{file} is not a CSV table: {error}; look for an unclosed quote") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if any(cell.strip() for cell in line)]
    header = [name.strip() for name in numbered[0][1]] if numbered else []
    return header, [line for _, line in numbered[1:]], [number for number, _ in numbered[1:]]


def _parquet_rows(file: str, data: bytes) -> _Table:
    try:
        table = pa.parquet.read_table(pa.BufferReader(data))
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{file} is a damaged Parquet file ({error})") from error
    columns = [[_cell_text(value) for value in column.to_pylist()] for column in table.columns]
    rows: list[Sequence[str]] = list(zip(*columns, strict=True))
    return list(table.column_names), rows, list(range(2, len(rows) + 2))


def _cell_text(value: Any) -> str:
    """Write a cell as CSV would: pandas turns a column of whole numbers with gaps into floats, so 7.0 is 7."""
    if value is None or value != value:  # NaN alone differs from itself
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return str(value)


def _check_header(file: str, header: Sequence[str]) -> None:
    unnamed = [place for place, name in enumerate(header, start=1) if not name]
    if unnamed:
        raise ManifestError(f"{file}: column {unnamed[0]} has no name; name or remove it (pandas: to_csv(index=False))")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise ManifestError(f"{file} has the column {repeated[0]!r} twice; each name may stand once")
