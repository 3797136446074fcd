"""The years after baseline: whose cartilage goes and whose grade rises is told in part by the knee at baseline.

No number is hidden for it. Three things drive both cartilage and grade over the visits, and baseline shows two of them:

- *alignment*: a knee in varus loads its medial side, where cartilage and joint space are thin for those of the other;
- how much it has lost already *within* its grade;
- its *rate* of loss, faster in varus, which later visits show.

Women are a little ahead of men. How many knees rise, and when, stays as published: what is told is which. All draws
come from a generator of their own, so a person at baseline is who they were before courses knew of the knee.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy import special

from mris.knee.phantom.fields import field_model, mode_coefficients, spread_of
from mris.knee.phantom.population import (
    FEMALE_SHARE,
    RATE_OF_LOSS,
    RISE_FACTOR,
    WITHIN_GRADE,
    KneeTraits,
    Person,
    rises_of,
)

ALIGNMENT, WITHIN, RATE, SEX = 0.58, 0.25, 0.2, 0.1
"""Correlation of each with how soon a grade rises; chance has the rest."""
ALIGNED_LOSS = 0.5
"""Correlation of alignment with the rate of loss."""

BY_GRADE = (0.85, 1.1, 1.1, 1.1, 1.0)
"""Rises from grades 0 to 4 relative to the published matrix, of which a share is errors of reading at grade 0."""

_SIZE = 32


def alignment(knee: KneeTraits) -> float:
    """How far the knee loads its diseased side, standard normal over people; in medial disease varus is positive."""
    weights, spread = _alignment_weights()
    varus = float((weights * mode_coefficients(knee)).sum() / spread)
    return -varus if knee.lateral_type else varus


def with_courses(person: Person, rng: np.random.Generator) -> Person:
    """Draw the years after baseline of both knees.

    Args:
        person: The severity at baseline stays, the later ones are not looked at.
        rng: Of the courses alone.
    """
    left, right = (_with_course(person, knee, rng) for knee in person.knees)
    return replace(person, knees=(left, right))


def _with_course(person: Person, knee: KneeTraits, rng: np.random.Generator) -> KneeTraits:
    mean, spread = RATE_OF_LOSS
    load = alignment(knee)
    rate = ALIGNED_LOSS * load + np.sqrt(1.0 - ALIGNED_LOSS**2) * (knee.thinning - mean) / spread
    low, high = WITHIN_GRADE
    first = float(knee.severity[0])
    within = np.sqrt(12.0) * (first % 1.0 - 0.5 * (low + high)) / (high - low)
    sex = ((person.sex == "female") - FEMALE_SHARE) / np.sqrt(FEMALE_SHARE * (1.0 - FEMALE_SHARE))
    own = RATE * (rate - ALIGNED_LOSS * load) / np.sqrt(1.0 - ALIGNED_LOSS**2)
    tendency = float(ALIGNMENT * load + own + WITHIN * within + SEX * sex)
    return replace(knee, thinning=float(mean + spread * rate), severity=_course(first, tendency, rng))


def _course(first: float, tendency: float, rng: np.random.Generator) -> Float[np.ndarray, "7"]:
    """Severity at years 0 to 6.

    One number in [0, 1], the smaller the sooner, says when a knee leaves its grade: it does where the number is below
    the share of knees that leave in a year; else what is left of it goes for those that stay.
    """
    course, grade, within = [first], int(first), first % 1.0
    rank = _rank(tendency, rng)
    for factor in RISE_FACTOR:
        rises = rises_of(grade, BY_GRADE[grade] * factor)
        risen = 4 - int(np.searchsorted(rises, rank, side="right"))
        if risen == grade:
            within = min(within + 0.02, 0.92)
            rank = (rank - rises[-1]) / (1.0 - rises[-1]) if grade < 4 else rank
        else:
            within, rank = rng.uniform(0.08, 0.4), _rank(tendency, rng)
        grade = risen
        course.append(grade + within)
    return np.asarray(course)


def _rank(tendency: float, rng: np.random.Generator) -> float:
    chance = np.sqrt(1.0 - ALIGNMENT**2 - WITHIN**2 - RATE**2 - SEX**2)
    return float(special.ndtr(-tendency - chance * rng.normal()))


@lru_cache(maxsize=1)
def _alignment_weights() -> tuple[Float[np.ndarray, "r k"], float]:
    """What each mode adds to the logarithm of lateral over medial thickness, and the standard deviation of that."""
    model = field_model(_SIZE)
    modes = model.modes.reshape(2, -1, _SIZE, _SIZE).astype(np.float64)
    masks = model.atlas.compartments

    def mean(region: int, name: str) -> Float[np.ndarray, " k"]:
        return np.asarray(modes[region][:, masks[name]].mean(axis=1))

    weights = np.stack(
        [
            mean(region, f"lateral_{bone}") - mean(region, f"medial_{bone}")
            for region, bone in enumerate(("femur", "tibia"))
        ]
    )
    return weights, spread_of(weights)
