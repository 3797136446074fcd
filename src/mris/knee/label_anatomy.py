"""Whether the numbers of a label volume can be the tissues that a preset says: judged by anatomy, not by numbers.

Measured once a volume, on voxels thinned to about 0.8 mm: how much each number has of every slice, and the area that
each pair of numbers has in common. Each preset is judged from that. Limits are far from what real knees have, those of
the end stage among them; ``tests/knee/test_label_anatomy.py`` says how far.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mris.errors import ImageError
from mris.images.header import Side
from mris.knee.label_map import BONES, CARTILAGES, PLATES, PRESETS, TISSUES, LabelMap
from mris.knee.label_volume import LabelVolume

SMALLEST_CARTILAGE_MM3 = 400.0
"""A cartilage below this volume is a fragment: severe osteoarthritis leaves more than 3,000 mm3 of either."""
SMALLEST_BONE_MM3 = 5000.0
"""The same for a bone; a scan of the joint holds more than 90,000 mm3 of either."""
SMALLEST_BORDER = 0.2
"""Share of a cartilage's surface that its own bone takes, at least; 0.35 to 0.48 in 17 knees."""
THICKEST_CARTILAGE_MM = 5.0
"""Twice the volume of a cartilage by its surface, at most; 0.9 to 1.6 mm in 17 knees."""
WIDEST_MM = 140.0
"""A knee's tissues spread over less from left to right; a condylar width is below 100 mm."""
SMALLEST_GAP_MM = 20.0
"""Between two knees in one volume there are more empty slices."""
DEEPEST_BRIDGE = 0.15
"""Between the plates of a tibia, the emptiest slice has at most this share of the fullest of the smaller plate."""
SMALLEST_PLATE = 0.1
"""Share of the tibial cartilage that the smaller plate has, at least; 0.35 in 13 knees."""

_THINNED_MM = 0.8
_MOST_NUMBERS = 100


@dataclass(frozen=True, eq=False)
class LabelAnatomy:
    """What the numbers of a volume look like, whatever they mean.

    Attributes:
        numbers: Those that the volume holds, rising, 0 first.
        slices: mm3 of each number in each slice, along the axes that run about right, anterior, superior.
        step_mm: Distance of the slices along each axis.
        border: mm2 that two numbers have in common; 0 on the diagonal.
    """

    numbers: tuple[int, ...]
    slices: tuple[Float[np.ndarray, "i n"], Float[np.ndarray, "j n"], Float[np.ndarray, "k n"]]
    step_mm: tuple[float, float, float]
    border: Float[np.ndarray, "n n"]

    def profile(self, numbers: tuple[int, ...], axis: int) -> Float[np.ndarray, " s"]:
        """Volume (mm3) of some numbers together in each slice along an axis."""
        return np.asarray(self.slices[axis][:, self._at(numbers)].sum(axis=1))

    def volume(self, numbers: tuple[int, ...]) -> float:
        """Volume (mm3) of some numbers together."""
        return float(self.profile(numbers, 0).sum())

    def middle(self, numbers: tuple[int, ...], axis: int) -> float:
        """Center of mass along an axis, mm from the first slice."""
        profile = self.profile(numbers, axis)
        return float(np.average(np.arange(len(profile)), weights=profile) * self.step_mm[axis])

    def border_share(self, numbers: tuple[int, ...], others: tuple[int, ...]) -> float:
        """Share of the surface of some numbers that others take."""
        inside, other = self._at(numbers), self._at(others)
        return float(self.border[np.ix_(inside, other)].sum() / self._surface(inside))

    def thickness(self, numbers: tuple[int, ...]) -> float:
        """Twice the volume by the surface, mm: about the thickness of a sheet."""
        return 2 * self.volume(numbers) / self._surface(self._at(numbers))

    def _at(self, numbers: tuple[int, ...]) -> list[int]:
        return [place for place, number in enumerate(self.numbers) if number in numbers]

    def _surface(self, places: list[int]) -> float:
        outside = [place for place in range(len(self.numbers)) if place not in places]
        return max(float(self.border[np.ix_(places, outside)].sum()), 1e-9)


