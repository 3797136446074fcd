import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.errors import SettingsError
from mris.images.image import Image
from mris.images.transforms import crop_region_mm, resize_source
from mris.knee.crop import REGION_MM
from mris.knee.phantom.plate import DETECTORS, PlateLayout, compose_plate, sample_plate_layout
from mris.knee.phantom.simulate import simulate_subject

SIZE = 64


@pytest.fixture(scope="module")
def knees() -> tuple[np.ndarray, np.ndarray]:
    left, right = simulate_subject(3, 1, size=SIZE, max_visits=1)
    return right.radiograph, left.radiograph


@pytest.fixture(scope="module")
def layout() -> PlateLayout:
    return sample_plate_layout(np.random.default_rng(4))


@pytest.mark.parametrize(("shape", "spacing"), DETECTORS)
def test_the_region_round_a_center_is_the_picture_again(
    knees: tuple[np.ndarray, np.ndarray], shape: tuple[int, int], spacing: float
) -> None:
    rows, columns = shape
    centers = {"right": (rows // 2, columns // 4), "left": (rows // 2 + 40, columns - columns // 4)}
    plate = compose_plate(*knees, spacing_mm=spacing, shape=shape, centers=centers, rng=np.random.default_rng(0))
    image = Image.from_array(plate.pixels, spacing=plate.spacing)
    for side, picture in zip(("right", "left"), knees, strict=True):
        region = crop_region_mm(image, REGION_MM, plate.centers[side])
        back = resize_source(region.pixels, (SIZE, SIZE))[0]
        # The linear interpolation, averaged back over a pixel, is the picture under the kernel (1, 6, 1) / 8 twice.
        kernel = np.array([1, 6, 1]) / 8
        wide = np.pad(picture.astype(float), 1, mode="edge")
        smooth = sum(kernel[i] * wide[i : i + SIZE] for i in range(3))
        smooth = sum(kernel[j] * smooth[:, j : j + SIZE] for j in range(3))
        inner = (slice(1, -1), slice(1, -1))
        assert np.abs(back - picture)[inner].mean() < 0.01 * np.ptp(picture)
        error, of_a_shift = back[inner] - smooth[inner], np.roll(smooth, 1, axis=1)[inner] - smooth[inner]
        assert np.abs(error).mean() < 0.35 * np.abs(of_a_shift).mean()


def test_a_plate_on_the_pictures_own_grid_holds_its_very_pixels(knees: tuple[np.ndarray, np.ndarray]) -> None:
    pitch = REGION_MM / SIZE
    centers = {"right": (79.5, 49.5), "left": (70.5, 139.5)}
    plate = compose_plate(*knees, spacing_mm=pitch, shape=(160, 200), centers=centers, rng=np.random.default_rng(0))
    half = SIZE // 2
    for side, picture in zip(("right", "left"), knees, strict=True):
        row, column = (round(at + 0.5) for at in centers[side])
        np.testing.assert_array_equal(
            plate.pixels[row - half : row + half, column - half : column + half].astype(int),
            picture.astype(int),
            err_msg=side,
        )


def test_nothing_jumps_where_a_region_ends(knees: tuple[np.ndarray, np.ndarray]) -> None:
    pitch = REGION_MM / SIZE
    plate = compose_plate(
        knees[0],
        None,
        spacing_mm=pitch,
        shape=(200, 160),
        centers={"right": (99.5, 79.5)},
        rng=np.random.default_rng(0),
    )
    pixels = plate.pixels.astype(float)
    low, high = 100 - SIZE // 2, 100 + SIZE // 2
    for steps, at in ((np.abs(np.diff(pixels[:, 60:100], axis=0)).mean(axis=1), (low, high)),):
        inside = np.median(steps[low + 5 : high - 5])
        for border in at:
            assert steps[border - 1] < 3 * inside
    across = np.abs(np.diff(pixels[low:high], axis=1)).mean(axis=0)
    assert max(across[80 - SIZE // 2 - 1], across[80 + SIZE // 2 - 1]) < 3 * np.median(across[50:110])


def test_legs_go_on_to_the_ends_and_air_is_at_the_sides(
    knees: tuple[np.ndarray, np.ndarray], layout: PlateLayout
) -> None:
    rows, columns = layout.shape[0] // 10, layout.shape[1] // 10
    centers = {side: (row / 10, column / 10) for side, (row, column) in layout.centers.items()}
    plate = compose_plate(
        *knees, spacing_mm=10 * layout.spacing_mm, shape=(rows, columns), centers=centers, rng=np.random.default_rng(0)
    )
    for _, column in plate.centers.values():
        axis = plate.pixels[:, round(column) - 3 : round(column) + 4].mean(axis=1)
        assert axis.min() > 0.25 * axis.max()
    assert plate.pixels[:, [0, -1]].mean() < 0.2 * axis.mean()


@given(seed=st.integers(0, 10_000), sides=st.sampled_from([("right", "left"), ("left", "right"), ("left",)]))
@settings(deadline=None, max_examples=50)
def test_every_layout_keeps_its_regions_inside_and_the_right_knee_at_the_left(
    seed: int, sides: tuple[str, ...]
) -> None:
    layout = sample_plate_layout(np.random.default_rng(seed), sides)  # type: ignore[arg-type]
    assert set(layout.centers) == set(sides)
    half = REGION_MM / 2 / layout.spacing_mm
    for row, column in layout.centers.values():
        assert half <= row <= layout.shape[0] - 1 - half and half <= column <= layout.shape[1] - 1 - half
    if len(sides) == 2:
        distance = (layout.centers["left"][1] - layout.centers["right"][1]) * layout.spacing_mm
        assert distance >= 145.0


def test_equal_seeds_give_equal_plates_and_others_do_not(knees: tuple[np.ndarray, np.ndarray]) -> None:
    def plate(seed: int) -> np.ndarray:
        return compose_plate(
            *knees,
            spacing_mm=3.0,
            shape=(120, 140),
            centers={"right": (60, 35), "left": (60, 105)},
            rng=np.random.default_rng(seed),
        ).pixels

    np.testing.assert_array_equal(plate(1), plate(1))
    assert (plate(1) != plate(2)).any()


def test_centers_beyond_the_border_show_the_part_that_is_on_the_plate(knees: tuple[np.ndarray, np.ndarray]) -> None:
    pitch = REGION_MM / SIZE
    plate = compose_plate(
        None, knees[1], spacing_mm=pitch, shape=(40, 50), centers={"left": (-0.5, -0.5)}, rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(plate.pixels[:32, :32], knees[1][32:, 32:])


def test_a_picture_without_a_center_is_named(knees: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(SettingsError, match=r"pictures of \['left', 'right'\] and centers of \['right'\]"):
        compose_plate(
            *knees, spacing_mm=2.0, shape=(100, 100), centers={"right": (50, 50)}, rng=np.random.default_rng(0)
        )
    with pytest.raises(SettingsError, match="the right picture is float64"):
        compose_plate(
            knees[0].astype(float),
            None,
            spacing_mm=2.0,
            shape=(100, 100),
            centers={"right": (50, 50)},
            rng=np.random.default_rng(0),
        )
