"""Radiographs as they come: persons, bones and exposures that differ in far more than those of the plain phantom.

A plain phantom is told apart by what its makers chose: one field, one detector's curve, and bones whose shape tells of
the cartilage's. A network that learns from it learns those. Here all of that is drawn widely, and the bones' shape says
nothing about cartilage but where they stand, so that what can be learned is what real radiographs show too.

Each function takes what the plain phantom drew and gives it back changed.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mris.knee.phantom.bones import BoneForm, BoneShape
from mris.knee.phantom.population import N_MORPHOLOGY, Person, paired
from mris.knee.phantom.view import View

Look = Literal["plain", "varied"]
"""Which radiographs: all of one kind, or as they come."""

SEX_SHARE = 0.07
"""Half the difference of overall thickness between men and women, relative."""
LATERAL_SHARE = 0.2
"""Share of persons whose disease is lateral: a fifth of the loss in real cohorts."""
CALCIFIED_SHARE = 0.07
"""Share of knees with chondrocalcinosis."""
FIELD_MM = (92.0, 160.0)
SCALE_ERROR = 0.15
"""Largest error of the stated pixel size, relative."""

_GLOBAL_NOISE_SD = 0.0705  # what one unit of a knee's `global_noise` does to the logarithm of its thickness


@dataclass(frozen=True)
class Finish:
    """What happens to a picture between the detector and the file; 0 or None leaves a step out.

    Attributes:
        clip: Limit of adaptive equalization (CLAHE).
        tiles: Its tiles a side.
        sharpening: Share of local detail added.
        sharpening_mm: Size of that detail.
        grain: SD of the grain, share of the range.
        grain_px: Its size.
        collimated: Share of the width darkened at the left, right, top and bottom.
        marker: Row and column of a lead letter, shares of the picture; None for none.
        quality: Of JPEG, 1 to 95; None for none.
    """

    clip: float
    tiles: int
    sharpening: float
    sharpening_mm: float
    grain: float
    grain_px: float
    collimated: tuple[float, float, float, float]
    marker: tuple[float, float] | None
    quality: int | None


def vary_person(person: Person, rng: np.random.Generator) -> Person:
    """Cartilage apart from the bones' shape, thicker in men, its loss only loosely tied to the grade."""
    tissue = paired(rng, (N_MORPHOLOGY,))
    lateral = bool(rng.random() < LATERAL_SHARE)
    sex = SEX_SHARE / _GLOBAL_NOISE_SD * (1.16 if person.sex == "male" else -0.84)
    knees = [
        replace(
            knee,
            tissue=tissue[side],
            lateral_type=lateral,
            global_noise=knee.global_noise + sex,
            meniscus=1.6 * knee.meniscus,
            extrusion=float(rng.uniform(0.3, 1.1)),
            loss_lead=float(rng.normal(0.0, 0.6)),
            osteophytes=knee.osteophytes * np.exp(rng.normal(0.0, 0.5, 4)),
        )
        for side, knee in enumerate(person.knees)
    ]
    return replace(person, knees=(knees[0], knees[1]))


