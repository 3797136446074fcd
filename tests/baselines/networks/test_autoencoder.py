"""The autoencoder: sizes, its encoder's parameters, one vector and no skips."""

from itertools import pairwise

import pytest
import torch
from tests.baselines.networks.network_checks import n_parameters, thin_autoencoder, untouched

from mris.baselines.autoencoder import build_autoencoder
from mris.errors import SettingsError


def test_its_encoder_has_the_parameters_of_its_paper() -> None:
    # He 2016: ResNet-18 for RGB has 11,176,512 without its classifier; here with the layer to 512 numbers.
    encoder = n_parameters(lambda: build_autoencoder(3, 2, source_size=(256, 256))[0])
    assert encoder == 11_176_512 + 512 * 512 + 512


def test_its_decoder_has_one_linear_layer_and_two_convolutions_a_doubling() -> None:
    spread = (512 + 1) * 512 * 8 * 8  # a vector to 512 channels of 8 x 8
    widths = [512, 256, 128, 64, 64, 64]
    blocks = sum(9 * a * b + 9 * b * b + 2 * 2 * b for a, b in pairwise(widths))
    last = 9 * 64 * 2 + 2
    decoder = n_parameters(lambda: build_autoencoder(3, 2, source_size=(256, 256))[1])
    assert decoder == spread + blocks + last == 19_283_330


def test_all_that_is_known_of_the_source_passes_through_the_vector() -> None:
    network = thin_autoencoder(size=(16, 16), bottleneck=3, doublings=2, stem="fine").double().eval()
    jacobian = torch.autograd.functional.jacobian(
        lambda source: network(source)[0, 0, 4:7, 4:7].flatten(), torch.rand(1, 1, 16, 16).double()
    )
    assert torch.linalg.matrix_rank(jacobian.flatten(1)) == 3


def test_gradients_reach_every_parameter_behind_the_fine_stem_too() -> None:
    assert untouched(thin_autoencoder(stem="fine"), torch.rand(3, 1, 64, 64)) == []


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
        thin_autoencoder(**options)
