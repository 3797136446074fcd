"""What validation people say of a bundle as it is made: does its retrieval find more than guessing would?"""

from collections.abc import Iterator

import numpy as np

from mris.cohort.cohort import Cohort
from mris.defaults import CONFIDENCE
from mris.evaluation.bootstrap import Resamples
from mris.evaluation.bundle_evaluation import METHOD_NAME, members_of
from mris.evaluation.recall_table import measure_recall
from mris.evaluation.strata import groups_of
from mris.evaluation.verdict import at_chance
from mris.synthesis.bundle import Bundle

MAX_PAIRS = 1000
"""Validation pairs, spread evenly, that are looked at."""

N_BOOTSTRAP = 1000


def retrieval_at_chance(bundle: Bundle, cohort: Cohort) -> Iterator[str]:
    """Say of each encoder of a bundle whose recall on validation people is at chance.

    Args:
        bundle: An open bundle.
        cohort: The cohort that it was made of; nothing is said where it has no validation people.

    Raises:
        CohortError: The cohort is damaged.
    """
    rows = np.flatnonzero((cohort.splits == "val") & cohort.is_baseline)
    if not len(rows):
        return
    spread = np.linspace(0, len(rows) - 1, min(len(rows), MAX_PAIRS)).astype(int)
    validation = cohort.select(rows[spread])
    recalls, _ = measure_recall(
        {name: member.encoder for name, member in members_of(METHOD_NAME, bundle).items()},
        validation,
        np.ones(len(validation), dtype=np.bool_),
        groups_of(validation, ()),
        Resamples.draw(validation.subjects, N_BOOTSTRAP, np.random.default_rng(0)),
        batch_size=64,
    )
    yield from at_chance(recalls, CONFIDENCE)
