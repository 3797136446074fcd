"""Reads the segmentation of one knee: a label volume becomes tissues; its axes run right, anterior, superior.

World coordinates are those of NIfTI: millimeters, ``x`` to the person's right, ``y`` to the front, ``z`` to the head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel.orientations
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from mris.errors import ImageError, SettingsError
from mris.finding import Finding
from mris.images.header import Side
from mris.images.image import side_name
from mris.knee.label_volume import LabelVolume, read_label_volume

TISSUES = ("femur", "femoral_cartilage", "tibia", "tibial_cartilage")
"""Tissues in the order of their numbers in `Segmentation.labels`: 1, 2, 3, 4; 0 is everything else."""
FEMUR, FEMORAL_CARTILAGE, TIBIA, TIBIAL_CARTILAGE = 1, 2, 3, 4

SMALLEST_CARTILAGE_MM3 = 400.0
"""A cartilage below this volume is a fragment: severe osteoarthritis leaves more than 3,000 mm3 of either."""
SMALLEST_BONE_MM3 = 5000.0
"""The same for a bone; a scan of the joint holds more than 90,000 mm3 of either."""
LARGEST_ISLAND_SHARE = 0.02
"""Islands of a cartilage, away from its large pieces, up to this share of its volume are usual."""
STRAIGHT_EDGE_SHARE = 0.9
"""A plate of the tibia whose end slice has this share of its median sagittal slice ends as if cut; sound ones taper."""

_ORIENTATIONS: Any = nibabel.orientations  # nibabel does not annotate it

Affine = Float[np.ndarray, "4 4"]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class LabelMap:
    """Which numbers of a label volume are which tissue.

    Attributes:
        numbers: Each tissue (`TISSUES`) and its numbers in the file. Bones are needed: they say which side of a
            cartilage is which, and where bone is bare.
        ignored: Numbers that are known and not used.

    Raises:
        SettingsError: A tissue is missing or unknown, a number is no label or used twice.

    Example:
        >>> LabelMap({"femur": (1,), "femoral_cartilage": (2,), "tibia": (3,), "tibial_cartilage": (4, 7)}).known
        (0, 1, 2, 3, 4, 7)
    """

    numbers: Mapping[str, tuple[int, ...]]
    ignored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.numbers) - set(TISSUES))
        if unknown:
            raise SettingsError(f"labels: {unknown[0]!r} is no tissue; give {', '.join(TISSUES)} or ignore")
        missing = [tissue for tissue in TISSUES if not self.numbers.get(tissue)]
        if missing:
            raise SettingsError(f"labels: {missing[0]} has no number; both cartilages and both bones are needed")
        used = [number for numbers in self.numbers.values() for number in numbers] + list(self.ignored)
        wrong = [number for number in used if not 0 < number < 65536]
        repeated = [number for number in used if used.count(number) > 1]
        if wrong or repeated:
            fault = f"{wrong[0]} is no label" if wrong else f"{repeated[0]} stands twice"
            raise SettingsError(f"labels: {fault}; give each number from 1 to 65535 once (0 is the background)")

    @property
    def known(self) -> tuple[int, ...]:
        """All numbers that a file may hold, the background included."""
        return tuple(sorted({0, *self.ignored, *(n for numbers in self.numbers.values() for n in numbers)}))


PRESETS = {
    # 7, 8 and 9 lie inside femur, tibia and patella (nearly all of their border is that bone): lesions of the bone, not
    # of cartilage. So they are bone; were they background, the bone side above them would be lost.
    "oai_knees": LabelMap(
        {"femur": (1, 7), "femoral_cartilage": (2,), "tibia": (3, 8), "tibial_cartilage": (4,)}, ignored=(5, 6, 9)
    ),
    "oai_zib": LabelMap({"femur": (1,), "femoral_cartilage": (2,), "tibia": (3,), "tibial_cartilage": (4,)}),
}
"""Label numbers of public collections."""


def label_map(text: str) -> LabelMap:
    """Parse the name of a preset, or ``femur=1+7,femoral_cartilage=2,tibia=3,tibial_cartilage=4,ignore=5+6``.

    Raises:
        SettingsError: The text is neither.

    Example:
        >>> label_map("femur=1, femoral_cartilage=2, tibia=3+8, tibial_cartilage=4, ignore=5").numbers["tibia"]
        (3, 8)
    """
    if text in PRESETS:
        return PRESETS[text]
    numbers: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        tissue, equals, values = (piece.strip() for piece in part.partition("="))
        try:
            found = tuple(int(value) for value in values.split("+"))
        except ValueError:
            found = ()
        if not equals or not found or tissue in numbers:
            raise SettingsError(
                f"labels: {part.strip()!r} cannot be read; give {' or '.join(PRESETS)}, or each tissue once, such as "
                "femur=1+7,femoral_cartilage=2,tibia=3,tibial_cartilage=4,ignore=5+6"
            )
        numbers[tissue] = found
    ignored = numbers.pop("ignore", ())
    return LabelMap(numbers, ignored)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The tissues of one knee.

    Attributes:
        labels: Shape ``(i, j, k)``, uint8, 0 to 4 (`TISSUES`); the axes run about right, anterior, superior.
        affine: Voxel index to world, in mm; may be oblique, voxels may be anisotropic.
        side: ``"left"`` or ``"right"``: whose frame the volume is in.
        origin: File path, or a description, for messages.
        findings: Warnings about the volume (see `findings_of`).
    """

    labels: UInt8[np.ndarray, "i j k"]
    affine: Affine
    side: Side
    origin: str = "array"
    findings: tuple[Finding, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxel centers along each axis, in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, in mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def has(self, tissue: int) -> bool:
        """Whether a voxel of this tissue's number is there."""
        return bool((self.labels == tissue).any())


def read_segmentation(path: str | Path, labels: LabelMap, side: Side) -> Segmentation:
    """Read a label volume (NIfTI; NRRD and MHA with the extra ``thickness``) of one knee.

    Args:
        path: The file.
        labels: Which number is which tissue.
        side: The side the volume shows.

    Returns:
        Axes turned to right, anterior, superior (by whole axes: no voxel is resampled). Warnings are of a gap of empty
        slices, islands, a cartilage that touches the border of the field of view.

    Raises:
        ImageError: The file is damaged or no label volume, holds a number that `labels` does not know, lacks a bone or
            a cartilage, or holds only a fragment of one.
    """
    return segmentation_from_volume(read_label_volume(Path(path)), labels, side)


def segmentation_from_volume(volume: LabelVolume, labels: LabelMap, side: Side) -> Segmentation:
    """Sort the numbers of a label volume into tissues; see `read_segmentation`."""
    if side_name(side) not in ("left", "right"):
        raise SettingsError(f"segmentation {volume.origin}: side is {side!r}; give left or right")
    seen = np.zeros(1 + int(volume.voxels.max()), bool)
    seen[volume.voxels.ravel(order="K")] = True  # in the order of the file, so that nothing is copied
    found = np.flatnonzero(seen)
    unknown = [int(number) for number in found if int(number) not in labels.known]
    if unknown:
        raise ImageError(
            f"segmentation {volume.origin}: holds the labels {unknown[:6]}, but only {list(labels.known)} are known; "
            "name or ignore them with --labels"
        )
    table = np.zeros(int(found.max()) + 1, np.uint8)
    for number, tissue in enumerate(TISSUES, start=1):
        for label in labels.numbers.get(tissue, ()):
            if label < len(table):
                table[label] = number
    turned, affine = _canonical(table[volume.voxels], volume.affine)
    segmentation = Segmentation(turned, affine, side, volume.origin)
    _check_tissues(segmentation)
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
        share = _island_share(segmentation.labels == number)
        if share > LARGEST_ISLAND_SHARE:
            found.append(f"{100 * share:.0f} % of the {TISSUES[number - 1].replace('_', ' ')} are islands")
    if _ends_straight(segmentation.labels == TIBIAL_CARTILAGE):
        found.append("a plate of the tibial cartilage ends in a straight edge, as if cut")
    return tuple(Finding(reason, severity="warning") for reason in found)


def _cartilage(segmentation: Segmentation) -> np.ndarray:
    return np.asarray((segmentation.labels == FEMORAL_CARTILAGE) | (segmentation.labels == TIBIAL_CARTILAGE))


def _check_tissues(segmentation: Segmentation) -> None:
    for number, tissue in enumerate(TISSUES, start=1):
        smallest = SMALLEST_CARTILAGE_MM3 if number in (FEMORAL_CARTILAGE, TIBIAL_CARTILAGE) else SMALLEST_BONE_MM3
        volume = int((segmentation.labels == number).sum()) * segmentation.voxel_mm3
        name = tissue.replace("_", " ")
        if volume == 0:
            raise ImageError(
                f"segmentation {segmentation.origin}: holds no {name}; is this a knee, and are --labels right?"
            )
        if volume < smallest:
            raise ImageError(
                f"segmentation {segmentation.origin}: holds {volume:.0f} mm3 of {name}, a fragment (a knee has at "
                f"least {smallest:.0f}); segment the whole joint, and check the voxel size"
            )


def _island_share(mask: np.ndarray) -> float:
    """Share of a mask that lies in pieces of less than a twentieth of it (the tibia has two large ones)."""
    pieces, n_pieces = ndimage.label(mask[box_round(mask)], np.ones((3, 3, 3)))
    if n_pieces < 2:
        return 0.0
    sizes = np.bincount(pieces.ravel())[1:]
    return float(sizes[sizes < 0.05 * sizes.sum()].sum() / sizes.sum())


def _ends_straight(mask: np.ndarray) -> bool:
    """Whether a large piece of a mask ends, along the first axis, in a slice about as large as its others."""
    pieces, n_pieces = ndimage.label(mask[box_round(mask)], np.ones((3, 3, 3)))
    areas = [np.bincount(slices.ravel(), minlength=n_pieces + 1)[1:] for slices in pieces]
    for area in np.array(areas).T:
        slices = area[area > 0]
        if area.sum() >= 0.05 * mask.sum() and max(slices[0], slices[-1]) >= STRAIGHT_EDGE_SHARE * np.median(slices):
            return True
    return False


def _canonical(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Permute and flip whole axes to right, anterior, superior, as nibabel's ``as_closest_canonical`` does."""
    turn = _ORIENTATIONS.io_orientation(affine)
    turned = _ORIENTATIONS.apply_orientation(voxels, turn)
    return np.asarray(turned), np.asarray(affine @ _ORIENTATIONS.inv_ornt_aff(turn, voxels.shape))
