"""Who is in the cohort: persons, their two knees, visits and the course of the disease. No geometry, no images.

One subject is drawn from one seed sequence, ``SeedSequence(seed, spawn_key=(index,))``, so subject 17 is the same
however many others there are. A person has `N_MORPHOLOGY` independent standard normal *morphology factors*; each
knee has its own copy, correlated with the other knee's. They shape the bones *and* the cartilage, which is why a
radiograph, in which cartilage cannot be seen, still says something about it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

N_MORPHOLOGY = 8
N_SHAPE = 24
N_MODES = 24
MONTHS = (0, 12, 24, 36, 48, 72)
SIDES = ("left", "right")

PREVALENCE = (0.385, 0.178, 0.265, 0.138, 0.034)
"""Target share of KLG 0..4 among knees at baseline."""
ENRICHED_PREVALENCE = (0.25, 0.15, 0.30, 0.20, 0.10)
"""The same for an enriched cohort, in which osteoarthritis is over-represented as in a training split."""

FEMALE_SHARE = 0.58
SIDE_CORRELATION = 0.94
"""Correlation of a person's left and right morphology and cartilage factors."""
SAME_GRADE_SHARE = 0.36
"""Share of persons whose disease is symmetric; in the others, the sides are correlated by the next number."""
GRADE_CORRELATION = 0.36
ANNUAL_TRANSITIONS = (
    (0.974, 0.016, 0.008, 0.002, 0.0),
    (0.008, 0.927, 0.053, 0.012, 0.001),
    (0.002, 0.005, 0.942, 0.050, 0.001),
    (0.0, 0.0, 0.011, 0.917, 0.073),
    (0.0, 0.001, 0.0, 0.047, 0.952),
)
"""Published annual transitions of the *read* grade. The true severity takes only the rises; readers make the falls."""
RISE_FACTOR = (1.7, 0.65, 0.6, 0.6, 0.55, 0.55)
"""Rises in years 1 to 6 relative to that matrix: 6.2 % of real knees rise in the first, about 3 % in later ones."""
WITHIN_GRADE = (0.08, 0.92)
"""Range of the severity at baseline beyond its integer part."""
RATE_OF_LOSS = (0.002, 0.007)
"""Mean and standard deviation of what a diseased knee loses a year beyond what severity brings, relative."""
LATERAL_SHARE = 0.08
"""Share of persons whose disease is in the lateral compartment."""
VISIT_ATTENDANCE = 0.48
GRADE_MISSING = 0.17
"""Share of follow-up visits without a read grade (12 % of all pairs)."""


@dataclass(frozen=True)
class KneeTraits:
    """All that one knee is made of, as standard normal numbers and a course of severity.

    Attributes:
        side: "left" or "right".
        morphology: Factors shared by bone shape and cartilage.
        shape_noise: What bone shape has of its own.
        mode_noise: What the cartilage modes have of their own, femoral then tibial.
        global_noise: What the overall thickness has of its own.
        meniscus: Deviation of meniscal height, medial then lateral.
        severity: Continuous severity at years 0 to 6; its integer part is the true grade, it never falls.
        lateral_type: Whether the lateral compartment is the diseased one.
        thinning: Loss per year (fraction) in a diseased knee, beyond what severity brings.
        lesions: One row a possible lesion: onset severity, position along and across the compartment (standard
            deviations of about 0.4), relative size, femoral (1) or tibial (0).
        osteophytes: Relative size of the spurs: medial femur, medial tibia, lateral femur, lateral tibia.
        texture_seed: Seed of the trabecular pattern.
        tissue: Factors of the cartilage where they are not those of the bones' shape.
        extrusion: How far the meniscus gives way in disease, relative to the plain course.
        loss_lead: How far the loss of cartilage is ahead of the severity that spurs show.
    """

    side: str
    morphology: Float[np.ndarray, " m"]
    shape_noise: Float[np.ndarray, " s"]
    mode_noise: Float[np.ndarray, "2 k"]
    global_noise: float
    meniscus: Float[np.ndarray, "2"]
    severity: Float[np.ndarray, "7"]
    lateral_type: bool
    thinning: float
    lesions: Float[np.ndarray, "l 5"]
    osteophytes: Float[np.ndarray, "4"]
    texture_seed: int
    tissue: Float[np.ndarray, " m"] | None = None
    extrusion: float = 1.0
    loss_lead: float = 0.0

    def severity_at(self, month: int) -> float:
        """Severity at a month, linear between years."""
        return float(np.interp(month / 12.0, np.arange(7), self.severity))


@dataclass(frozen=True)
class Person:
    """One subject of the cohort.

    Attributes:
        sex: "female" or "male".
        age: Years at baseline.
        height_z: Standing height, standardised.
        body_z: Soft-tissue girth, standardised.
        site: "A" or "B": two hospitals with different detectors.
        months: Months of the visits, starting with 0.
        knees: Left and right.
    """

    sex: str
    age: float
    height_z: float
    body_z: float
    site: str
    months: tuple[int, ...]
    knees: tuple[KneeTraits, KneeTraits]


