"""What the four networks are all asked: learn a batch by heart, pass gradients, treat images singly, export."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mris.training.onnx_runtime import onnxruntime


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Networks draw their weights, and dropout its zeros, from torch's global state: the same in every test."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def count_parameters(build: Callable[[], nn.Module]) -> int:
    """Parameters of a network whose weights are never allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def draw_smooth_images(n: int, channels: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Random images without detail finer than a quarter of a side."""
    coarse = torch.randn(n, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size, mode="bilinear")


def learn_one_batch(network: nn.Module, *, steps: int, lr: float, size: tuple[int, int], regions: int = 2) -> float:
    """L1 error after `steps` steps on four unrelated pairs, as a share of the error before."""
    sources, targets = draw_smooth_images(4, 1, size), draw_smooth_images(4, regions, size, seed=1)
    optimizer = torch.optim.Adam(network.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps + 1)
    errors = []
    for _ in range(steps + 1):
        error = (network.train()(sources) - targets).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        errors.append(error.item())
    return errors[-1] / errors[0]


def untouched_parameters(network: nn.Module, *inputs: Tensor) -> list[str]:
    """Names of the parameters that no gradient reaches in a training step under autocast, channels last."""
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        output = network(*(image.to(memory_format=torch.channels_last) for image in inputs))
    weights = torch.rand(output.shape, generator=torch.Generator().manual_seed(2))
    (output.float() * weights).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    return [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def agree_in_bfloat16(network: nn.Module, *inputs: Tensor) -> float:
    """Cosine similarity of the gradients of a step in bfloat16 with those in float32, channels last, for an L2 loss."""
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    gradients = []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = network(*(image.to(memory_format=torch.channels_last) for image in inputs))
        (output.float() - 1).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    return float(nn.functional.cosine_similarity(*gradients, dim=0))


def differ_in_a_batch(network: nn.Module, sources: Tensor) -> float:
    """Largest difference between images synthesized one by one and together, after training has set the norms."""
    with torch.no_grad():
        network.train()(sources)
        network.eval()
        together = network(sources)
        single = torch.cat([network(source[None]) for source in sources])
    assert together.std() > 0
    return float((together - single).abs().max())


def differ_in_onnx(network: nn.Module, sources: Tensor, folder: Path) -> float:
    """Largest difference between torch and ONNX Runtime over several batch sizes, by an export of two images."""
    with torch.no_grad():
        network.train()(sources)
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor
        torch.onnx.export(
            network,
            (sources[:2],),
            str(folder / "network.onnx"),
            input_names=["source"],
            output_names=["target"],
            dynamic_axes={"source": {0: "n"}, "target": {0: "n"}},
            dynamo=False,
        )
    session = onnxruntime.InferenceSession(str(folder / "network.onnx"), providers=["CPUExecutionProvider"])
    differences = []
    for n in (1, 2, len(sources)):
        exported = session.run(None, {"source": sources[:n].numpy()})[0]
        with torch.inference_mode():
            differences.append(np.abs(exported - network(sources[:n]).numpy()).max())
    return float(max(differences))


def box_seen_by(output: Tensor, image: Tensor) -> tuple[int, int]:
    """Rows and columns of `image` that a scalar `output` depends on."""
    (gradient,) = torch.autograd.grad(output, image)
    touched = gradient.abs().amax(dim=(0, 1)) > 0
    rows, columns = touched.any(dim=1).nonzero(), touched.any(dim=0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


@pytest.fixture
def n_parameters() -> Callable[..., int]:
    return count_parameters


@pytest.fixture
def smooth_images() -> Callable[..., Tensor]:
    return draw_smooth_images


@pytest.fixture
def error_left() -> Callable[..., float]:
    return learn_one_batch


@pytest.fixture
def untouched() -> Callable[..., list[str]]:
    return untouched_parameters


@pytest.fixture
def bfloat16_agreement() -> Callable[..., float]:
    return agree_in_bfloat16


@pytest.fixture
def batch_difference() -> Callable[..., float]:
    return differ_in_a_batch


@pytest.fixture
def onnx_difference() -> Callable[..., float]:
    return differ_in_onnx


@pytest.fixture
def seen_box() -> Callable[..., tuple[int, int]]:
    return box_seen_by
