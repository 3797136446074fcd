"""The U-Net: sizes, its paper's parameters, two convolutions a level."""

import pytest
import torch
from tests.baselines.networks.network_checks import n_parameters, seen_box, thin_unet

from mris.baselines.unet import build_unet
from mris.errors import SettingsError


def test_it_has_the_parameters_of_its_paper() -> None:
    # Ronneberger 2015, figure 1, layer by layer: (kernel, channels in, channels out), each with a bias.
    fine, layers = 1, []
    for coarse in (64, 128, 256, 512, 1024):
        layers += [(3, fine, coarse), (3, coarse, coarse)]
        fine = coarse
    for fine in (512, 256, 128, 64):
        layers += [(2, 2 * fine, fine), (3, 2 * fine, fine), (3, fine, fine)]
    layers.append((1, 64, 2))
    of_the_paper = sum(kernel**2 * before * after + after for kernel, before, after in layers)
    assert of_the_paper == 31_030_658
    # Batch norm has two parameters a channel where the paper's 3x3 convolutions have one, their bias.
    ours = n_parameters(lambda: build_unet(1, 2, source_size=(256, 256)))
    assert ours == of_the_paper + sum(after for kernel, _, after in layers if kernel == 3) == 31_036_546


def test_without_its_lower_levels_a_pixel_sees_what_four_small_convolutions_see() -> None:
    network = thin_unet(size=(48, 48)).eval()
    for parameter in network.up[-1].upsample.parameters():
        torch.nn.init.zeros_(parameter)
    source = torch.rand(1, 1, 48, 48, requires_grad=True)
    assert seen_box(network(source)[0, :, 24, 24].sum(), source) == (9, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (64, 56), "depth": 5}, r"depth 5: sources have 64 x 56 pixels; both sides must be multiples of 16"),
        ({"size": (0, 16)}, r"0 x 16 pixels; both sides must be multiples of 8"),
        ({"width": 4}, r"width is 4; it must be a positive multiple of 8"),
        ({"depth": 1}, r"depth is 1; it must be at least 2"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_the_rule(options, message) -> None:
    with pytest.raises(SettingsError, match=message):
        thin_unet(**options)
