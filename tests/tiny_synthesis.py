"""A map of a few pixels, for tests of what is said about it."""

import numpy as np

from mris.database.neighbors import Neighbors
from mris.synthesis.readouts import Readout
from mris.synthesis.synthesis import Contribution, Synthesis


def tiny_synthesis() -> Synthesis:
    """Two regions of 9 x 8 pixels, from two neighbors."""
    image = np.arange(2 * 9 * 8, dtype=np.float32).reshape(2, 9, 8)
    names = np.array([["A", "B"]])
    neighbors = Neighbors(names, names, np.arange(2)[None], np.ones((1, 2), np.float32), np.array([2]))
    half = np.full(2, 0.5, np.float32)
    readout = Readout(n_neighbors=2)
    part = Contribution(("femoral", "tibial"), readout, neighbors, half, np.arange(2), half, names[0], "f" * 64, 1)
    return Synthesis(image, image, part.regions, "mm", (0.5, 0.5), (part,))
