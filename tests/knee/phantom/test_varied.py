"""Varied radiographs: what differs, what does not, and what bones must not tell."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mris.errors import SettingsError
from mris.knee.phantom import simulate_subject, write_phantom
from mris.knee.phantom.fields import field_model, healthy_thickness
from mris.knee.phantom.finish import finish_picture
from mris.knee.phantom.oai_layout import OAI
from mris.knee.phantom.population import Person, sample_person, subject_generator
from mris.knee.phantom.radiograph import bone_attenuation
from mris.knee.phantom.simulate import simulate_states
from mris.knee.phantom.varied import FIELD_MM, SCALE_ERROR, Finish, vary_person

UNTOUCHED = Finish(0.0, 8, 0.0, 3.0, 0.0, 0.5, (0.0, 0.0, 0.0, 0.0), None, None)
SIZE = 32


@pytest.fixture(scope="module")
def people() -> list[Person]:
    plain = [sample_person(subject_generator(0, i), enriched=False, max_visits=1) for i in range(400)]
    return [vary_person(person, subject_generator(0, i, 4)) for i, person in enumerate(plain)]


def levels(people: list[Person]) -> np.ndarray:
    model = field_model(16)
    healthy = [healthy_thickness(person.knees[0], person.height_z, model) for person in people]
    return np.array([np.log(np.nanmean(maps)) for maps in healthy])


def test_the_form_of_varied_bones_says_nothing_about_cartilage(people: list[Person]) -> None:
    bones = np.array([person.knees[0].morphology for person in people])

    def told(values: np.ndarray) -> float:
        design = np.column_stack([np.ones(len(bones)), bones])
        fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
        return float(np.corrcoef(fitted, values)[0, 1])

    plain = [replace(person, knees=tuple(replace(k, tissue=None) for k in person.knees)) for person in people]
    assert told(levels(plain)) > 0.5
    assert told(levels(people)) < 0.25  # what eight numbers fit of 400 by chance


def test_men_of_a_varied_cohort_have_thicker_cartilage(people: list[Person]) -> None:
    men = np.array([person.sex == "male" for person in people])
    both = levels(people)
    assert 0.08 < both[men].mean() - both[~men].mean() < 0.20
    assert 0.10 < both.std() < 0.18  # healthy knees differ by 10 to 18 %


def test_a_field_half_as_wide_shows_the_middle_of_the_picture() -> None:
    state = simulate_states(0, 3, atlas_size=SIZE, max_visits=1, look="varied")[0]
    flat = replace(state.shape, form=replace(state.shape.form, grain=(1.0, 0.0), patches=0.0))
    wide, narrow = (
        bone_attenuation(
            flat, state.placement, np.zeros(4), replace(state.view, field_mm=mm), size=size, texture_seed=1
        )
        for mm, size in ((160.0, 64), (80.0, 32))
    )
    edge = (len(wide) - len(narrow)) // 2
    parts = [wide[edge:-edge, edge:-edge], narrow]
    assert np.abs(parts[0] - parts[1]).mean() < 0.03 * parts[0].mean()  # depth is sampled more coarsely


def test_stated_sizes_are_off_by_as_much_as_is_said() -> None:
    visits = [visit for i in range(30) for visit in simulate_subject(1, i, size=SIZE, max_visits=1, look="varied")]
    fields = np.array([visit.state.view.field_mm for visit in visits])
    errors = np.array([visit.spacing * SIZE for visit in visits]) / fields - 1.0
    assert FIELD_MM[0] <= fields.min() and fields.max() <= FIELD_MM[1]
    assert np.abs(errors).max() <= SCALE_ERROR and errors.std() > SCALE_ERROR / 3
    assert all(visit.radiograph.dtype == np.uint16 and np.ptp(visit.radiograph) > 1000 for visit in visits)


def test_a_knee_keeps_its_bones_over_visits_and_changes_its_exposure() -> None:
    index = next(i for i in range(20) if len(simulate_states(0, i, atlas_size=16)) > 2)
    first, _, second, *_ = simulate_states(0, index, atlas_size=16, look="varied")
    assert first.shape == second.shape
    assert first.view.field_mm != second.view.field_mm


def test_a_finish_without_steps_changes_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 65536, (SIZE, SIZE)).astype(np.uint16)
    np.testing.assert_array_equal(finish_picture(picture, UNTOUCHED, 1.0, np.random.default_rng(0)), picture)


@pytest.mark.parametrize(
    ("change", "least", "most"),
    [
        ({"clip": 0.03}, 0.01, 0.5),
        ({"sharpening": 1.0}, 0.005, 0.3),
        ({"grain": 0.02}, 0.015, 0.025),
        ({"collimated": (0.1, 0.0, 0.0, 0.0)}, 0.02, 0.3),
        ({"marker": (0.1, 0.1)}, 0.01, 0.2),
        ({"quality": 60}, 0.0005, 0.05),
    ],
)
def test_each_step_of_a_finish_changes_a_picture_by_its_share(change: dict, least: float, most: float) -> None:
    row, column = np.mgrid[:64, :64] / 64.0
    picture = np.round(65535 * (0.5 + 0.2 * np.sin(9 * row) * np.cos(7 * column))).astype(np.uint16)
    changed = finish_picture(picture, replace(UNTOUCHED, **change), 1.0, np.random.default_rng(0))
    difference = (changed.astype(float) - picture) / 65535.0
    assert least < np.sqrt(np.mean(difference**2)) < most


def test_a_look_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="look is 'pretty'; choose one of plain, varied"):
        simulate_subject(0, 0, size=SIZE, look="pretty")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="layout 'oai' is of plates"):
        write_phantom(tmp_path / "knees", n_subjects=1, size=SIZE, look="varied", layout=OAI, progress=False)
    assert not (tmp_path / "knees").exists()
