"""Principal components in a network, against scikit-learn."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from mris.metric.components import ComponentEncoder, Components, fit_components


def test_scores_are_those_of_scikit_learn_divided_by_their_spread() -> None:
    rng = np.random.default_rng(0)
    images = (rng.normal(size=(60, 5)) * [9, 5, 3, 2, 1]) @ rng.normal(size=(5, 24)).astype(np.float32)
    images = images.astype(np.float32)
    network = Components((2, 3, 4), 5)
    network.fit(images, seed=0, whitened=True)
    scores = network(torch.from_numpy(images).reshape(-1, 2, 3, 4)).numpy()
    theirs = PCA(5).fit_transform(images)
    theirs /= theirs.std(axis=0)
    np.testing.assert_allclose(np.abs(scores), np.abs(theirs), atol=2e-3)


def test_directions_beyond_the_rank_of_the_images_are_zero() -> None:
    images = np.outer([0.0, 1.0, 2.0], [1.0, 1.0, 0.0]).astype(np.float32)
    _, directions, spreads = fit_components(images, 3, seed=0)
    assert np.count_nonzero(np.abs(directions).sum(axis=1)) == 1
    assert np.count_nonzero(spreads) == 1


def test_equal_images_have_no_direction_and_one_embedding() -> None:
    encoder = ComponentEncoder((1, 2, 2), 4, 3)
    encoder.components.fit(np.ones((5, 4), dtype=np.float32), seed=0, whitened=True)
    embedded = encoder(torch.rand(2, 1, 2, 2))
    assert torch.isfinite(embedded).all()
    assert torch.equal(embedded[0], embedded[1])


def test_scores_of_sources_keep_how_much_images_vary_along_each_direction() -> None:
    rng = np.random.default_rng(0)
    images = ((rng.normal(size=(60, 5)) * [9, 5, 3, 2, 1]) @ rng.normal(size=(5, 24))).astype(np.float32)
    network = Components((2, 3, 4), 5)
    network.fit(images, seed=0, whitened=False)
    scores = network(torch.from_numpy(images).reshape(-1, 2, 3, 4)).numpy()
    theirs = PCA(5).fit_transform(images)
    np.testing.assert_allclose(np.abs(scores), np.abs(theirs) / theirs[:, 0].std(), atol=2e-3)
