"""Choose a readout and its parameters by the error on validation people."""

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from mris.choices import ErrorName, ReadoutName
from mris.cohort.cohort import Cohort
from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.defaults import ERROR
from mris.synthesis.readouts.attention import Attention
from mris.synthesis.readouts.few import few_of
from mris.synthesis.readouts.neighbors import NearestNeighbors
from mris.synthesis.readouts.pixels_alone import pixels_alone
from mris.synthesis.readouts.readout import Penalties, Queries, Readout
from mris.synthesis.readouts.ridge import predictions_by_penalty
from mris.types import Pixels
from mris.wording import counted

_T = TypeVar("_T")
ByPerson = Float64[np.ndarray, " people"]

FEWEST_PEOPLE = 10
"""Validation people below which nothing is chosen."""

N_NEIGHBORS = (5, 10, 20, 50, 100)
SOFTMAX_OF_NEIGHBORS = (0.02, 0.05, 0.1)
"""Temperatures that are tried beside Eq. 4."""
MOST_PIXELS = 4096
"""Pixels, spread evenly, that predictions are compared at."""

TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
PENALTIES = (None, *(10.0**power for power in np.arange(-4, 1.5, 0.5)))
_BETTER = 0.999
"""Share of the mean map's error below which an error counts as better: the mean map itself is a readout here."""
SHARES = (0.25, 0.5, 0.75)
STANDARD_ERRORS = 1.0
"""By how many standard errors of the paired difference what was learned must be better than pixels alone."""


def choose_readout(
    queries: Queries, truths: Cohort, database: EmbeddingDatabase, gallery: Gallery, *, error_name: ErrorName = ERROR
) -> Readout:
    """Take, for every readout, the parameters with the smallest error on validation people; then the best readout.

    The error is the mean over people of the mean absolute error, or the root of the mean square, inside the atlas mask.
    What the encoder learned is left aside where it teaches nothing: unless the best readout is better than a regression
    from pixels alone by more than a standard error over people, that regression is taken: the mean of the database,
    where pixels say nothing.

    Args:
        queries: The embedded sources of validation pairs.
        truths: Those pairs.
        database: The database.
        gallery: Its pixels; at most `MOST_PIXELS` are compared.
        error_name: "mae", or "rmse" where few large errors are worse than many small ones.

    Returns:
        The readout. With fewer than `FEWEST_PEOPLE`, that from pixels alone, and where the database has no components
        of sources, that of the paper.
    """
    people, codes = np.unique(truths.subjects, return_inverse=True)
    gallery = gallery.at_most(MOST_PIXELS)
    plain = pixels_alone(database, gallery)
    if len(people) < FEWEST_PEOPLE:
        return _unchosen(len(people), plain, database)
    wanted = [truths.regions.index(region) for region in database.regions]
    truth = truths.read_targets(range(len(truths)))[:, wanted][:, gallery.mask]

    power = {"mae": 1, "rmse": 2}[error_name]

    def error(pixels: Pixels) -> ByPerson:
        gaps = np.abs(pixels - truth) ** power
        known = np.isfinite(gaps)
        judged = known.any(axis=1)
        by_pair = (np.where(known, gaps, 0)[judged].sum(axis=1) / known[judged].sum(axis=1)) ** (1 / power)
        counts = np.bincount(codes[judged])
        return np.asarray(np.bincount(codes[judged], by_pair)[counts > 0] / counts[counts > 0])

    errors: dict[ReadoutName, ByPerson] = {}
    nearest = ((rule, NearestNeighbors(rule, database, gallery).answer(queries)) for rule in _rules_of_neighbors())
    rule, errors["neighbors"], _ = _least(error, ((rule, np.stack([one.pixels for one in a])) for rule, a in nearest))
    by_heat = ((heat, gallery.combine(Attention(heat, database, gallery).weights(queries))) for heat in TEMPERATURES)
    heat, errors["attention"], convex = _least(error, by_heat)
    chosen = rule.model_copy(update={"attention_temperature": heat})
    others = ~np.isin(database.subjects, people)
    told = {}
    if database.header.n_features and queries.features is not None and others.any():
        ladder = _ladder(database)
        regressed = _regressed(database, gallery, others, queries, ladder)
        penalties, errors["linear"], signed = _least(error, zip(ladder, regressed, strict=True))
        mixed = ((share, share * convex + (1 - share) * signed) for share in SHARES)
        share, errors["blend"], _ = _least(error, mixed)
        chosen = chosen.model_copy(update={"penalties": penalties, "attention_share": share})
        rows, weights = few_of(signed, queries, database, gallery, chosen.n_few)
        errors["few"] = error(gallery.average(rows, weights)[0])
        if plain is not None:
            (pixels,) = _regressed(database, gallery, others, queries, [plain])
            told["pixels alone"] = error(pixels)
    best = min(errors, key=lambda name: errors[name].mean())
    told |= {"mean map": error(_mean_of_others(database, gallery, queries))}
    numbers = ", ".join(f"{name} {value.mean():.4g}" for name, value in (errors | told).items())
    reason = (
        f"least {error_name.upper()} on {counted(len(people), 'validation subject')}: {numbers} {truths.header.unit}"
    )
    least = errors[best]
    if plain is not None and "pixels alone" in told and not _clearly_less(least, told["pixels alone"]):
        best, least = "linear", told["pixels alone"]
        chosen = chosen.model_copy(update={"penalties": plain})
        reason += "; nothing learned is better than pixels alone by more than a standard error"
    if least.mean() >= _BETTER * told["mean map"].mean():
        reason += "; not better than the mean map"
    return chosen.model_copy(update={"name": best, "reason": reason})


