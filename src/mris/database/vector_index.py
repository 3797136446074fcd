"""`VectorIndex`: the embeddings of a database in lists of similar ones, as FAISS keeps them in a file.

A query looks into the few lists whose centers are nearest. An embedding is kept as its difference from the center, one
byte a dimension: the file is a quarter of the embeddings' size, and tells them nearly as well as the table does. Its
answers are candidates, to be compared again. Why this library and this kind: docs/decisions/0024-index.md.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from mris.database.commit import Commit, IndexState
from mris.errors import DatabaseError, SettingsError
from mris.images.write import atomic_write
from mris.reading import file_sha256
from mris.storage.folder import Folder
from mris.types import Embeddings

ROWS_A_LIST = 64
"""Embeddings of which each center is learned; more make it hardly better."""

_FEWEST_ROWS_A_LIST = 40
_MOST_LISTS = 1 << 16


@dataclass(frozen=True)
class VectorIndex:
    """Codes of embeddings, each under an identifier of its own.

    Attributes:
        codes: What FAISS holds.
        n_probes: Lists that a query looks into.
    """

    codes: Any
    n_probes: int = 1

    def __len__(self) -> int:
        return int(self.codes.ntotal)

    @property
    def n_lists(self) -> int:
        """How many lists there are."""
        return int(self.codes.nlist)

    @property
    def ids(self) -> Int64[np.ndarray, " N"]:
        """The identifiers, list after list."""
        lists, faiss = self.codes.invlists, _faiss()
        sizes = [lists.list_size(number) for number in range(self.n_lists)]
        parts = [faiss.rev_swig_ptr(lists.get_ids(number), size) for number, size in enumerate(sizes) if size]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])

    @classmethod
    def learned(cls, sample: Embeddings, n_lists: int) -> "VectorIndex":
        """Find the centers of an empty index.

        Args:
            sample: (m, d) embeddings of norm 1; `ROWS_A_LIST` for each list are as good as all.
            n_lists: At most m.

        Raises:
            SettingsError: FAISS is not installed.
        """
        faiss, d = _faiss(), sample.shape[1]
        codes = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatL2(d), d, n_lists, faiss.ScalarQuantizer.QT_8bit)
        codes.cp.min_points_per_centroid = 1  # else it writes a warning to the terminal
        codes.cp.max_points_per_centroid = len(sample)
        codes.train(np.ascontiguousarray(sample))
        return cls(codes)

    def add(self, ids: Int64[np.ndarray, " m"], embeddings: Embeddings) -> None:
        """Take in embeddings, (m, d), under their identifiers."""
        self.codes.add_with_ids(np.ascontiguousarray(embeddings), np.ascontiguousarray(ids))

    def nearest(self, queries: Embeddings, count: int, n_probes: int) -> Int64[np.ndarray, "n count"]:
        """Give identifiers of about the nearest of each query, nearest first; -1 where the lists held no more."""
        wanted = _faiss().SearchParametersIVF(nprobe=min(n_probes, self.n_lists))
        return np.asarray(self.codes.search(np.ascontiguousarray(queries), count, params=wanted)[1])

    def write(self, path: Path, recall: float) -> IndexState:
        """Write the file, whole or not at all, and describe it for a commit.

        Raises:
            OutputError: The disk refuses.
        """
        with atomic_write(path) as temporary:
            try:
                _faiss().write_index(self.codes, str(temporary))
            except RuntimeError as error:  # of a full disk
                raise OSError(str(error)) from error
        return IndexState(
            file=path.name, sha256=file_sha256(path), n_entries=len(self), n_probes=self.n_probes, recall=recall
        )

    @classmethod
    def read(cls, folder: Folder, state: IndexState, *, to_change: bool = False) -> "VectorIndex":
        """Open the file that a commit names. It is compared with its checksum, and then read as it is needed.

        Args:
            folder: Of the database.
            state: What was committed.
            to_change: Read it into memory, where it can take in more.

        Raises:
            DatabaseError: It is absent, or not the one that was committed.
            SettingsError: FAISS is not installed.
        """
        faiss, path = _faiss(), folder / state.file
        try:
            found = file_sha256(Path(path))
        except OSError as error:
            raise DatabaseError(f"the index {path} cannot be read ({error.strerror}); {ANEW}") from error
        if found != state.sha256:
            raise DatabaseError(f"the index {path} is damaged, or older than its table (its SHA-256 differs); {ANEW}")
        return cls(faiss.read_index(os.fspath(path), 0 if to_change else faiss.IO_FLAG_MMAP_IFC), state.n_probes)


ANEW = "`mris bundle index` makes it anew"


def n_lists_for(n_entries: int) -> int:
    """Choose the number of lists for so many entries: twice the root, and none without a few dozen."""
    return max(1, min(math.isqrt(4 * n_entries), n_entries // _FEWEST_ROWS_A_LIST, _MOST_LISTS))


def require_faiss(commit: Commit) -> None:
    """Refuse, before any work, a change that makes indexes anew.

    Args:
        commit: The state before.

    Raises:
        SettingsError: There is an index, and FAISS is not installed.
    """
    if any(state.index is not None for state in commit.tables.values()):
        _faiss()


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise SettingsError("an index needs an extra package; install it with pip install 'mris[index]'") from error
    return faiss
