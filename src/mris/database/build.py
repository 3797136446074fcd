"""A new database: header, mask and table are written, then committed for the first time."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import numpy as np

import mris
from mris.cohort.cohort import Cohort
from mris.database.checks import check_own_keys
from mris.database.commit import Commit, TableState, write_commit
from mris.database.embed import embedded_entries, n_features_of, write_all
from mris.database.header import HEADER_FILE, TABLE_FOLDER, DatabaseHeader
from mris.database.stored import table_state
from mris.database.table import Entries, EntryWriter, table_schema
from mris.engines.engine import Engine
from mris.errors import DatabaseError
from mris.images.write import share_alike, write_json, write_npz
from mris.reading import file_sha256
from mris.types import Encoder, FeatureEncoder

ALONE = "."
"""Folder of a database that is no part of a bundle, relative to its ``commit.json``."""


def build_entries(
    path: Path,
    cohort: Cohort,
    encoder: Encoder,
    *,
    batch_size: int,
    progress: bool,
    engine: Engine | None = None,
) -> TableState:
    """Embed a cohort and write header, mask and table of a new database; `commit_first` then makes it one.

    Args:
        path: An existing folder.
        cohort: What to store.
        encoder: What embeds.
        batch_size: Targets embedded at a time.
        progress: Show a progress bar on standard error.
        engine: What does the work; this process if None.

    Raises:
        DatabaseError: The cohort is empty, a key occurs twice, or the encoder gives no unit vectors.
        CohortError: The cohort is damaged, or lacks a region.
        OutputError: The disk refuses.
    """
    if len(cohort) == 0:
        raise DatabaseError(f"the cohort {cohort.path} has no pair in this selection; there is nothing to store")
    check_own_keys(cohort)
    channels = cohort.region_channels(encoder.regions)
    n_features = n_features_of(encoder)
    batches = embedded_entries(cohort, encoder, batch_size, progress, n_features=n_features, engine=engine)
    first = next(batches)
    header = DatabaseHeader(
        fingerprint=encoder.fingerprint,
        embedding_dim=first.embeddings.shape[1],
        n_features=n_features,
        n_components=encoder.n_components if isinstance(encoder, FeatureEncoder) else 0,
        regions=tuple(encoder.regions),
        target_shape=(len(channels), *cohort.header.target_shape[1:]),
        target_spacing=cohort.header.target_spacing,
        unit=cohort.header.unit,
        mirror_targets=cohort.header.mirror_targets,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        software=f"mris {mris.__version__}",
    )
    return write_entries(path, header, chain([first], batches))


def write_entries(path: Path, header: DatabaseHeader, batches: Iterator[Entries]) -> TableState:
    """Write header, mask and table of a new database from entries that are embedded already; at least one batch.

    Raises:
        OutputError: The disk refuses.
    """
    writer = EntryWriter(path / TABLE_FOLDER, table_schema(header))
    mask = write_all(writer, batches, np.zeros(header.target_shape, dtype=bool))
    version = writer.commit()
    name = "atlas_mask.1.npz"
    write_npz(path / name, mask=mask)
    write_json(path / HEADER_FILE, header)
    return table_state(path / TABLE_FOLDER, version, name)


def commit_first(root: Path, tables: Mapping[str, TableState], files: Sequence[str] = ()) -> Commit:
    """Commit new databases, and make all of their folder its owner's alone.

    Args:
        root: Their folder.
        tables: Each database by its folder relative to `root`.
        files: More small files that readers need, relative to `root`.

    Raises:
        OutputError: The disk refuses.
    """
    needed = [*files, *(f"{folder}/{name}" for folder, state in tables.items() for name in (HEADER_FILE, state.mask))]
    names = [Path(name).as_posix() for name in needed]
    share_alike(root)
    return write_commit(
        root, Commit(number=1, tables=dict(tables), files={name: file_sha256(root / name) for name in names})
    )
