"""The TransUNet: sizes, its paper's parameters, patches with positions, and what every network here must do."""

import pytest
import torch

from mris.baselines.transunet import build_transunet
from mris.errors import SettingsError


def thin(channels: int = 1, regions: int = 2, size: tuple[int, int] = (32, 32), **options) -> torch.nn.Module:
    small = {"width": 8, "blocks": (1, 1, 1), "hidden": 32, "layers": 2, "heads": 4, "mlp": 64}
    return build_transunet(channels, regions, source_size=size, **{**small, "decoder": (32, 16, 8, 8), **options})


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
    network = thin(channels, regions, size, target_size=target_size).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, channels, *size)).shape == (2, regions, *(target_size or size))


def test_it_has_the_parameters_of_its_paper(n_parameters) -> None:
    # Chen 2021, R50-ViT-B/16 on 224 x 224 RGB pixels and nine classes: 105 million as those count who compare with it.
    ours = n_parameters(lambda: build_transunet(3, 9, source_size=(224, 224)))
    assert ours == 105_277_081
    assert ours == pytest.approx(105e6, rel=0.03)  # 0.3 % more


def test_its_transformer_has_the_parameters_of_vit_base(n_parameters) -> None:
    # Dosovitskiy 2021: a layer has 4 d^2 + 2 d m weights, 5 d + m biases, and two norms of 2 d; ViT-Base has 12.
    d, m, patches = 768, 3072, 14 * 14
    layer = 4 * d**2 + 4 * d + 2 * d * m + d + m + 4 * d
    ours = n_parameters(lambda: build_transunet(3, 9, source_size=(224, 224)).transformer)
    assert ours == 12 * layer + 2 * d + patches * d + (1024 + 1) * d  # and last norm, positions, 1x1 convolution


def test_a_thin_one_has_one_to_two_million_parameters(n_parameters) -> None:
    options = {"width": 16, "hidden": 128, "layers": 4, "heads": 4, "mlp": 512, "decoder": (64, 32, 16, 16)}
    assert n_parameters(lambda: build_transunet(1, 2, source_size=(64, 64), **options)) == 1_972_114


def test_only_the_learned_positions_tell_patches_apart() -> None:
    transformer = thin(size=(64, 64)).transformer.eval()
    maps = torch.rand(1, 128, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(transformer(maps.flip(3)), transformer(maps).flip(3))
        transformer.position.copy_(torch.rand(transformer.position.shape))
        assert (transformer(maps.flip(3)) - transformer(maps).flip(3)).abs().max() > 1e-2


@pytest.mark.slow
def test_it_learns_four_pairs_by_heart_in_150_steps(error_left) -> None:
    assert error_left(thin(dropout=0.0), steps=150, lr=1e-2, size=(32, 32)) < 0.15


def test_gradients_reach_every_parameter(untouched) -> None:
    assert untouched(thin(), torch.rand(3, 1, 32, 32)) == []


@pytest.mark.parametrize("size", [(16, 16), (32, 32)], ids=str)
def test_bfloat16_has_the_gradients_of_float32(size, bfloat16_agreement) -> None:
    assert bfloat16_agreement(thin(size=size, dropout=0.0), torch.rand(4, 1, *size)) > 0.9


def test_an_image_is_synthesized_the_same_alone_and_in_a_batch(batch_difference) -> None:
    assert batch_difference(thin(), torch.rand(3, 1, 32, 32)) < 1e-5


@pytest.mark.parametrize("target_size", [None, (24, 40)])
def test_onnx_runtime_synthesizes_the_same(target_size, onnx_difference, tmp_path) -> None:
    assert onnx_difference(thin(target_size=target_size), torch.rand(5, 1, 32, 32), tmp_path) < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (72, 64)}, r"TransUNet: sources have 72 x 64 pixels; both sides must be multiples of 16"),
        ({"width": 4}, r"width is 4; it must be a positive multiple of 8"),
        ({"decoder": (32, 16, 8, 4)}, r"decoder is 4; it must be a positive multiple of 8"),
        ({"hidden": 30}, r"hidden 30, layers 2, heads 4, .* hidden a multiple of heads"),
        ({"layers": 0}, r"layers 0, .* at least 1"),
        ({"dropout": -0.1}, r"dropout is -0.1; it must be at least 0"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_the_rule(options, message) -> None:
    with pytest.raises(SettingsError, match=message):
        thin(**options)
