import hashlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mris.errors import BundleError, ImageError
from mris.images.image import Image
from mris.knee import joint_detector
from mris.knee.joint_detector import (
    MIN_CONFIDENCE,
    PIXEL_MM,
    STRIDE,
    WEIGHTS,
    detect_joints,
    detector_facts,
    detector_input,
    detector_pixels,
    heat_peaks,
    window_means,
)
from mris.knee.phantom.bones import eminence_dip
from mris.knee.phantom.plate import compose_plate
from mris.knee.phantom.simulate import KneeVisit, simulate_subject

SPACING = 0.7
CENTERS = {"right": (260.0, 170.0), "left": (265.0, 460.0)}


@pytest.fixture(scope="module")
def visits() -> tuple[KneeVisit, KneeVisit]:
    left, right = simulate_subject(99, 4, size=64, max_visits=1)
    return right, left


@pytest.fixture(scope="module")
def plate(visits: tuple[KneeVisit, KneeVisit]) -> Image:
    right, left = (visit.radiograph for visit in visits)
    composed = compose_plate(
        right, left, spacing_mm=SPACING, shape=(520, 620), centers=CENTERS, rng=np.random.default_rng(0)
    )
    return Image.from_array(composed.pixels, spacing=composed.spacing)


def joints(visits: tuple[KneeVisit, KneeVisit]) -> list[np.ndarray]:
    """Middles of the eminences: above the joint space, which the view moved; a right knee is a mirror image."""
    found = []
    for side, visit in zip(("right", "left"), visits, strict=True):
        state = visit.state
        lateral, up = eminence_dip(state.shape)
        down, across = state.view.shift[0] + 0.5 * state.placement.height - up, state.view.shift[1] + lateral
        across = -across if side == "right" else across
        found.append(np.array(CENTERS[side]) + np.array([down, across]) / SPACING)
    return found


def errors_mm(plate: Image, truth: list[np.ndarray]) -> list[float]:
    found = detect_joints(plate)
    assert len(found) == len(truth)
    return [
        float(np.hypot(*((np.array(one.center) - at) * plate.spacing))) for one, at in zip(found, truth, strict=True)
    ]


def test_both_knees_of_an_unseen_person_are_found_surely_and_right_stands_first(
    plate: Image, visits: tuple[KneeVisit, KneeVisit]
) -> None:
    assert max(errors_mm(plate, joints(visits))) < 3.0
    assert all(one.confidence >= MIN_CONFIDENCE for one in detect_joints(plate))


def test_a_plate_with_dark_bones_gives_the_same_joints(plate: Image, visits: tuple[KneeVisit, KneeVisit]) -> None:
    assert max(errors_mm(Image(65535 - plate.pixels, spacing=plate.spacing), joints(visits))) < 3.0


def test_a_mirrored_plate_gives_mirrored_joints(plate: Image) -> None:
    mirrored = detect_joints(Image(plate.pixels[:, :, ::-1].copy(), spacing=plate.spacing))
    for one, other in zip(detect_joints(plate), mirrored[::-1], strict=True):
        expected = np.array([other.center[0], plate.size[1] - 1 - other.center[1]])
        assert np.hypot(*(np.array(one.center) - expected)) * SPACING < 3.0


@pytest.mark.parametrize(("factor", "gain"), [(2, 0.01), (3, 300.0)])
def test_neither_pixel_size_nor_units_change_the_joints(plate: Image, factor: int, gain: float) -> None:
    finer = Image(
        (gain * plate.pixels).repeat(factor, axis=1).repeat(factor, axis=2),
        spacing=(SPACING / factor, SPACING / factor),
    )
    for one, other in zip(detect_joints(plate), detect_joints(finer), strict=True):
        same_place = (np.array(one.center) + 0.5) * factor - 0.5
        np.testing.assert_allclose(other.center, same_place, atol=0.3 * factor / SPACING)
        assert abs(one.confidence - other.confidence) < 0.05


def test_unequal_spacings_of_rows_and_columns_are_taken_into_account(
    plate: Image, visits: tuple[KneeVisit, KneeVisit]
) -> None:
    tall = Image(plate.pixels.repeat(2, axis=1), spacing=(SPACING / 2, SPACING))
    truth = [np.array([2 * row + 0.5, column]) for row, column in joints(visits)]
    assert max(errors_mm(tall, truth)) < 3.0


