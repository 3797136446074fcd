"""Choose a readout and its parameters by the error on validation people."""

from collections.abc import Iterable
from itertools import product
from typing import TypeVar

import numpy as np

from mris.cohort.cohort import Cohort
from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.synthesis.readouts.attention import Attention
from mris.synthesis.readouts.neighbors import NearestNeighbors
from mris.synthesis.readouts.readout import OpenReadout, Penalties, Queries, Readout, ReadoutName
from mris.synthesis.readouts.ridge import predictions_by_penalty
from mris.types import Pixels
from mris.wording import counted

_T = TypeVar("_T")

FEWEST_PEOPLE = 10
"""Validation people below which nothing is chosen."""

N_NEIGHBORS = (5, 10, 20, 50, 100)
TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
PENALTIES = (None, *(10.0**power for power in np.arange(-4, 1.5, 0.5)))
SHARES = (0.25, 0.5, 0.75)


def choose_readout(queries: Queries, truths: Cohort, database: EmbeddingDatabase, gallery: Gallery) -> Readout:
    """Take, for every readout, the parameters with the smallest error on validation people; then the best readout.

    The error is the mean over people of the mean absolute error inside the atlas mask. A regression without features
    is the mean of the database, so that what the encoder learned is left aside where it teaches nothing.

    Args:
        queries: The embedded sources of validation pairs.
        truths: Those pairs.
        database: The database.
        gallery: Its pixels.

    Returns:
        The readout; that of the paper, and the reason, where there are fewer than `FEWEST_PEOPLE`.
    """
    people, codes = np.unique(truths.subjects, return_inverse=True)
    if len(people) < FEWEST_PEOPLE:
        found = f"{counted(len(people), 'validation subject')} are" if len(people) != 1 else "1 validation subject is"
        return Readout(reason=f"{found} too few to choose by ({FEWEST_PEOPLE} are needed): the numbers of the paper")
    wanted = [truths.regions.index(region) for region in database.regions]
    truth = truths.read_targets(range(len(truths)))[:, wanted][:, gallery.mask]

    def error(pixels: Pixels) -> float:
        gaps = np.abs(pixels - truth)
        known = np.isfinite(gaps)
        judged = known.any(axis=1)
        by_pair = np.where(known, gaps, 0)[judged].sum(axis=1) / known[judged].sum(axis=1)
        counts = np.bincount(codes[judged])
        by_person = np.bincount(codes[judged], by_pair)[counts > 0] / counts[counts > 0]
        return float(by_person.mean())

    errors: dict[ReadoutName, float] = {}

    def of(readout: OpenReadout) -> Pixels:
        return np.stack([answer.pixels for answer in readout.answer(queries)])

    k, errors["neighbors"] = _least(
        (k, error(of(NearestNeighbors(Readout(n_neighbors=k), database, gallery)))) for k in N_NEIGHBORS
    )
    heat, errors["attention"] = _least((t, error(of(Attention(t, database, gallery)))) for t in TEMPERATURES)
    chosen = Readout(n_neighbors=k, attention_temperature=heat)
    if database.header.n_features and queries.features is not None:
        held_out = np.isin(database.subjects, people)
        rows = np.flatnonzero(np.isfinite(database.features).all(axis=1) & ~held_out)
        header = database.header
        seconds = PENALTIES if header.n_components else (None,)
        ladder = [Penalties(learned=first, components=second) for first, second in product(PENALTIES, seconds)]
        n_learned = header.n_features - header.n_components
        regressed = predictions_by_penalty(
            database.features[rows], n_learned, gallery.subset(rows), queries.features, ladder
        )
        place, errors["linear"] = _least((i, error(pixels)) for i, pixels in enumerate(regressed))
        convex = of(Attention(heat, database, gallery))
        share, errors["blend"] = _least((s, error(s * convex + (1 - s) * regressed[place])) for s in SHARES)
        chosen = chosen.model_copy(update={"penalties": ladder[place], "attention_share": share})
    best = min(errors, key=lambda name: errors[name])
    told = ", ".join(f"{name} {value:.4g}" for name, value in errors.items())
    reason = f"least error on {counted(len(people), 'validation subject')}: {told} {truths.header.unit}"
    return chosen.model_copy(update={"name": best, "reason": reason})


def _least(tried: Iterable[tuple[_T, float]]) -> tuple[_T, float]:
    """The first of those with the least error."""
    return min(tried, key=lambda pair: pair[1])
