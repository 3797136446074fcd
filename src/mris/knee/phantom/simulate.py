"""One subject from seed to pictures, in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16

from mris.errors import SettingsError
from mris.knee.choices import check_choice
from mris.knee.phantom.bones import BoneShape, bone_shape
from mris.knee.phantom.contact import Placement, contact_grid, place_femur
from mris.knee.phantom.course import with_courses
from mris.knee.phantom.extraction import Extraction, extract_maps
from mris.knee.phantom.fields import FieldModel, Thickness, diseased_thickness, field_model, healthy_thickness
from mris.knee.phantom.finish import finish_picture
from mris.knee.phantom.population import GRADE_MISSING, KneeTraits, Person, sample_person, subject_generator
from mris.knee.phantom.radiograph import bone_attenuation, develop, expose, soft_attenuation
from mris.knee.phantom.reading import narrowing, osteophyte_lengths, read_grade
from mris.knee.phantom.varied import Look, sample_finish, vary_person, vary_shape, vary_view
from mris.knee.phantom.view import View, sample_view


@dataclass(frozen=True)
class KneeState:
    """One knee at one visit, before any picture is taken.

    Attributes:
        subject: Such as "P00017" (`subject_name`).
        month: Months since baseline.
        knee: The traits behind it.
        person: Whose knee it is.
        severity: Continuous severity now.
        thickness: True cartilage thickness (mm), (femoral, tibial), NaN outside the atlas mask.
        shape: The bones.
        view: The exposure of this visit.
        placement: Where the femur stands.
        narrowed: Share of the joint space lost in the worse compartment since the knee was healthy.
        klg: Grade as read at this visit.
        klg_known: Whether the table of grades has it.
        look: Which kind of radiograph is taken.
    """

    subject: str
    month: int
    knee: KneeTraits
    person: Person
    severity: float
    thickness: Thickness
    shape: BoneShape
    view: View
    placement: Placement
    narrowed: float
    klg: int
    klg_known: bool
    look: Look = "plain"


@dataclass(frozen=True)
class KneeVisit:
    """One pair: a radiograph and the thickness maps extracted at the same visit.

    Attributes:
        state: What is behind it.
        radiograph: 16-bit picture, a square as wide as the view's field; a right knee appears as a right knee.
        thickness: Maps as extracted (mm): truth plus extraction noise, NaN outside the atlas mask.
        spacing: Pixel size of the radiograph as it is stated, mm.
    """

    state: KneeState
    radiograph: UInt16[np.ndarray, "h w"]
    thickness: Thickness
    spacing: float


def subject_name(seed: int, index: int) -> str:
    """Name of a subject, which no subject of another seed has; that of seed 0, the default, is not said.

    A bundle refuses to be judged on people whom it knows. It knows names: two digital people of one name would be one.

    Example:
        >>> subject_name(0, 17), subject_name(3, 17)
        ('P00017', 'P3-00017')
    """
    return f"P{seed}-{index:05d}" if seed else f"P{index:05d}"


def simulate_states(
    seed: int,
    index: int,
    *,
    atlas_size: int = 128,
    enriched: bool = False,
    max_visits: int | None = None,
    look: Look = "plain",
) -> tuple[KneeState, ...]:
    """All knees of one subject at all visits, without pictures: visits in order, left before right.

    Raises:
        SettingsError: If seed or index is negative, no visit is kept, or there is no such look.
    """
    check_choice("look", look, Look)
    if seed < 0 or index < 0:
        raise SettingsError(f"seed {seed}, subject index {index}: both must be at least 0")
    if max_visits is not None and max_visits < 1:
        raise SettingsError(f"max_visits is {max_visits}: a subject needs at least 1 visit; use None for all")
    person = sample_person(subject_generator(seed, index), enriched=enriched, max_visits=max_visits)
    if look == "varied":
        person = vary_person(person, subject_generator(seed, index, 4))
    person = with_courses(person, subject_generator(seed, index, 7))
    model = field_model(atlas_size)
    by_side = [list(_knee_states(seed, index, person, side, model, look)) for side in range(2)]
    return tuple(state for visit in zip(*by_side, strict=True) for state in visit)


def simulate_subject(
    seed: int,
    index: int,
    *,
    size: int = 128,
    enriched: bool = False,
    max_visits: int | None = None,
    extraction: Extraction = "measured",
    look: Look = "plain",
) -> tuple[KneeVisit, ...]:
    """Simulate one subject of a cohort in memory; the same for any number of subjects and processes.

    Args:
        seed: The cohort's seed, at least 0.
        index: The subject's number, at least 0.
        size: Rows and columns of radiograph and maps, at least 16.
        enriched: Draw the grades of an enriched cohort.
        max_visits: Keep at most so many visits; None keeps all (3.4 on average).
        extraction: How noisy the maps are (`mris.knee.phantom.extraction`).
        look: "plain" radiographs, all of one kind, or "varied" ones (`mris.knee.phantom.varied`).

    Returns:
        Visits in order, left knee before right.

    Raises:
        SettingsError: If a number is out of its range.

    Example:
        >>> pair = simulate_subject(0, 17, size=32, max_visits=1)[0]
        >>> pair.state.subject, pair.radiograph.shape, pair.thickness.shape
        ('P00017', (32, 32), (2, 32, 32))
    """
    states = simulate_states(seed, index, atlas_size=size, enriched=enriched, max_visits=max_visits, look=look)
    return tuple(
        take_pictures(state, size, subject_generator(seed, index, 2, position), extraction)
        for position, state in enumerate(states)
    )


def take_pictures(
    state: KneeState, size: int, rng: np.random.Generator, extraction: Extraction = "measured"
) -> KneeVisit:
    """Radiograph and extracted maps of one knee."""
    return KneeVisit(
        state=state,
        radiograph=take_radiograph(state, size, rng),
        thickness=extract_maps(state.thickness, rng, extraction),
        spacing=state.view.field_mm * state.view.scale_error / size,
    )


def take_radiograph(state: KneeState, size: int, rng: np.random.Generator) -> UInt16[np.ndarray, "h w"]:
    """The picture of the bones where they stand; a right knee is the mirror image."""
    pitch = state.view.field_mm / size
    spurs = osteophyte_lengths(state.knee, state.severity)
    bones = bone_attenuation(
        state.shape, state.placement, spurs, state.view, size=size, texture_seed=state.knee.texture_seed
    )
    girth = (69.0 + 7.0 * state.person.body_z) * (1.0 + 0.02 * state.person.height_z)
    soft = soft_attenuation(bones.shape[0], pitch, max(girth, 50.0), rng)
    picture = develop(expose(bones + soft, state.view, size, rng), state.view)
    if state.look == "varied":
        picture = finish_picture(picture, sample_finish(rng), pitch, rng)
    return picture if state.knee.side == "left" else np.ascontiguousarray(picture[:, ::-1])


def _knee_states(
    seed: int, index: int, person: Person, side: int, model: FieldModel, look: Look
) -> Iterator[KneeState]:
    knee = person.knees[side]
    shape = bone_shape(person, knee)
    if look == "varied":
        shape = vary_shape(shape, subject_generator(seed, index, 5, side))
    healthy = healthy_thickness(knee, person.height_z, model)
    for visit, month in enumerate(person.months):
        rng = subject_generator(seed, index, 1, side, visit)
        view = sample_view(rng, person)
        if look == "varied":
            view = vary_view(view, subject_generator(seed, index, 6, side, visit))
        severity = knee.severity_at(month)
        thickness = diseased_thickness(healthy, knee, severity=severity, years=month / 12.0, model=model)
        grid = contact_grid(shape, view.flexion, model.atlas.size)
        placement = place_femur(grid, thickness, knee, severity)
        narrowed = narrowing(placement, place_femur(grid, healthy, knee, 0.0))
        yield KneeState(
            subject=subject_name(seed, index),
            month=month,
            knee=knee,
            person=person,
            severity=severity,
            thickness=thickness,
            shape=shape,
            view=view,
            placement=placement,
            narrowed=narrowed,
            klg=read_grade(severity, narrowed, rng),
            klg_known=visit == 0 or bool(rng.random() >= GRADE_MISSING),
            look=look,
        )
