"""From a cohort and an encoder to entries, batch by batch, and on to the disk."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mris.cohort.cohort import Cohort, PairBatch
from mris.database.checks import check_unit_norm
from mris.database.table import METADATA, Entries, EntryWriter, entry_checksums
from mris.types import AtlasMask, Encoder

_FRAGMENT_BYTES = 64 << 20


def embedded_entries(cohort: Cohort, encoder: Encoder, batch_size: int, progress: bool) -> Iterator[Entries]:
    """Embed the targets of a cohort, in order.

    Args:
        cohort: It must hold the encoder's regions.
        encoder: What embeds.
        batch_size: Targets at a time.
        progress: Show a progress bar on standard error.

    Yields:
        The entries of each batch.

    Raises:
        DatabaseError: The encoder gives no unit vectors.
        CohortError: A region is unknown, or the cohort is damaged.
    """
    channels = cohort.region_channels(encoder.regions)
    labels = _labels_as_json(cohort)
    with _progress_bar(len(cohort)) if progress else nullcontext() as bar:
        for batch in cohort.batches(batch_size):
            entries = _embedded_batch(cohort, encoder, batch, channels, labels)
            yield entries
            if bar is not None:
                bar.advance(bar.task_ids[0], len(batch.positions))


def _embedded_batch(
    cohort: Cohort, encoder: Encoder, batch: PairBatch, channels: list[int], labels: Shaped[np.ndarray, " n"]
) -> Entries:
    stored = batch.targets[:, channels].astype(np.float16)
    # The network sees what is stored, so that an entry can be embedded again from the database alone.
    embeddings = np.ascontiguousarray(encoder.encode_targets(stored.astype(np.float32)), dtype=np.float32)
    check_unit_norm(embeddings, "target")
    columns = {
        "key": cohort.keys,
        "subject": cohort.subjects,
        "timepoint": cohort.timepoints,
        "side": cohort.sides,
        "split": cohort.splits,
        "labels": labels,
    }
    metadata = {name: column[batch.positions] for name, column in columns.items()}
    flat = stored.reshape(len(stored), -1)
    return Entries(metadata, embeddings, flat, entry_checksums(metadata, embeddings, flat))


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


def write_all(writer: EntryWriter, first: Entries, rest: Iterator[Entries], mask: AtlasMask) -> AtlasMask:
    """Write entries in fragments of moderate size; returns the mask grown by the pixels they have values at."""
    seen = mask.reshape(-1)
    held, held_bytes = [first], first.targets.nbytes
    seen |= ~np.isnan(first.targets).all(axis=0)
    for entries in rest:
        if held_bytes + entries.targets.nbytes > _FRAGMENT_BYTES:
            writer.write(_joined(held))
            held, held_bytes = [], 0
        held.append(entries)
        held_bytes += entries.targets.nbytes
        seen |= ~np.isnan(entries.targets).all(axis=0)
    writer.write(_joined(held))
    return seen.reshape(mask.shape)


def _joined(parts: list[Entries]) -> Entries:
    return Entries(
        {name: np.concatenate([part.metadata[name] for part in parts]) for name in METADATA},
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate([part.targets for part in parts]),
        [checksum for part in parts for checksum in part.checksums],
    )


def _progress_bar(total: int) -> Any:
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    bar.add_task("embedding targets", total=total)
    return bar
