"""The TransUNet: sizes, its paper's parameters, patches with positions."""

import pytest
import torch
from tests.baselines.networks.network_checks import n_parameters, thin_transunet

from mris.baselines.transunet import build_transunet
from mris.errors import SettingsError


def test_it_has_the_parameters_of_its_paper() -> None:
    # Chen 2021, R50-ViT-B/16 on 224 x 224 RGB pixels and nine classes: 105 million as those count who compare with it.
    ours = n_parameters(lambda: build_transunet(3, 9, source_size=(224, 224)))
    assert ours == 105_277_081
    assert ours == pytest.approx(105e6, rel=0.03)  # 0.3 % more


def test_its_transformer_has_the_parameters_of_vit_base() -> None:
    # Dosovitskiy 2021: a layer has 4 d^2 + 2 d m weights, 5 d + m biases, and two norms of 2 d; ViT-Base has 12.
    d, m, patches = 768, 3072, 14 * 14
    layer = 4 * d**2 + 4 * d + 2 * d * m + d + m + 4 * d
    ours = n_parameters(lambda: build_transunet(3, 9, source_size=(224, 224)).transformer)
    assert ours == 12 * layer + 2 * d + patches * d + (1024 + 1) * d  # and last norm, positions, 1x1 convolution


def test_a_thin_one_has_one_to_two_million_parameters() -> None:
    options = {"width": 16, "hidden": 128, "layers": 4, "heads": 4, "mlp": 512, "decoder": (64, 32, 16, 16)}
    assert n_parameters(lambda: build_transunet(1, 2, source_size=(64, 64), **options)) == 1_972_114


def test_only_the_learned_positions_tell_patches_apart() -> None:
    transformer = thin_transunet(size=(64, 64)).transformer.eval()
    maps = torch.rand(1, 128, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(transformer(maps.flip(3)), transformer(maps).flip(3))
        transformer.position.copy_(torch.rand(transformer.position.shape))
        assert (transformer(maps.flip(3)) - transformer(maps).flip(3)).abs().max() > 1e-2


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
        thin_transunet(**options)
