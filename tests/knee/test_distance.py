"""Signed distances are exact ones, to a thousandth of a millimeter, as far as they are asked for."""

import numpy as np
import pytest
from scipy import ndimage

from mris.knee.distance import signed_distance


def test_signed_distance_is_that_to_the_faces_of_the_voxels() -> None:
    mask = np.zeros((30, 30, 30), bool)
    mask[10:20] = True
    found = signed_distance(mask, np.diag([0.5, 0.5, 0.5, 1.0]), 6.0)[:, 15, 15]
    expected = np.abs(np.arange(30) - 14.5) * 0.5 - 2.5
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("spacing", [(0.7, 0.365, 0.365), (1.0, 1.0, 1.0), (0.4, 0.9, 2.0)])
def test_signed_distance_is_that_of_a_full_search_up_to_the_farthest(spacing: tuple[float, float, float]) -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(31, 44, 37)), 4) > 0.04
    mask[:5] = False
    surface = mask & ndimage.binary_dilation(~mask, np.ones((3, 3, 3)))
    distance = ndimage.distance_transform_edt(~surface, spacing)
    expected = np.where(mask, -distance, distance) - np.mean(spacing) / 2
    found = signed_distance(mask, np.diag([*spacing, 1.0]), 5.0)
    near = np.abs(expected) < 5.0
    assert near.mean() > 0.2
    assert np.abs(found - expected)[near].max() < 1e-3
    assert np.abs(found)[~near].min(initial=9.0) >= 5.0 - 1e-3
    assert np.array_equal(found > 0, expected > 0)


def test_a_mirrored_mask_has_the_mirrored_distances() -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(20, 25, 22)), 3) > 0.0
    affine = np.diag([0.7, 0.4, 0.4, 1.0])
    assert np.array_equal(signed_distance(mask[::-1], affine, 6.0), signed_distance(mask, affine, 6.0)[::-1])


def test_a_volume_without_a_surface_is_far_from_it_everywhere() -> None:
    assert (signed_distance(np.zeros((4, 5, 6), bool), np.eye(4), 6.0) > 6.0).all()
