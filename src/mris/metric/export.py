"""Export trained encoders to ONNX, so that synthesis needs no torch."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from mris.cohort.training_subjects import write_training_subjects
from mris.images.write import write_json
from mris.metric.encoders import DualEncoder
from mris.training.card import ENCODER_FILE
from mris.training.export import export_network
from mris.training.run import software_versions

LARGEST_DIFFERENCE = 1e-4
"""Largest difference of a coordinate of an embedding (a unit vector) between torch and ONNX Runtime."""


class NormalizedNetwork(nn.Module):
    """A network whose answers are unit vectors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Embed images."""
        return nn.functional.normalize(self.network(images), dim=1)


def export_encoder(encoder: DualEncoder, folder: str | Path) -> Path:
    """Write networks as ONNX, their card, and whom they were trained on; check that they compute what torch does.

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
    parts = (("source", encoder.source, spec.source_shape), ("target", encoder.target, spec.target_shape))
    for name, network, shape in parts:
        export_network(
            NormalizedNetwork(network),
            folder / f"{name}.onnx",
            input_name=name,
            input_shape=shape,
            output_name="embedding",
            tolerance=LARGEST_DIFFERENCE,
        )
    write_json(folder / ENCODER_FILE, encoder.card(versions=software_versions()))
    if encoder.training_subjects is not None:
        write_training_subjects(folder, encoder.training_subjects)
    return folder
