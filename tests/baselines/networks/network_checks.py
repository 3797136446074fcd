"""What is asked of a network: its parameters, gradients, what it learns, exports and sees; and thin ones to ask."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mris.baselines.autoencoder import build_autoencoder
from mris.baselines.pix2pix import build_generator
from mris.baselines.transunet import build_transunet
from mris.baselines.unet import build_unet
from mris.training.onnx_runtime import onnxruntime


def thin_unet(channels: int = 1, regions: int = 2, size: tuple[int, int] = (32, 32), **options) -> nn.Module:
    return build_unet(channels, regions, source_size=size, **{"width": 8, "depth": 4, **options})


def thin_generator(channels: int = 1, regions: int = 2, size: tuple[int, int] = (32, 32), **options) -> nn.Module:
    return build_generator(channels, regions, source_size=size, **{"width": 8, **options})


def thin_transunet(channels: int = 1, regions: int = 2, size: tuple[int, int] = (32, 32), **options) -> nn.Module:
    small = {"width": 8, "blocks": (1, 1, 1), "hidden": 32, "layers": 2, "heads": 4, "mlp": 64}
    return build_transunet(channels, regions, source_size=size, **{**small, "decoder": (32, 16, 8, 8), **options})


def thin_autoencoder(channels: int = 1, regions: int = 2, size: tuple[int, int] = (64, 64), **options) -> nn.Module:
    small = {"width": 8, "bottleneck": 32, "doublings": 3}
    return build_autoencoder(channels, regions, source_size=size, **{**small, **options})


def n_parameters(build: Callable[[], nn.Module]) -> int:
    """Parameters of a network whose weights are never allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def smooth_images(n: int, channels: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Random images without detail finer than a quarter of a side."""
    coarse = torch.randn(n, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size, mode="bilinear")


def error_left(network: nn.Module, *, steps: int, lr: float, size: tuple[int, int], regions: int = 2) -> float:
    """L1 error after `steps` steps on four unrelated pairs, as a share of the error before."""
    sources, targets = smooth_images(4, 1, size), smooth_images(4, regions, size, seed=1)
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


def untouched(network: nn.Module, *inputs: Tensor) -> list[str]:
    """Names of the parameters that no gradient reaches in a training step under autocast, channels last."""
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        output = network(*(image.to(memory_format=torch.channels_last) for image in inputs))
    weights = torch.rand(output.shape, generator=torch.Generator().manual_seed(2))
    (output.float() * weights).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    return [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def bfloat16_agreement(network: nn.Module, *inputs: Tensor) -> float:
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


def batch_difference(network: nn.Module, sources: Tensor) -> float:
    """Largest difference between images synthesized one by one and together, after training has set the norms."""
    with torch.no_grad():
        network.train()(sources)
        network.eval()
        together = network(sources)
        single = torch.cat([network(source[None]) for source in sources])
    assert together.std() > 0
    return float((together - single).abs().max())


def onnx_difference(network: nn.Module, sources: Tensor, folder: Path) -> float:
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


def seen_box(output: Tensor, image: Tensor) -> tuple[int, int]:
    """Rows and columns of `image` that a scalar `output` depends on."""
    (gradient,) = torch.autograd.grad(output, image)
    touched = gradient.abs().amax(dim=(0, 1)) > 0
    rows, columns = touched.any(dim=1).nonzero(), touched.any(dim=0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