def subject_generator(seed: int, index: int, *purpose: int) -> np.random.Generator:
    """The generator of one subject (and purpose): independent of all others and of the number of subjects."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, *purpose)))


def sample_person(rng: np.random.Generator, *, enriched: bool, max_visits: int | None) -> Person:
    """Draw one person with both knees and all visits.

    Args:
        rng: The person's generator.
        enriched: Draw grades from `ENRICHED_PREVALENCE` instead of `PREVALENCE`.
        max_visits: Keep at most so many visits (the first ones); None keeps all.
    """
    sex = "female" if rng.random() < FEMALE_SHARE else "male"
    age = float(np.clip(rng.normal(61.0, 9.0), 45.0, 79.0))
    height_z, body_z = (float(v) for v in rng.normal(size=2))
    site = "A" if rng.random() < 0.81 else "B"
    attended = rng.random(len(MONTHS) - 1) < VISIT_ATTENDANCE
    months = (0, *(m for m, present in zip(MONTHS[1:], attended, strict=True) if present))
    levels = _grade_levels(rng)
    lateral_type = bool(rng.random() < LATERAL_SHARE)
    pairs = {
        "morphology": paired(rng, (N_MORPHOLOGY,)),
        "shape_noise": paired(rng, (N_SHAPE,)),
        "mode_noise": paired(rng, (2, N_MODES)),
        "global_noise": paired(rng, ()),
        "meniscus": paired(rng, (2,), correlation=0.6),
    }
    prevalence = ENRICHED_PREVALENCE if enriched else PREVALENCE
    knees = tuple(
        KneeTraits(
            side=side,
            morphology=pairs["morphology"][position],
            shape_noise=pairs["shape_noise"][position],
            mode_noise=pairs["mode_noise"][position],
            global_noise=float(pairs["global_noise"][position]),
            meniscus=pairs["meniscus"][position],
            severity=_severity_course(rng, levels[position], prevalence),
            lateral_type=lateral_type,
            thinning=float(rng.normal(*RATE_OF_LOSS)),
            lesions=_lesions(rng),
            osteophytes=np.exp(rng.normal(0.0, 0.25, 4)),
            texture_seed=int(rng.integers(2**31)),
        )
        for position, side in enumerate(SIDES)
    )
    return Person(sex, age, height_z, body_z, site, months[:max_visits], (knees[0], knees[1]))


def paired(
    rng: np.random.Generator, shape: tuple[int, ...], correlation: float = SIDE_CORRELATION
) -> Float[np.ndarray, "2 ..."]:
    """Standard normal numbers for left and right, correlated."""
    own = rng.normal(size=(2, *shape))
    shared = rng.normal(size=shape)
    return np.asarray(np.sqrt(correlation) * shared + np.sqrt(1.0 - correlation) * own)


def _grade_levels(rng: np.random.Generator) -> tuple[float, float]:
    """Uniform severity ranks of left and right: a symmetric share, the rest bivariate normal."""
    first, second = rng.normal(size=2)
    if rng.random() >= SAME_GRADE_SHARE:
        second = GRADE_CORRELATION * first + np.sqrt(1.0 - GRADE_CORRELATION**2) * second
    else:
        second = first
    return float(special.ndtr(first)), float(special.ndtr(second))


def rises_of(grade: int, factor: float) -> Float[np.ndarray, " n"]:
    """Share of knees of a grade that reach grade 4, at least 3, ..., at least one more, in a year of that factor."""
    return np.asarray(factor * np.cumsum(ANNUAL_TRANSITIONS[grade][:grade:-1]))


def _severity_course(rng: np.random.Generator, level: float, prevalence: tuple[float, ...]) -> Float[np.ndarray, "7"]:
    edges = np.concatenate([[0.0], np.cumsum(prevalence)])
    grade = int(np.clip(np.searchsorted(edges, level, side="right") - 1, 0, 4))
    within = rng.uniform(*WITHIN_GRADE)
    course = [grade + within]
    for factor in RISE_FACTOR:
        risen = 4 - int(np.searchsorted(rises_of(grade, factor), rng.random(), side="right"))
        within = min(within + 0.02, 0.92) if risen == grade else rng.uniform(0.08, 0.4)
        grade = risen
        course.append(grade + within)
    return np.asarray(course)


def _lesions(rng: np.random.Generator) -> Float[np.ndarray, "l 5"]:
    n = 4
    onset = rng.uniform(2.8, 4.8, n)
    along, across = rng.normal(0.0, 0.45, n), rng.normal(0.0, 0.4, n)
    return np.stack([onset, along, across, rng.uniform(0.7, 1.3, n), (rng.random(n) < 0.5).astype(float)], axis=1)
