"""The model card tells people what is in the database, in the words and numbers they know."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mris.cohort.cohort import Cohort
from mris.synthesis.model_card import model_card
from mris.synthesis.onnx_encoder import read_card


@pytest.fixture
def database_lines(
    make_cohort: Callable[..., Cohort], export_linear: Callable[..., Path], rng: np.random.Generator
) -> Callable[[Sequence[Any]], list[str]]:
    card = read_card(export_linear(make_cohort(["S1", "S2"], rng=rng)))

    def write(values: Sequence[Any]) -> list[str]:
        text = model_card(
            identity="x", created="today", software="mris", unit="mm", cards=[card],
            subjects=np.arange(len(values)), splits=np.full(len(values), "train"), sides=np.full(len(values), "left"),
            labels=[{"label": value} for value in values],
        )  # fmt: skip
        return [line for line in text.splitlines() if line.startswith("| label")]

    return write


def test_grades_that_a_table_keeps_as_floats_are_whole_numbers_in_the_card(
    database_lines: Callable[[Sequence[Any]], list[str]],
) -> None:
    assert database_lines([0.0, 1.0, 1.0, None, 4.0, 0.0, 0.0, 4.0]) == ["| label | 0: 3, 1: 2, 4: 2, missing: 1 |"]


def test_half_grades_long_numbers_and_words_are_written_as_they_are(
    database_lines: Callable[[Sequence[Any]], list[str]],
) -> None:
    assert database_lines([0.5, 1234567.0] * 2) == ["| label | 0.5: 2, 1234567: 2 |"]
    assert database_lines(["B", "A"] * 2) == ["| label | A: 2, B: 2 |"]


def test_numbers_stand_in_the_order_of_their_size(database_lines: Callable[[Sequence[Any]], list[str]]) -> None:
    assert database_lines([10.0, 9.0, -1.0] * 2) == ["| label | -1: 2, 9: 2, 10: 2 |"]
