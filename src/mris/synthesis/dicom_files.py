"""The two DICOM objects of a synthesis on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from pydicom.dataset import Dataset

from mris.images.write import atomic_write
from mris.synthesis.deidentify import deidentified
from mris.synthesis.dicom_objects import parametric_map, secondary_capture
from mris.synthesis.dicom_source import DerivedFrom, dicom_names
from mris.synthesis.pictures import ValueRange
from mris.synthesis.synthesis import Synthesis


def write_dicom_objects(
    out_dir: Path,
    stem: str,
    synthesis: Synthesis,
    derived: DerivedFrom,
    neighbor_maps: Sequence[Float32[np.ndarray, "m r h w"]],
    source: Float32[np.ndarray, "c h w"],
    *,
    salt: bytes | None = None,
    value_range: ValueRange | None = None,
) -> tuple[Path, Path]:
    """Write ``STEM_capture.dcm`` and ``STEM_map.dcm``; each is whole or absent.

    Args:
        out_dir: Folder.
        stem: Beginning of the files' names.
        synthesis: What to write.
        derived: The source they refer to.
        neighbor_maps: For the strip of neighbors, as `BatchSynthesizer.neighbor_maps` gives them.
        source: The prepared source, drawn beside the maps; a de-identified picture leaves it out, because letters may
            be burnt into a radiograph.
        salt: De-identify both objects with this key; None leaves patient and study in.
        value_range: Least and largest value of the colors and of the window.

    Returns:
        The two files.

    Raises:
        OutputError: The disk refuses.
        SettingsError: The salt is too short.
    """
    picture = secondary_capture(
        synthesis,
        derived,
        neighbor_maps,
        picture_source=source if salt is None else None,
        value_range=value_range,
    )
    values = parametric_map(synthesis, derived, value_range=value_range)
    capture_name, map_name = dicom_names(stem)
    return (
        _save(out_dir / capture_name, picture if salt is None else deidentified(picture, salt)),
        _save(out_dir / map_name, values if salt is None else deidentified(values, salt)),
    )


def _save(path: Path, dataset: Dataset) -> Path:
    with atomic_write(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return path
