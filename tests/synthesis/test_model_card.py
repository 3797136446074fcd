"""The model card tells what is in the database in words people know, and nothing of a single person."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mris.cohort.cohort import Cohort
from mris.synthesis.model_card import FEWEST_SUBJECTS, model_card
from mris.synthesis.onnx_encoder import OnnxEncoder

WriteLines = Callable[..., list[str]]


@pytest.fixture
def lines_of(
    make_cohort: Callable[..., Cohort], export_linear: Callable[..., Path], rng: np.random.Generator
) -> WriteLines:
    card = OnnxEncoder(export_linear(make_cohort(["S1", "S2"], rng=rng))).card

    def write(labels: Sequence[dict[str, Any]], **given: Any) -> list[str]:
        n = len(labels)
        columns: dict[str, Any] = {
            "readouts": [None],
            "subjects": np.arange(n),
            "splits": np.full(n, "train"),
            "sides": np.full(n, "left"),
            **given,
        }
        text = model_card(
            identity="x", created="today", software="mris", unit="mm", cards=[card], labels=labels, **columns
        )
        return text.splitlines()

    return write


@pytest.fixture
def label_lines(lines_of: WriteLines) -> Callable[..., list[str]]:
    """Lines of one label, of which each value has enough subjects unless a test says otherwise."""

    def write(values: Sequence[Any], **given: Any) -> list[str]:
        return [line for line in lines_of([{"label": value} for value in values], **given) if "label" in line]

    return write


def test_grades_that_a_table_keeps_as_floats_are_whole_numbers_in_the_card(label_lines: WriteLines) -> None:
    values = [0.0, 1.0, 1.0, None, 4.0, 0.0, 0.0, 4.0] * 10
    assert label_lines(values) == ["| label | 0: 30, 1: 20, 4: 20, missing: 10 |"]


def test_half_grades_long_numbers_and_codes_are_written_as_they_are(label_lines: WriteLines) -> None:
    assert label_lines([0.5, 1234567.0] * 10) == ["| label | 0.5: 10, 1234567: 10 |"]
    assert label_lines(["B", "A"] * 10) == ["| label | A: 10, B: 10 |"]


def test_numbers_stand_in_the_order_of_their_size(label_lines: WriteLines) -> None:
    assert label_lines([10.0, 9.0, -1.0] * 10) == ["| label | -1: 10, 9: 10, 10: 10 |"]


def test_words_are_left_out_and_their_column_is_named(label_lines: WriteLines) -> None:
    assert label_lines(["Anna_Koch", "M"] * 50) == ["| labels left out (words, or many values) | label |"]
    assert label_lines([*range(13)] * 20) == ["| labels left out (words, or many values) | label |"]


def test_a_value_of_few_subjects_is_counted_with_others(label_lines: WriteLines) -> None:
    assert label_lines([0] * 12 + [3] * 9) == ["| label | 0: 12, others: fewer than 10 subjects |"]
    assert label_lines([0] * 12 + [3] * 9 + [4]) == ["| label | 0: 12, others: 10 |"]


def test_subjects_are_counted_and_not_their_entries(label_lines: WriteLines) -> None:
    one = np.zeros(40, dtype=int)
    assert label_lines([4] * 40, subjects=one) == ["| label | others: fewer than 10 subjects |"]
    assert label_lines([4] * 40, subjects=np.arange(40) // 4) == ["| label | 4: 40 |"]


def test_sides_and_splits_of_few_subjects_are_pooled_too(lines_of: WriteLines) -> None:
    few = np.array(["left"] * 12 + ["right"] * 2)
    lines = lines_of([{}] * 14, sides=few, splits=np.array(["train"] * 12 + ["pilot"] * 2))
    assert "| side | left: 12, others: fewer than 10 subjects |" in lines
    assert "| splits of the cohorts | train: 12, others: fewer than 10 subjects |" in lines


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    entries=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from([None, "A", "abc", "Anna_Koch", 0, 1.5, 999])),
        min_size=1,
        max_size=80,
    )
)
def test_no_value_of_few_subjects_is_ever_shown(lines_of: WriteLines, entries: list[tuple[int, Any]]) -> None:
    subjects = np.array([subject for subject, _ in entries])
    (line,) = [text for text in lines_of([{"label": v} for _, v in entries], subjects=subjects) if "label" in text]
    assert "Anna" not in line
    for value, written in ((None, "missing"), ("A", "A"), ("abc", "abc"), (0, "0"), (1.5, "1.5"), (999, "999")):
        people = {subject for subject, found in entries if found == value and type(found) is type(value)}
        if f" {written}: " in line:
            assert len(people) >= FEWEST_SUBJECTS
