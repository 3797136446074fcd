"""Local contrast: against a plain loop, and what it forgets."""

import numpy as np
import pytest
import torch

from mris.errors import SettingsError
from mris.training.local_contrast import LEAST_SD, LIMIT, NEIGHBORHOOD, LocalContrast
from mris.training.networks import build_network, see_local_contrast


def test_each_pixel_is_compared_with_its_neighborhood_as_a_plain_loop_does() -> None:
    h, w = 12, 20
    image = np.random.default_rng(0).random((h, w))

    def smoothed(values: np.ndarray, row: int, column: int) -> float:
        down, right = np.arange(h) - row, np.arange(w) - column
        near = np.exp(-0.5 * (down[:, None] / (NEIGHBORHOOD * h)) ** 2 - 0.5 * (right / (NEIGHBORHOOD * w)) ** 2)
        return float((near * values).sum() / near.sum())

    apart = image - np.array([[smoothed(image, row, column) for column in range(w)] for row in range(h)])
    found = LocalContrast((h, w)).double()(torch.from_numpy(image)[None, None])[0, 0].numpy()
    for row, column in ((0, 0), (5, 11), (11, 19)):
        spread = np.sqrt(smoothed(apart**2, row, column) + LEAST_SD**2)
        assert found[row, column] == pytest.approx(np.clip(apart[row, column] / spread, -LIMIT, LIMIT), abs=1e-5)


def test_what_is_flat_stays_flat_and_faint_noise_faint() -> None:
    see = LocalContrast((32, 32))
    assert see(torch.full((1, 1, 32, 32), 0.7)).abs().max() < 1e-3
    noise = 0.1 * LEAST_SD * torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert see(0.5 + noise).abs().max() < 0.5


def test_a_window_and_a_slow_shading_hardly_change_what_is_seen() -> None:
    images = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    see = LocalContrast((48, 48))
    shaded = 0.2 + 0.5 * images + torch.linspace(-0.3, 0.3, 48)
    assert (see(images) - see(shaded)).abs().mean() < 0.1
    assert (images - shaded).abs().mean() > 0.15


def test_its_weights_fit_a_network_that_sees_gray_values() -> None:
    plain = build_network("resnet18", channels=1, embedding_dim=4, width=8)
    local = build_network("resnet18", channels=1, embedding_dim=4, width=8)
    see_local_contrast(local, (32, 32))
    local.load_state_dict(plain.state_dict())
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(local.eval()(images), plain.eval()(LocalContrast((32, 32))(images)))


def test_another_network_than_a_resnet_is_refused() -> None:
    with pytest.raises(SettingsError, match="source_contrast 'local' is for architecture 'resnet18'"):
        see_local_contrast(torch.nn.Flatten(), (32, 32))
