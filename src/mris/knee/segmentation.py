"""Reads the segmentation of one knee: a label volume becomes tissues; its axes run right, anterior, superior.

World coordinates are those of NIfTI: millimeters, ``x`` to the person's right, ``y`` to the front, ``z`` to the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from scipy import ndimage

from mris.errors import SettingsError
from mris.finding import Finding
from mris.images.header import Side
from mris.images.image import side_name
from mris.knee.label_anatomy import plausible_labels
from mris.knee.label_map import TISSUES, LabelMap
from mris.knee.label_volume import LabelVolume, canonical, read_label_volume

FEMUR, FEMORAL_CARTILAGE, TIBIA, TIBIAL_CARTILAGE = 1, 2, 3, 4

LARGEST_ISLAND_SHARE = 0.02
"""Islands of a cartilage, away from its large pieces, up to this share of its volume are usual."""
STRAIGHT_EDGE_SHARE = 0.9
"""A plate of the tibia whose end slice has this share of its median sagittal slice ends as if cut; sound ones taper."""

Affine = Float[np.ndarray, "4 4"]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The tissues of one knee.

    Attributes:
        labels: Shape ``(i, j, k)``, uint8, 0 to 4 (`TISSUES`); the axes run about right, anterior, superior.
        affine: Voxel index to world, in mm; may be oblique, voxels may be anisotropic.
        side: ``"left"`` or ``"right"``: whose frame the volume is in.
        origin: File path, or a description, for messages.
        findings: Warnings about the volume (see `findings_of`).
        preset: Of its label numbers; "" for numbers given by hand.
    """

    labels: UInt8[np.ndarray, "i j k"]
    affine: Affine
    side: Side
    origin: str = "array"
    findings: tuple[Finding, ...] = ()
    preset: str = ""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxel centers along each axis, in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, in mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def has_bones(self) -> bool:
        """Whether the femur is there; labels have both bones or none."""
        return bool((self.labels == FEMUR).any())


def read_segmentation(path: str | Path, labels: LabelMap | None, side: Side) -> Segmentation:
    """Read a label volume (NIfTI; NRRD and MHA with the extra ``thickness``) of one knee.

    Args:
        path: The file.
        labels: Which number is which tissue; None for the one preset that the volume's anatomy fits.
        side: The side the volume shows.

    Returns:
        Axes turned to right, anterior, superior (by whole axes: no voxel is resampled). Warnings are of a gap of empty
        slices, islands, a cartilage that touches the border of the field of view.

    Raises:
        ImageError: The file is damaged or no label volume, holds a number that `labels` does not know, lacks a tissue,
            holds only a fragment of one, or is no knee by its anatomy (see `mris.knee.label_anatomy`).
    """
    return segmentation_from_volume(read_label_volume(Path(path)), labels, side)


def segmentation_from_volume(volume: LabelVolume, labels: LabelMap | None, side: Side) -> Segmentation:
    """Sort the numbers of a label volume into tissues; see `read_segmentation`."""
    if side_name(side) not in ("left", "right"):
        raise SettingsError(f"segmentation {volume.origin}: side is {side!r}; give left or right")
    volume = canonical(volume)
    labels = plausible_labels(volume, labels, side)
    table = np.zeros(1 + int(volume.voxels.max()), np.uint8)
    for number, tissue in enumerate(TISSUES, start=1):
        for label in labels.of(tissue):
            if label < len(table):
                table[label] = number
    segmentation = Segmentation(table[volume.voxels], volume.affine, side, volume.origin, preset=labels.name)
    return replace(segmentation, findings=findings_of(segmentation))