def vary_shape(shape: BoneShape, rng: np.random.Generator) -> BoneShape:
    """Bones of many forms and densities; the same at all visits of a knee.

    Condyles rest further outside than those of a plain knee and rise in a slope to a wide notch, and the tibia rises
    below it: on real radiographs both make the wings of a gull.
    """
    outward = float(rng.uniform(0.5, 4.5))
    offset, width = shape.condyle_offset + outward, shape.medial_condyle_half_width - outward
    form = BoneForm(
        inner_exponent=float(rng.uniform(1.2, 2.1)),
        outer_exponent=float(rng.uniform(2.6, 4.5)),
        inner_width=float(offset / width * rng.uniform(0.92, 1.1)),
        eminence_mm=float(rng.uniform(2.0, 7.0)),
        eminence_width_mm=float(rng.uniform(8.0, 14.0)),
        rim_mm=float(rng.uniform(0.0, 3.5)),
        subluxation_mm=float(rng.normal(0.0, 1.5)),
        grain=(float(rng.uniform(0.3, 0.8)), float(rng.uniform(0.1, 0.8))),
        patches=float(rng.uniform(0.1, 0.9)),
        sclerosis=(float(np.exp(rng.normal(0.3, 0.7))), float(np.exp(rng.normal(0.3, 0.7)))),
        scars=float(rng.uniform(0.0, 0.25)),
        femoral_plate=float(rng.uniform(0.0, 0.8)),
        plate_mm=float(rng.uniform(0.0, 1.2)),
        spur_density=float(rng.uniform(0.2, 0.8)),
        patella=float(rng.uniform(0.2, 0.9)),
        calcified=float(rng.uniform(0.2, 1.0)) if rng.random() < CALCIFIED_SHARE else 0.0,
    )
    return replace(
        shape,
        form=form,
        condyle_offset=offset,
        medial_condyle_half_width=width,
        lateral_condyle_half_width=shape.lateral_condyle_half_width - outward,
        medial_concavity=shape.medial_concavity + float(rng.normal(0.5, 0.8)),
        lateral_convexity=shape.lateral_convexity + float(rng.normal(0.0, 0.8)),
        medial_condyle_drop=float(rng.uniform(11.0, 22.0)),
        lateral_condyle_drop=float(rng.uniform(11.0, 22.0)),
        medial_spine_height=shape.medial_spine_height * float(rng.uniform(0.15, 0.7)),
        lateral_spine_height=shape.lateral_spine_height * float(rng.uniform(0.15, 0.7)),
        femur_flare=shape.femur_flare * float(rng.uniform(0.75, 1.0)),
        tibia_flare=shape.tibia_flare * float(rng.uniform(0.6, 1.0)),
        patella_height=shape.patella_height + float(rng.normal(4.0, 6.0)),
        trabecular_density=shape.trabecular_density * float(rng.uniform(0.9, 2.2)),
        cortex=shape.cortex * float(rng.uniform(0.35, 0.9)),
    )


def vary_view(view: View, rng: np.random.Generator) -> View:
    """An exposure by any hospital: field, pose, beam, dose, window."""
    return replace(
        view,
        field_mm=float(rng.uniform(*FIELD_MM)),
        scale_error=float(rng.uniform(1.0 - SCALE_ERROR, 1.0 + SCALE_ERROR)),
        rotation=float(rng.normal(0.0, 5.0)),
        beam_tilt=float(rng.normal(-2.0, 2.5)),
        roll=float(rng.normal(0.0, 4.0)),
        shift=(float(rng.normal(4.0, 5.0)), float(rng.normal(0.0, 4.0))),
        detector_mm=float(rng.uniform(10.0, 150.0)),
        photons=float(np.exp(rng.normal(np.log(1.2e5), 0.6))),
        blur_mm=float(rng.uniform(0.15, 0.7)),
        scatter=float(rng.uniform(0.05, 0.4)),
        window=(float(rng.uniform(-0.1, 0.15)), float(rng.uniform(-0.1, 0.2))),
        gamma=float(np.exp(rng.normal(0.0, 0.25))),
    )


def sample_finish(rng: np.random.Generator) -> Finish:
    """Draw what becomes of a picture."""
    equalized, sharpened, marked, packed = rng.random(4) < (0.6, 0.4, 0.15, 0.5)
    edges = np.where(rng.random(4) < 0.12, rng.uniform(0.02, 0.1, 4), 0.0)
    return Finish(
        clip=float(np.exp(rng.uniform(np.log(0.004), np.log(0.05)))) if equalized else 0.0,
        tiles=int(rng.integers(3, 11)),
        sharpening=float(rng.uniform(0.2, 1.5)) if sharpened else 0.0,
        sharpening_mm=float(rng.uniform(1.0, 12.0)),
        grain=float(rng.uniform(0.0, 0.02)),
        grain_px=float(rng.uniform(0.3, 1.0)),
        collimated=(float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3])),
        marker=(float(rng.uniform(0.05, 0.9)), float(rng.choice([0.04, 0.9]))) if marked else None,
        quality=int(rng.integers(30, 95)) if packed else None,
    )
