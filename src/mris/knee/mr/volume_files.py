"""Writes volumes of a scanner's grid as NIfTI, whole or not at all; equal volumes give equal bytes."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float, Shaped

from mris.images.nifti1 import packed
from mris.images.write import atomic_write

_IMAGE: Any = nib.Nifti1Image  # nibabel does not annotate it


def write_volume(path: Path, voxels: Shaped[np.ndarray, "i j k"], affine: Float[np.ndarray, "4 4"]) -> None:
    """Write a volume as ``.nii.gz`` with its affine (to right, anterior, superior; mm) as both orientations.

    Raises:
        OutputError: The file cannot be written.
    """
    image = _IMAGE(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    with atomic_write(path) as temporary:
        temporary.write_bytes(packed(image.to_bytes()))
