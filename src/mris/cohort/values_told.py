"""The values of a label in a few words."""

from collections import Counter

import numpy as np
from jaxtyping import Shaped


def counts(values: Shaped[np.ndarray, " n"]) -> str:
    """Each value with how often it occurs."""
    found = Counter(str(value) for value in values)
    return ", ".join(f"{value or 'missing'} {count}" for value, count in sorted(found.items()))


def distribution(values: Shaped[np.ndarray, " n"]) -> str:
    """Counts of few values; of many numbers their range and median."""
    if values.dtype.kind == "f":
        present = values[~np.isnan(values)]
        missing = f"; missing {len(values) - len(present)}" if len(present) < len(values) else ""
        if len(np.unique(present)) > 10:
            low, middle, high = np.quantile(present, [0, 0.5, 1])
            return f"{low:.4g} to {high:.4g}, median {middle:.4g}{missing}"
        return (counts(np.array([f"{value:g}" for value in present])) or "no value") + missing
    return counts(values) if len(set(values)) <= 10 else f"{len(set(values))} different texts"
