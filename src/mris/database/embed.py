"""From a cohort and an encoder to entries, batch by batch, and on to the disk."""

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
from jaxtyping import Float16, Shaped

from mris.cohort.cohort import Cohort
from mris.cohort.workers import shown
from mris.database.table import METADATA, Entries, EntryWriter
from mris.engines.engine import Engine, in_this_process
from mris.errors import CohortError, DatabaseError
from mris.types import AtlasMask, Embeddings, Encoder, FeatureEncoder, Features, Sources

_FRAGMENT_BYTES = 64 << 20
NORM_TOLERANCE = 1e-3


def embedded_entries(
    cohort: Cohort,
    encoder: Encoder,
    batch_size: int,
    progress: bool,
    *,
    n_features: int,
    engine: Engine | None = None,
) -> Iterator[Entries]:
    """Embed the targets of a cohort, in order, and take the features of their sources, where it has any.

    Args:
        cohort: It must hold the encoder's regions.
        encoder: What embeds.
        n_features: Length of the features that the database holds; 0 for none.
        batch_size: Targets at a time.
        progress: Show a progress bar on standard error.
        engine: What does the work; this process if None.

    Yields:
        The entries of each batch.

    Raises:
        DatabaseError: The encoder gives no unit vectors.
        CohortError: A region is unknown, or the cohort is damaged.
    """
    if batch_size < 1:
        raise CohortError(f"batch size is {batch_size}; give at least 1")
    channels = cohort.region_channels(encoder.regions)
    metadata = stored_metadata(cohort)
    parts = [range(start, min(start + batch_size, len(cohort))) for start in range(0, len(cohort), batch_size)]
    embedded = (engine or in_this_process)(partial(_embedded, cohort, encoder, channels, n_features), parts)
    done = shown(zip(parts, embedded, strict=True), "embedding targets", len(parts), progress)
    for part, (embeddings, features, targets) in done:
        yield Entries({name: column[part] for name, column in metadata.items()}, embeddings, features, targets)


def _embedded(
    cohort: Cohort, encoder: Encoder, channels: list[int], n_features: int, part: range
) -> Iterator[tuple[Embeddings, Features, Float16[np.ndarray, "n p"]]]:
    (batch,) = cohort.select(part).batches(len(part))
    stored = batch.targets[:, channels].astype(np.float16)
    # The network sees what is stored, so that an entry can be embedded again from the database alone.
    embeddings = np.ascontiguousarray(encoder.encode_targets(stored.astype(np.float32)), dtype=np.float32)
    check_unit_norm(embeddings, "target")
    sources = batch.sources if cohort.header.has_sources else None
    yield embeddings, _features(encoder, sources, (len(part), n_features)), stored.reshape(len(stored), -1)


def _features(encoder: Encoder, sources: Sources | None, shape: tuple[int, int]) -> Features:
    """Give the features of some sources, in a shape (n, q); NaN where there are no sources."""
    if not shape[1] or sources is None:
        return np.full(shape, np.nan, dtype=np.float32)
    assert isinstance(encoder, FeatureEncoder)
    features = np.ascontiguousarray(encoder.describe_sources(sources)[1], dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(wrong):
        raise DatabaseError(f"source {wrong[0]} has features that are not finite; are the encoder's weights?")
    return features


def n_features_of(encoder: Encoder) -> int:
    """Length of the features that an encoder gives of a source; 0 if it gives none."""
    return encoder.n_learned + encoder.n_components if isinstance(encoder, FeatureEncoder) else 0


def check_unit_norm(embeddings: Embeddings, what: str) -> None:
    """Raise DatabaseError, naming the first offender, unless every embedding has norm 1."""
    norms = np.linalg.norm(embeddings, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) < NORM_TOLERANCE))
    if len(wrong):
        raise DatabaseError(
            f"{what} {wrong[0]} has an embedding of norm {norms[wrong[0]]:.4g}, not 1 (its image may be empty, or the "
            "encoder's weights not finite); embeddings must be normalized"
        )


def stored_metadata(cohort: Cohort) -> dict[str, Shaped[np.ndarray, " n"]]:
    """What a database keeps of each pair beside its target; (n,) strings for each name of `METADATA`."""
    return {
        "key": cohort.keys,
        "subject": cohort.subjects,
        "timepoint": cohort.timepoints,
        "side": cohort.sides,
        "split": cohort.splits,
        "labels": _labels_as_json(cohort),
    }


def _labels_as_json(cohort: Cohort) -> Shaped[np.ndarray, " n"]:
    columns = {name: cohort.label(name).tolist() for name in cohort.header.labels}
    rows = [
        {
            name: None if values[row] != values[row] or values[row] == "" else values[row]
            for name, values in columns.items()
        }
        for row in range(len(cohort))
    ]
    return np.array([json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows], dtype=np.str_)


def write_all(writer: EntryWriter, batches: Iterator[Entries], mask: AtlasMask) -> AtlasMask:
    """Write entries in fragments of moderate size; returns the mask grown by the pixels they have values at."""
    seen = mask.reshape(-1).copy()
    held: list[Entries] = []
    for entries in batches:
        if held and sum(part.targets.nbytes for part in held) + entries.targets.nbytes > _FRAGMENT_BYTES:
            writer.write(_joined(held))
            held = []
        held.append(entries)
        seen |= ~np.isnan(entries.targets).all(axis=0)
    writer.write(_joined(held))
    return seen.reshape(mask.shape)


def _joined(parts: list[Entries]) -> Entries:
    return Entries(
        {name: np.concatenate([part.metadata[name] for part in parts]) for name in METADATA},
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.targets for part in parts]),
    )
