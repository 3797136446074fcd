import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.cohort.cohort import Cohort
from mris.errors import CohortError, SettingsError
from mris.evaluation.strata import _groups_of_label, check_merge, groups_of

_NUMBERS = st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.5, 10.0, np.nan]), min_size=1, max_size=30)
_TEXTS = st.lists(st.sampled_from(["", " ", "a", "b", "10", "9", "missing"]), min_size=1, max_size=30)


@given(values=_NUMBERS | _TEXTS)
def test_every_image_is_in_exactly_one_group_of_a_label(values: list) -> None:
    groups = _groups_of_label("label", np.array(values), np.arange(len(values)), {"1": "0-1", "0": "0-1", "a": "ab"})
    assert (np.sum([group.member for group in groups], axis=0) == 1).all()
    assert all(group.member.any() for group in groups)
    assert len({group.name for group in groups}) == len(groups)


def test_numbers_stand_in_their_order_and_missing_ones_last() -> None:
    groups = _groups_of_label("klg", np.array([10.0, np.nan, 2.0, -0.0, 0.0]), np.arange(5), {})
    assert [(group.name, int(group.member.sum())) for group in groups] == [
        ("0", 2),
        ("2", 1),
        ("10", 1),
        ("missing", 1),
    ]


def test_merged_values_stand_where_the_first_of_them_stands() -> None:
    groups = _groups_of_label("klg", np.array([4.0, 3.0, 1.0, 0.0]), np.arange(4), {"0": "0-1", "1": "0-1"})
    assert [group.name for group in groups] == ["0-1", "3", "4"]
    assert groups[0].member.tolist() == [False, False, True, True]


def test_all_images_come_first(knees: Cohort) -> None:
    groups = groups_of(knees, ["site", "klg"])
    assert (groups[0].label, groups[0].name) == ("", "all")
    assert groups[0].member.all()
    assert [group.name for group in groups if group.label == "site"] == ["A", "B"]
    assert groups[-1].name == "missing"


def test_an_unknown_label_is_answered_with_the_known_ones(knees: Cohort) -> None:
    with pytest.raises(CohortError, match=r"no label 'grade'.*klg.*site"):
        groups_of(knees, ["grade"])


def test_a_measurement_makes_no_groups() -> None:
    with pytest.raises(SettingsError, match="label 'age' has 21 different values; strata need at most 20"):
        _groups_of_label("age", np.arange(21.0), np.arange(21), {})


def test_a_label_named_twice_and_a_stray_merge_are_refused(knees: Cohort) -> None:
    with pytest.raises(SettingsError, match="name one twice"):
        groups_of(knees, ["klg", "klg"])
    with pytest.raises(SettingsError, match=r"merge names \['klg'\]"):
        groups_of(knees, ["site"], {"klg": {"0": "0-1"}})


def test_a_value_may_be_merged_where_any_view_has_it_and_must_be_one(cohort_of) -> None:
    images = np.ones((2, 1, 2, 2), dtype=np.float32)
    columns = {"subjects": ["a", "b"], "splits": ["train", "test"], "regions": ["target"]}
    cohort = cohort_of(images, images, labels={"klg": [0.0, 1.0]}, **columns)
    training, test = cohort.split("train"), cohort.split("test")
    check_merge({"klg": {"0": "0-1", "1": "0-1"}}, (test, training))
    with pytest.raises(SettingsError, match="merge of 'klg': no image has the value '0'; there are: 1"):
        check_merge({"klg": {"0": "0-1"}}, (test,))
