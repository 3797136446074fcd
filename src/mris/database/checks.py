"""What must hold before entries meet a database: same encoder, same targets, new keys, unit vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from mris.cohort.cohort import Cohort
from mris.database.header import DatabaseHeader
from mris.errors import DatabaseError, EncoderMismatchError, SettingsError
from mris.types import Embeddings, Encoder

_NORM_TOLERANCE = 1e-3


def check_new_keys(cohort: Cohort, present: Shaped[np.ndarray, " N"]) -> None:
    """Raise DatabaseError if a key of the cohort is there already, or twice in the cohort."""
    keys, counts = np.unique(cohort.keys, return_counts=True)
    twice = keys[(counts > 1) | np.isin(keys, present)].tolist()
    if twice:
        raise DatabaseError(
            f"{len(twice)} of the cohort's keys would occur twice, such as {twice[0]!r}; remove that subject first, "
            "or leave these pairs out"
        )


def check_unit_norm(embeddings: Embeddings, what: str) -> None:
    """Raise DatabaseError, naming the first offender, unless every embedding has norm 1."""
    norms = np.linalg.norm(embeddings, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) < _NORM_TOLERANCE))
    if len(wrong):
        raise DatabaseError(
            f"{what} {wrong[0]} has an embedding of norm {norms[wrong[0]]:.4g}, not 1 (its image may be empty, or the "
            "encoder's weights not finite); embeddings must be normalized"
        )


def checked_queries(queries: Embeddings, header: DatabaseHeader, path: Path) -> Embeddings:
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


def check_encoder(encoder: Encoder, header: DatabaseHeader, path: Path) -> None:
    """Raise EncoderMismatchError unless this encoder made the database."""
    if encoder.fingerprint != header.fingerprint or tuple(encoder.regions) != header.regions:
        raise EncoderMismatchError(
            f"database {path} was made by encoder {header.fingerprint[:12]} {header.regions}, not by "
            f"{encoder.fingerprint[:12]} {tuple(encoder.regions)}; use its own encoder, or build it again"
        )


def check_cohort(cohort: Cohort, header: DatabaseHeader, path: Path) -> None:
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
