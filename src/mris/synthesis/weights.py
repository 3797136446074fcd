"""Convex weights of the neighbors: how much each one counts in the synthesis."""

from typing import assert_never

import numpy as np
from jaxtyping import Float32

from mris.choices import WeightRule
from mris.errors import SettingsError
from mris.types import Rows, Similarities

Weights = Float32[np.ndarray, "n k"]
"""Non-negative; each line sums to 1, or to 0 for a query without any neighbor; 0 where a row is -1."""


def similarity_weights(similarities: Similarities, rows: Rows) -> Weights:
    """Weigh by cosine similarity, w_i = s_i / sum_j s_j (Eq. 4 of the paper).

    A negative similarity counts as 0, since weights must stay convex; a query all of whose
    similarities are 0 or below falls back to uniform weights.

    Args:
        similarities: (n, k) cosine similarities; what stands at a padded place is ignored.
        rows: (n, k) database rows, -1 where there is no neighbor.

    Returns:
        (n, k) convex weights.

    Example:
        >>> import numpy as np
        >>> similarity_weights(np.array([[0.75, 0.25, np.nan]]), np.array([[4, 2, -1]]))
        array([[0.75, 0.25, 0.  ]], dtype=float32)
    """
    present = rows >= 0
    positive = np.where(present, np.maximum(np.where(present, similarities, 0.0), 0.0), 0.0)
    hopeless = positive.sum(axis=1, keepdims=True) <= 0
    return _normalized(np.where(hopeless, present, positive))


def softmax_weights(similarities: Similarities, rows: Rows, temperature: float) -> Weights:
    """Weigh by w_i = exp(s_i / T) / sum_j exp(s_j / T): a small T trusts the nearest, a large T tends to uniform.

    Args:
        similarities: (n, k) cosine similarities; what stands at a padded place is ignored.
        rows: (n, k) database rows, -1 where there is no neighbor.
        temperature: T, above 0, in units of cosine similarity.

    Returns:
        (n, k) convex weights.

    Raises:
        SettingsError: The temperature is not a positive finite number.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise SettingsError(f"temperature is {temperature}; it must be a finite number above 0, such as 0.1")
    present = rows >= 0
    scores = np.where(present, similarities, -2.0).astype(np.float64)
    # Minus the best similarity first: exp of a large number overflows, of a negative one only fades.
    exponent = (scores - scores.max(axis=1, keepdims=True, initial=-2.0)) / temperature
    return _normalized(np.where(present, np.exp(np.maximum(exponent, -700.0)), 0.0))


def uniform_weights(rows: Rows) -> Weights:
    """Weigh every neighbor alike, w_i = 1 / k.

    Args:
        rows: (n, k) database rows, -1 where there is no neighbor.

    Returns:
        (n, k) convex weights.
    """
    return _normalized(rows >= 0)


def neighbor_weights(rule: WeightRule, similarities: Similarities, rows: Rows, temperature: float) -> Weights:
    """Weigh by the named rule; ``temperature`` matters for "softmax" only.

    Raises:
        SettingsError: The rule or the temperature cannot be used.
    """
    if rule == "similarity":
        return similarity_weights(similarities, rows)
    if rule == "softmax":
        return softmax_weights(similarities, rows, temperature)
    if rule == "uniform":
        return uniform_weights(rows)
    assert_never(rule)


def _normalized(raw: np.ndarray) -> Weights:
    raw = raw.astype(np.float64)
    total = raw.sum(axis=1, keepdims=True)
    weights: Weights = (raw / np.where(total > 0, total, 1.0)).astype(np.float32)
    return weights