def label_anatomy(volume: LabelVolume) -> LabelAnatomy:
    """Measure the numbers of a volume whose axes run about right, anterior, superior.

    Raises:
        ImageError: More numbers than any segmentation of a knee has, or none but the background.
    """
    voxels, spacing = volume.voxels, np.linalg.norm(volume.affine[:3, :3], axis=0)
    steps = np.maximum(np.floor(_THINNED_MM / spacing), 1).astype(int)
    seen = np.zeros(1 + int(voxels.max()), bool)
    seen[voxels.ravel(order="K")] = True  # all of them, in the order of the file, so that nothing is copied
    seen[0] = True
    numbers = np.flatnonzero(seen)
    n = len(numbers)
    if n < 2:
        raise ImageError(f"segmentation {volume.origin}: holds nothing but 0; was it saved empty?")
    if n > _MOST_NUMBERS:
        raise ImageError(f"segmentation {volume.origin}: holds {n:,} numbers, more than any knee has tissues; a scan?")
    place = np.zeros(len(seen), np.uint16)
    place[numbers] = np.arange(n)
    thin = place[voxels[tuple(slice(None, None, int(step)) for step in steps)]]
    size = spacing * steps
    border = np.zeros((n, n))
    slices = []
    for axis in range(3):
        stack = np.moveaxis(thin, axis, 0)
        slices.append(np.stack([np.bincount(one.ravel(), minlength=n) for one in stack]) * float(np.prod(size)))
        apart = np.not_equal(stack[:-1], stack[1:])
        pairs = stack[:-1][apart].astype(np.intp) * n + stack[1:][apart]
        border += np.bincount(pairs, minlength=n * n).reshape(n, n) * float(np.prod(size) / size[axis])
    return LabelAnatomy(
        tuple(numbers.tolist()),
        (slices[0], slices[1], slices[2]),
        (float(size[0]), float(size[1]), float(size[2])),
        border + border.T,
    )


def misfits(anatomy: LabelAnatomy, labels: LabelMap, side: Side) -> tuple[str, ...]:
    """Say in what a volume is no knee if its numbers mean what `labels` says; nothing where all is plausible.

    Args:
        anatomy: Of the volume.
        labels: What its numbers would mean.
        side: Of the knee: medial is to the left of a right knee.
    """
    unknown = [number for number in anatomy.numbers if number not in labels.known]
    if unknown:
        return (
            f"holds the labels {unknown[:6]}, but only {list(labels.known)} are known; name or ignore them with "
            "--labels",
        )
    missing = [fault for tissue in labels.numbers if (fault := _missing(anatomy, labels, tissue))]
    if missing:
        return tuple(missing)
    faults = [_two_knees(anatomy, labels), *(_thickness(anatomy, labels, one) for one in CARTILAGES)]
    if labels.has_bones:
        faults += [_border(anatomy, labels, own, at) for own, at in zip(CARTILAGES, (0, 1), strict=True)]
    faults += [_upside_down(anatomy, labels), _plates(anatomy, labels), _plate_sides(anatomy, labels, side)]
    return tuple(fault for fault in faults if fault)


def plausible_labels(volume: LabelVolume, labels: LabelMap | None, side: Side) -> LabelMap:
    """Check the labels that are given, or find the one preset that a volume can be read by.

    Presets that give the same tissues, such as those of programs that share their numbers, count as one.

    Args:
        volume: A label volume of one knee; its axes run about right, anterior, superior.
        labels: What its numbers are said to mean; None to find that.
        side: Of the knee.

    Returns:
        `labels`, or a preset.

    Raises:
        ImageError: By its anatomy the volume is no knee of these labels; names the presets that it fits. Or no preset
            fits, or several that differ.
    """
    anatomy = label_anatomy(volume)
    faults = {name: misfits(anatomy, preset, side) for name, preset in PRESETS.items()}
    # Presets that give the same tissues are one, and go by the name of the first.
    fitting = {_reading(anatomy, PRESETS[name]): name for name in reversed(faults) if not faults[name]}.values()
    if labels is not None:
        found = misfits(anatomy, labels, side)
        if not found:
            return labels
        said = labels.name or "given by hand"
        hint = f"; it is a knee by --labels {' or '.join(fitting)}, not by those {said}" if fitting else ""
        raise ImageError(f"segmentation {volume.origin}: {found[0]}{hint}")
    if not fitting:
        nearest = min(faults, key=lambda name: _badness(anatomy, PRESETS[name], faults[name]))
        raise ImageError(
            f"segmentation {volume.origin}: fits no preset of --labels; by {nearest}, the nearest, it "
            f"{faults[nearest][0]}"
        )
    if len(fitting) > 1:
        raise ImageError(f"segmentation {volume.origin}: is a knee by {' and by '.join(fitting)}; name one: --labels")
    return PRESETS[next(iter(fitting))]


def _badness(anatomy: LabelAnatomy, labels: LabelMap, faults: tuple[str, ...]) -> tuple[int, int, int, int]:
    """How far a preset is from fitting: numbers that it does not know or lacks count before those that it ignores."""
    present = set(anatomy.numbers)
    unknown, ignored = len(present.difference(labels.known)), len(present.intersection(labels.ignored))
    missing = sum(present.isdisjoint(numbers) for numbers in labels.numbers.values())
    return unknown, missing, ignored, len(faults)


