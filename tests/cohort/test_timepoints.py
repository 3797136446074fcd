"""Timepoints are free text; their order is the order of the visits."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.cohort.timepoints import first_visits, timepoint_order


@pytest.mark.parametrize(
    "visits",
    [
        ["2", "12", "100"],
        ["V00", "V01", "V10"],
        ["V0", "V9", "V10"],
        ["ENROLLMENT", "12_MONTH", "18_MONTH", "24_MONTH", "108_MONTH"],
        ["baseline", "1", "2"],
        ["-3", "0", "0.5", "1.5", "10"],
        ["2001-02-03", "2001-11-01", "2002-01-01"],
        ["bl", "m06", "m12", "m108"],
    ],
)
def test_visits_named_in_many_ways_come_in_their_order(visits: list[str], rng: np.random.Generator) -> None:
    for _ in range(5):
        assert sorted(rng.permutation(visits).tolist(), key=timepoint_order) == visits


@given(st.lists(st.integers(0, 10**9), unique=True), st.sampled_from(["", "V", "month "]))
def test_numbers_compare_as_numbers_whatever_stands_before_them(numbers: list[int], prefix: str) -> None:
    found = sorted((f"{prefix}{number}" for number in numbers), key=timepoint_order)
    assert found == [f"{prefix}{number}" for number in sorted(numbers)]


@given(st.lists(st.text(max_size=6), min_size=1), st.randoms(use_true_random=False))
def test_any_texts_have_one_complete_order(names: list[str], random: object) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sorted(shuffled, key=timepoint_order) == sorted(names, key=timepoint_order)


def test_each_group_has_its_own_first_visit() -> None:
    groups = [("a", "left"), ("a", "left"), ("a", "right"), ("b", ""), ("b", ""), ("b", "")]
    assert first_visits(groups, ["12", "2", "12", "V10", "V2", "V2"]).tolist() == [False, True, True, False, True, True]


@pytest.mark.data
def test_the_visits_of_a_real_study_are_in_the_order_of_their_months(data_dir: Path) -> None:
    with (data_dir / "oai_sheets/test_set/mri_xray.csv").open() as file:
        rows = list(csv.DictReader(file))
    ordered = sorted({row["month"] for row in rows}, key=timepoint_order)
    assert ordered == ["00_MONTH", "12_MONTH", "24_MONTH", "36_MONTH", "48_MONTH", "72_MONTH"]
    first = first_visits([(row["patient_id"],) for row in rows], [row["month"] for row in rows])
    assert first.sum() == len({row["patient_id"] for row in rows})
