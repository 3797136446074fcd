"""Whose grade rises: as many as published, and told by the knee at baseline as well as in people."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.progression import area_of, area_of_grade, simulated_knees

from mris.knee.phantom.atlas import knee_atlas
from mris.knee.phantom.course import BY_GRADE, alignment, with_courses
from mris.knee.phantom.fields import field_model, healthy_thickness
from mris.knee.phantom.population import (
    RATE_OF_LOSS,
    RISE_FACTOR,
    KneeTraits,
    Person,
    rises_of,
    sample_person,
    subject_generator,
)


@pytest.fixture(scope="module")
def before() -> list[Person]:
    return [sample_person(subject_generator(5, i), enriched=False, max_visits=None) for i in range(2000)]


@pytest.fixture(scope="module")
def people(before: list[Person]) -> list[Person]:
    return [with_courses(person, subject_generator(5, i, 7)) for i, person in enumerate(before)]


@pytest.fixture(scope="module")
def knees(people: list[Person]) -> list[KneeTraits]:
    return [knee for person in people for knee in person.knees]


def correlation(one: object, other: object) -> float:
    return float(np.corrcoef(np.asarray(one, float), np.asarray(other, float))[0, 1])


def test_alignment_is_standard_normal_and_alike_in_both_knees(knees: list[KneeTraits]) -> None:
    values = np.array([alignment(knee) for knee in knees])
    assert values.std() == pytest.approx(1.0, abs=0.05)
    assert abs(values.mean()) < 0.1
    assert correlation(values[::2], values[1::2]) == pytest.approx(0.94, abs=0.02)


def test_a_knee_in_varus_has_thin_medial_cartilage(people: list[Person]) -> None:
    medial = [(p, k) for p in people[:150] for k in p.knees[:1] if not k.lateral_type]
    atlas, model = knee_atlas(48), field_model(48)
    maps = [healthy_thickness(knee, person.height_z, model) for person, knee in medial]
    means = {name: [atlas.mean_thickness(m, name) for m in maps] for name in atlas.compartments}
    sides = [
        np.log(np.array([means[f"{side}_{b}"] for b in ("tibia", "femur")])).sum(0) for side in ("lateral", "medial")
    ]
    assert correlation(sides[0] - sides[1], [alignment(knee) for _, knee in medial]) > 0.95


def test_a_course_changes_nothing_at_baseline(before: list[Person], people: list[Person]) -> None:
    for person, later in zip(before[:50], people, strict=False):
        for one, other in zip(person.knees, later.knees, strict=True):
            assert other.severity[0] == one.severity[0]
            assert (np.diff(other.severity) >= 0.0).all()
            unchanged = replace(other, severity=one.severity, thinning=one.thinning)
            assert repr(unchanged) == repr(one)
        assert replace(later, knees=person.knees) == person


@pytest.mark.parametrize("grade", range(4))
def test_as_many_knees_leave_a_grade_as_equal_knees_would(knees: list[KneeTraits], grade: int) -> None:
    courses = np.array([knee.severity for knee in knees if int(knee.severity[0]) == grade]).astype(int)
    stay = np.cumprod([1.0 - rises_of(grade, BY_GRADE[grade] * factor)[-1] for factor in RISE_FACTOR])
    for year in (1, 3, 6):
        error = np.sqrt(stay[year - 1] * (1.0 - stay[year - 1]) / (len(courses) / 2))
        assert np.mean(courses[:, year] == grade) == pytest.approx(stay[year - 1], abs=3.0 * error)


def test_varus_and_women_rise_more_often_and_lose_faster(people: list[Person], knees: list[KneeTraits]) -> None:
    risen = np.array([int(knee.severity[-1]) > int(knee.severity[0]) for knee in knees])
    can = np.array([knee.severity[0] < 4.0 for knee in knees])
    varus = np.array([alignment(knee) for knee in knees])
    women = np.repeat([person.sex == "female" for person in people], 2)
    assert risen[can & (varus > 1)].mean() > 3.0 * risen[can & (varus < 0)].mean()
    assert 1.0 < risen[can & women].mean() / risen[can & ~women].mean() < 1.8
    rates = np.array([knee.thinning for knee in knees])
    assert correlation(rates, varus) == pytest.approx(0.5, abs=0.05)
    assert (rates.mean(), rates.std()) == pytest.approx(RATE_OF_LOSS, abs=3e-4)


@pytest.mark.slow
def test_the_true_map_tells_progression_beyond_the_grade_as_in_people() -> None:
    knees = simulated_knees(0, 1600)
    grade, told = area_of_grade(knees), area_of(knees.maps, knees)
    assert 0.60 <= grade <= 0.66
    assert 0.70 <= told <= 0.78
    # A part of it is to be seen on the radiograph.
    assert grade + 0.02 < area_of(knees.joint_space, knees) < told
