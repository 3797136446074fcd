"""Choose a readout and its parameters by the error on validation people."""

from collections.abc import Callable, Iterable
from itertools import product
from typing import TypeVar

import numpy as np

from mris.cohort.cohort import Cohort
from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.synthesis.readouts.attention import Attention
from mris.synthesis.readouts.neighbors import NearestNeighbors
from mris.synthesis.readouts.readout import Penalties, Queries, Readout, ReadoutName
from mris.synthesis.readouts.ridge import predictions_by_penalty
from mris.types import Pixels
from mris.wording import counted

_T = TypeVar("_T")

FEWEST_PEOPLE = 10
"""Validation people below which nothing is chosen."""

N_NEIGHBORS = (5, 10, 20, 50, 100)
MOST_PIXELS = 4096
"""Pixels, spread evenly, that predictions are compared at."""

TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
PENALTIES = (None, *(10.0**power for power in np.arange(-4, 1.5, 0.5)))
_BETTER = 0.999
"""Share of the mean map's error below which an error counts as better: the mean map itself is a readout here."""
SHARES = (0.25, 0.5, 0.75)


def choose_readout(queries: Queries, truths: Cohort, database: EmbeddingDatabase, gallery: Gallery) -> Readout:
    """Take, for every readout, the parameters with the smallest error on validation people; then the best readout.

    The error is the mean over people of the mean absolute error inside the atlas mask. A regression without features
    is the mean of the database, so that what the encoder learned is left aside where it teaches nothing.

    Args:
        queries: The embedded sources of validation pairs.
        truths: Those pairs.
        database: The database.
        gallery: Its pixels; at most `MOST_PIXELS` are compared.

    Returns:
        The readout; that of the paper, and the reason, where there are fewer than `FEWEST_PEOPLE`.
    """
    people, codes = np.unique(truths.subjects, return_inverse=True)
    if len(people) < FEWEST_PEOPLE:
        found = f"{counted(len(people), 'validation subject')} are" if len(people) != 1 else "1 validation subject is"
        return Readout(reason=f"{found} too few to choose by ({FEWEST_PEOPLE} are needed): the numbers of the paper")
    gallery = gallery.at_most(MOST_PIXELS)
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
    by_k = ((k, NearestNeighbors(Readout(n_neighbors=k), database, gallery).answer(queries)) for k in N_NEIGHBORS)
    k, errors["neighbors"], _ = _least(error, ((k, np.stack([one.pixels for one in answers])) for k, answers in by_k))
    heats = [(heat, Attention(heat, database, gallery).weights(queries)) for heat in TEMPERATURES]
    averages = np.split(gallery.combine(np.concatenate([weights for _, weights in heats])), len(heats))
    heat, errors["attention"], convex = _least(error, zip(TEMPERATURES, averages, strict=True))
    chosen = Readout(n_neighbors=k, attention_temperature=heat)
    header = database.header
    others = ~np.isin(database.subjects, people)
    if header.n_features and queries.features is not None and others.any():
        rows = np.flatnonzero(np.isfinite(database.features).all(axis=1) & others)
        seconds = PENALTIES if header.n_components else (None,)
        ladder = [Penalties(learned=first, components=second) for first, second in product(PENALTIES, seconds)]
        n_learned = header.n_features - header.n_components
        known, targets = database.features[rows], gallery.subset(rows)
        regressed = predictions_by_penalty(known, n_learned, targets, queries.features, ladder)
        penalties, errors["linear"], signed = _least(error, zip(ladder, regressed, strict=True))
        mixed = ((share, share * convex + (1 - share) * signed) for share in SHARES)
        share, errors["blend"], _ = _least(error, mixed)
        chosen = chosen.model_copy(update={"penalties": penalties, "attention_share": share})
    best = min(errors, key=lambda name: errors[name])
    mean = gallery.combine(np.full((1, len(gallery)), 1 / len(gallery), dtype=np.float32))
    mean_map = error(np.broadcast_to(mean, truth.shape))
    told = ", ".join(f"{name} {value:.4g}" for name, value in errors.items())
    reason = f"least error on {counted(len(people), 'validation subject')}: {told}, mean map {mean_map:.4g} "
    reason += truths.header.unit
    if errors[best] >= _BETTER * mean_map:
        reason += "; not better than the mean map"
    return chosen.model_copy(update={"name": best, "reason": reason})


def _least(error: Callable[[Pixels], float], tried: Iterable[tuple[_T, Pixels]]) -> tuple[_T, float, Pixels]:
    """Give the first of those with the least error, with that and its predictions; one at a time is in memory."""
    return min(((one, error(pixels), pixels) for one, pixels in tried), key=lambda found: found[1])