def test_a_plate_of_one_knee_gives_one_joint(visits: tuple[KneeVisit, KneeVisit]) -> None:
    composed = compose_plate(
        None,
        visits[1].radiograph,
        spacing_mm=SPACING,
        shape=(420, 300),
        centers={"left": (200.0, 150.0)},
        rng=np.random.default_rng(1),
    )
    found = [
        one
        for one in detect_joints(Image.from_array(composed.pixels, spacing=composed.spacing))
        if one.confidence >= MIN_CONFIDENCE
    ]
    assert len(found) == 1
    assert np.hypot(found[0].center[0] - 200, found[0].center[1] - 150) * SPACING < 15.0


@pytest.mark.parametrize("name", ["flat", "noise", "empty"])
def test_a_plate_without_a_knee_asks_for_a_person(name: str, rng: np.random.Generator) -> None:
    pixels = {
        "flat": np.full((300, 400), 7.0),
        "noise": rng.normal(0.0, 1.0, (300, 400)),
        "empty": np.full((300, 400), np.nan),
    }[name]
    found = detect_joints(Image.from_array(pixels, spacing=(1.0, 1.0)))
    assert found
    assert all(one.confidence < MIN_CONFIDENCE for one in found)


@pytest.mark.data
def test_real_knees_on_an_empty_plate_are_found_near_the_middle_of_their_crops(data_dir: Path) -> None:
    # Crops round the joint of about 0.41 mm a pixel, centered some mm above the joint space.
    for path in sorted((data_dir / "oai_radiographs" / "images").glob("*.png"))[:6]:
        with PIL.Image.open(path) as picture:
            crop = np.asarray(picture.convert("L"), dtype=np.float32)
        pixels = np.full((600, 500), crop.mean(), np.float32)
        pixels[150 : 150 + len(crop), 200 : 200 + len(crop)] = crop
        best = max(detect_joints(Image(pixels[None], spacing=(0.41, 0.41))), key=lambda one: one.confidence)
        down, across = np.array(best.center) - [150 + (len(crop) - 1) / 2, 200 + (len(crop) - 1) / 2]
        assert abs(across) * 0.41 < 8.0 and -3.0 < down * 0.41 < 18.0, path.name


@given(
    rows=st.integers(1, 60),
    columns=st.integers(1, 60),
    values=st.lists(st.floats(width=32, allow_nan=True, allow_infinity=False), min_size=1, max_size=30),
    extent=st.tuples(st.floats(41.0, 500.0), st.floats(41.0, 500.0)),
)
@settings(deadline=None, max_examples=30)
def test_any_picture_gives_one_or_two_joints_on_the_plate(
    rows: int, columns: int, values: list[float], extent: tuple[float, float]
) -> None:
    pixels = np.resize(np.array(values, np.float32), (1, rows, columns))
    found = detect_joints(Image(pixels, spacing=(extent[0] / rows, extent[1] / columns)))
    assert len(found) in (1, 2)
    for one in found:
        assert 0.0 <= one.confidence <= 1.0
        assert 0.0 <= one.center[0] <= rows - 1 and 0.0 <= one.center[1] <= columns - 1
    assert [one.center[1] for one in found] == sorted(one.center[1] for one in found)


def test_a_plate_without_a_spacing_or_of_an_impossible_size_is_refused(plate: Image) -> None:
    with pytest.raises(ImageError, match=r"pixel spacing is unknown.*give the spacing, or the centers"):
        detect_joints(Image(plate.pixels))
    for spacing, shown in ((0.01, r"5\.2 x 6\.2 mm"), (10.0, "5200 x 6200 mm")):
        with pytest.raises(ImageError, match=shown):
            detect_joints(Image(plate.pixels, spacing=(spacing, spacing)))


@given(row=st.floats(4.0, 30.0), column=st.floats(4.0, 40.0), sd=st.floats(1.2, 1.8), height=st.floats(0.1, 1.0))
@settings(deadline=None, max_examples=50)
def test_the_peak_of_a_bell_is_found_between_the_pixels(row: float, column: float, sd: float, height: float) -> None:
    r, c = np.mgrid[:35, :45]
    heat = height * np.exp(-0.5 * ((r - row) ** 2 + (c - column) ** 2) / sd**2)
    ((found_row, found_column, share), *_) = heat_peaks(heat, (35 * STRIDE, 45 * STRIDE))
    assert max(abs(found_row - row), abs(found_column - column)) < 0.12
    within_16_mm = 1.0 - np.exp(-0.5 * (16.0 / (STRIDE * PIXEL_MM * sd)) ** 2)
    assert share == pytest.approx(height * (STRIDE * PIXEL_MM * sd / 6.0) ** 2 * within_16_mm, rel=0.05)


