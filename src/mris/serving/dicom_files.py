"""The two DICOM objects of a synthesis as files."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException

from mris.errors import ImageError
from mris.images.faults import LIBRARY_FAULTS
from mris.images.write import atomic_write
from mris.serving.deidentify import deidentified
from mris.serving.dicom_objects import parametric_map, secondary_capture
from mris.serving.dicom_source import DerivedFrom
from mris.serving.outputs import dicom_names
from mris.serving.pictures import Look
from mris.synthesis.synthesis import Synthesis

_FAULTS: tuple[type[Exception], ...] = (*LIBRARY_FAULTS, BytesLengthException)


def encoded_dicom_objects(
    stem: str,
    synthesis: Synthesis,
    derived: DerivedFrom,
    neighbor_maps: Sequence[Float32[np.ndarray, "m r h w"]],
    source: Float32[np.ndarray, "c h w"],
    *,
    salt: bytes | None = None,
    look: Look | None = None,
) -> dict[str, bytes]:
    """Make ``STEM_capture.dcm`` and ``STEM_map.dcm``, each as the bytes of its file.

    Args:
        stem: Beginning of the files' names.
        synthesis: What they hold.
        derived: The source they refer to.
        neighbor_maps: For the strip of neighbors, as `BatchSynthesizer.neighbor_maps` gives them.
        source: The prepared source, drawn beside the maps; a de-identified picture leaves it out, because letters may
            be burnt into a radiograph.
        salt: De-identify both objects with this key; None leaves patient and study in.
        look: Colors and edges of the picture; its own if None.

    Returns:
        Content by file name.

    Raises:
        ImageError: No object can be made of this source and synthesis.
        SettingsError: The salt is too short.
    """
    with _faults_without_values(derived):
        picture = secondary_capture(
            synthesis, derived, neighbor_maps, picture_source=source if salt is None else None, look=look
        )
        values = parametric_map(synthesis, derived)
        made = zip(dicom_names(stem), (picture, values), strict=True)
        return {name: _encoded(one if salt is None else deidentified(one, salt)) for name, one in made}


def write_dicom_objects(out_dir: Path, encoded: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write what `encoded_dicom_objects` made; each file is whole or absent.

    Raises:
        OutputError: The disk refuses.
    """
    for name, content in encoded.items():
        with atomic_write(out_dir / name) as temporary:
            temporary.write_bytes(content)
    return tuple(out_dir / name for name in encoded)


@contextlib.contextmanager
def _faults_without_values(derived: DerivedFrom) -> Iterator[None]:
    """One line, and nothing of what libraries print or raise: their texts hold names and numbers of the header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    except _FAULTS as error:
        raise ImageError(
            f"image {derived.source.path}: DICOM results cannot be made of its header and its map "
            f"({type(error).__name__}); export it again from the archive, or leave out --dicom"
        ) from error


def _encoded(dataset: Dataset) -> bytes:
    with BytesIO() as file:
        dataset.save_as(file, enforce_file_format=True)
        return file.getvalue()
