"""Reads the file of a manifest into named columns of text; what the cells mean is not decided here."""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from mris.errors import ManifestError, reason_of
from mris.reading import LARGEST_LIST, read_bytes

MOST_ROWS, MOST_COLUMNS, MOST_CELLS = 2_000_000, 1_000, 20_000_000
"""Of a table; a row costs some 2 kilobytes of memory until its files are read."""

_FEW_ROWS = 100_000
"""Beyond these, a Parquet file has at least a byte for each row: every pair has a name of its own."""

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
        return self.cells.get(column) or self._absent

    @cached_property
    def _absent(self) -> tuple[str, ...]:
        return ("",) * len(self)


def read_cells(path: Path, called: str = "manifest") -> ManifestCells:
    """Read a CSV or Parquet file; which of them it is, its first bytes tell.

    Args:
        path: The file.
        called: What messages call it.

    Raises:
        ManifestError: The file is absent, no regular file, empty, not text, of another format, has more rows, columns
            or cells than `MOST_ROWS`, `MOST_COLUMNS` and `MOST_CELLS`, or its header is unusable.
    """
    file = f"{called} {str(path)!r}"
    try:
        data = read_bytes(path, LARGEST_LIST)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not data.strip():
        raise ManifestError(f"{file} is empty; it needs a header and rows")
    if data.startswith(b"PK\x03\x04") or data.startswith(b"\xd0\xcf\x11\xe0"):
        raise ManifestError(f"{file} is a spreadsheet or an archive; save it as CSV (UTF-8)")
    header, rows, numbers = _parquet_rows(file, data) if data.startswith(b"PAR1") else _csv_rows(file, data)
    _check_header(file, header)
    if not rows:
        raise ManifestError(f"{file} has a header and no rows; it needs some")
    _check_size(file, len(rows), len(header), len(rows) * len(header))
    damage = [
        "" if len(row) == len(header) else f"{len(row)} cells under {len(header)} columns; quote a cell with commas"
        for row in rows
    ]
    padded = [row if len(row) == len(header) else [*row, *[""] * len(header)][: len(header)] for row in rows]
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
    _check_size(file, max(text.count("\n"), text.count("\r")) - 1, 0, text.count(delimiter))
    rows: list[Sequence[str]] = []
    numbers: list[int] = []
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        for number, line in enumerate(lines, start=1):
            if any(cell.strip() for cell in line):
                rows.append(line)
                numbers.append(number)
    except csv.Error as error:
        raise ManifestError(f"{file} is not a CSV table: {error}; look for an unclosed quote") from error
    return [name.strip() for name in rows[0]] if rows else [], rows[1:], numbers[1:]


def _parquet_rows(file: str, data: bytes) -> _Table:
    from pyarrow import parquet as pq  # only here: few manifests are Parquet, and every command loads this module

    try:
        parquet = pq.ParquetFile(pa.BufferReader(data))
        _check_promise(file, parquet.metadata, len(data))
        texts = [field.name for field in parquet.schema_arrow if pa.types.is_string(field.type)]
        for field in parquet.schema_arrow:
            if pa.types.is_nested(field.type):
                raise ManifestError(f"{file}: column {field.name!r} holds {field.type}; a cell is one text or number")
        # A text that stands in many rows is kept once.
        table = pq.read_table(pa.BufferReader(data), read_dictionary=texts, use_threads=False)
        columns = [_column_texts(column) for column in table.columns]
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{file} is a damaged Parquet file ({reason_of(error)})") from error
    rows: list[Sequence[str]] = list(zip(*columns, strict=True))
    return list(table.column_names), rows, list(range(2, len(rows) + 2))


def _check_promise(file: str, metadata: Any, n_bytes: int) -> None:
    """Refuse what a Parquet file says of itself before it is unpacked: a row costs nothing where it repeats itself."""
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    _check_size(file, metadata.num_rows, metadata.num_columns, sum(chunk.num_values for chunk in chunks))
    if metadata.num_rows > _FEW_ROWS + n_bytes:
        raise ManifestError(
            f"{file} has {metadata.num_rows:,} rows in {n_bytes:,} bytes; they cannot all be pairs: look at how it was "
            "made"
        )
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    if unpacked > LARGEST_LIST:
        raise ManifestError(f"{file} has {unpacked:,} bytes unpacked; at most {LARGEST_LIST:,} are read: divide it")


def _check_size(file: str, n_rows: int, n_columns: int, n_cells: int) -> None:
    for count, most, what in (
        (n_rows, MOST_ROWS, "rows"),
        (n_columns, MOST_COLUMNS, "columns"),
        (n_cells, MOST_CELLS, "cells"),
    ):
        if count > most:
            raise ManifestError(f"{file} has {count:,} {what}; at most {most:,} are read: divide it")


def _column_texts(column: Any) -> Iterable[str]:
    for chunk in column.chunks:
        encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        values = [_cell_text(value) for value in encoded.dictionary.to_pylist()]
        for code in encoded.indices.to_pylist():
            yield "" if code is None else values[code]


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
    _check_size(file, 0, len(header), 0)
    unnamed = [place for place, name in enumerate(header, start=1) if not name]
    if unnamed:
        raise ManifestError(f"{file}: column {unnamed[0]} has no name; name or remove it (pandas: to_csv(index=False))")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise ManifestError(f"{file} has the column {repeated[0]!r} twice; each name may stand once")
