"""The reader: a KL grade from osteophytes and the narrowing of the joint space, as noisy as readers are."""

import numpy as np
from jaxtyping import Float

from mris.knee.phantom.contact import Placement
from mris.knee.phantom.population import KneeTraits

OSTEOPHYTE_MM = ((0.0, 1.0, 2.0, 3.0, 4.0, 5.0), (0.0, 0.8, 2.2, 3.6, 5.0, 6.4))
"""Severity and the mean length (mm) of the largest spur."""
READING_SD = 0.03
GRADE_BY_OSTEOPHYTE = (0.8, 2.2)
"""Spur length (mm) from which a knee is KLG 1 (doubtful), KLG 2 (definite)."""
GRADE_BY_NARROWING = (0.425, 0.69)
"""Share of the healthy joint space lost in the worse compartment from which a knee is KLG 3, KLG 4."""


def osteophyte_length(severity: float) -> float:
    """Length (mm) of the largest spur of a knee."""
    return float(np.interp(severity, *OSTEOPHYTE_MM))


def osteophyte_lengths(knee: KneeTraits, severity: float) -> Float[np.ndarray, "4"]:
    """Lengths (mm) of the four spurs; the diseased side leads."""
    lead = np.array([0.7, 0.6, 1.0, 0.95]) if knee.lateral_type else np.array([1.0, 0.95, 0.7, 0.6])
    return np.asarray(osteophyte_length(severity) * lead * knee.osteophytes)


def narrowing(placement: Placement, healthy: Placement) -> float:
    """Share of joint space that the worse compartment has lost since the knee was healthy."""
    medial = 1.0 - placement.medial_jsw_mm / max(healthy.medial_jsw_mm, 0.5)
    lateral = 1.0 - placement.lateral_jsw_mm / max(healthy.lateral_jsw_mm, 0.5)
    return max(medial, lateral)


def read_grade(severity: float, narrowed: float, rng: np.random.Generator) -> int:
    """KL grade (0 to 4) as a reader gives it on one occasion.

    Args:
        severity: Continuous severity, seen through the largest spur.
        narrowed: See `narrowing`.
        rng: The occasion's generator.
    """
    error = rng.normal(0.0, READING_SD, 2)
    spur = osteophyte_length(severity) * (1.0 + error[0])
    lost = narrowed + 0.6 * error[1]
    if spur < GRADE_BY_OSTEOPHYTE[1]:
        return int(spur >= GRADE_BY_OSTEOPHYTE[0])
    return 2 + int(lost >= GRADE_BY_NARROWING[0]) + int(lost >= GRADE_BY_NARROWING[1])
