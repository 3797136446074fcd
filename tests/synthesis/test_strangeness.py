"""Strangeness: scores against plain formulas, p-values against plain counts, and queries that are unlike anything."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mris.synthesis.strangeness import LEVELS, SCORES, Reference, strangeness, strangeness_scale

N, Q, LEARNED = 200, 6, 4


@pytest.fixture
def features(rng):
    return (rng.standard_normal((N, Q)) @ rng.standard_normal((Q, Q))).astype(np.float32)


@pytest.fixture
def reference(features):
    return Reference(features, LEARNED, np.array([f"S{row}" for row in range(N)]))


def test_scores_are_those_of_plain_formulas(features, reference, rng):
    query = rng.standard_normal(Q).astype(np.float32)
    known = features.astype(np.float64)
    scale = np.sqrt(np.concatenate([np.full(LEARNED, known[:, :LEARNED].var(0).sum()), known[:, LEARNED:].var(0) * 2]))
    standard, own = (known - known.mean(0)) / scale, (query - known.mean(0)) / scale
    distances = sorted(np.linalg.norm(standard - own, axis=1))
    values, vectors = np.linalg.eigh(np.cov(standard.T, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = next(k for k in range(1, Q + 1) if values[:k].sum() >= 0.9 * values.sum())
    along = vectors.T @ own
    expected = [
        distances[9],
        np.sqrt(sum(along[i] ** 2 / values[i] for i in range(kept))),
        np.linalg.norm(along[kept:]),
    ]
    assert reference.scores(query[None], [None])[0] == pytest.approx(expected, rel=1e-6)


def test_a_person_s_own_sources_are_not_near(features, reference):
    alone, with_own = reference.scores(features[[0, 0]], ["S0", None])
    apart = np.sort(np.linalg.norm(reference._known[1:] - reference._known[0], axis=1))
    assert alone[0] == pytest.approx(apart[9]) and with_own[0] == pytest.approx(apart[8])


@given(st.integers(0, 2**32 - 1), st.integers(5, 60))
@settings(max_examples=30, deadline=None)
def test_a_p_value_is_the_least_level_that_a_plain_count_reaches(seed, n_people):
    rng = np.random.default_rng(seed)
    people = np.concatenate([np.arange(n_people), rng.integers(0, n_people, 7)])
    scores = rng.exponential(1, (len(people), len(SCORES)))
    query = rng.exponential(2, (1, len(SCORES)))
    (found,) = strangeness(query, strangeness_scale(scores, people))
    for column, told in enumerate(found.by_score):
        shares = [np.mean(scores[people == person, column] >= query[0, column]) for person in range(n_people)]
        p = (1 + sum(shares)) / (n_people + 1)
        assert told == min((level for level in LEVELS if p <= level + 1e-9), default=1.0)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(20, 200))
@example(seed=0, n=49)
@example(seed=0, n=50)
@settings(max_examples=8, deadline=None)
def test_what_is_strange_at_a_level_lies_outside_of_the_interval_of_mapie(conformal_half_width, seed, n):
    scores = np.random.default_rng(seed).exponential(1, (n, len(SCORES)))
    scale = strangeness_scale(scores, np.arange(n))
    for level, threshold in zip(LEVELS, scale.thresholds[0], strict=True):
        assert (threshold is None) == (level * (n + 1) < 1)
        if level * n > 1 + 1e-9:  # MAPIE answers from one more person on
            assert threshold == pytest.approx(conformal_half_width(scores[:, 0], 1 - level))


def test_people_like_the_known_ones_are_called_strange_as_often_as_stated(rng):
    strange = []
    for _ in range(40):
        scores = rng.exponential(1, (260, len(SCORES)))
        scale = strangeness_scale(scores[:60], np.arange(60))
        strange += [one.unusual for one in strangeness(scores[60:], scale)]
    assert 0.02 < np.mean(strange) < 0.055


def test_a_strange_query_is_told_with_the_score_that_stands_out(features, reference, rng):
    new = reference.scores(features, [f"S{row}" for row in range(N)])
    scale = strangeness_scale(new, np.arange(N))
    far = np.full((1, Q), 100, dtype=np.float32)
    (found,) = strangeness(reference.scores(far, [None]), scale)
    assert found.unusual and found.p == 0.005
    assert "unlike anything known (p <= 0.005 against 200 calibration people)" in found.sentence()
    assert "a real image" in found.sentence(simulated=True)
    (usual,) = strangeness(np.median(new, axis=0)[None], scale)
    assert not usual.unusual
