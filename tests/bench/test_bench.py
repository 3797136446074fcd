"""`mris bench`: ratios are those of the clock, and every operation is measured."""

import itertools

import numpy as np
import pytest
import torch

import mris
from mris.bench import measured, queries
from mris.bench.measured import Measured, beside
from mris.bench.queries import measure_queries
from mris.bench.training import bare_loop, random_cohort, train_an_epoch, trained_on


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on as the test says."""
    now = [0.0]
    monkeypatch.setattr(measured.time, "perf_counter", lambda: now[0])
    return now


def test_twice_the_time_of_the_bare_operation_is_half_its_rate(clock: list[float]) -> None:
    rounds = itertools.count()

    def work() -> None:
        clock[0] += 100 if next(rounds) == 0 else 2  # the first round warms up

    def bare() -> None:
        clock[0] += 1

    found = beside("add", "numbers", 10, work, bare, usual=0.6, rounds=3)
    assert found == Measured("add", "numbers", 5, 10, 0.5, 0.6)
    assert not found.sound


def test_every_operation_on_queries_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_GALLERY": 200, "_PIXELS": 100, "_BATCH": 2, "_QUERIES": 3}.items():
        monkeypatch.setattr(queries, name, value)
    found = list(measure_queries(mris.digital_knees(), np.random.default_rng(0), rounds=1))
    assert [one.name.split()[0] for one in found] == ["encode", "search", "average", "synthesize"]
    assert all(one.rate > 0 and one.bare > 0 for one in found)


@pytest.mark.parametrize("objective", ["triplet", "both"])
def test_the_bare_loop_makes_the_steps_of_a_training(objective, tmp_path) -> None:
    cohort = random_cohort(tmp_path, people=8, size=32)
    weights = []
    for way in (train_an_epoch, bare_loop):
        module, data = trained_on(cohort, objective, batch_size=8, width=8, rotation=0, contrast=0, noise=0)
        plan = data.reader.read(np.arange(8))
        seconds = way(module, data if way is train_an_epoch else [plan])
        assert seconds > 0
        weights.append(torch.cat([part.detach().flatten() for part in module.encoder.source.parameters()]))
    # AdamW's first step moves a weight by the rate, whatever the size of its gradient: of nearly 0, either way.
    assert torch.isclose(*weights, rtol=0, atol=1e-5).float().mean() > 0.99
