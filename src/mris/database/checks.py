"""What must hold before entries meet a database: same encoder, same targets, new keys, unit vectors."""

from collections.abc import Sequence

import numpy as np

from mris.cohort.cohort import Cohort
from mris.database.embed import check_unit_norm, stored_metadata
from mris.database.header import DatabaseHeader
from mris.database.stored import StoredEntries
from mris.database.table import metadata_checksums, vector_checksums
from mris.errors import DatabaseError, EncoderMismatchError, SettingsError
from mris.storage.folder import Folder
from mris.types import Embeddings, Encoder


def check_own_keys(cohort: Cohort) -> None:
    """Raise DatabaseError if a key occurs twice in the cohort."""
    keys, counts = np.unique(cohort.keys, return_counts=True)
    twice = keys[counts > 1].tolist()
    if twice:
        raise DatabaseError(
            f"{len(twice)} of the cohort's keys occur twice, such as {twice[0]!r}; leave one of each out"
        )


def new_pairs(cohort: Cohort, entries: StoredEntries) -> Cohort:
    """Give the pairs of a cohort that a database lacks: all of them, or none if it holds all as they are.

    Raises:
        DatabaseError: A key occurs twice, or the database holds some of the keys, or other images under them.
    """
    check_own_keys(cohort)
    present = np.isin(cohort.keys, entries.keys)
    if not present.any():
        return cohort
    if present.all() and _holds_same(cohort, entries):
        return cohort.select([])
    twice = cohort.keys[present].tolist()
    raise DatabaseError(
        f"{entries.path} already has {len(twice)} of these keys, such as {twice[0]!r}; remove that subject first, or "
        "leave these pairs out"
    )


def _holds_same(cohort: Cohort, entries: StoredEntries) -> bool:
    channels = cohort.region_channels(entries.regions)
    rows = entries.rows_of(cohort.keys)
    if metadata_checksums(stored_metadata(cohort)) != entries.checksums("metadata_checksum", rows):
        return False
    for batch in cohort.batches(64):
        targets = batch.targets[:, channels].astype(np.float16).reshape(len(batch.positions), -1)
        found = vector_checksums(cohort.keys[batch.positions], targets)
        if found != entries.checksums("target_checksum", rows[batch.positions]):
            return False
    return True


def checked_queries(queries: Embeddings, header: DatabaseHeader, path: Folder) -> Embeddings:
    """Give queries as contiguous float32, or raise DatabaseError: another dimension, or no unit vectors."""
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != header.embedding_dim:
        raise DatabaseError(
            f"queries have shape {queries.shape}; database {path} holds embeddings of length "
            f"{header.embedding_dim}: give (n, {header.embedding_dim})"
        )
    check_unit_norm(queries, "query")
    return queries


def check_excluded(subjects: Sequence[str | None], n_queries: int) -> None:
    """Raise SettingsError unless there is one subject (or None) for each query: another type would exclude nobody."""
    if isinstance(subjects, str) or len(subjects) != n_queries:
        raise SettingsError(
            f"exclude_subjects has {len(subjects)} entries for {n_queries} queries; "
            "give one subject (or None) for each query"
        )
    for name in subjects:
        if name is not None and not isinstance(name, str):
            raise SettingsError(
                f"exclude_subjects has {name!r}, no text, and would exclude nobody; give subjects such as {str(name)!r}"
            )


def check_encoder(encoder: Encoder, header: DatabaseHeader, path: Folder) -> None:
    """Raise EncoderMismatchError unless this encoder made the database."""
    if encoder.fingerprint != header.fingerprint or tuple(encoder.regions) != header.regions:
        raise EncoderMismatchError(
            f"database {path} was made by encoder {header.fingerprint[:12]} {header.regions}, not by "
            f"{encoder.fingerprint[:12]} {tuple(encoder.regions)}; use its own encoder, or build it again"
        )


def check_cohort(cohort: Cohort, header: DatabaseHeader, path: Folder) -> None:
    """Raise DatabaseError unless the cohort's targets are of the database's shape, unit, orientation and spacing."""
    channels = cohort.region_channels(header.regions)
    found = (len(channels), *cohort.header.target_shape[1:])
    if found != header.target_shape or cohort.header.unit != header.unit:
        raise DatabaseError(
            f"cohort {cohort.path} has targets {found} in {cohort.header.unit}; database {path} holds "
            f"{header.target_shape} in {header.unit}; prepare the cohort with the same settings"
        )
    if cohort.header.mirror_targets != header.mirror_targets:
        raise DatabaseError(
            f"cohort {cohort.path} has mirror_targets {cohort.header.mirror_targets}, database {path} "
            f"{header.mirror_targets}; prepare the cohort with the same settings"
        )
    ours, theirs = header.target_spacing, cohort.header.target_spacing
    if ours is not None and theirs is not None and not np.allclose(ours, theirs, rtol=1e-3):
        raise DatabaseError(
            f"cohort {cohort.path} has target pixels of {theirs} mm, database {path} of {ours} mm; "
            "prepare the cohort with the same settings"
        )
