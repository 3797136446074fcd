"""How many people make up a map: the share of all weights that those have who count most."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mris.cohort.cohort import Cohort
from mris.synthesis.batch_synthesizer import BatchSynthesizer
from mris.synthesis.synthesis import Contribution

COUNTS = (1, 5, 10, 20, 50)
"""Numbers of people that are looked at."""

MAX_QUERIES = 50


@dataclass(frozen=True)
class PeopleShown:
    """What the people who count most explain of a map, mean over queries.

    Args:
        method: Name of the bundle.
        n_people: Numbers of people.
        shares: Their share of the sum of all weights without their signs, 0 to 1, for each of `n_people`.
        n_contributing: How many people count at all, mean over queries.
        n_queries: Queries that were looked at, spread evenly over the test images.
    """

    method: str
    n_people: tuple[int, ...]
    shares: tuple[float, ...]
    n_contributing: float
    n_queries: int


def people_shown(
    method: str, synthesizer: BatchSynthesizer, queries: Cohort, subject_of: Mapping[str, str]
) -> PeopleShown:
    """Sort the people of each map by their weight, without sign, and add up.

    Args:
        method: Name of the bundle.
        synthesizer: Its synthesizer.
        queries: The test images, of which at most `MAX_QUERIES` are looked at. Own people are left out.
        subject_of: The person of each key of the databases.
    """
    rows = np.unique(np.linspace(0, len(queries) - 1, min(len(queries), MAX_QUERIES)).round().astype(np.int64))
    asked = queries.select(rows)
    syntheses = synthesizer.stream(
        (source for batch in asked.batches(32) for source in batch.sources),
        exclude_subjects=[str(subject) for subject in asked.subjects],
    )
    parts = [shares_of_people(part, subject_of) for synthesis in syntheses for part in synthesis.contributions]
    shares = np.mean([[part[:n].sum() for n in COUNTS] for part in parts], axis=0)
    return PeopleShown(method, COUNTS, tuple(shares.tolist()), float(np.mean(list(map(len, parts)))), len(asked))


def shares_of_people(contribution: Contribution, subject_of: Mapping[str, str]) -> Float64[np.ndarray, " people"]:
    """The share of each person in all weights without their signs, greatest first; all entries of a person together."""
    people = [subject_of[key] for key in contribution.all_keys.tolist()]
    _, codes = np.unique(people, return_inverse=True)
    sizes = np.bincount(codes, np.abs(contribution.all_weights).astype(np.float64))
    return np.asarray(np.sort(sizes)[::-1] / sizes.sum())
