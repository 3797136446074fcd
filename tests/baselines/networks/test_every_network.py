"""What the four networks are all asked: learn a batch by heart, pass gradients, treat images singly, export."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from tests.baselines.networks.network_checks import (
    batch_difference,
    bfloat16_agreement,
    error_left,
    onnx_difference,
    thin_autoencoder,
    thin_generator,
    thin_transunet,
    thin_unet,
    untouched,
)


@dataclass(frozen=True)
class Asked:
    """A thin network.

    Attributes:
        thin: Builds it.
        lr: At which it learns by heart.
        deep: Options under which it has as many levels as it usually has.
        steady: Options under which a training is repeatable and small images keep their detail.
        sides: Of the images on which its gradients in bfloat16 are compared.
    """

    thin: Callable[..., torch.nn.Module]
    lr: float
    deep: dict[str, int] = field(default_factory=dict)
    steady: dict[str, object] = field(default_factory=dict)
    sides: tuple[int, int] = (16, 32)

    def sources(self, n: int) -> torch.Tensor:
        side = 64 if self.thin is thin_autoencoder else 32
        return torch.rand(n, 1, side, side)


UNET = Asked(thin_unet, 1e-2, deep={"depth": 5})
PIX2PIX = Asked(thin_generator, 5e-3, steady={"dropout": 0.0}, sides=(16, 64))
TRANSUNET = Asked(thin_transunet, 1e-2, steady={"dropout": 0.0})
AUTOENCODER = Asked(thin_autoencoder, 5e-3, deep={"doublings": 5}, steady={"stem": "fine"}, sides=(32, 64))

every_network = pytest.mark.parametrize(
    "asked", [UNET, PIX2PIX, TRANSUNET, AUTOENCODER], ids=["unet", "pix2pix", "transunet", "autoencoder"]
)


@every_network
@pytest.mark.parametrize(
    ("channels", "regions", "size", "target_size"),
    [
        (1, 1, (64, 64), None),
        (1, 2, (64, 48), None),
        (3, 2, (128, 128), (64, 64)),
        (2, 5, (48, 64), (31, 50)),
        (1, 2, (256, 256), (310, 310)),
    ],
)
def test_a_target_has_its_own_regions_and_size(asked, channels, regions, size, target_size) -> None:
    network = asked.thin(channels, regions, size, target_size=target_size, **asked.deep).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, channels, *size)).shape == (2, regions, *(target_size or size))


@pytest.mark.parametrize(
    "asked",
    [UNET, PIX2PIX, pytest.param(TRANSUNET, marks=pytest.mark.slow), pytest.param(AUTOENCODER, marks=pytest.mark.slow)],
    ids=["unet", "pix2pix", "transunet", "autoencoder"],
)
def test_it_learns_four_pairs_by_heart_in_150_steps(asked) -> None:
    network = asked.thin(size=(32, 32), **asked.steady)
    assert error_left(network, steps=150, lr=asked.lr, size=(32, 32)) < 0.15


@every_network
def test_gradients_reach_every_parameter(asked) -> None:
    assert untouched(asked.thin(), asked.sources(3)) == []


@every_network
def test_bfloat16_has_the_gradients_of_float32(asked) -> None:
    for side in asked.sides:
        network = asked.thin(size=(side, side), **asked.steady)
        assert bfloat16_agreement(network, torch.rand(4, 1, side, side)) > 0.9


@every_network
def test_an_image_is_synthesized_the_same_alone_and_in_a_batch(asked) -> None:
    assert batch_difference(asked.thin(), asked.sources(3)) < 1e-5


@every_network
@pytest.mark.parametrize("target_size", [None, (24, 41)])
def test_onnx_runtime_synthesizes_the_same(asked, target_size, tmp_path) -> None:
    assert onnx_difference(asked.thin(target_size=target_size), asked.sources(5), tmp_path) < 1e-3