def cropped(segmentation: Segmentation, margin_mm: float) -> Segmentation:
    """Cut a segmentation to its cartilages and a margin.

    Args:
        segmentation: Holds cartilage.
        margin_mm: Distance kept on every side, in mm.

    Example:
        >>> labels = np.zeros((40, 40, 40), np.uint8)
        >>> labels[20, 20, 20:22] = FEMORAL_CARTILAGE
        >>> cropped(Segmentation(labels, np.eye(4), "left"), 3.0).labels.shape
        (7, 7, 8)
    """
    box = box_round(_cartilage(segmentation), margin_mm / np.array(segmentation.spacing))
    affine = segmentation.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return replace(segmentation, labels=np.ascontiguousarray(segmentation.labels[box]), affine=affine)


def box_round(mask: Bool[np.ndarray, "i j k"], margins: Sequence[float] | np.ndarray = (0, 0, 0)) -> Box:
    """Slices of the smallest box that holds all true voxels, and a margin (in voxels, rounded up) where there is room.

    Example:
        >>> mask = np.zeros((9, 9, 9), bool)
        >>> mask[4, 1, 5:7] = True
        >>> box_round(mask, (2, 2, 0.5))
        (slice(2, 7, None), slice(0, 4, None), slice(4, 8, None))
    """
    slices = []
    for axis, margin in enumerate(np.ceil(margins).astype(int)):
        filled = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        slices.append(slice(max(int(filled[0] - margin), 0), int(filled[-1] + margin) + 1))
    return slices[0], slices[1], slices[2]


def findings_of(segmentation: Segmentation) -> tuple[Finding, ...]:
    """Warn of gaps, islands, straight edges and a cut field of view."""
    found = []
    inside, empty = _cartilage(segmentation), segmentation.labels == 0
    for axis, name in enumerate(("sagittal", "coronal", "axial")):
        others = tuple({0, 1, 2} - {axis})
        filled = np.asarray(inside.any(axis=others))
        first, last = np.flatnonzero(filled)[[0, -1]]
        n_empty = int(empty.all(axis=others)[first:last].sum())
        if n_empty:
            found.append(f"{n_empty} empty {name} slices between slices of cartilage")
        if axis == 0 and (first == 0 or last == filled.size - 1):
            found.append("cartilage touches the border of the field of view")
    for number in (FEMORAL_CARTILAGE, TIBIAL_CARTILAGE):
        pieces = _pieces(segmentation.labels == number)
        share = _island_share(pieces)
        if share > LARGEST_ISLAND_SHARE:
            found.append(f"{100 * share:.0f} % of the {TISSUES[number - 1].replace('_', ' ')} are islands")
        if number == TIBIAL_CARTILAGE and _ends_straight(pieces):
            found.append("a plate of the tibial cartilage ends in a straight edge, as if cut")
    return tuple(Finding(reason, severity="warning") for reason in found)


def _cartilage(segmentation: Segmentation) -> np.ndarray:
    return np.asarray((segmentation.labels == FEMORAL_CARTILAGE) | (segmentation.labels == TIBIAL_CARTILAGE))


def _pieces(mask: np.ndarray) -> Int32[np.ndarray, "i j k"]:
    """The box of a mask with its pieces numbered from 1."""
    pieces, _ = ndimage.label(np.ascontiguousarray(mask[box_round(mask)]), np.ones((3, 3, 3)))
    return np.asarray(pieces)


def _island_share(pieces: Int32[np.ndarray, "i j k"]) -> float:
    """Share of a mask that lies in pieces of less than a twentieth of it (the tibia has two large ones)."""
    sizes = np.bincount(pieces.ravel())[1:]
    return float(sizes[sizes < 0.05 * sizes.sum()].sum() / sizes.sum())


def _ends_straight(pieces: Int32[np.ndarray, "i j k"]) -> bool:
    """Whether a large piece of a mask ends, along the first axis, in a slice about as large as its others."""
    areas = np.array([np.bincount(one.ravel(), minlength=int(pieces.max()) + 1)[1:] for one in pieces])
    for area in areas.T:
        slices = area[area > 0]
        if area.sum() >= 0.05 * areas.sum() and max(slices[0], slices[-1]) >= STRAIGHT_EDGE_SHARE * np.median(slices):
            return True
    return False
