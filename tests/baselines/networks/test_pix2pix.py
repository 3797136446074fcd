"""pix2pix: sizes, its authors' parameters, patches of 70 pixels."""

import pytest
import torch
from tests.baselines.networks.network_checks import (
    bfloat16_agreement,
    n_parameters,
    seen_box,
    thin_generator,
    untouched,
)

from mris.baselines.pix2pix import build_discriminator, build_generator
from mris.errors import SettingsError


@pytest.mark.parametrize(
    ("channels", "size", "of_its_authors", "exactly"),
    [
        # What the authors' own program prints for its U-Nets of 8 and 6 levels, 3 -> 3 and 1 -> 1 channels. Two
        # convolutions without batch norm have a bias here and not there: the first (64) and the innermost (512).
        (3, (256, 256), 54.414, 54_413_955 + 64 + 512),
        (1, (256, 256), 54.408, 54_407_809 + 64 + 512),
        (1, (64, 64), 29.238, 29_237_889 + 64 + 512),
    ],
)
def test_the_generator_has_its_authors_parameters(channels, size, of_its_authors, exactly) -> None:
    ours = n_parameters(lambda: build_generator(channels, channels, source_size=size))
    assert ours == exactly
    assert ours / 1e6 == pytest.approx(of_its_authors, abs=0.0011)


def test_the_discriminator_has_its_authors_parameters() -> None:
    # Isola 2017, C64-C128-C256-C512 and the last convolution; the authors' program prints 2.769 M for 3 + 3 channels.
    assert n_parameters(lambda: build_discriminator(3, 3, target_size=(256, 256))) == 2_768_705


def test_a_patch_has_70_by_70_pixels() -> None:
    discriminator = build_discriminator(1, 2, target_size=(128, 128), width=8).double().eval()
    source, target = torch.rand(1, 1, 128, 128).double(), torch.rand(1, 2, 128, 128).double()
    source.requires_grad_(), target.requires_grad_()
    logits = discriminator(source, target)
    assert logits.shape == (1, 1, 14, 14)
    assert seen_box(logits[0, 0, 7, 7], target) == (70, 70)
    assert seen_box(discriminator(source, target)[0, 0, 7, 7], source) == (70, 70)


def test_the_discriminator_teaches_the_generator_every_parameter() -> None:
    generator, discriminator = thin_generator(), build_discriminator(1, 2, target_size=(32, 32), width=8)
    source = torch.rand(2, 1, 32, 32)
    discriminator(source, generator(source)).square().mean().backward()
    for network in (generator, discriminator):
        assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_a_generator_down_to_one_pixel_trains_on_a_single_image() -> None:
    assert untouched(thin_generator(size=(64, 64), dropout=0.0), torch.rand(1, 1, 64, 64)) == []


@pytest.mark.parametrize(
    ("size", "probabilities"),
    [
        ((256, 256), [0.5, 0.5, 0.5, 0, 0, 0, 0]),  # Isola 2017: CD512-CD512-CD512-C512-C256-C128-C64
        ((128, 128), [0.5, 0.5, 0.5, 0, 0, 0]),
        ((64, 64), [0.5, 0.5, 0, 0, 0]),
        ((64, 48), [0, 0, 0]),
    ],
)
def test_only_the_first_full_width_layers_of_the_decoder_drop(size, probabilities) -> None:
    dropouts = [module.p for module in thin_generator(size=size).modules() if isinstance(module, torch.nn.Dropout)]
    assert dropouts == probabilities


def test_a_synthesis_is_repeatable_though_training_is_noisy() -> None:
    network, source = thin_generator(size=(64, 64)), torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert not torch.equal(network.train()(source), network(source))
        assert torch.equal(network.eval()(source), network(source))


def test_bfloat16_has_the_discriminators_gradients_of_float32() -> None:
    discriminator = build_discriminator(1, 2, target_size=(24, 24), width=8)
    assert bfloat16_agreement(discriminator, torch.rand(4, 1, 24, 24), torch.rand(4, 2, 24, 24)) > 0.9


def test_the_discriminator_takes_sources_of_another_size_than_the_targets() -> None:
    discriminator = build_discriminator(2, 3, target_size=(64, 48), width=8)
    assert discriminator(torch.rand(2, 2, 32, 32), torch.rand(2, 3, 64, 48)).shape == (2, 1, 6, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (64, 40)}, r"pix2pix: sources have 64 x 40 pixels; both sides must be multiples of 16"),
        ({"width": 12}, r"width is 12; it must be a positive multiple of 8"),
        ({"dropout": 1.0}, r"dropout is 1.0; it must be at least 0 and less than 1"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_the_rule(options, message) -> None:
    with pytest.raises(SettingsError, match=message):
        thin_generator(**options)


def test_targets_too_small_for_a_patch_are_refused() -> None:
    build_discriminator(1, 1, target_size=(24, 24), width=8)(torch.rand(2, 1, 24, 24), torch.rand(2, 1, 24, 24))
    with pytest.raises(SettingsError, match=r"targets have 16 x 64 pixels; both sides must be at least 24"):
        build_discriminator(1, 1, target_size=(16, 64))
