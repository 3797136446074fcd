"""A regression from principal components of the source alone, which no training has bent: what one can fall back to."""

import numpy as np

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.synthesis.readouts.readout import Penalties
from mris.synthesis.readouts.ridge import predictions_by_penalty

N_FOLDS = 10
MOST_ENTRIES = 2000
"""Entries, spread evenly, that a penalty is chosen on."""

LADDER = (None, *(10.0**power for power in range(-4, 4)))
"""Penalties that are tried, far apart: few people cannot tell near ones; None leaves the components out."""


def pixels_alone(database: EmbeddingDatabase, gallery: Gallery) -> Penalties | None:
    """Choose how far to trust the components of the source by cross-validation over the people of a database.

    What the encoder learned stays out: its errors on people whom it was trained on would flatter it. Components know
    no target, so that people of the database can judge them, by the squared error, which is steadier with few of them.
    Not at all is a choice too: the mean of the database.

    Args:
        database: The database.
        gallery: Its pixels.

    Returns:
        The penalties; None where entries have no components, or there are fewer than two people.
    """
    header = database.header
    rows = np.flatnonzero(np.isfinite(database.features).all(axis=1)) if header.n_components else np.empty(0, int)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ENTRIES)).astype(int)]
    people, codes = np.unique(database.subjects[rows], return_inverse=True)
    if len(people) < 2:
        return None
    components = database.features[rows, header.n_features - header.n_components :]
    truths = gallery.pixels(rows)
    folds = np.random.default_rng(0).permutation(len(people))[codes] % min(N_FOLDS, len(people))
    ladder = [Penalties(learned=None, components=penalty) for penalty in LADDER]
    errors = np.zeros(len(ladder))
    for fold in range(folds.max() + 1):
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        found = predictions_by_penalty(components[others], 0, gallery.subset(rows[others]), components[own], ladder)
        errors += [float(np.nansum(np.square(pixels - truths[own]), dtype=np.float64)) for pixels in found]
    return ladder[int(errors.argmin())]
