"""A process that builds, fills or purges a database and meets its end on the way; run by test_interruption.py.

Arguments: cohort, database, "build", "add" or "purge", and one of "encode:N" (killed at the Nth batch), "commit"
(killed just before the commit), "compact" or "clean" (killed just before a purge rewrites the table, or deletes earlier
versions), "full" (no file may exceed 10 kB) or "none".
"""

import os
import resource
import signal
import sys

import lance
import numpy as np

from mris.cohort.cohort import Cohort
from mris.database import embed
from mris.database.database import EmbeddingDatabase
from mris.database.table import EntryWriter
from mris.errors import OutputError


class PixelEncoder:
    """The last pixels of an image, made a unit vector."""

    fingerprint = "a" * 64
    regions = ("femoral", "tibial")

    def __init__(self, killed_at: int = -1) -> None:
        self.left = killed_at

    def encode_sources(self, sources: np.ndarray) -> np.ndarray:
        return self.encode_targets(sources)

    def encode_targets(self, targets: np.ndarray) -> np.ndarray:
        self.left -= 1
        if self.left == 0:
            die()
        vectors = np.nan_to_num(targets).reshape(len(targets), -1)[:, -16:]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    cohort_path, database_path, action, fault = sys.argv[1:]
    embed._FRAGMENT_BYTES = 1  # every batch reaches the disk at once
    kind, _, batch = fault.partition(":")
    encoder = PixelEncoder(int(batch) if kind == "encode" else -1)
    cohort = Cohort.open(cohort_path)
    database = EmbeddingDatabase.open(database_path) if action in ("add", "purge") else None
    if kind == "commit":
        EntryWriter.commit = die  # type: ignore[assignment,method-assign]
    if kind == "compact":
        lance.LanceDataset.optimize = property(die)  # type: ignore[assignment]
    if kind == "clean":
        lance.LanceDataset.cleanup_old_versions = die
    if kind == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        if action == "purge":
            database.purge()
        elif database is None:
            EmbeddingDatabase.build(database_path, cohort, encoder, batch_size=4, progress=False)
        else:
            database.add(cohort, encoder, batch_size=4, progress=False)
    except OutputError as error:
        sys.stderr.write(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
