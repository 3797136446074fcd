"""The readout "few": a handful of people, all of positive weight, whose average comes nearest to the linear readout.

What a regression makes of everybody can be told by few: of the nearest people those are taken whose convex mixture is
as near as possible to the regression's map, in least squares over its pixels. The answer is their average alone.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int64

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.synthesis.readouts.linear import Linear
from mris.synthesis.readouts.readout import Answer, Queries
from mris.types import Pixels, Rows

MOST_COMPARED = 1024
"""Pixels, spread evenly, at which a mixture is compared with the regression's map."""

N_CANDIDATES = 100
"""Nearest entries among whom the few are chosen, or five times as many as the few where that is more."""

_LEAST_GAIN = 1e-6
"""Relative gain below which nobody more is taken in."""


class Few:
    """See `mris.synthesis.readouts.readout.OpenReadout`."""

    def __init__(self, n_few: int, linear: Linear, database: EmbeddingDatabase, gallery: Gallery) -> None:
        self.n_few, self.linear, self.database, self.gallery = n_few, linear, database, gallery

    def answer(self, queries: Queries) -> list[Answer]:
        """Mix few people for each query."""
        regressed, _ = self.linear.regressed(queries)
        rows, weights = few_of(regressed, queries, self.database, self.gallery, self.n_few)
        pixels, spread = self.gallery.average(rows, weights)
        answers = []
        for query, embedding in enumerate(queries.embeddings):
            used, shares = rows[query][rows[query] >= 0], weights[query][rows[query] >= 0]
            shown = self.database.neighbors_at(used, embedding)
            answers.append(Answer(pixels[query], spread[query], used, shares, shown, shares))
        return answers


def few_of(
    regressed: Pixels, queries: Queries, database: EmbeddingDatabase, gallery: Gallery, n_few: int
) -> tuple[Rows, Float32[np.ndarray, "n k"]]:
    """Mix few of the nearest people of each query, so that their average comes nearest to what a regression gives.

    A value that an entry does not have counts as the regression's.

    Args:
        regressed: (n, p) the maps of the regression.
        queries: Whose nearest are mixed.
        database: Where they are looked for.
        gallery: Its pixels; at most `MOST_COMPARED` are compared.
        n_few: k, the most entries of a mixture; as many as the database has, where these are fewer.

    Returns:
        Rows of the database, (n, k), of the greatest weight first, and their weights, which sum to 1; -1 and 0 for a
        mixture of fewer.

    Raises:
        DatabaseError: The database is damaged.
    """
    n_few = min(n_few, len(database))
    n_candidates = min(max(N_CANDIDATES, 5 * n_few), len(database))
    near = database.search(queries.embeddings, n_candidates, exclude_subjects=queries.excluded)
    rows = np.full((len(regressed), n_few), -1, dtype=np.int64)
    weights = np.zeros((len(regressed), n_few), dtype=np.float32)
    step = -(-regressed.shape[1] // MOST_COMPARED)
    for query, target in enumerate(regressed):
        candidates = near.rows[query, : near.counts[query]]
        gaps = np.nan_to_num(gallery.pixels(candidates)[:, ::step] - target[::step])
        places, shares = nearest_mixture(gaps, n_few)
        order = np.argsort(-shares, kind="stable")
        rows[query, : len(order)], weights[query, : len(order)] = candidates[places[order]], shares[order]
    return rows, weights


def nearest_mixture(
    points: Float32[np.ndarray, "m p"], n_few: int
) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Find the mixture of at most a few points that comes nearest to 0.

    Weights w of points z that minimize |sum w z|^2, w >= 0 and sum w = 1, are in proportion to those that minimize
    |sum w z|^2 + (1 - sum w)^2, w >= 0. So they are found by the active sets of Lawson & Hanson (1974): the point that
    gains most joins, everybody's weight is found anew, and who would weigh less than nothing leaves. Begun with the
    nearest point and ended with the few, it is greedy; with as many as there are, exact.

    Args:
        points: Of which 0 is to be mixed, at least one.
        n_few: k, at least 1.

    Returns:
        Places of the points that weigh anything, at most k, and their weights, which sum to 1.

    Example:
        >>> places, weights = nearest_mixture(np.array([[3.0], [-1.0]]), 2)
        >>> places.tolist(), weights.round(2).tolist()
        ([1, 0], [0.75, 0.25])
    """
    inner = (points @ points.T).astype(np.float64)
    squares = np.diag(inner)
    scale = float(squares.mean()) or 1.0
    system = inner / scale + 1 + 1e-9 * np.eye(len(inner))  # the last so that equal points can be told apart
    chosen = np.array([int(squares.argmin())])
    weights = 1 / system[chosen, chosen]
    for _ in range(3 * n_few):  # each but a few of them takes one in
        gains = 1 - system[:, chosen] @ weights
        gains[chosen] = 0
        best = int(gains.argmax())
        if len(chosen) == n_few or gains[best] <= _LEAST_GAIN:
            break
        chosen, weights = _solved(system, np.append(chosen, best), np.append(weights, 0.0))
    return chosen, weights / weights.sum()


def _solved(
    system: Float64[np.ndarray, "m m"], chosen: Int64[np.ndarray, " k"], weights: Float64[np.ndarray, " k"]
) -> tuple[Int64[np.ndarray, " j"], Float64[np.ndarray, " j"]]:
    """Find the weights of the chosen anew; those who would not be positive leave, one after the other."""
    while True:
        wanted = np.linalg.solve(system[np.ix_(chosen, chosen)], np.ones(len(chosen)))
        falling = wanted <= 0
        if not falling.any():
            return chosen, wanted
        # As far towards the wanted ones as nobody falls below 0.
        steps = np.divide(weights, weights - wanted, out=np.full(len(weights), np.inf), where=falling)
        weights = weights + steps.min() * (wanted - weights)
        left = np.arange(len(weights)) != steps.argmin()
        chosen, weights = chosen[left], weights[left]
