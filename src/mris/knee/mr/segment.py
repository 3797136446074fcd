"""From the MR scan of one knee to its tissues, on the grid of the scanner."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy import ndimage

from mris.finding import Finding
from mris.images.header import Side
from mris.knee.label_map import PRESETS
from mris.knee.mr.doubts import Certainty, doubts
from mris.knee.mr.model import Model, ModelCard
from mris.knee.mr.resample import Turn, require_upright, resampled, tents, wanted_shape
from mris.knee.mr.series import Scan
from mris.knee.mr.sliding import require_room, slide
from mris.knee.separable import along_axes

PRESET = PRESETS["nnunet_knee"]
"""Label numbers of what is written."""
NUMBERS: Mapping[str, int] = {
    "patellar_cartilage": 1,
    "femoral_cartilage": 2,
    "medial_tibial_cartilage": 3,
    "lateral_tibial_cartilage": 4,
    "medial_meniscus": 5,
    "lateral_meniscus": 6,
    "femur": 7,
    "tibia": 8,
    "patella": 9,
}
"""Number of each tissue, those of `PRESET`; 0 is the rest."""

_CLIPPED = (0.2, 99.8)
_SMALLEST_PIECE = 0.02
_SLAB = 16
_NOTHING = 0.995
_BARE_MM = 2.5
_SEEN, _REACH_MM = 0.05, 4.4
_WHOLE = ("femur", "tibia", "patella")
"""Tissues of one piece; of others, pieces of a fiftieth and more are kept."""
_PAIRED = {
    "tibial_cartilage": ("medial_tibial_cartilage", "lateral_tibial_cartilage"),
    "meniscus": ("medial_meniscus", "lateral_meniscus"),
}


@dataclass(frozen=True, eq=False)
class KneeSegmentation:
    """The tissues of one knee.

    Attributes:
        labels: `NUMBERS`, on the grid of the scan.
        entropy: Doubt at each voxel of that grid, in percent of the highest.
        affine: The scan's.
        certainty: How sure the network was of each tissue.
        findings: Doubts about the whole.
    """

    labels: UInt8[np.ndarray, "i j k"]
    entropy: UInt8[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]
    certainty: Certainty
    findings: tuple[Finding, ...]


def segment_scan(scan: Scan, model: Model, side: Side) -> KneeSegmentation:
    """Segment the scan of one knee.

    The scan is turned by whole axes and resampled to the network's voxels; the network's answers over overlapping
    windows are averaged; small pieces are cleared; the probabilities are brought to the scanner's grid, where the
    likeliest class of each voxel is its tissue. Plates and menisci are medial or lateral by their side of the middle.

    Args:
        scan: Of one knee.
        model: The network.
        side: Which knee it is.

    Raises:
        ImageError: The scan lies askew, or is too large.
        BundleError: The network fails.
    """
    require_upright(scan.affine, scan.origin)
    turn = Turn(scan.affine, scan.voxels.shape)
    turned = turn.there(scan.voxels)
    classes, step = model.card.classes, model.card.spacing_mm
    require_room(wanted_shape(turned.shape, turn.spacing, step), model.card.patch, len(classes), scan.origin)
    shares = class_shares(_clipped(turned), turn.spacing, model)
    certainty = Certainty.of(shares, classes)
    n_cleared = _clear_pieces(shares, classes)
    table = np.array([NUMBERS.get(name, 0) for name in classes], np.uint8)
    labels, entropy = _on_grid(shares, turned.shape, turn.spacing, step)
    labels = _sided(labels, classes, table, side, turn.spacing[0])
    findings = doubts(labels, turn.turned_affine, side, certainty, n_cleared)
    return KneeSegmentation(turn.back(labels), turn.back(entropy), scan.affine, certainty, findings)


def class_shares(
    picture: Float32[np.ndarray, "i j k"], spacing: tuple[float, float, float], model: Model
) -> Float32[np.ndarray, "classes a b c"]:
    """Probability of each class on a grid of the network's voxels, found on a coarse grid first if it is guided."""
    small = resampled(picture, spacing, model.card.spacing_mm)
    if model.card.normalization == "volume":
        small = (small - small.mean()) / max(float(small.std()), 1e-6)
    channels = small[np.newaxis]
    if model.card.guided:
        guide = class_shares(picture, spacing, model.coarse)
        pairs = zip(guide.shape[1:], model.coarse.card.spacing_mm, small.shape, model.card.spacing_mm, strict=True)
        channels = np.concatenate([channels, along_axes(guide, [tents(*pair) for pair in pairs])])
    shares = slide(channels, model.card.patch, len(model.card.classes), partial(_answer, model))
    if model.card.guided:
        _clear_far_from(channels[1:], shares, model.card)
    return shares


def _clear_far_from(guide: Float32[np.ndarray, "classes i j k"], shares: np.ndarray, card: ModelCard) -> None:
    """Take bone for the rest where the guide, which saw the whole scan, sees none of it nearby."""
    voxels = max(round(_REACH_MM / min(card.spacing_mm)), 1)
    for channel, name in enumerate(card.classes):
        if name in _WHOLE:
            far = ~ndimage.binary_dilation(guide[channel] > _SEEN, iterations=voxels)
            shares[0][far] += shares[channel][far]
            shares[channel][far] = 0


