import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mris.errors import SettingsError
from mris.evaluation.image_error import METRICS, PSNR_CEILING, image_errors, ssim_map
from mris.evaluation.mask import evaluation_mask, fill_missing


def _image(rng: np.random.Generator, shape: tuple[int, ...] = (2, 12, 14)) -> np.ndarray:
    return rng.gamma(4, 0.5, size=shape).astype(np.float32)


def _mask(rng: np.random.Generator, shape: tuple[int, ...] = (2, 12, 14)) -> np.ndarray:
    mask = rng.random(shape) < 0.5
    mask[:, 5, 5] = True
    return mask


def _loop(truth: np.ndarray, prediction: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    errors = sorted(
        abs(float(truth[place]) - float(prediction[place])) for place in np.ndindex(*mask.shape) if mask[place]
    )
    median = float(np.median(errors))
    return {
        "median": median,
        "mad": float(np.median([abs(e - median) for e in errors])),
        "mae": sum(errors) / len(errors),
        "rmse": (sum(e**2 for e in errors) / len(errors)) ** 0.5,
    }


def test_errors_are_those_of_a_plain_loop_in_each_region_and_combined(rng: np.random.Generator) -> None:
    truth, prediction, mask = _image(rng), _image(rng), _mask(rng)
    rows = image_errors(truth, prediction, mask, mask, data_range=3.0)
    assert rows.shape == (3, len(METRICS))
    for row, part in zip(rows, (slice(0, 1), slice(1, 2), slice(None)), strict=True):
        for name, value in _loop(truth[part], prediction[part], mask[part]).items():
            assert row[METRICS.index(name)] == pytest.approx(value, rel=1e-6), name
        peak = peak_signal_noise_ratio(truth[part][mask[part]], prediction[part][mask[part]], data_range=3.0)
        assert row[METRICS.index("psnr")] == pytest.approx(peak, rel=1e-5)


def test_ssim_in_the_mask_is_that_of_the_whole_image_with_zero_outside(rng: np.random.Generator) -> None:
    truth, prediction = _image(rng, (40, 50)), _image(rng, (40, 50))
    for rows, columns in ((slice(10, 20), slice(12, 31)), (slice(0, 9), slice(40, 50)), (slice(0, 40), slice(0, 50))):
        mask = np.zeros((40, 50), dtype=bool)
        mask[rows, columns] = rng.random((40, 50))[rows, columns] < 0.8
        _, whole = structural_similarity(truth * mask, prediction * mask, data_range=3.0, full=True)
        similarity = ssim_map(truth, prediction, mask, 3.0)
        np.testing.assert_allclose(similarity[mask], whole[mask], atol=1e-5)
        assert np.isnan(similarity[~mask]).all()


@given(garbage=st.floats(-100, 100, width=32) | st.just(np.nan), seed=st.integers(0, 2**16))
def test_nothing_that_a_method_says_outside_the_mask_changes_a_number(garbage: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction, mask = _image(rng), _image(rng), _mask(rng)
    filler = _image(rng)
    rows = []
    for outside in (prediction, np.full_like(prediction, garbage)):
        filled, own = fill_missing(np.where(mask, prediction, outside), mask, filler)
        rows.append(image_errors(truth, filled, mask, own, data_range=3.0))
    np.testing.assert_array_equal(rows[0], rows[1])


def test_silence_costs_the_mean_map_and_shows_in_coverage(rng: np.random.Generator) -> None:
    truth, mask, filler = _image(rng), _mask(rng), _image(rng)
    silent = np.full_like(truth, np.nan)
    silent[0] = truth[0]
    filled, own = fill_missing(silent, mask, filler)
    rows = image_errors(truth, filled, mask, own, data_range=3.0)
    as_mean_map = image_errors(truth, filler, mask, mask, data_range=3.0)
    coverage = METRICS.index("coverage")
    np.testing.assert_array_equal(np.delete(rows[1], coverage), np.delete(as_mean_map[1], coverage))
    assert rows[:, coverage] == pytest.approx([1, 0, mask[0].sum() / mask.sum()])


def test_a_perfect_image_has_no_error_and_the_highest_psnr_and_ssim(rng: np.random.Generator) -> None:
    truth, mask = _image(rng), _mask(rng)
    rows = image_errors(truth, truth, mask, mask, data_range=3.0)
    np.testing.assert_allclose(rows, np.broadcast_to([0, 0, 0, 0, PSNR_CEILING, 1, 1], (3, 7)), atol=1e-6)


@given(factor=st.floats(0.01, 100), seed=st.integers(0, 2**16))
def test_errors_scale_with_the_unit_and_psnr_does_not(factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction, mask = _image(rng), _image(rng), _mask(rng)
    plain = image_errors(truth, prediction, mask, mask, data_range=3.0)
    scale = np.float32(factor)
    scaled = image_errors(truth * scale, prediction * scale, mask, mask, data_range=3.0 * float(scale))
    np.testing.assert_allclose(scaled[:, :4], plain[:, :4] * factor, rtol=1e-4, atol=1e-5 * factor)
    np.testing.assert_allclose(scaled[:, 4:6], plain[:, 4:6], atol=2e-3)


def test_a_region_without_a_pixel_is_nan_and_the_other_one_still_counts(rng: np.random.Generator) -> None:
    truth, prediction, mask = _image(rng), _image(rng), _mask(rng)
    mask[1] = False
    rows = image_errors(truth, prediction, mask, mask, data_range=3.0)
    assert np.isnan(rows[1]).all()
    np.testing.assert_array_equal(rows[0], rows[2])


@pytest.mark.parametrize(("shape", "known"), [((1, 2), False), ((3, 4), True), ((6, 6), True), ((7, 3), True)])
def test_small_images_have_an_ssim_from_three_pixels_a_side_on(shape: tuple[int, int], known: bool) -> None:
    truth = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    similarity = ssim_map(truth, truth, np.ones(shape, dtype=bool), 3.0)
    assert np.isfinite(similarity).all() == known


def test_the_mask_is_truth_and_atlas_together() -> None:
    truth = np.array([[[1.0, np.nan, 2.0, np.nan]]], dtype=np.float32)
    atlas = np.array([[[True, True, False, False]]])
    assert evaluation_mask(truth, atlas).tolist() == [[[True, False, False, False]]]


def test_a_data_range_of_zero_is_refused(rng: np.random.Generator) -> None:
    truth, mask = _image(rng), _mask(rng)
    with pytest.raises(SettingsError, match=r"data range 0\.0.*above 0"):
        image_errors(truth, truth, mask, mask, data_range=0.0)
