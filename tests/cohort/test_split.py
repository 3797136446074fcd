"""A split is by subject, keeps its fractions, and depends on nothing but names and a seed."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.cohort.split import check_disjoint, leaking_subjects, split_by_subject
from mris.defaults import FRACTIONS
from mris.errors import SettingsError, SubjectLeakError

HALVES = {"train": 0.5, "test": 0.5}
subject_rows = st.lists(st.sampled_from([f"S{number:02d}" for number in range(40)]), min_size=1, max_size=120)
fractions_in_tenths = st.sampled_from([(7, 1, 2), (5, 5, 0), (8, 1, 1), (10, 0, 0), (4, 3, 3), (6, 2, 2)])


def _fractions(tenths: tuple[int, int, int]) -> dict[str, float]:
    return dict(zip(("train", "val", "test"), (share / 10 for share in tenths), strict=True))


def _split_or_none(*arguments: object, **options: object) -> np.ndarray | None:
    try:
        return split_by_subject(*arguments, **options)  # type: ignore[arg-type]
    except SettingsError as error:
        assert "subject" in str(error)
        return None


@given(subject_rows, fractions_in_tenths, st.integers(0, 5), st.booleans())
def test_splits_are_disjoint_by_subject_and_each_stratum_keeps_its_fractions_to_within_one(
    subjects: list[str], tenths: tuple[int, int, int], seed: int, stratified: bool
) -> None:
    fractions = _fractions(tenths)
    strata = [int(subject[1:]) % 3 for subject in subjects] if stratified else None
    splits = _split_or_none(subjects, fractions=fractions, seed=seed, stratify=strata)
    if splits is None:
        return
    check_disjoint(subjects, splits.tolist())
    members: dict[object, set[tuple[str, str]]] = defaultdict(set)
    for index, (subject, split) in enumerate(zip(subjects, splits.tolist(), strict=True)):
        members[strata[index] if strata else None].add((subject, split))
    for stratum in members.values():
        counts = Counter(split for _, split in stratum)
        for name, share in fractions.items():
            assert abs(counts[name] - share * len(stratum)) < 1 + 1e-9
    if not stratified:
        people = dict(zip(subjects, splits.tolist(), strict=True))
        assert sum(Counter(people.values()).values()) == len(set(subjects))


@given(subject_rows, st.randoms(use_true_random=False), st.integers(0, 5), st.booleans())
def test_the_order_of_the_rows_does_not_matter(
    subjects: list[str], random: object, seed: int, stratified: bool
) -> None:
    order = list(range(len(subjects)))
    random.shuffle(order)  # type: ignore[attr-defined]
    label = [int(subject[1:]) % 4 for subject in subjects] if stratified else None
    there = _split_or_none(subjects, fractions=HALVES, seed=seed, stratify=label)
    shuffled = [subjects[place] for place in order]
    label = [label[place] for place in order] if label else None
    back = _split_or_none(shuffled, fractions=HALVES, seed=seed, stratify=label)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert dict(zip(subjects, there, strict=True)) == dict(zip(shuffled, back, strict=True))


def test_a_thousand_subjects_in_tiny_strata_still_keep_the_fractions_of_the_whole() -> None:
    subjects = [f"S{number}" for number in range(1000)]
    for size in (1, 2, 3, 7):
        strata = [f"{number // size:04d}" for number in range(1000)]
        counts = Counter(split_by_subject(subjects, stratify=strata, seed=3).tolist())
        for name, share in FRACTIONS.items():
            assert abs(counts[name] - 1000 * share) <= 3, (size, counts)


def test_fractions_are_the_decimals_that_were_written() -> None:
    # In floats 0.1 * 30 exceeds 3 and 0.7 * 10 falls short of 7: quotas must not be rounded by that.
    counts = Counter(split_by_subject([f"S{n}" for n in range(30)]).tolist())
    assert counts == {"train": 21, "val": 3, "test": 6}


def test_another_seed_divides_otherwise_and_the_same_seed_alike() -> None:
    subjects = [f"S{number}" for number in range(50)]
    assert split_by_subject(subjects, seed=1).tolist() == split_by_subject(subjects, seed=1).tolist()
    assert split_by_subject(subjects, seed=1).tolist() != split_by_subject(subjects, seed=2).tolist()


def test_an_added_subject_moves_few_of_the_others() -> None:
    subjects = [f"S{number}" for number in range(200)]
    before = split_by_subject(subjects, seed=0)
    after = split_by_subject([*subjects, "late"], seed=0)[:-1]
    assert (before != after).sum() <= 4


def test_a_subject_whose_label_changes_belongs_to_the_label_of_most_of_its_rows() -> None:
    subjects = ["a", "a", "a", "b", "c", "d"]
    by_majority = split_by_subject(subjects, fractions=HALVES, stratify=[1, 2, 2, 2, 1, 1], seed=0)
    by_constant = split_by_subject(subjects, fractions=HALVES, stratify=[2, 2, 2, 2, 1, 1], seed=0)
    assert by_majority.tolist() == by_constant.tolist()


def test_missing_labels_are_one_stratum_however_they_are_written() -> None:
    subjects = list("abcdefgh")
    splits = split_by_subject(subjects, fractions=HALVES, stratify=[None, math.nan, "", np.nan, 1, 1, 1, 1])
    assert Counter(splits[:4].tolist()) == Counter(splits[4:].tolist()) == {"train": 2, "test": 2}


@pytest.mark.parametrize(
    ("fractions", "subjects", "message"),
    [
        ({"train": 0.7, "test": 0.2}, "abc", "sum to 0.9; they must sum to 1"),
        ({"train": -0.5, "test": 1.5}, "abc", r"each must lie in \[0, 1\]"),
        ({"train": math.nan, "test": 1.0}, "abc", "nan"),
        ({}, "abc", "absent"),
        ({"train": 0.7, "val": 0.1, "test": 0.2}, "a", "1 subject cannot fill 3 splits"),
        ({"train": 0.7, "val": 0.1, "test": 0.2}, "aabb", "2 subjects cannot fill 3 splits"),
        ({"train": 0.98, "val": 0.01, "test": 0.01}, "abcdef", "of 6 subjects.* would have no subject"),
    ],
)
def test_a_division_that_cannot_be_made_is_refused_with_the_numbers(
    fractions: dict[str, float], subjects: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        split_by_subject(list(subjects), fractions=fractions)


def test_stratify_needs_a_value_for_each_row() -> None:
    with pytest.raises(SettingsError, match="2 values for 3 rows"):
        split_by_subject(["a", "b", "c"], stratify=[1, 2])


def test_a_leak_is_refused_with_the_names_of_the_subjects() -> None:
    subjects = [*"aabbcc", *(f"x{n}" for n in range(9)), *(f"x{n}" for n in range(9))]
    splits = ["train", "test", "val", "val", "train", "val", *["train"] * 9, *["test"] * 9]
    assert leaking_subjects(subjects[:6], splits[:6]) == {"a": ("test", "train"), "c": ("train", "val")}
    with pytest.raises(
        SubjectLeakError, match=r"a is in 'test' and 'train'; c is in .*; and 6 more; give each subject one"
    ):
        check_disjoint(subjects, splits)
