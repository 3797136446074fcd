"""Export trained encoders to ONNX, so that synthesis needs no torch."""

from pathlib import Path

from mris.cohort.training_subjects import write_training_subjects
from mris.images.write import write_json
from mris.metric.encoders import DualEncoder, NormalizedNetwork, SourceDescription
from mris.training.card import ENCODER_FILE
from mris.training.export import export_network
from mris.training.versions import software_versions

LARGEST_DIFFERENCE = 1e-4
"""Largest difference between torch and ONNX Runtime of a coordinate of an embedding (a unit vector), or of a feature;
of one above 1, as a share of it."""


def export_encoder(encoder: DualEncoder, folder: str | Path) -> Path:
    """Write networks as ONNX, their card, and whom they were trained on; check that they compute what torch does.

    The graphs take ``(n, c, h, w)`` float32 for any n and end in unit vectors. Targets go in scaled, 0 where they have
    no value (`mris.training.pairs.scale_targets`). Behind a source's embedding stands what a linear
    readout reads of it.

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
    graphs = (
        ("source", SourceDescription(encoder), spec.source_shape),
        ("target", NormalizedNetwork(encoder.target), spec.target_shape),
    )
    for name, network, shape in graphs:
        export_network(
            network,
            folder / f"{name}.onnx",
            input_name=name,
            input_shape=shape,
            output_name="embedding",
            tolerance=LARGEST_DIFFERENCE,
        )
    write_json(folder / ENCODER_FILE, encoder.card(versions=software_versions(), n_learned=encoder.n_learned))
    if encoder.training_subjects is not None:
        write_training_subjects(folder, encoder.training_subjects)
    return folder
