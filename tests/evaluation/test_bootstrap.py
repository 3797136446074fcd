import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.errors import SettingsError
from mris.evaluation.bootstrap import (
    MIN_SUBJECTS,
    Resamples,
    percentile_interval,
    resample_counts,
    resampled_means,
    subject_codes,
)


def _clustered(rng: np.random.Generator, n_subjects: int, mean: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Values of people with 1 to 5 images, most of whose variance lies between people."""
    sizes = rng.integers(1, 6, size=n_subjects)
    codes = np.repeat(np.arange(n_subjects), sizes)
    return mean + rng.normal(size=n_subjects)[codes] + 0.2 * rng.normal(size=len(codes)), codes


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), n_subjects=st.integers(1, 12), share_missing=st.sampled_from([0.0, 0.3, 0.9]))
def test_means_are_those_of_a_plain_loop_over_the_same_draws(seed: int, n_subjects: int, share_missing: float) -> None:
    rng = np.random.default_rng(seed)
    values, codes = _clustered(rng, n_subjects)
    values = np.stack([values, values**2], axis=1)
    values[rng.random(values.shape) < share_missing] = np.nan
    counts = resample_counts(n_subjects, 7, np.random.default_rng(seed))
    again = np.random.default_rng(seed)
    fast = resampled_means(values, codes, counts)
    for resample in range(7):
        drawn = again.integers(0, n_subjects, size=n_subjects)
        rows = np.concatenate([values[codes == subject] for subject in drawn])
        for column in range(2):
            kept = rows[np.isfinite(rows[:, column]), column]
            expected = kept.mean() if kept.size else np.nan
            np.testing.assert_allclose(fast[resample, column], expected)


def test_a_difference_on_the_same_draws_is_the_difference_of_the_means(rng: np.random.Generator) -> None:
    values, codes = _clustered(rng, 20)
    columns = np.stack([values, values + 0.1, 0.1 * np.ones_like(values)], axis=1)
    means = resampled_means(columns, codes, resample_counts(20, 50, rng))
    np.testing.assert_allclose(means[:, 1] - means[:, 0], means[:, 2])
    low, high = percentile_interval(means[:, 1:2] - means[:, 0:1])
    assert low[0] == pytest.approx(0.1)
    assert high[0] == pytest.approx(0.1)


def test_the_order_of_images_does_not_matter(rng: np.random.Generator) -> None:
    values, codes = _clustered(rng, 15)
    counts = resample_counts(15, 20, rng)
    order = rng.permutation(len(values))
    np.testing.assert_allclose(
        resampled_means(values[order, None], codes[order], counts), resampled_means(values[:, None], codes, counts)
    )


def test_each_resample_draws_as_many_subjects_as_there_are(rng: np.random.Generator) -> None:
    counts = resample_counts(9, 100, rng)
    assert (counts.sum(axis=1) == 9).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(9), abs=0.4)


def test_one_subject_gives_an_interval_of_no_width(rng: np.random.Generator) -> None:
    means = resampled_means(np.array([[1.0], [3.0]]), np.zeros(2, dtype=np.int64), resample_counts(1, 10, rng))
    low, high = percentile_interval(means)
    assert (low[0], high[0]) == (2.0, 2.0)


def test_a_column_that_is_mostly_empty_has_no_interval() -> None:
    resampled = np.array([[1.0, np.nan], [2.0, np.nan], [3.0, 5.0]])
    low, high = percentile_interval(resampled)
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()


def test_subjects_are_numbered_in_sorted_order() -> None:
    codes, n_subjects = subject_codes(["S2", "S1", "S2", "S10"])
    assert codes.tolist() == [2, 0, 2, 1]
    assert n_subjects == 3


@pytest.mark.slow
def test_ninety_five_percent_intervals_hold_the_truth_in_about_that_share(rng: np.random.Generator) -> None:
    by_subject, by_image, n_trials = 0, 0, 400
    for _ in range(n_trials):
        values, codes = _clustered(rng, 60)
        for as_images in (False, True):
            units = np.arange(len(values)) if as_images else codes
            counts = resample_counts(int(units.max()) + 1, 400, rng)
            low, high = percentile_interval(resampled_means(values[:, None], units, counts))
            hit = bool(low[0] <= 2.0 <= high[0])
            by_image, by_subject = by_image + (hit and as_images), by_subject + (hit and not as_images)
    # Percentile intervals of 60 people are a little narrow (93.5 %); 400 trials vary by 2.5 % (2 SD).
    assert by_subject / n_trials == pytest.approx(0.935, abs=0.03)
    assert by_image / n_trials < 0.85  # resampling images instead pretends to know more


@pytest.mark.parametrize(
    ("n_subjects", "n_resamples", "message"), [(0, 10, "0 subjects"), (3, 0, "0 bootstrap resamples")]
)
def test_no_subject_or_no_resample_is_refused(n_subjects: int, n_resamples: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resample_counts(n_subjects, n_resamples, np.random.default_rng(0))


def test_a_confidence_in_percent_is_refused() -> None:
    with pytest.raises(SettingsError, match="confidence 95: give a share"):
        percentile_interval(np.zeros((2, 1)), confidence=95)


def test_a_mean_over_fewer_than_six_people_has_no_interval() -> None:
    people = [f"S{i}" for i in range(MIN_SUBJECTS) for _ in range(2)]
    rng = np.random.default_rng(0)
    values, resamples = rng.normal(size=(len(people), 1)), Resamples.draw(people, 50, rng)
    low, high = resamples.interval(values)
    assert low < values.mean() < high
    fewer = np.arange(len(people)) < 2 * (MIN_SUBJECTS - 1)
    assert np.isnan(resamples.of(fewer).interval(values[fewer])).all()
