"""The physics of the picture: oracles with closed forms, and what must not be visible."""

from dataclasses import replace

import numpy as np
import pytest

from mris.knee.phantom.atlas import knee_atlas
from mris.knee.phantom.bones import Body
from mris.knee.phantom.contact import LOAD_OVERLAP_MM, Placement, contact_grid, place_femur
from mris.knee.phantom.population import subject_generator
from mris.knee.phantom.projection import Canvas
from mris.knee.phantom.radiograph import bone_attenuation, expose
from mris.knee.phantom.simulate import KneeState, simulate_states, take_radiograph
from mris.knee.phantom.view import View

STRAIGHT = View(
    flexion=20.0, rotation=0.0, beam_tilt=0.0, roll=0.0, shift=(0.0, 0.0), source_mm=1e6, detector_mm=0.0, zoom=1.0,
    photons=1e4, blur_mm=1e-3, scatter=0.0, window=(0.0, 0.0), gamma=1.0,
)  # fmt: skip
SIZE = 64


@pytest.fixture(scope="module")
def knee() -> KneeState:
    return simulate_states(0, 3, atlas_size=SIZE, max_visits=1)[0]


def picture(state: KneeState) -> np.ndarray:
    return take_radiograph(state, SIZE, np.random.default_rng(0))


def test_the_path_through_a_sphere_is_its_chord() -> None:
    radius, canvas = 30.0, Canvas(128, STRAIGHT, joint_height=0.0)
    y = np.linspace(-30.0, 30.0, 41)
    x, depth = canvas.columns(y)
    half = np.sqrt(np.maximum(radius**2 - x**2 - depth**2, 0.0))
    canvas.add(Body(-half, half), y, 1.0)
    position = (np.arange(canvas.n) + 0.5 - canvas.n / 2) * canvas.pitch
    distance = np.hypot(position[:, None], position[None, :])
    chord = 2.0 * np.sqrt(np.maximum(radius**2 - distance**2, 0.0))
    within = distance < 0.9 * radius
    error = (canvas.total() - chord)[within]
    assert np.sqrt(np.mean(error**2)) < 0.01 * 2 * radius
    assert np.abs(error).max() < 0.05 * 2 * radius  # a step between two slices of 1.5 mm
    assert np.abs(canvas.total()[distance > radius + 2 * canvas.pitch]).max() < 1e-6
    volume = canvas.total().sum() * canvas.pitch**2
    assert volume == pytest.approx(4.0 / 3.0 * np.pi * radius**3, rel=0.005)


def test_a_body_nearer_to_the_tube_is_shown_larger() -> None:
    diverging = replace(STRAIGHT, source_mm=1000.0, detector_mm=100.0)
    areas = []
    for center in (-40.0, 40.0):
        canvas = Canvas(128, diverging, joint_height=0.0)
        y = center + np.linspace(-10.0, 10.0, 21)
        x, depth = canvas.columns(y)
        half = np.sqrt(np.maximum(100.0 - x**2 - (depth - center) ** 2, 0.0))
        canvas.add(Body(-half, half), y, 1.0)
        areas.append(canvas.total().sum())
    # Areas grow with the square of the magnification; the path through the sphere stays.
    assert areas[0] / areas[1] == pytest.approx(((1000.0 + 40.0) / (1000.0 - 40.0)) ** 2, rel=0.01)


def test_a_narrow_window_of_columns_loses_nothing() -> None:
    turned = replace(STRAIGHT, rotation=8.0, source_mm=1500.0, detector_mm=80.0)
    totals = []
    for windowed in (False, True):
        canvas = Canvas(64, turned, joint_height=0.0)
        window = canvas.window(18.0, 42.0) if windowed else slice(None)
        y = -20.0 + np.linspace(-12.0, 12.0, 13)
        x, depth = canvas.columns(y, window)
        half = np.sqrt(np.maximum(100.0 - (x - 30.0) ** 2 - (depth + 20.0) ** 2, 0.0))
        canvas.add(Body(-half, half), y, 1.0, window)
        totals.append(canvas.total())
    np.testing.assert_allclose(totals[1], totals[0], atol=1e-9)


def test_transmission_follows_beer_and_lambert() -> None:
    for attenuation in (0.0, 1.0, 3.0):
        seen = expose(np.full((76, 76), attenuation), replace(STRAIGHT, photons=1e6), SIZE, np.random.default_rng(1))
        assert seen.mean() == pytest.approx(np.exp(-attenuation), rel=2e-3)


def test_four_times_the_exposure_halves_the_relative_noise() -> None:
    def noise(photons: float) -> float:
        seen = expose(np.full((76, 76), 2.0), replace(STRAIGHT, photons=photons), SIZE, np.random.default_rng(2))
        return float(seen.std() / seen.mean())

    assert noise(1e3) / noise(4e3) == pytest.approx(2.0, rel=0.08)


def test_scatter_lowers_the_contrast() -> None:
    edge = np.where(np.arange(76)[None, :] < 38, 1.0, 2.0) * np.ones((76, 1))

    def contrast(scatter: float) -> float:
        seen = expose(edge, replace(STRAIGHT, scatter=scatter, photons=1e7), SIZE, np.random.default_rng(3))
        return float(np.log(seen[:, 26:31].mean() / seen[:, 33:38].mean()))

    assert contrast(0.5) < 0.9 * contrast(0.0)


def test_cartilage_is_invisible_where_bones_stand_still(knee: KneeState) -> None:
    without = replace(knee, thickness=np.zeros_like(knee.thickness))
    assert np.array_equal(picture(without), picture(knee))


