"""The readout "few": a handful of people, of positive weights, who come nearest to a regression from everybody."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar, nnls

from mris.synthesis.readouts.few import nearest_mixture


def _dense(points: np.ndarray, n_few: int) -> np.ndarray:
    places, weights = nearest_mixture(points, n_few)
    dense = np.zeros(len(points))
    dense[places] = weights
    return dense


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 6), st.integers(1, 12))
def test_a_mixture_is_convex_and_of_no_more_than_the_few(seed: int, m: int, p: int, n_few: int) -> None:
    points = np.random.default_rng(seed).normal(0.5, 1, (m, p))
    places, weights = nearest_mixture(points, n_few)
    assert 1 <= len(places) == len(set(places.tolist())) <= min(m, n_few)
    assert (weights > 0).all() and weights.sum() == pytest.approx(1)


@given(st.integers(0, 2**32 - 1), st.integers(2, 15), st.integers(2, 30))
def test_with_as_many_as_there_are_it_is_the_nearest_of_all_mixtures(seed: int, m: int, p: int) -> None:
    points = np.random.default_rng(seed).normal(0.3, 1, (m, p))
    heavy = 1e5  # how much the sum of the weights counts in this other way to ask the same
    expected, _ = nnls(np.vstack([points.T, np.full(m, heavy)]), np.append(np.zeros(p), heavy))
    found = np.linalg.norm(_dense(points, m) @ points)
    assert found == pytest.approx(np.linalg.norm(expected @ points), rel=1e-3, abs=1e-3)


def test_one_is_the_nearest_and_two_are_nearly_the_best_pair(rng) -> None:
    points = rng.normal(0.5, 1, (8, 5))
    assert nearest_mixture(points, 1)[0].tolist() == [int(np.linalg.norm(points, axis=1).argmin())]
    best = min(
        minimize_scalar(lambda a, one=points[i], other=points[j]: np.linalg.norm(a * one + (1 - a) * other), (0, 1),
                        bounds=(0, 1)).fun
        for i, j in combinations(range(8), 2)
    )  # fmt: skip
    found = np.linalg.norm(_dense(points, 2) @ points)
    assert best - 1e-6 <= found <= 1.1 * best


def test_more_people_never_come_less_near(rng) -> None:
    points = rng.normal(0.2, 1, (60, 40))
    gaps = [np.linalg.norm(_dense(points, n_few) @ points) for n_few in range(1, 40)]
    assert (np.diff(gaps) <= 1e-9).all()
    assert gaps[-1] < 0.5 * gaps[0]


def test_a_person_who_is_there_twice_or_is_the_answer_needs_nobody_else() -> None:
    points = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [3.0, -1.0]])
    places, weights = nearest_mixture(points, 3)
    assert places.tolist() == [1] and weights.tolist() == [1.0]
    assert nearest_mixture(np.zeros((3, 2)), 2)[1].sum() == pytest.approx(1)
