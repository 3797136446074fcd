"""A cohort is a sequence of pairs: views, orders and types never change what a pair holds."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.cohort.cohort import Cohort
from mris.cohort.header import CohortHeader
from mris.errors import CohortError, SubjectLeakError

positions = st.lists(st.integers(0, 23), max_size=30)


@given(positions)
def test_reading_in_any_order_is_indexing_the_whole(cohort_of_24: Cohort, which: list[int]) -> None:
    sources, targets = cohort_of_24.read_sources(), cohort_of_24.read_targets()
    chosen = np.array(which, dtype=np.int64)
    np.testing.assert_array_equal(cohort_of_24.read_sources(which), sources[chosen])
    np.testing.assert_array_equal(cohort_of_24.read_targets(which), targets[chosen])
    view = cohort_of_24.select(which)
    assert view.keys.tolist() == cohort_of_24.keys[chosen].tolist()
    np.testing.assert_array_equal(view.read_sources(), sources[chosen])
    np.testing.assert_array_equal(view.label("klg"), cohort_of_24.label("klg")[chosen])


@given(positions, st.integers(1, 12), st.sampled_from([None, ["outer"], ["outer", "inner"]]))
def test_batches_give_every_pair_once_in_order(
    cohort_of_24: Cohort, which: list[int], batch_size: int, regions: list[str] | None
) -> None:
    view = cohort_of_24.select(which)
    batches = list(view.batches(batch_size, regions))
    assert [place for batch in batches for place in batch.positions.tolist()] == list(range(len(which)))
    assert all(len(batch.sources) == batch_size for batch in batches[:-1])
    if batches:
        np.testing.assert_array_equal(np.concatenate([batch.sources for batch in batches]), view.read_sources())
        np.testing.assert_array_equal(
            np.concatenate([batch.targets for batch in batches]), view.read_targets(regions=regions)
        )


def test_images_come_as_contiguous_float32_of_the_stated_shapes(cohort_of_24: Cohort) -> None:
    sources, targets = cohort_of_24.read_sources([3, 1]), cohort_of_24.read_targets([3, 1])
    assert sources.dtype == targets.dtype == np.float32
    assert sources.shape == (2, *cohort_of_24.header.source_shape) == (2, 1, 6, 6)
    assert targets.shape == (2, *cohort_of_24.header.target_shape) == (2, 2, 5, 5)
    assert sources.flags.c_contiguous
    assert sources.flags.writeable
    assert np.isnan(targets[:, :, 0]).all()
    assert np.isfinite(targets[:, :, 1:]).all()


def test_a_region_is_a_channel_and_regions_come_in_the_order_asked(cohort_of_24: Cohort) -> None:
    both = cohort_of_24.read_targets()
    np.testing.assert_array_equal(cohort_of_24.read_targets(regions=["outer"]), both[:, 1:])
    np.testing.assert_array_equal(cohort_of_24.read_targets(regions=["outer", "inner"]), both[:, ::-1])
    with pytest.raises(CohortError, match=r"no region 'iner'; did you mean 'inner'\? there are: inner, outer"):
        cohort_of_24.read_targets(regions=["iner"])
    with pytest.raises(CohortError, match="regions is 'inner'; give a sequence"):
        cohort_of_24.read_targets(regions="inner")


def test_splits_are_views_and_an_unknown_one_is_refused(cohort_of_24: Cohort) -> None:
    train, test = cohort_of_24.split("train"), cohort_of_24.split("test")
    assert set(train.splits) == {"train"}
    assert len(train) + len(test) == len(cohort_of_24.split("test", "train")) == len(cohort_of_24) == 24
    assert not set(train.subjects) & set(test.subjects)
    assert train.select([2, 0]).keys.tolist() == train.keys[[2, 0]].tolist()
    with pytest.raises(CohortError, match=r"no split 'tests'; did you mean 'test'\? there are: test, train"):
        cohort_of_24.split("tests")


def test_a_fold_moves_pairs_to_other_splits_and_leaves_the_cohort_as_it_was(cohort_of_24: Cohort) -> None:
    before = cohort_of_24.splits.tolist()
    view = cohort_of_24.select(range(5, 20))
    left_out = view.subjects[0]
    fold = view.with_splits(np.where(view.subjects == left_out, "test", "train"))
    assert set(fold.split("test").subjects) == {left_out}
    assert sorted([*fold.split("train").keys, *fold.split("test").keys]) == sorted(view.keys)
    np.testing.assert_array_equal(fold.read_targets(), view.read_targets())
    assert cohort_of_24.splits.tolist() == before


def test_a_fold_that_divides_a_subject_or_has_another_length_is_refused(cohort_of_24: Cohort) -> None:
    names = ["train"] * len(cohort_of_24)
    with pytest.raises(CohortError, match="23 splits are given for 24 pairs"):
        cohort_of_24.with_splits(names[:-1])
    with pytest.raises(SubjectLeakError, match=cohort_of_24.subjects[0]):
        cohort_of_24.with_splits(["test", *names[1:]])


def test_a_person_whom_an_earlier_cohort_spells_in_two_ways_is_one_subject(
    make_cohort: Callable[..., Cohort], rng: np.random.Generator
) -> None:
    cohort = make_cohort(["Am\u00e9lie", "Ame\u0301lie", "Jos\u00e9"], rng=rng, timepoints=["0", "12", "0"])
    assert cohort.subjects.tolist() == ["Am\u00e9lie", "Am\u00e9lie", "Jos\u00e9"]
    with pytest.raises(SubjectLeakError, match="Am\u00e9lie"):
        cohort.with_splits(["train", "test", "train"])


def test_labels_keep_their_types_and_missing_values(cohort_of_24: Cohort) -> None:
    klg, note = cohort_of_24.label("klg"), cohort_of_24.label("note.of.reader")
    of_one = cohort_of_24.subjects == "P1"
    assert klg.dtype == np.float64
    assert np.isnan(klg[of_one]).all()
    assert klg[cohort_of_24.subjects == "P8"].tolist() == [3.0, 3.0]
    assert set(note[of_one]) == {"clear"}
    assert set(note[~of_one]) == {""}
    with pytest.raises(CohortError, match=r"no label 'KLG'; there are: klg, note.of.reader"):
        cohort_of_24.label("KLG")


def test_the_baseline_is_the_first_visit_of_each_side_of_each_subject(cohort_of_24: Cohort) -> None:
    assert cohort_of_24.timepoints[cohort_of_24.is_baseline].tolist() == ["2"] * 20
    assert set(cohort_of_24.timepoints[~cohort_of_24.is_baseline]) == {"12"}
    late = cohort_of_24.select(cohort_of_24.timepoints == "12")
    assert not late.is_baseline.any(), "a view does not make a later visit a baseline"


def test_the_atlas_mask_is_where_a_training_target_has_a_value(cohort_of_24: Cohort) -> None:
    expected = np.isfinite(cohort_of_24.split("train").read_targets()).any(axis=0)
    np.testing.assert_array_equal(cohort_of_24.atlas_mask, expected)


def test_the_description_names_pairs_splits_labels_and_coverage(cohort_of_24: Cohort) -> None:
    text = cohort_of_24.describe()
    for part in ("24 pairs of 12 subjects", "train: ", "klg: 0 6, 1 4", "missing 2", "inner 80%", "left 16, right 8"):
        assert part in text


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ([24], "position 24 is outside a cohort of 24 pairs"),
        ([-1], "position -1 is outside"),
        (np.ones(23, dtype=bool), r"mask of shape \(23,\) cannot select from 24 pairs"),
        ([0.5], "float64 of shape"),
        ([[1]], r"shape \(1, 1\)"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(cohort_of_24: Cohort, which: object, message: str) -> None:
    with pytest.raises(CohortError, match=message):
        cohort_of_24.select(which)  # type: ignore[arg-type]


def test_an_empty_view_is_a_cohort_of_no_pairs(cohort_of_24: Cohort) -> None:
    empty = cohort_of_24.select(np.zeros(24, dtype=bool))
    assert len(empty) == 0
    assert empty.read_targets().shape == (0, 2, 5, 5)
    assert list(empty.batches(4)) == []
    assert empty.keys.shape == empty.is_baseline.shape == (0,)


def test_a_batch_of_no_size_is_refused(cohort_of_24: Cohort) -> None:
    with pytest.raises(CohortError, match="batch size is 0"):
        next(cohort_of_24.batches(0))


def test_a_cohort_travels_to_another_process(cohort_of_24: Cohort) -> None:
    view = cohort_of_24.split("test")
    view.read_sources([0])
    copy = pickle.loads(pickle.dumps(view))  # noqa: S301 - what spawn does to send it
    assert copy.keys.tolist() == view.keys.tolist()
    np.testing.assert_array_equal(copy.read_sources(), view.read_sources())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:lance is not fork-safe", "ignore::DeprecationWarning")
def test_a_forked_child_is_told_to_spawn_instead_of_hanging(cohort_of_24: Cohort) -> None:
    cohort_of_24.read_sources([0])
    child = os.fork()
    if child == 0:
        try:
            cohort_of_24.read_sources([0])
        except CohortError as error:
            os._exit(7 if "spawn" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.fixture
def copied(cohort_of_24: Cohort, tmp_path: Path) -> Path:
    shutil.copytree(cohort_of_24.path, tmp_path / "copy")
    return tmp_path / "copy"


def _edit_header(folder: Path, **values: object) -> None:
    header = json.loads((folder / "cohort.json").read_text())
    (folder / "cohort.json").write_text(json.dumps({**header, **values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format_version": 99}, "format_version 99; this software reads 1"),
        ({"source_shape": [1, 7, 6]}, "its header asks for 42 float16 a source, its table has fixed_size_list"),
        ({"target_shape": None}, "damaged"),
        ({"source": {"size": [0, 1]}}, "damaged"),
        ({"n_pairs": 25}, "tells of 25 pairs .* its table has 24 pairs"),
        ({"labels": ["klg", "age"]}, r"lacks \['age'\]"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(copied: Path, values: dict[str, object], message: str) -> None:
    _edit_header(copied, **values)
    with pytest.raises(CohortError, match=message):
        Cohort.open(copied)


@pytest.mark.parametrize("length", [0, 1, 200, 400])
def test_a_truncated_header_costs_one_clear_line(copied: Path, length: int) -> None:
    data = (copied / "cohort.json").read_bytes()
    (copied / "cohort.json").write_bytes(data[:length])
    with pytest.raises(CohortError, match=r"cohort\.json is damaged"):
        Cohort.open(copied)


def test_a_header_of_other_json_is_refused(copied: Path) -> None:
    (copied / "cohort.json").write_text("[1, 2]")
    with pytest.raises(CohortError, match="holds a list, not a JSON object"):
        Cohort.open(copied)


def test_a_missing_or_foreign_folder_is_no_cohort(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CohortError, match=r"is not a cohort .*make one with `mris prepare`"):
            Cohort.open(folder)


def test_a_lost_or_torn_table_is_a_clear_error(copied: Path) -> None:
    for data in (copied / "pairs.lance" / "data").iterdir():
        data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(CohortError, match=r"pairs\.lance cannot be read"):
        Cohort.open(copied).read_sources()
    shutil.rmtree(copied / "pairs.lance")
    with pytest.raises(CohortError, match=r"pairs\.lance cannot be read"):
        Cohort.open(copied)


def test_a_damaged_atlas_mask_is_a_clear_error(copied: Path) -> None:
    cohort = Cohort.open(copied)
    (copied / "atlas_mask.npz").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(CohortError, match=r"atlas_mask\.npz cannot be read"):
        _ = cohort.atlas_mask
    np.savez(copied / "atlas_mask.npz", mask=np.ones((2, 4, 4), dtype=bool))
    with pytest.raises(CohortError, match=r"holds bool \(2, 4, 4\), but bool \(2, 5, 5\) is asked for"):
        _ = Cohort.open(copied).atlas_mask
    (copied / "atlas_mask.npz").unlink()
    with pytest.raises(CohortError, match="cannot be read"):
        _ = Cohort.open(copied).atlas_mask


def test_a_header_survives_json(cohort_of_24: Cohort) -> None:
    for header in (cohort_of_24.header, cohort_of_24.header.model_copy(update={"target_spacing": (0.5, 0.25)})):
        assert CohortHeader.model_validate(json.loads(json.dumps(header.to_json()))) == header
