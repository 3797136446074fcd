"""A bundle of digital knees alone."""

from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import call
from tests.evaluation.conftest import synthetic_cohort

from mris.digital import knees
from mris.digital.knees import PARTS, DigitalKnees, digital_parts, make_digital_knees, shown_people
from mris.errors import BundleError, SettingsError
from mris.training.run import Run, run_card

TINY = DigitalKnees(people=60, shown=20, size=32, epochs=1)


@pytest.mark.slow
def test_a_bundle_of_nobody_says_so_holds_whom_it_should_and_has_intervals(tmp_path: Path) -> None:
    bundle = make_digital_knees(tmp_path / "digital.bundle", tmp_path / "work", TINY, progress=False)
    assert bundle.header.origin == "simulated"
    assert len(set(bundle.subjects.tolist())) == len(bundle.keys) == 20
    card = (tmp_path / "digital.bundle" / "model_card.md").read_text()
    assert "88 mm region" in card and "simulated" in card


def test_a_place_that_is_taken_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match="exists; remove it, or choose another place"):
        make_digital_knees(tmp_path / "taken", tmp_path / "work", TINY, progress=False)
    with pytest.raises(SettingsError, match="people shown are 1: a database has at least 2"):
        make_digital_knees(tmp_path / "new", tmp_path / "work", DigitalKnees(shown=1), progress=False)
    with pytest.raises(SettingsError, match="size is 129: radiographs are simulated with 128 pixels a side"):
        make_digital_knees(tmp_path / "new", tmp_path / "work", DigitalKnees(size=129), progress=False)
    with pytest.raises(SettingsError, match=r"work .*new/work lies in .*new, which becomes the bundle"):
        make_digital_knees(tmp_path / "new", tmp_path / "new" / "work", TINY, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_bundle_in_the_folder_one_stands_in_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("bundle", "make-digital", ".") == 2
    assert capsys.readouterr().err.startswith("mris: work .work lies in .")


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the work, in which a cohort lies as if it had been simulated and prepared."""
    monkeypatch.setattr(knees, "write_phantom", lambda *_, **__: None)
    monkeypatch.setattr(knees, "prepare_cohort", lambda *_, **__: None)
    synthetic_cohort(tmp_path / "work" / "cohort")
    return tmp_path / "work"


def test_stopped_in_its_first_epoch_the_same_call_goes_on(simulated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(cohort, run, *, settings, seed, resume, progress) -> None:
        card = run_card("metric", cohort, settings, cohort.regions, seed)
        Run.open(run, card, result="encoder", resume=resume).begin()
        raise KeyboardInterrupt

    monkeypatch.setattr(knees, "train_encoders", stopped)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            make_digital_knees(simulated.parent / "digital.bundle", simulated, DigitalKnees(), progress=False)


def test_more_people_to_show_than_train_are_refused_before_the_training(simulated: Path) -> None:
    with pytest.raises(SettingsError, match="people shown are 99, and 12 train"):
        make_digital_knees(simulated.parent / "new", simulated, DigitalKnees(shown=99), progress=False)
    assert not (simulated / "run").exists()


def test_only_training_people_are_left_out_and_one_pair_of_each_stays(tmp_path: Path) -> None:
    cohort = synthetic_cohort(tmp_path)
    people = np.unique(cohort.split("train").subjects)
    few = shown_people(cohort, 3, np.random.default_rng(0))
    left = np.unique(few.split("train").subjects)
    assert len(left) == 3 and set(left) < set(people)
    assert len(few.split("train")) == 3
    for split in set(cohort.splits) - {"train"}:
        assert few.split(split).keys.tolist() == cohort.split(split).keys.tolist()
    assert shown_people(cohort, None, np.random.default_rng(0)) is cohort
    with pytest.raises(SettingsError, match=rf"people shown are 99, and {len(people)} train"):
        shown_people(cohort, 99, np.random.default_rng(0))


def test_parts_lie_apart_and_each_in_its_own_region() -> None:
    parts = digital_parts(48)
    assert sorted(name for names in parts.values() for name in names) == sorted(PARTS)
    for masks in parts.values():
        assert all(mask.shape == (48, 48) and mask.any() for mask in masks.values())
        assert np.sum(list(masks.values()), axis=0).max() == 1
