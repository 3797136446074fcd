"""What speaks against a segmentation: tissues that are missing, too small or large, off their bone, or doubtful."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from mris.finding import Finding
from mris.images.header import Side
from mris.knee.label_anatomy import label_anatomy, misfits
from mris.knee.label_map import PRESETS
from mris.knee.label_volume import LabelVolume

RANGES_ML: Mapping[str, tuple[float, float]] = {
    "femur": (60.0, 420.0),
    "tibia": (40.0, 320.0),
    "patella": (4.0, 60.0),
    "femoral_cartilage": (5.0, 40.0),
    "tibial_cartilage": (1.5, 15.0),
    "patellar_cartilage": (0.5, 10.0),
}
"""Milliliters in view of a knee of an adult, worn ones among them."""
LEAST_SURE: Mapping[str, float] = {"femur": 0.9, "tibia": 0.9, "femoral_cartilage": 0.88, "tibial_cartilage": 0.88}
"""Mean probability of a tissue where it is the likeliest; below it a person should look.

Of the package's network, cartilages that were off by half a millimeter or more had 0.84 to 0.88.
"""
MOST_CLEARED = 0.1
"""Share of a tissue that lay in small pieces, above which a person should look."""


@dataclass(frozen=True)
class Certainty:
    """How sure the network was.

    Attributes:
        mean: Mean probability of each tissue where it is the likeliest; 0 where it is nowhere.
    """

    mean: Mapping[str, float]

    @classmethod
    def of(cls, shares: Float32[np.ndarray, "classes i j k"], classes: tuple[str, ...]) -> "Certainty":
        """Measure it on the network's answer."""
        likeliest, highest = shares.argmax(axis=0).ravel(), shares.max(axis=0).ravel()
        counts = np.bincount(likeliest, minlength=len(classes))
        sums = np.bincount(likeliest, highest, minlength=len(classes))
        means = sums / np.maximum(counts, 1)
        return cls({name: round(float(mean), 4) for name, mean in zip(classes[1:], means[1:], strict=True)})


def volumes_ml(labels: UInt8[np.ndarray, "i j k"], affine: Float[np.ndarray, "4 4"]) -> Mapping[str, float]:
    """Milliliters of each tissue of `RANGES_ML`, of the numbers of the preset ``nnunet_knee``."""
    counts = np.bincount(labels.ravel(), minlength=10) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    numbers = {
        "femur": (7,),
        "tibia": (8,),
        "patella": (9,),
        "femoral_cartilage": (2,),
        "tibial_cartilage": (3, 4),
        "patellar_cartilage": (1,),
    }
    return {name: round(float(sum(counts[n] for n in of)), 3) for name, of in numbers.items()}


def doubts(
    labels: UInt8[np.ndarray, "i j k"],
    affine: Float[np.ndarray, "4 4"],
    side: Side,
    certainty: Certainty,
    cleared: Mapping[str, float],
) -> tuple[Finding, ...]:
    """Say what speaks against a segmentation.

    Args:
        labels: Numbers of the preset ``nnunet_knee``; the axes run about right, anterior, superior.
        affine: Of these axes.
        side: Of the knee.
        certainty: Of the network.
        cleared: Share of each tissue that lay in small pieces and was cleared.

    Returns:
        Errors: by its anatomy it is no knee. Warnings: a volume, certainty or pieces are unusual.
    """
    found = [Finding("the network found no tissue in it", "anatomy")]
    if labels.any():
        anatomy = label_anatomy(LabelVolume(labels.astype(np.uint16), affine, "labels"))
        reasons = misfits(anatomy, PRESETS["nnunet_knee"], side)
        found = [Finding(reason.partition(";")[0], "anatomy") for reason in reasons]  # then comes what helps files
    for name, volume in volumes_ml(labels, affine).items():
        low, high = RANGES_ML[name]
        if not low <= volume <= high:
            reason = f"{_words(name)} of {volume:.1f} ml; knees have {low:g} to {high:g}"
            found.append(Finding(reason, "volume", "warning"))
    for name, mean in certainty.mean.items():
        if mean < least_sure(name):
            reason = f"the network is {mean:.2f} sure of the {_words(name)}, less than {least_sure(name):g}"
            found.append(Finding(reason, "certainty", "warning"))
    for name, share in cleared.items():
        if share > MOST_CLEARED and _both(name) in RANGES_ML:
            found.append(Finding(f"{share:.0%} of the {_words(name)} were pieces, left out", "pieces", "warning"))
    return tuple(found)


def least_sure(name: str) -> float:
    """`LEAST_SURE` of a tissue, or of the medial or lateral part of one; 0 where there is none."""
    return LEAST_SURE.get(_both(name), 0.0)


def _both(name: str) -> str:
    """The tissue of which a network may tell the medial and the lateral part apart."""
    return name.removeprefix("medial_").removeprefix("lateral_")


def _words(name: str) -> str:
    return name.replace("_", " ")
