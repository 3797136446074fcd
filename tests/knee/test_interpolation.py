"""Interpolation of several volumes at once is scipy's, place by place."""

import numpy as np
import pytest
from scipy import ndimage

from mris.knee.interpolation import Cells


@pytest.mark.parametrize("shape", [(7, 5, 6), (2, 9, 2), (1, 4, 5), (3, 1, 1)])
def test_volumes_are_sampled_as_scipy_samples_them_and_held_at_the_border(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    volume = rng.normal(size=shape).astype(np.float32)
    places = rng.uniform(-2, np.array(shape)[:, None] + 1, size=(3, 70_000))
    expected = ndimage.map_coordinates(volume.astype(float), places, order=1, mode="nearest")
    assert np.abs(Cells.of(places, shape).sample(volume) - expected).max() < 1e-5
