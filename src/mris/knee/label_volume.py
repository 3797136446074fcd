"""Reads label volumes: grids of whole numbers with an orientation.

Two probability maps, as OAI_analysis writes them (``FC_probmap.nii.gz``, ``TC_probmap.nii.gz``), are one label volume.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel.orientations
import numpy as np
from jaxtyping import Float, UInt16

from mris.errors import ImageError
from mris.knee.volume_file import read_grid

FEMORAL_MAP, TIBIAL_MAP = "FC_prob", "TC_prob"
"""In the names of two files that hold the probability of femoral and of tibial cartilage."""
MAP_NUMBERS = (2, 4)
"""Numbers that femoral and tibial cartilage get of their probability maps."""

_ORIENTATIONS: Any = nibabel.orientations  # nibabel does not annotate these


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """The numbers of a label volume and where they are.

    Attributes:
        voxels: Shape ``(i, j, k)``, the axes as in the file.
        affine: Voxel index to world (right, anterior, superior), in mm.
        origin: The file, for messages.
    """

    voxels: UInt16[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]
    origin: str


def read_label_volume(path: Path) -> LabelVolume:
    """Read a label volume: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.

    A file with `FEMORAL_MAP` in its name holds the probability of femoral cartilage, its neighbor with `TIBIAL_MAP`
    that of the tibial; where one of them is a half or more, the likelier has its number, `MAP_NUMBERS`.

    Raises:
        ImageError: The file is absent, damaged, truncated, no volume, holds other values than whole numbers from 0 to
            65535, has no orientation, or two that disagree, or announces more voxels than are read; or two
            probability maps do not belong together.
    """
    if len(source_files(path)) == 2:
        return _read_probabilities(*source_files(path))
    voxels, affine = read_grid(path, "segmentation")
    if voxels.dtype.kind == "f" and not (np.isfinite(voxels).all() and (voxels == np.round(voxels)).all()):
        raise ImageError(f"segmentation {path}: holds fractions or NaN, but labels are whole numbers; is it a scan?")
    lowest, highest = float(voxels.min()), float(voxels.max())
    if lowest < 0 or highest > 65535:
        raise ImageError(f"segmentation {path}: holds {lowest:g} to {highest:g}; labels are whole numbers, 0 to 65535")
    return LabelVolume(voxels.astype(np.uint16, copy=False), affine, str(path))


def source_files(path: Path) -> tuple[Path, ...]:
    """Name the files that a label volume is read from: itself or, of a femoral probability map, it and the tibial one.

    Example:
        >>> [file.name for file in source_files(Path("FC_probmap.nii.gz"))]
        ['FC_probmap.nii.gz', 'TC_probmap.nii.gz']
    """
    if FEMORAL_MAP not in path.name:
        return (path,)
    return path, path.with_name(path.name.replace(FEMORAL_MAP, TIBIAL_MAP))


def canonical(volume: LabelVolume) -> LabelVolume:
    """Permute and flip whole axes to right, anterior, superior, as nibabel's ``as_closest_canonical`` does."""
    turn = _ORIENTATIONS.io_orientation(volume.affine)
    turned = np.asarray(_ORIENTATIONS.apply_orientation(volume.voxels, turn))
    affine = np.asarray(volume.affine @ _ORIENTATIONS.inv_ornt_aff(turn, volume.voxels.shape))
    return LabelVolume(turned, affine, volume.origin)


def _read_probabilities(femoral: Path, tibial: Path) -> LabelVolume:
    (upper, affine), (lower, other) = (read_grid(path, "segmentation") for path in (femoral, tibial))
    if upper.shape != lower.shape or not np.allclose(affine, other, atol=1e-3):
        raise ImageError(f"segmentation {femoral}: its grid is not that of {tibial.name}; export both from one scan")
    for path, values in ((femoral, upper), (tibial, lower)):
        lowest, highest = float(values.min()), float(values.max())
        if not (lowest >= -0.001 and highest <= 1.001):  # NaN is neither
            raise ImageError(f"segmentation {path}: holds {lowest:g} to {highest:g}; probabilities are 0 to 1")
    numbers = np.where(upper >= lower, *(np.uint16(number) for number in MAP_NUMBERS))
    return LabelVolume(np.where(np.maximum(upper, lower) >= 0.5, numbers, np.uint16(0)), affine, str(femoral))