def test_cartilage_shows_by_moving_the_bones(knee: KneeState) -> None:
    grid = contact_grid(knee.shape, knee.view.flexion, SIZE)
    thinner = place_femur(grid, (knee.thickness * 0.6).astype(np.float32), knee.knee, knee.severity)
    assert thinner.medial_jsw_mm < knee.placement.medial_jsw_mm - 0.8
    assert not np.array_equal(picture(replace(knee, placement=thinner)), picture(knee))


def test_a_right_knee_is_the_mirror_image_of_a_left_one(knee: KneeState) -> None:
    right = replace(knee, knee=replace(knee.knee, side="right"))
    assert knee.knee.side == "left"
    assert np.array_equal(picture(right)[:, ::-1], picture(knee))


def test_the_fibula_stands_on_the_lateral_side(knee: KneeState) -> None:
    view = replace(STRAIGHT, flexion=knee.view.flexion)
    bones = bone_attenuation(knee.shape, knee.placement, np.zeros(4), view, size=SIZE, texture_seed=1)
    middle = bones.shape[1] // 2
    below = bones[-12:]
    # In a left knee lateral is to the right; the beam comes from behind and the picture is shown face to face.
    outer = round(24.0 / (140.0 / SIZE))
    assert below[:, middle + outer :].sum() > 2.0 * below[:, : middle - outer].sum()


def test_larger_spurs_add_bone_only_beside_the_joint(knee: KneeState) -> None:
    def bones(length: float) -> np.ndarray:
        return bone_attenuation(knee.shape, knee.placement, np.full(4, length), STRAIGHT, size=SIZE, texture_seed=1)

    added = bones(6.0) - bones(0.0)
    middle = added.shape[1] // 2
    assert added.min() > -1e-9
    assert added.sum() > 1.0
    assert np.abs(added[:, middle - 8 : middle + 8]).max() < 1e-9


def test_bone_weighs_the_same_under_every_small_tilt_of_the_beam(knee: KneeState) -> None:
    totals = [
        bone_attenuation(
            knee.shape, knee.placement, np.zeros(4), replace(STRAIGHT, beam_tilt=tilt, source_mm=1750.0),
            size=SIZE, texture_seed=1,
        ).sum()
        for tilt in (-2.0, 0.0, 2.0)
    ]  # fmt: skip
    # Only what crosses the canvas border may differ.
    assert max(totals) / min(totals) < 1.02


def test_pictures_use_the_16_bits_without_losing_the_joint(knee: KneeState) -> None:
    shown = picture(knee)
    assert shown.dtype == np.uint16
    assert np.unique(shown).size > 1000
    assert np.mean(shown == 65535) < 0.12


class TestContact:
    def test_the_load_is_the_mean_overlap_in_both_compartments(self, knee: KneeState) -> None:
        grid = contact_grid(knee.shape, 20.0, SIZE)
        free = replace(knee.knee, meniscus=np.full(2, -5.0))  # menisci of 0 mm
        placed = place_femur(grid, knee.thickness, free, 0.0)
        layers = grid.femoral(knee.thickness[0]) + grid.tibial(knee.thickness[1])
        overlap = np.maximum(layers - grid.gap - placed.height - placed.slope * grid.x, 0.0)
        np.testing.assert_allclose(overlap.mean(axis=(1, 2)), LOAD_OVERLAP_MM, rtol=0.03)

    @pytest.mark.parametrize("extra", [0.25, 1.0])
    def test_cartilage_thicker_by_some_mm_lifts_the_femur_by_as_much(self, knee: KneeState, extra: float) -> None:
        grid = contact_grid(knee.shape, 20.0, SIZE)
        before = place_femur(grid, np.where(knee_atlas(SIZE).mask, 2.0, 2.0).astype(np.float32).copy(), knee.knee, 0.0)
        after = place_femur(grid, np.full((2, SIZE, SIZE), 2.0 + extra / 2, np.float32), knee.knee, 0.0)
        assert after.height - before.height == pytest.approx(extra, abs=1e-4)
        assert after.slope == pytest.approx(before.slope, abs=1e-6)

    def test_medial_loss_tilts_the_femur_to_the_medial_side(self, knee: KneeState) -> None:
        grid = contact_grid(knee.shape, 20.0, SIZE)
        worn = knee.thickness.copy()
        worn[:, : SIZE // 2] *= 0.3
        before, after = (place_femur(grid, t, knee.knee, 0.0) for t in (knee.thickness, worn))
        assert after.slope > before.slope
        assert after.medial_jsw_mm < before.medial_jsw_mm - 1.0
        assert after.lateral_jsw_mm == pytest.approx(before.lateral_jsw_mm, abs=0.5)

    def test_the_closed_form_equals_bisection(self, knee: KneeState, rng: np.random.Generator) -> None:
        from mris.knee.phantom.contact import _sink

        free = rng.normal(2.0, 1.5, (18, 12))
        low, high = float(free.min()) - 1.0, float(free.max())
        for _ in range(60):
            middle = 0.5 * (low + high)
            deeper = np.maximum(free - middle, 0.0).mean() > LOAD_OVERLAP_MM
            low, high = (middle, high) if deeper else (low, middle)
        assert _sink(free) == pytest.approx(middle, abs=1e-9)


def test_a_subjects_generators_do_not_overlap() -> None:
    draws = {
        float(subject_generator(0, i, *purpose).random()) for i in range(50) for purpose in ((), (1, 0, 0), (2, 0))
    }
    assert len(draws) == 150


def test_a_placement_is_plain_numbers(knee: KneeState) -> None:
    assert isinstance(knee.placement, Placement)
    assert all(np.isfinite([knee.placement.height, knee.placement.slope, knee.placement.medial_jsw_mm]))
