"""What is done unless something else is asked for. Imports nothing heavy: the command line states these numbers."""

from collections.abc import Mapping
from types import MappingProxyType

from mris.choices import ErrorName, WeightRule

ERROR: ErrorName = "mae"
"""What readouts are chosen by."""

N_NEIGHBORS = 20
"""k of the k nearest neighbors."""

WEIGHTS: WeightRule = "similarity"
"""Eq. 4 of the paper."""

TEMPERATURE = 0.1
"""Of the softmax, in units of cosine similarity."""

N_RESAMPLES = 1000
"""Bootstrap resamples of subjects, for intervals."""

CONFIDENCE = 0.95
"""Share of resamples between the ends of an interval."""

QC_THRESHOLD = 6.0
"""A target map is flagged from so many robust standard deviations from its cohort's median on."""

FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.7, "val": 0.1, "test": 0.2})
"""Share of the subjects of each split."""
