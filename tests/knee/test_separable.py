"""Products along the axes of volumes, and neighbors of masks, are those of plain NumPy and SciPy."""

import numpy as np
from scipy import ndimage

from mris.knee.neighbors import border, dilated
from mris.knee.separable import along_axes


def test_banded_products_along_the_axes_are_the_full_ones() -> None:
    rng = np.random.default_rng(0)
    volumes = rng.normal(size=(2, 70, 41, 9)).astype(np.float32)
    matrices = []
    for n_rows, n_columns in ((99, 70), (33, 41), (9, 9)):
        apart = np.abs(np.linspace(0, 1, n_rows)[:, None] - np.linspace(0, 1, n_columns)) * n_columns
        matrices.append(np.where(apart < 3, rng.normal(size=apart.shape), 0).astype(np.float32))
    expected = np.einsum("ai,bj,ck,vijk->vabc", *matrices, volumes, optimize=True)
    assert np.abs(along_axes(volumes, matrices) - expected).max() < 1e-4


def test_neighbors_of_a_mask_are_those_of_morphology() -> None:
    mask = np.random.default_rng(1).random((9, 8, 7)) < 0.6
    assert np.array_equal(dilated(mask), ndimage.binary_dilation(mask, np.ones((3, 3, 3))))
    assert np.array_equal(border(mask), mask & ~ndimage.binary_erosion(mask))
