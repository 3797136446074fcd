"""What extraction adds to a true map: as much as stated, at every size, nothing on bare bone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.errors import SettingsError
from mris.knee.phantom.cohort import write_phantom
from mris.knee.phantom.extraction import MEASURED, extract_maps
from mris.knee.phantom.simulate import simulate_subject


def flat(size: int, value: float = 4.0) -> np.ndarray:
    return np.full((2, size, size), value, np.float32)


def test_measured_noise_has_the_stated_standard_deviation_where_pixels_are_small() -> None:
    rng = np.random.default_rng(0)
    noise = np.concatenate([extract_maps(flat(256), rng, "measured") - 4.0 for _ in range(6)])
    assert noise.std() == pytest.approx(np.sqrt(sum(part.sd_mm**2 for part in MEASURED)), rel=0.05)


def test_coarse_pixels_show_what_the_mean_of_fine_ones_shows() -> None:
    rng = np.random.default_rng(1)
    fine = np.concatenate([extract_maps(flat(256), rng, "measured") for _ in range(8)])
    means = fine.reshape(-1, 64, 4, 64, 4).mean(axis=(2, 4))
    coarse = np.concatenate([extract_maps(flat(64), rng, "measured") for _ in range(8)])
    assert coarse.std() == pytest.approx(means.std(), rel=0.1)


def test_streaks_run_front_to_back() -> None:
    noise = extract_maps(flat(128), np.random.default_rng(2), "measured")
    across, along = np.abs(np.diff(noise, axis=1)).mean(), np.abs(np.diff(noise, axis=2)).mean()
    assert across > 1.5 * along


@given(st.integers(0, 1000), st.sampled_from(["smooth", "measured"]))
@settings(max_examples=20, deadline=None)
def test_bare_bone_stays_bare_and_outside_stays_outside(seed: int, extraction: str) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice(np.array([0.0, 0.2, 2.0, np.nan], np.float32), (2, 32, 32))
    maps = extract_maps(truth, rng, extraction)  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.isnan(maps), np.isnan(truth))
    assert (maps[truth == 0.0] == 0.0).all()
    assert np.nanmin(maps) >= 0.0


def test_extraction_changes_maps_and_not_radiographs_or_grades() -> None:
    smooth, measured = (
        simulate_subject(3, 5, size=32, extraction=extraction)  # type: ignore[arg-type]
        for extraction in ("smooth", "measured")
    )
    for one, other in zip(smooth, measured, strict=True):
        np.testing.assert_array_equal(one.radiograph, other.radiograph)
        assert one.state.klg == other.state.klg
        assert np.nanmean(np.abs(one.thickness - other.thickness)) > 0.05


def test_a_cohort_of_one_extraction_is_not_taken_for_the_other(tmp_path) -> None:
    write_phantom(tmp_path / "knees", n_subjects=2, size=32, max_visits=1, workers=1, progress=False)
    with pytest.raises(SettingsError, match=r"extraction 'measured' \(asked: 'smooth'\)"):
        write_phantom(
            tmp_path / "knees", n_subjects=2, size=32, max_visits=1, workers=1, progress=False, extraction="smooth"
        )


def test_an_unknown_extraction_is_refused() -> None:
    with pytest.raises(SettingsError, match="extraction is 'rough'"):
        extract_maps(flat(16), np.random.default_rng(0), "rough")  # type: ignore[arg-type]
