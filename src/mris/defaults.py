"""How neighbors are averaged unless something else is asked for: the numbers of the paper. Imports nothing heavy."""

from typing import Literal

WeightRule = Literal["similarity", "softmax", "uniform"]

N_NEIGHBORS = 20
"""k of the k nearest neighbors."""

WEIGHTS: WeightRule = "similarity"
"""Eq. 4 of the paper."""

TEMPERATURE = 0.1
"""Of the softmax, in units of cosine similarity."""