def _reading(anatomy: LabelAnatomy, labels: LabelMap) -> tuple[str, ...]:
    """What each number of a volume is by some labels."""
    of = {number: tissue for tissue in TISSUES for number in labels.of(tissue)}
    return tuple(of.get(number, "") for number in anatomy.numbers)


def _name(tissue: str) -> str:
    return tissue.replace("_", " ")


def _missing(anatomy: LabelAnatomy, labels: LabelMap, tissue: str) -> str:
    volume = anatomy.volume(labels.numbers[tissue])
    smallest = SMALLEST_BONE_MM3 if tissue in BONES else SMALLEST_CARTILAGE_MM3
    if volume == 0:
        return f"holds no {_name(tissue)}; is this a knee, and are --labels right?"
    if volume < smallest:
        return (
            f"holds {volume:.0f} mm3 of {_name(tissue)}, a fragment (a knee has at least {smallest:.0f}); segment the "
            "whole joint, and check the voxel size"
        )
    return ""


def _two_knees(anatomy: LabelAnatomy, labels: LabelMap) -> str:
    profile = anatomy.profile(labels.of("femur") or labels.of("femoral_cartilage"), 0)
    filled = np.flatnonzero(profile)
    width = (filled[-1] - filled[0] + 1) * anatomy.step_mm[0]
    gaps = np.diff(filled) - 1
    between = filled[int(gaps.argmax())] if len(gaps) else filled[0]
    smaller = min(profile[: between + 1].sum(), profile[between + 1 :].sum()) / profile.sum()
    if len(gaps) and gaps.max() * anatomy.step_mm[0] >= SMALLEST_GAP_MM and smaller > 0.2:
        return "holds two knees side by side; cut it to one"
    if width > WIDEST_MM:
        return f"holds a knee {width:.0f} mm wide, or two of them; cut it to one, and check the voxel size"
    return ""


def _thickness(anatomy: LabelAnatomy, labels: LabelMap, cartilage: str) -> str:
    bone = BONES[CARTILAGES.index(cartilage)]
    thick = anatomy.thickness(labels.of(cartilage))
    if labels.has_bones and thick >= anatomy.thickness(labels.of(bone)):
        return f"has a {_name(cartilage)} as thick as its bone; are the two swapped in --labels?"
    if thick > THICKEST_CARTILAGE_MM:
        return f"has a {_name(cartilage)} about {thick:.0f} mm thick; are --labels right?"
    return ""


def _border(anatomy: LabelAnatomy, labels: LabelMap, cartilage: str, at: int) -> str:
    own, other = BONES[at], BONES[1 - at]
    share, foreign = (anatomy.border_share(labels.of(cartilage), labels.of(bone)) for bone in (own, other))
    if foreign > share:  # a little is usual at the end stage, where the other bone is bare
        return f"has a {_name(cartilage)} that lies on the {other}, not on the {own}; are they swapped in --labels?"
    if share < SMALLEST_BORDER:
        return (
            f"has a {_name(cartilage)} that borders the {own} with {share:.0%} of its surface, not with "
            f"{SMALLEST_BORDER:.0%} or more; are --labels right?"
        )
    return ""


def _upside_down(anatomy: LabelAnatomy, labels: LabelMap) -> str:
    upper, lower = BONES if labels.has_bones else CARTILAGES
    if anatomy.middle(labels.of(upper), 2) > anatomy.middle(labels.of(lower), 2):
        return ""
    return f"has the {_name(upper)} below the {_name(lower)}; is it upside down, or are they swapped in --labels?"


def _plates(anatomy: LabelAnatomy, labels: LabelMap) -> str:
    profile = anatomy.profile(labels.of("tibial_cartilage"), 0)
    filled = np.flatnonzero(profile)
    profile = profile[filled[0] : filled[-1] + 1]
    if len(profile) >= 4:
        middle = slice(len(profile) // 4, len(profile) - len(profile) // 4)
        between = middle.start + int(profile[middle].argmin())
        sides = profile[:between], profile[between + 1 :]
        smaller = min(float(one.sum()) for one in sides) / float(profile.sum())
        bridge = profile[between] / min(float(one.max()) for one in sides)
        if smaller >= SMALLEST_PLATE and bridge <= DEEPEST_BRIDGE:
            return ""
    return "has a tibial cartilage that is not two plates side by side; are --labels right, and is one plate missing?"


def _plate_sides(anatomy: LabelAnatomy, labels: LabelMap, side: Side) -> str:
    if not labels.has_plates:
        return ""
    medial, lateral = (anatomy.middle(labels.numbers[plate], 0) for plate in PLATES)
    if (medial > lateral) == (side == "left"):  # the axis runs to the right
        return ""
    return f"has its medial plate lateral, for a {side} knee; is it of the other side, or are the plates swapped?"
