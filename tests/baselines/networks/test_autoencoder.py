"""The autoencoder: sizes, its encoder's parameters, one vector and no skips, and what every network here must do."""

from itertools import pairwise

import pytest
import torch

from mris.baselines.autoencoder import build_autoencoder
from mris.errors import SettingsError


def thin(channels: int = 1, regions: int = 2, size: tuple[int, int] = (64, 64), **options) -> torch.nn.Module:
    small = {"width": 8, "bottleneck": 32, "doublings": 3}
    return build_autoencoder(channels, regions, source_size=size, **{**small, **options})


@pytest.mark.parametrize(
    ("channels", "regions", "size", "target_size", "doublings"),
    [
        (1, 1, (64, 64), None, 4),
        (1, 2, (64, 48), None, 5),
        (3, 2, (128, 128), (64, 64), 5),
        (2, 5, (48, 64), (31, 50), 2),
        (1, 2, (256, 256), (310, 310), 5),
    ],
)
def test_a_target_has_its_own_regions_and_size(channels, regions, size, target_size, doublings) -> None:
    network = thin(channels, regions, size, target_size=target_size, doublings=doublings).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, channels, *size)).shape == (2, regions, *(target_size or size))


def test_its_encoder_has_the_parameters_of_its_paper(n_parameters) -> None:
    # He 2016: ResNet-18 for RGB has 11,176,512 without its classifier; here with the layer to 512 numbers.
    encoder = n_parameters(lambda: build_autoencoder(3, 2, source_size=(256, 256))[0])
    assert encoder == 11_176_512 + 512 * 512 + 512


def test_its_decoder_has_one_linear_layer_and_two_convolutions_a_doubling(n_parameters) -> None:
    spread = (512 + 1) * 512 * 8 * 8  # a vector to 512 channels of 8 x 8
    widths = [512, 256, 128, 64, 64, 64]
    blocks = sum(9 * a * b + 9 * b * b + 2 * 2 * b for a, b in pairwise(widths))
    last = 9 * 64 * 2 + 2
    decoder = n_parameters(lambda: build_autoencoder(3, 2, source_size=(256, 256))[1])
    assert decoder == spread + blocks + last == 19_283_330


def test_all_that_is_known_of_the_source_passes_through_the_vector() -> None:
    network = thin(size=(16, 16), bottleneck=3, doublings=2, stem="fine").double().eval()
    jacobian = torch.autograd.functional.jacobian(
        lambda source: network(source)[0, 0, 4:7, 4:7].flatten(), torch.rand(1, 1, 16, 16).double()
    )
    assert torch.linalg.matrix_rank(jacobian.flatten(1)) == 3


@pytest.mark.slow
def test_it_learns_four_pairs_by_heart_in_150_steps(error_left) -> None:
    assert error_left(thin(size=(32, 32), stem="fine"), steps=150, lr=5e-3, size=(32, 32)) < 0.15


@pytest.mark.parametrize("stem", ["standard", "fine"])
def test_gradients_reach_every_parameter(stem, untouched) -> None:
    assert untouched(thin(stem=stem), torch.rand(3, 1, 64, 64)) == []


@pytest.mark.parametrize("size", [(32, 32), (64, 64)], ids=str)
def test_bfloat16_has_the_gradients_of_float32(size, bfloat16_agreement) -> None:
    assert bfloat16_agreement(thin(size=size, stem="fine"), torch.rand(4, 1, *size)) > 0.9


def test_an_image_is_synthesized_the_same_alone_and_in_a_batch(batch_difference) -> None:
    assert batch_difference(thin(), torch.rand(3, 1, 64, 64)) < 1e-5


@pytest.mark.parametrize("target_size", [None, (24, 41)])
def test_onnx_runtime_synthesizes_the_same(target_size, onnx_difference, tmp_path) -> None:
    assert onnx_difference(thin(target_size=target_size), torch.rand(5, 1, 64, 64), tmp_path) < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (64, 50)}, r"autoencoder: sources have 64 x 50 pixels; both sides must be multiples of 16"),
        ({"width": 0}, r"width is 0; it must be a positive multiple of 8"),
        ({"bottleneck": 0}, r"bottleneck 0, doublings 3; both must be at least 1"),
        ({"doublings": 0}, r"bottleneck 32, doublings 0; both must be at least 1"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_the_rule(options, message) -> None:
    with pytest.raises(SettingsError, match=message):
        thin(**options)
