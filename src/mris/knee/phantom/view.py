"""One exposure: how the knee stood, where the tube was, how much radiation and which detector."""

from dataclasses import dataclass

import numpy as np

from mris.knee.crop import REGION_MM
from mris.knee.phantom.population import Person


@dataclass(frozen=True)
class View:
    """Pose, beam and detector of one radiograph.

    Attributes:
        flexion: Of the knee, degrees.
        rotation: Of the leg about its axis, degrees, positive turns the lateral side to the front.
        beam_tilt: Of the beam against the tibial plateau, degrees.
        roll: Of the picture, degrees.
        shift: Of the joint centre from the picture's centre, (row, column) in mm.
        source_mm: Distance from the focal spot to the knee's middle.
        detector_mm: Distance from the knee's middle to the detector.
        zoom: Error of the spacing that the region was cut with.
        photons: Mean count of an unattenuated pixel of 1 mm2.
        blur_mm: Standard deviation of focal spot and detector blur on the picture.
        scatter: Ratio of scattered to primary radiation.
        window: How far the displayed range reaches below and above the picture's, in parts of that range.
        gamma: Exponent of the display curve.
        field_mm: Edge of the picture.
        scale_error: Stated over true size of a pixel.
    """

    flexion: float
    rotation: float
    beam_tilt: float
    roll: float
    shift: tuple[float, float]
    source_mm: float
    detector_mm: float
    zoom: float
    photons: float
    blur_mm: float
    scatter: float
    window: tuple[float, float]
    gamma: float
    field_mm: float = REGION_MM
    scale_error: float = 1.0


def sample_view(rng: np.random.Generator, person: Person) -> View:
    """Draw one exposure in the person's hospital."""
    at_b = person.site == "B"
    return View(
        flexion=float(np.clip(rng.normal(22.0, 4.5), 8.0, 36.0)),
        rotation=float(rng.normal(0.0, 3.5)),
        beam_tilt=float(rng.normal(0.0, 1.8)),
        roll=float(rng.normal(0.0, 2.5)),
        shift=(float(rng.normal(0.0, 3.0)), float(rng.normal(0.0, 3.0))),
        source_mm=float(rng.normal(1750.0, 50.0)),
        detector_mm=float(rng.uniform(60.0, 110.0)),
        zoom=float(np.exp(rng.normal(0.0, 0.02))),
        photons=float(np.exp(rng.normal(np.log(6.0e4 if at_b else 9.0e4), 0.4))),
        blur_mm=float(rng.uniform(0.35, 0.6) if at_b else rng.uniform(0.45, 0.85)),
        scatter=float(rng.uniform(0.05, 0.35)),
        window=(float(rng.uniform(-0.05, 0.25)), float(rng.uniform(-0.08, 0.25))),
        gamma=float(np.exp(rng.normal(0.0 if at_b else 0.15, 0.15))),
    )
