"""The U-Net: sizes, its paper's parameters, two convolutions a level, and what every network here must do."""

import pytest
import torch

from mris.baselines.unet import build_unet
from mris.errors import SettingsError


def thin(channels: int = 1, regions: int = 2, size: tuple[int, int] = (32, 32), **options) -> torch.nn.Module:
    return build_unet(channels, regions, source_size=size, **{"width": 8, "depth": 4, **options})


@pytest.mark.parametrize(
    ("channels", "regions", "size", "target_size"),
    [
        (1, 1, (64, 64), None),
        (1, 2, (64, 48), None),
        (3, 2, (128, 128), (64, 64)),
        (2, 5, (48, 64), (31, 50)),
        (1, 2, (256, 256), None),
    ],
)
def test_a_target_has_its_own_regions_and_size(channels, regions, size, target_size) -> None:
    network = thin(channels, regions, size, target_size=target_size, depth=5).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, channels, *size)).shape == (2, regions, *(target_size or size))


def test_it_has_the_parameters_of_its_paper(n_parameters) -> None:
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


def test_without_its_lower_levels_a_pixel_sees_what_four_small_convolutions_see(seen_box) -> None:
    network = thin(size=(48, 48)).eval()
    for parameter in network.up[-1].upsample.parameters():
        torch.nn.init.zeros_(parameter)
    source = torch.rand(1, 1, 48, 48, requires_grad=True)
    assert seen_box(network(source)[0, :, 24, 24].sum(), source) == (9, 9)


def test_it_learns_four_pairs_by_heart_in_150_steps(error_left) -> None:
    assert error_left(thin(), steps=150, lr=1e-2, size=(32, 32)) < 0.15


def test_gradients_reach_every_parameter(untouched) -> None:
    assert untouched(thin(), torch.rand(3, 1, 32, 32)) == []


@pytest.mark.parametrize("size", [(16, 16), (32, 32)], ids=str)
def test_bfloat16_has_the_gradients_of_float32(size, bfloat16_agreement) -> None:
    assert bfloat16_agreement(thin(size=size), torch.rand(4, 1, *size)) > 0.9


def test_an_image_is_synthesized_the_same_alone_and_in_a_batch(batch_difference) -> None:
    assert batch_difference(thin(), torch.rand(3, 1, 32, 32)) < 1e-5


@pytest.mark.parametrize("target_size", [None, (24, 40)])
def test_onnx_runtime_synthesizes_the_same(target_size, onnx_difference, tmp_path) -> None:
    assert onnx_difference(thin(target_size=target_size), torch.rand(5, 1, 32, 32), tmp_path) < 1e-3


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
        thin(**options)