def _unchosen(n_people: int, plain: Penalties | None, database: EmbeddingDatabase) -> Readout:
    """Give the readout where there are too few people to choose by."""
    found = f"{counted(n_people, 'validation subject')} are" if n_people != 1 else "1 validation subject is"
    reason = f"{found} too few to choose by ({FEWEST_PEOPLE} are needed)"
    if plain is None:
        return Readout(reason=f"{reason}: the numbers of the paper")
    known = counted(len(np.unique(database.subjects)), "subject")
    reason += f": a regression from pixels alone, whose penalty suits the {known} of the database best"
    return Readout(name="linear", penalties=plain, reason=reason)


def _rules_of_neighbors() -> Iterator[Readout]:
    """How many neighbors, and how they are weighed: by Eq. 4, or by a softmax."""
    for k in N_NEIGHBORS:
        yield Readout(n_neighbors=k, weights="similarity")
        for temperature in SOFTMAX_OF_NEIGHBORS:
            yield Readout(n_neighbors=k, weights="softmax", temperature=temperature)


def _ladder(database: EmbeddingDatabase) -> list[Penalties]:
    seconds = PENALTIES if database.header.n_components else (None,)
    return [Penalties(learned=first, components=second) for first, second in product(PENALTIES, seconds)]


def _regressed(
    database: EmbeddingDatabase, gallery: Gallery, others: np.ndarray, queries: Queries, ladder: list[Penalties]
) -> Iterator[Pixels]:
    """Regress the queries from everybody in the database who is none of them, with each of some penalties."""
    assert queries.features is not None
    header = database.header
    rows = np.flatnonzero(np.isfinite(database.features).all(axis=1) & others)
    known, n_learned = database.features[rows], header.n_features - header.n_components
    return predictions_by_penalty(known, n_learned, gallery.subset(rows), queries.features, ladder)


def _mean_of_others(database: EmbeddingDatabase, gallery: Gallery, queries: Queries) -> Pixels:
    """The mean map for each query, of all people but its own."""
    others = np.stack([database.is_other(subject) for subject in queries.excluded])
    return gallery.combine((others / others.sum(axis=1, keepdims=True)).astype(np.float32))


def _clearly_less(errors: ByPerson, reference: ByPerson) -> bool:
    """Whether people's errors are clearly smaller than others of the same people (`STANDARD_ERRORS`)."""
    gaps = errors - reference
    return bool(gaps.mean() + STANDARD_ERRORS * gaps.std(ddof=1) / np.sqrt(len(gaps)) < 0)


def _least(error: Callable[[Pixels], ByPerson], tried: Iterable[tuple[_T, Pixels]]) -> tuple[_T, ByPerson, Pixels]:
    """Give the first of those with the least error, with that and its predictions; one at a time is in memory."""
    return min(((one, error(pixels), pixels) for one, pixels in tried), key=lambda found: found[1].mean())
