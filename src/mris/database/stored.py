"""The reading half of a database: metadata in memory, embeddings and target images from the table."""

import json
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, Int64, Shaped

from mris.cohort.names import normal_form
from mris.database.header import MASK_FILE, TABLE_FOLDER, DatabaseHeader
from mris.database.search import Groups
from mris.database.table import METADATA, open_table, reading, scan, strings_of, take_vectors, vectors_of
from mris.errors import DatabaseError
from mris.types import AtlasMask, Embeddings, Targets


class StoredEntries:
    """What stands in a database today, by row; `mris.database.database.EmbeddingDatabase` searches and changes it."""

    def __init__(self, path: Path, header: DatabaseHeader) -> None:
        """Use `open` or `build`."""
        self.path = path
        self.header = header
        self._load()

    def _load(self) -> None:
        self._table = open_table(self._table_path)
        with reading(self._table_path):
            metadata = self._table.to_table(columns=list(METADATA), with_row_id=True, scan_in_order=True)
            self._metadata = {name: strings_of(metadata, name) for name in METADATA}
            self._row_ids = metadata["_rowid"].to_numpy().astype(np.int64)
        # Databases of earlier versions may hold one person under several spellings, which have one code here.
        spellings, spelled = np.unique(self._metadata["subject"], return_inverse=True)
        names = [normal_form(spelling) for spelling in spellings.tolist()]
        self._subject_names, merged = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
        codes = merged[spelled]
        self._metadata["subject"] = self._subject_names[codes]
        self._spellings: dict[str, list[str]] = defaultdict(list)
        for name, spelling in zip(names, spellings.tolist(), strict=True):
            self._spellings[name].append(spelling)
        self._groups = Groups.of(codes.astype(np.int64))
        self._embeddings: Embeddings | None = None
        self._mask: AtlasMask | None = None
        self._pixels: Float32[np.ndarray, "N p"] | None = None

    @property
    def _table_path(self) -> Path:
        return self.path / TABLE_FOLDER

    def __len__(self) -> int:
        return len(self._row_ids)

    def __repr__(self) -> str:
        return f"EmbeddingDatabase({str(self.path)!r}, {len(self)} entries of {len(self._subject_names)} subjects)"

    @property
    def keys(self) -> Shaped[np.ndarray, " N"]:
        """Key of each entry, ``subject/timepoint[/side]``; (N,) strings."""
        return self._metadata["key"]

    @property
    def subjects(self) -> Shaped[np.ndarray, " N"]:
        """Subject of each entry; (N,) strings."""
        return self._metadata["subject"]

    @property
    def timepoints(self) -> Shaped[np.ndarray, " N"]:
        """Timepoint of each entry; (N,) strings."""
        return self._metadata["timepoint"]

    @property
    def sides(self) -> Shaped[np.ndarray, " N"]:
        """Side of each entry, "" where there is none; (N,) strings."""
        return self._metadata["side"]

    @property
    def splits(self) -> Shaped[np.ndarray, " N"]:
        """Split of each entry in the cohort it came from; (N,) strings."""
        return self._metadata["split"]

    @property
    def labels(self) -> list[dict[str, Any]]:
        """Labels of each entry; a missing one is None."""
        return [json.loads(text) for text in self._metadata["labels"]]

    @property
    def version(self) -> int:
        """Version of the table; it grows with every change."""
        return int(self._table.version)

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the target regions."""
        return self.header.regions

    @property
    def embeddings(self) -> Embeddings:
        """All embeddings, (N, d), read once and kept."""
        if self._embeddings is None:
            with reading(self._table_path):
                table = self._table.to_table(columns=["embedding"], scan_in_order=True)
            self._embeddings = np.ascontiguousarray(vectors_of(table, "embedding"), dtype=np.float32)
        return self._embeddings

    @property
    def atlas_mask(self) -> AtlasMask:
        """Pixels at which a stored target may have a value, (r, h, w).

        Raises:
            DatabaseError: Its file is absent, damaged or of another shape.
        """
        if self._mask is None:
            path = self.path / MASK_FILE
            try:
                with np.load(path, allow_pickle=False) as archive:
                    mask = np.asarray(archive["mask"])
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise DatabaseError(
                    f"{path} cannot be read ({error}); restore a copy or build the database again"
                ) from error
            if mask.shape != self.header.target_shape or mask.dtype != np.bool_:
                raise DatabaseError(f"{path} holds {mask.dtype} {mask.shape}, not bool {self.header.target_shape}")
            self._mask = mask
        return self._mask

    def read_targets(self, rows: Int64[np.ndarray, " m"] | Sequence[int]) -> Targets:
        """Read target images.

        Args:
            rows: Rows in [0, N), in any order; a row may be asked for twice.

        Returns:
            (m, r, h, w) float32, in the database's unit, NaN where there is no value.

        Raises:
            DatabaseError: A row is out of range, or the table is damaged.
        """
        return self._stored_targets(rows).astype(np.float32).reshape(-1, *self.header.target_shape)

    def read_pixels(self, rows: Int64[np.ndarray, " m"] | Sequence[int]) -> Float32[np.ndarray, "m p"]:
        """Read targets, only their p pixels inside the atlas mask; see `read_targets`.

        Returns:
            (m, p) float32; columns in the order of the mask's true pixels.
        """
        # Fewer pixels first: widening float16 is the slow step.
        return self._stored_targets(rows).take(self._inside(), axis=1).astype(np.float32)

    def pixels_in_memory(self, limit_bytes: int) -> Float32[np.ndarray, "N p"] | None:
        """All targets, only their p pixels inside the atlas mask; read once and kept.

        Args:
            limit_bytes: None is returned if the array would be larger.

        Returns:
            (N, p) float32, NaN where a target has no value; columns in the order of the mask's true pixels.
        """
        inside = self._inside()
        if 4 * len(self) * len(inside) > limit_bytes:
            return None
        if self._pixels is None:
            pixels = np.empty((len(self), len(inside)), dtype=np.float32)
            start = 0
            for batch in scan(self._table, ["target"], self._table_path, batch_size=128):
                pixels[start : start + len(batch)] = vectors_of(batch, "target").take(inside, axis=1)
                start += len(batch)
            self._pixels = pixels
        return self._pixels

    def _inside(self) -> Int64[np.ndarray, " p"]:
        return np.flatnonzero(self.atlas_mask.ravel())

    def _stored_targets(self, rows: Int64[np.ndarray, " m"] | Sequence[int]) -> Float16[np.ndarray, "m q"]:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise DatabaseError(f"rows {rows.min()} to {rows.max()} are asked for; rows lie in [0, {len(self)})")
        return take_vectors(self._table, "target", rows, self._table_path)
