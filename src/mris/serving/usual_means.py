"""What is usual: how the means of a database's maps are spread among people who share a grade, or an age."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from mris.cohort.few_people import FEWEST_SUBJECTS
from mris.database.database import EmbeddingDatabase
from mris.synthesis.parts import Parts

MOST_GRADES = 8
"""Distinct whole numbers of a label that is taken for a grade, at most."""

_PERCENTILES = (5, 50, 95)
_AT_A_TIME = 256


@dataclass(frozen=True)
class Usual:
    """How a mean is spread among people who share a value of a label.

    Attributes:
        label: Name of the label.
        value: A grade, or a band of ages such as "50-59".
        n_people: Who share it and have a value.
        low: 5th percentile over their maps, in the unit of the targets.
        median: 50th.
        high: 95th.
    """

    label: str
    value: str
    n_people: int
    low: float
    median: float
    high: float


UsualMeans = Mapping[tuple[str, str], tuple[Usual, ...]]
"""By region and part ("" for all of it)."""


def usual_means(database: EmbeddingDatabase, parts: Parts) -> UsualMeans:
    """Tell what is usual for each region and part of a database's maps.

    Grades are labels of at most `MOST_GRADES` whole numbers; ages are those of a label whose name begins with "age", by
    decades. A value that fewer than `mris.cohort.few_people.FEWEST_SUBJECTS` people share is left out: it would tell of
    them alone.

    Args:
        database: Whose entries.
        parts: By region, where its named parts lie on its map.

    Raises:
        DatabaseError: The database is damaged.
    """
    named = [
        (region, part, mask)
        for region in database.regions
        for part, mask in {"": np.ones(database.header.target_shape[1:], bool), **parts.get(region, {})}.items()
    ]
    groups = _groups(database.labels)
    if not groups:
        return {}
    masks = np.zeros((len(named), *database.header.target_shape), dtype=bool)
    for row, (region, _, mask) in enumerate(named):
        masks[row, database.regions.index(region)] = mask
    means = _means(database, masks)
    return {
        (region, part): tuple(_usual(groups, means[:, row], database.subjects))
        for row, (region, part, _) in enumerate(named)
    }


def _means(database: EmbeddingDatabase, masks: Bool[np.ndarray, "m r h w"]) -> Float64[np.ndarray, "N m"]:
    """Mean of each entry over each part; NaN where it has no value there."""
    gallery = database.gallery()
    inside = masks[:, gallery.mask].T.astype(np.float32)
    means = np.full((len(gallery), len(masks)), np.nan)
    for start in range(0, len(gallery), _AT_A_TIME):
        pixels = gallery.pixels(np.arange(start, min(start + _AT_A_TIME, len(gallery))))
        known = np.isfinite(pixels)
        counts = known.astype(np.float32) @ inside
        with np.errstate(invalid="ignore"):
            means[start : start + _AT_A_TIME] = np.where(
                counts > 0, (np.where(known, pixels, 0) @ inside) / np.maximum(counts, 1), np.nan
            )
    return means


def _groups(labels: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[int]]:
    """Rows by label and value, of labels that are grades or ages, in order of the values."""
    columns: dict[str, list[tuple[int, float]]] = {}
    other = set()
    for row, known in enumerate(labels):
        for name, value in known.items():
            if isinstance(value, bool | str):
                other.add(name)
            elif value is not None and np.isfinite(value):
                columns.setdefault(name, []).append((row, float(value)))
    groups: dict[tuple[str, str], list[int]] = {}
    for name in sorted(columns.keys() - other):
        found = sorted(columns[name], key=lambda pair: pair[1])
        values = {value for _, value in found}
        is_age = name.lower().startswith("age")
        if not is_age and (len(values) > MOST_GRADES or any(value != int(value) for value in values)):
            continue
        for row, value in found:
            decade = 10 * int(value // 10)
            text = f"{decade}-{decade + 9}" if is_age else f"{value:.0f}"
            groups.setdefault((name, text), []).append(row)
    return groups


def _usual(
    groups: Mapping[tuple[str, str], Sequence[int]], means: Float64[np.ndarray, " N"], subjects: np.ndarray
) -> list[Usual]:
    usual = []
    for (label, value), rows in groups.items():
        known = np.array([row for row in rows if np.isfinite(means[row])], dtype=int)
        n_people = len(np.unique(subjects[known]))
        if n_people >= FEWEST_SUBJECTS:
            low, median, high = np.percentile(means[known], _PERCENTILES).tolist()
            usual.append(Usual(label, value, n_people, low, median, high))
    return usual