def _answer(model: Model, patch: Float32[np.ndarray, "channels i j k"]) -> Float32[np.ndarray, "classes i j k"]:
    """What the network says of a patch; where its guide is sure that there is nothing, it need not be asked."""
    if model.card.guided and patch[1].min() > _NOTHING:
        return patch[1:]
    return model.probabilities(patch)


def _clipped(voxels: Float32[np.ndarray, "i j k"]) -> Float32[np.ndarray, "i j k"]:
    """The voxels without the few that are far brighter or darker than all others."""
    low, high = np.percentile(voxels[::2, ::2, ::2], _CLIPPED)
    return np.asarray(np.clip(voxels, low, max(high, low + 1e-6)))


def _clear_pieces(shares: Float32[np.ndarray, "classes i j k"], classes: tuple[str, ...]) -> Mapping[str, float]:
    """Take small pieces of each tissue out of the probabilities; gives the share of each tissue that was taken."""
    likeliest = shares.argmax(axis=0)
    cleared = {}
    for channel, name in enumerate(classes[1:], start=1):
        pieces, n_pieces = ndimage.label(likeliest == channel, np.ones((3, 3, 3)))
        if n_pieces < 2:
            continue
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        least = sizes.max() if name in _WHOLE else max(_SMALLEST_PIECE * sizes.sum(), 8)
        small = sizes < least
        shares[channel][small[pieces] & (pieces > 0)] = 0
        cleared[name] = float(sizes[small].sum() / sizes.sum())
    return cleared


def _on_grid(
    shares: Float32[np.ndarray, "classes a b c"],
    shape: tuple[int, ...],
    spacing: tuple[float, float, float],
    step: tuple[float, float, float],
) -> tuple[UInt8[np.ndarray, "i j k"], UInt8[np.ndarray, "i j k"]]:
    """Likeliest class and entropy on the scanner's grid, a slab at a time, so that memory stays small."""
    first, second, third = (
        tents(n, t, m, s) for n, t, m, s in zip(shares.shape[1:], step, shape, spacing, strict=True)
    )
    labels, entropy = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    most = np.log(len(shares))
    for start in range(0, shape[0], _SLAB):
        rows = first[start : start + _SLAB]
        used = np.flatnonzero(rows.any(axis=0))
        part = slice(int(used[0]), int(used[-1]) + 1)
        slab = along_axes(np.ascontiguousarray(shares[:, part]), (rows[:, part], second, third))
        labels[start : start + _SLAB] = slab.argmax(axis=0)
        np.maximum(slab, 1e-6, out=slab)
        slab /= slab.sum(axis=0)
        doubt = -(slab * np.log(slab)).sum(axis=0) / most
        entropy[start : start + _SLAB] = np.round(100 * np.clip(doubt, 0, 1))
    return labels, entropy


def _sided(
    labels: UInt8[np.ndarray, "i j k"],
    classes: tuple[str, ...],
    table: UInt8[np.ndarray, " n"],
    side: Side,
    step: float,
) -> UInt8[np.ndarray, "i j k"]:
    """Classes become `NUMBERS`; paired tissues are parted at the middle. The first axis runs right, in steps of mm.

    Between the plates, where the spines are, the tibia is bare: what a network sees there is no cartilage.
    """
    numbers = table[labels]
    plates = [number for number, name in enumerate(classes) if name.endswith("tibial_cartilage")]
    middle = middle_of(np.isin(labels, plates))
    for name, pair in _PAIRED.items():
        if name in classes:
            right = np.arange(len(labels)) > middle
            medial_is_right = side == "left"
            number = np.where(right == medial_is_right, NUMBERS[pair[0]], NUMBERS[pair[1]]).astype(np.uint8)
            if name == "tibial_cartilage":
                number[np.abs(np.arange(len(labels)) - middle) * step < _BARE_MM] = 0
            numbers = np.where(labels == classes.index(name), number[:, None, None], numbers)
    return np.asarray(numbers)


def middle_of(plates: np.ndarray) -> float:
    """Index along the first axis at which the plates of the tibial cartilage part: the emptiest of the middle slices.

    Example:
        >>> profile = np.array([3, 5, 4, 1, 0, 0, 2, 6, 5]).reshape(-1, 1)
        >>> middle_of((np.arange(6)[None] < profile)[:, :, None])
        4.5
    """
    profile = plates.sum(axis=(1, 2)).astype(float)
    filled = np.flatnonzero(profile)
    if not filled.size:
        return (len(profile) - 1) / 2
    low, high = int(filled[0]), int(filled[-1])
    inner = np.arange(low + (high - low) // 4, high - (high - low) // 4 + 1)
    emptiest = inner[profile[inner] == profile[inner].min()]
    return float(emptiest.mean())
