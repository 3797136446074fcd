"""Export a trained network to ONNX, and prove that the file computes what torch computes."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mris.errors import TrainingError
from mris.images.write import atomic_write
from mris.training.onnx_runtime import onnxruntime


def export_network(
    network: nn.Module,
    path: Path,
    *,
    input_name: str,
    input_shape: tuple[int, int, int],
    output_name: str,
    tolerance: float,
) -> None:
    """Write a network as ONNX for any number of images, atomically.

    Args:
        network: maps (n, c, h, w) to (n, ...).
        path: the file.
        input_name: name of the graph's input.
        input_shape: (c, h, w).
        output_name: name of the graph's output.
        tolerance: largest difference allowed between torch and ONNX Runtime, on random images; of numbers above 1, as
            a share of them.

    Raises:
        TrainingError: they differ by more.
    """
    network = network.cpu().eval()
    example = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter announces its successor
            torch.onnx.export(
                network,
                (example,),
                str(temporary),
                input_names=[input_name],
                output_names=[output_name],
                dynamic_axes={input_name: {0: "n"}, output_name: {0: "n"}},
                dynamo=False,  # the newer exporter takes ten times as long for the same graph
            )
        batch = torch.rand(5, *input_shape, generator=torch.Generator().manual_seed(1))
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        exported = session.run(None, {input_name: batch.numpy()})[0]
        with torch.inference_mode():
            expected = network(batch).numpy()
        difference = float((np.abs(exported - expected) / np.maximum(1, np.abs(expected))).max())
    if not difference <= tolerance:
        path.unlink()
        raise TrainingError(f"exported network {path.name} differs from torch by {difference:.1e}, more than allowed")
