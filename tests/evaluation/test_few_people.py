"""Results name no stratum of fewer than ten people; its weight goes where its images go."""

import numpy as np
import pytest

from mris.evaluation.prevalence import check_prevalences, describe_prevalences
from mris.evaluation.results import PerImage
from mris.evaluation.strata import _groups_of_label, values_by_label

PEOPLE = np.repeat(np.arange(30), 2)  # two images each
GRADES = np.repeat([0.0] * 12 + [2.0] * 10 + [3.0] * 5 + [4.0] * 3, 2)


@pytest.fixture(autouse=True)
def ten_people_are_needed(every_value_is_named: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mris.cohort.few_people.FEWEST_SUBJECTS", 10)


def test_values_that_fewer_than_ten_people_share_are_one_stratum_of_others() -> None:
    groups = _groups_of_label("klg", GRADES, PEOPLE, {})
    assert [(group.name, group.member.sum(), group.values) for group in groups] == [
        ("0", 24, ("0",)),
        ("2", 20, ("2",)),
        ("others", 16, ("3", "4")),
    ]
    assert np.array_equal(np.sum([group.member for group in groups], axis=0), np.ones(60))


def test_people_are_counted_and_not_their_images() -> None:
    groups = _groups_of_label("site", np.array(["A"] * 12 + ["B"] * 10), np.array([0] * 12 + [*range(10)]), {})
    assert [group.name for group in groups] == ["B", "others"]


def test_values_merged_to_enough_people_keep_the_name_of_their_stratum() -> None:
    groups = _groups_of_label("klg", GRADES, PEOPLE, {"2": "2-4", "3": "2-4", "4": "2-4"})
    assert [group.name for group in groups] == ["0", "2-4"]


def test_others_weigh_as_much_as_the_values_they_hold() -> None:
    groups = _groups_of_label("klg", GRADES, PEOPLE, {})
    assert values_by_label(groups) == {"klg": ["0", "2", "3", "4"]}
    asked = {"klg": {"0": 0.5, "1": 0.2, "2": 0.2, "3": 0.07, "4": 0.03}}
    check_prevalences(asked, groups, {"klg": ["0", "1", "2", "3", "4"]})
    rows = PerImage((), (), ("gland",), (), np.zeros((0, 1, 60, 0)), np.ones((1, 60), np.int64), {})
    (found,) = describe_prevalences(asked, groups, rows)
    assert found.weights == pytest.approx({"0": 0.5, "1": 0.2, "2": 0.2, "others": 0.1})
    assert found.absent == {"gland": ("1",)}
    again = describe_prevalences({"klg": found.weights}, groups, rows)
    assert again == (found,)
