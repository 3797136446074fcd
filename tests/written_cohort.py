"""A small prepared cohort made of arrays: the folder that `mris prepare` leaves, without its road."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from mris.cohort.cohort import Cohort
from mris.cohort.header import ATLAS_MASK_FILE, HEADER_FILE, TABLE_FILE, CohortHeader, label_column
from mris.cohort.pair_table import image_array
from mris.images.transforms import SourcePreparation
from mris.images.write import write_json, write_npz


def write_cohort(
    folder: Path,
    sources: np.ndarray,
    targets: np.ndarray,
    *,
    subjects: Sequence[str],
    splits: Sequence[str],
    timepoints: Sequence[str] | None = None,
    sides: Sequence[str] | None = None,
    labels: Mapping[str, Sequence[object] | pa.Array] | None = None,
    regions: Sequence[str] = ("femoral", "tibial"),
    atlas_mask: np.ndarray | None = None,
    spacing: tuple[float, float] | None = None,
) -> Cohort:
    """Write sources (n, c, h, w) and targets (n, r, h, w) as a cohort and open it."""
    n, labels = len(sources), labels or {}
    timepoints = timepoints or ["0"] * n
    sides = sides or [""] * n
    columns = {
        "key": ["/".join(part for part in parts if part) for parts in zip(subjects, timepoints, sides, strict=True)],
        "subject": list(subjects),
        "timepoint": list(timepoints),
        "side": list(sides),
        "split": list(splits),
        "manifest_row": list(range(n)),
        **{label_column(name): values for name, values in labels.items()},
        "source": image_array(sources.reshape(n, -1)),
        "target": image_array(targets.reshape(n, -1)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    lance.write_dataset(pa.table(columns), str(folder / TABLE_FILE))
    if atlas_mask is None:
        training = np.array([split == "train" for split in splits])
        atlas_mask = np.isfinite(targets[training if training.any() else ~training]).any(axis=0)
    write_npz(folder / ATLAS_MASK_FILE, mask=atlas_mask)
    header = CohortHeader(
        regions=tuple(regions),
        unit="mm",
        source=SourcePreparation(size=tuple(sources.shape[2:])),
        source_shape=tuple(sources.shape[1:]),
        target_shape=tuple(targets.shape[1:]),
        target_spacing=spacing,
        mirror_targets=False,
        labels=tuple(labels),
        n_pairs=n,
        n_manifest_rows=n,
        split_rule="given",
        manifest_sha256="0" * 64,
        software="mris test",
    )
    write_json(folder / HEADER_FILE, header)
    return Cohort.open(folder)
