"""Who the entries of a database are: columns as Arrow read them, arrays of text only of what is asked for.

Text is dear: a million entries are opened in a second as long as none of it is made.
"""

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Shaped

from mris.database.search import Groups
from mris.database.table import METADATA, strings_of
from mris.reading import parse_json


class Metadata:
    """Keys, subjects and labels of N entries, by row.

    Example:
        >>> column = pa.chunked_array([["S2/0", "S1/0", "S2/1"]])
        >>> metadata = Metadata(pa.table({"key": column, "subject": pa.chunked_array([["S2", "S1", "S2"]])}))
        >>> metadata.subject_names.tolist(), metadata.groups.codes.tolist(), metadata.places["S2/1"]
        (['S1', 'S2'], [1, 0, 1], 2)
    """

    def __init__(self, columns: pa.Table) -> None:
        self.columns = columns
        self._made: dict[str, Shaped[np.ndarray, " N"]] = {}

    def __getitem__(self, name: str) -> Shaped[np.ndarray, " N"]:
        """Give one of the columns `METADATA` as an array of text."""
        if name not in self._made:
            self._made[name] = strings_of(self.columns, name)
        return self._made[name]

    def all(self) -> dict[str, Shaped[np.ndarray, " N"]]:
        """Give all columns as arrays of text."""
        return {name: self[name] for name in METADATA}

    @cached_property
    def labels(self) -> list[dict[str, Any]]:
        """Labels of each entry; a missing one is None."""
        return [parse_json(text) for text in self.columns["labels"].to_pylist()]

    @cached_property
    def subject_names(self) -> Shaped[np.ndarray, " g"]:
        """Every subject once, in order."""
        return np.unique(np.array(pc.unique(self.columns["subject"]).to_pylist(), dtype=np.str_))

    @cached_property
    def groups(self) -> Groups:
        """Which entries belong to one subject; a code is the place among `subject_names`."""
        codes = pc.index_in(self.columns["subject"], value_set=pa.array(self.subject_names.tolist(), pa.string()))
        return Groups.of(codes.to_numpy().astype(np.int64))

    @cached_property
    def places(self) -> dict[str, int]:
        """Row of each key."""
        return {key: row for row, key in enumerate(self.columns["key"].to_pylist())}


def metadata_sha256(columns: pa.Table) -> str:
    """SHA-256 (hex) over all metadata, column by column: the lengths of its texts, then the texts."""
    digest = hashlib.sha256()
    for name in METADATA:
        digest.update(pc.binary_length(columns[name]).to_numpy().astype("<i8"))
        for chunk in columns[name].chunks:
            _, places, texts = chunk.buffers()
            if texts is not None and len(chunk):
                ends = np.frombuffer(places, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
                digest.update(memoryview(texts)[ends[0] : ends[-1]])
    return digest.hexdigest()
