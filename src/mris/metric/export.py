"""Export trained encoders to ONNX, so that synthesis needs no torch."""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mris.errors import TrainingError
from mris.images.write import atomic_write, write_json
from mris.metric.encoders import FORMAT_VERSION, DualEncoder
from mris.metric.train import software_versions

LARGEST_DIFFERENCE = 1e-4
"""Largest difference of a coordinate of an embedding (a unit vector) between torch and ONNX Runtime."""


class _Normalized(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return nn.functional.normalize(self.network(images), dim=1)


def export_encoder(encoder: DualEncoder, folder: str | Path) -> Path:
    """Write ``source.onnx``, ``target.onnx`` and ``encoder.json``, and check that they compute what torch computes.

    The graphs take ``(n, c, h, w)`` float32 for any n and end in unit vectors. Targets go in scaled, 0 where they have
    no value (`mris.training.pairs.scale_targets`).

    Args:
        encoder: trained encoders.
        folder: where to write; files there are replaced atomically.

    Returns:
        The folder.

    Raises:
        TrainingError: ONNX Runtime's embeddings differ from torch's by more than `LARGEST_DIFFERENCE`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    encoder = encoder.cpu().eval()
    spec = encoder.spec
    _export_network(encoder.source, spec.source_shape, "source", folder / "source.onnx")
    _export_network(encoder.target, spec.target_shape, "target", folder / "target.onnx")
    write_json(
        folder / "encoder.json",
        {
            "format_version": FORMAT_VERSION,
            "fingerprint": encoder.fingerprint,
            **spec.to_dict(),
            "versions": software_versions(),
        },
    )
    return folder


def _export_network(network: nn.Module, shape: tuple[int, int, int], name: str, path: Path) -> None:
    normalized = _Normalized(network).eval()
    example = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    with atomic_write(path) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter announces its successor
            torch.onnx.export(
                normalized,
                (example,),
                str(temporary),
                input_names=[name],
                output_names=["embedding"],
                dynamic_axes={name: {0: "n"}, "embedding": {0: "n"}},
                dynamo=False,  # the newer exporter takes ten times as long for the same graph
            )
        batch = torch.rand(5, *shape, generator=torch.Generator().manual_seed(1))
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        exported = session.run(None, {name: batch.numpy()})[0]
        with torch.inference_mode():
            difference = float(np.abs(exported - normalized(batch).numpy()).max())
    if not difference <= LARGEST_DIFFERENCE:
        path.unlink()
        raise TrainingError(f"exported {name} encoder differs from torch by {difference:.1e}, more than allowed")