def test_heat_spread_over_rows_has_the_share_of_a_sharp_peak_though_half_its_height() -> None:
    r, c = np.mgrid[:40, :40]
    sharp, spread = (np.exp(-0.5 * (((r - 20) / rows) ** 2 + ((c - 20) / 1.2) ** 2)) / rows for rows in (0.9, 1.8))
    (one, *_), (other, *_) = (heat_peaks(0.9 * heat, (80, 80)) for heat in (sharp, spread))
    assert spread.max() == pytest.approx(0.5 * sharp.max())
    assert other[2] > 0.9 * one[2]


def test_two_bells_give_two_peaks_the_higher_first_and_near_ones_only_one() -> None:
    r, c = np.mgrid[:60, :80]

    def bell(row: float, column: float) -> np.ndarray:
        return np.exp(-0.5 * ((r - row) ** 2 + (c - column) ** 2) / 1.5**2)

    far = heat_peaks(0.6 * bell(20, 15) + 0.9 * bell(25, 60), (120, 160))
    assert [(round(row), round(column)) for row, column, _ in far] == [(25, 60), (20, 15)]
    near = heat_peaks(0.6 * bell(20, 15) + 0.9 * bell(25, 25), (120, 160))
    assert [share < 0.1 for *_, share in near] == [False, True]


def test_heat_beyond_the_plate_is_no_peak() -> None:
    heat = np.zeros((40, 40))
    heat[5, 5], heat[35, 35] = 0.5, 1.0
    assert [round(v) for v in heat_peaks(heat, (50, 50), 1)[0][:2]] == [5, 5]


@given(rows=st.integers(20, 90), columns=st.integers(20, 90), gain=st.floats(1e-3, 1e3), level=st.floats(-10.0, 10.0))
@settings(deadline=None, max_examples=30)
def test_the_networks_input_depends_on_no_gain_and_no_level(rows: int, columns: int, gain: float, level: float) -> None:
    pixels = np.random.default_rng(rows).normal(size=(rows, columns)).astype(np.float32)
    plain = detector_input(pixels)
    changed = detector_input((gain * (pixels + np.float32(level))).astype(np.float32))
    assert plain.shape[1] % 16 == 0 and plain.shape[2] % 16 == 0
    assert np.abs(plain).max() <= 1.0
    np.testing.assert_allclose(changed, plain, atol=2e-3)


def test_pixels_are_brought_to_two_millimeters(plate: Image) -> None:
    small = detector_pixels(plate)
    assert small.shape == (round(520 * SPACING / PIXEL_MM), round(620 * SPACING / PIXEL_MM))
    assert abs(small.mean() - plate.pixels.mean()) < 0.01 * plate.pixels.mean()


def test_the_weights_are_small_and_are_those_that_the_facts_describe() -> None:
    content = WEIGHTS.read_bytes()
    assert len(content) < 2_000_000
    facts = detector_facts()
    assert hashlib.sha256(content).hexdigest() == facts.sha256
    assert (facts.pixel_mm, facts.stride) == (joint_detector.PIXEL_MM, joint_detector.STRIDE)


def test_weights_that_are_damaged_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / WEIGHTS.name
    damaged.write_bytes(WEIGHTS.read_bytes()[:-1])
    monkeypatch.setattr(joint_detector, "WEIGHTS", damaged)
    with pytest.raises(BundleError, match=r"joint_detector\.onnx cannot be loaded \(its SHA-256 is not the one"):
        joint_detector._session.__wrapped__()


@pytest.mark.parametrize("shape", [(70, 70), (100, 31), (5, 8), (1, 1)])
@pytest.mark.parametrize("size", [1, 3, 20, 21])
def test_means_over_windows_are_to_the_last_bit_those_of_scipy(shape: tuple[int, int], size: int) -> None:
    values = np.random.default_rng(0).random(shape)
    np.testing.assert_array_equal(window_means(values, size), ndimage.uniform_filter(values, size, mode="nearest"))
