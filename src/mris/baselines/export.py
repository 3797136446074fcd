"""Write a trained baseline as files that need no torch."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from mris.baselines.predictor import BASELINE_FOLDER, CARD_FILE, GRAPH_FILE, BaselineCard, write_card
from mris.cohort.cohort import Cohort
from mris.cohort.origin import Origin, common_origin
from mris.cohort.training_subjects import TrainingSubjects, write_training_subjects
from mris.reading import file_sha256
from mris.training.export import export_network

FINISHED = f"{BASELINE_FOLDER}/{CARD_FILE}"
"""What `write_baseline` writes last: a run that has it is finished."""

LARGEST_DIFFERENCE = 1e-3
"""Largest difference of a scaled pixel between torch and ONNX Runtime; 0.003 mm where targets are divided by 3 mm."""


def write_baseline(
    run: Path,
    network: nn.Module,
    cohort: Cohort,
    method: str,
    *,
    target_scale: float,
    training_seconds: float,
    trained_before: Sequence[TrainingSubjects] = (),
    made_from: Sequence[Origin] = (),
) -> Path:
    """Export a network from prepared sources to scaled targets, with all that prediction needs.

    Args:
        run: the run's folder; ``baseline/`` is written below it.
        network: maps (n, c, h, w) to (n, r, H, W).
        cohort: what it was trained on: shapes, regions, unit, preparation, atlas mask, subjects of the split "train".
        method: its name.
        target_scale: the answer times this is in the unit.
        training_seconds: wall time of the training.
        trained_before: whom parts of the network were trained on before.
        made_from: origins of what these parts were trained on.

    Returns:
        The folder.

    Raises:
        TrainingError: the exported network computes something else than torch.
        OutputError: the disk refuses.
    """
    folder, header = run / BASELINE_FOLDER, cohort.header
    export_network(
        network,
        folder / GRAPH_FILE,
        input_name="source",
        input_shape=header.source_shape,
        output_name="target",
        tolerance=LARGEST_DIFFERENCE,
    )
    card = BaselineCard.for_cohort(
        header,
        regions=header.regions,
        target_scale=target_scale,
        method=method,
        n_parameters=sum(parameter.numel() for parameter in network.parameters()),
        training_seconds=training_seconds,
        sha256=file_sha256(folder / GRAPH_FILE),
        origin=common_origin([header.origin, *made_from]),
    )
    write_training_subjects(folder, TrainingSubjects.of(cohort.split("train").subjects, before=trained_before))
    write_card(folder, card, cohort.atlas_mask)
    return folder
