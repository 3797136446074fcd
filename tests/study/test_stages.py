"""Stages: done once for what they depend on, resumed where they stopped, made again when that changes."""

import json
from pathlib import Path

import numpy as np
import pytest

from mris.errors import OutputError
from mris.images.write import write_npz
from mris.study.measure_seed import holds_maps_of
from mris.study.stages import Work, can_resume


class Counted:
    """A stage's work: notes how it was called, and stops in the middle as often as it is told."""

    def __init__(self, stops: int = 0) -> None:
        self.calls: list[tuple[bool, list[str]]] = []
        self.stops = stops

    def __call__(self, folder: Path, resumes: bool) -> None:
        self.calls.append((resumes, sorted(path.name for path in folder.iterdir()) if folder.exists() else []))
        folder.mkdir(exist_ok=True)
        (folder / "first").touch()
        if len(self.calls) <= self.stops:
            raise KeyboardInterrupt
        (folder / "second").touch()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def work(tmp_path: Path, said: list[str]) -> Work:
    return Work(tmp_path / "work", said.append)


def test_a_stage_is_done_once_and_gives_the_same_hash_when_kept(work, said: list[str]) -> None:
    make = Counted()
    keys = {work.stage("seed0/metric", {"epochs": 3, "cohort": "c"}, make) for _ in range(3)}
    assert len(keys) == 1
    assert keys == {
        work.stage("seed0/metric", {"cohort": "c", "epochs": 3}, make)
    }  # the order of names decides nothing
    assert make.calls == [(False, [])]
    assert said == ["seed0/metric: begun", "seed0/metric: done in 0 s", *["seed0/metric: kept"] * 3]


def test_an_interrupted_stage_goes_on_in_its_folder_until_it_is_done(work, said: list[str]) -> None:
    make = Counted(stops=2)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            work.stage("seed0/metric", {"epochs": 3}, make)
    record = work.folder / "stages" / "seed0.metric.json"
    assert not json.loads(record.read_text())["done"]
    work.stage("seed0/metric", {"epochs": 3}, make)
    work.stage("seed0/metric", {"epochs": 3}, make)
    assert make.calls == [(False, []), (True, ["first"]), (True, ["first"])]
    assert json.loads(record.read_text())["done"]
    assert said[-3:] == ["seed0/metric: resumed", "seed0/metric: done in 0 s", "seed0/metric: kept"]


def test_an_interrupted_stage_of_something_else_is_not_resumed(work) -> None:
    make = Counted(stops=1)
    with pytest.raises(KeyboardInterrupt):
        work.stage("seed0/metric", {"epochs": 3}, make)
    work.stage("seed0/metric", {"epochs": 4}, make)
    assert make.calls == [(False, []), (False, [])]


def test_a_change_removes_and_reruns_a_stage_and_those_that_depend_on_its_hash_only(work, said: list[str]) -> None:
    makes = {name: Counted() for name in ("metric", "bundle", "maps", "unet")}

    def run(epochs: int) -> None:
        metric = work.stage("metric", {"epochs": epochs}, makes["metric"])
        bundle = work.stage("bundle", {"metric": metric}, makes["bundle"])
        work.stage("maps", {"made_by": bundle, "n": 3}, makes["maps"])
        work.stage("unet", {"epochs": 9}, makes["unet"])

    run(3)
    run(3)
    assert [len(make.calls) for make in makes.values()] == [1, 1, 1, 1]
    run(4)
    for name in ("metric", "bundle", "maps"):
        assert makes[name].calls == [(False, [])] * 2, name
        assert f"{name}: made of something else before, or its record is damaged; made again" in said
    assert makes["unet"].calls == [(False, [])]
    assert said[-1] == "unet: kept"


@pytest.mark.parametrize("damage", ["", '{"key": "0', "[]", "\x00\xff"])
def test_a_stage_with_a_damaged_record_is_made_again_from_nothing(work, damage: str) -> None:
    make = Counted()
    key = work.stage("metric", {"epochs": 3}, make)
    (work.folder / "stages" / "metric.json").write_text(damage, encoding="latin-1")
    assert work.stage("metric", {"epochs": 3}, make) == key
    assert make.calls == [(False, []), (False, [])]


def test_a_stage_whose_folder_is_gone_is_made_again(work) -> None:
    make = Counted()
    work.stage("metric", {"epochs": 3}, make)
    (work.folder / "metric").rename(work.folder / "elsewhere")
    work.stage("metric", {"epochs": 3}, make)
    assert make.calls == [(False, []), (False, [])]


def test_a_folder_without_a_record_is_somebody_elses_and_stays(work) -> None:
    (work.folder / "cohort").mkdir(parents=True)
    (work.folder / "cohort" / "thesis.txt").write_text("years of work")
    make = Counted()
    work.stage("cohort", {"size": 3}, make)
    assert make.calls == [(False, ["thesis.txt"])]
    assert (work.folder / "cohort" / "thesis.txt").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_named_before_any_work(work) -> None:
    work.folder.mkdir()
    (work.folder / "seed0").write_text("a file")
    make = Counted()
    with pytest.raises(OutputError, match="seed0 is a file"):
        work.stage("seed0/metric", {}, make)
    assert make.calls == []


def test_seconds_are_those_of_all_stages_and_go_on_when_one_is_resumed(work) -> None:
    work.stage("metric", {}, Counted())
    record = work.folder / "stages" / "metric.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "done": False, "seconds": 100.0}))
    work.stage("metric", {}, Counted())
    work.stage("bundle", {}, Counted())
    seconds = [json.loads(path.read_text())["seconds"] for path in (work.folder / "stages").iterdir()]
    assert len(seconds) == 2
    assert work.seconds() == pytest.approx(sum(seconds))
    assert 100 <= work.seconds() < 110


def test_a_training_killed_before_its_first_file_begins_anew_and_a_begun_one_resumes(tmp_path: Path) -> None:
    assert not can_resume(tmp_path / "none", True)
    run = tmp_path / "run"
    run.mkdir()
    (run / ".run.json.f00.tmp").touch()
    assert not can_resume(run, True)
    assert not run.exists()
    run.mkdir()
    (run / "run.json").touch()
    assert can_resume(run, True)
    assert not can_resume(run, False)  # then the training refuses the folder: nothing is removed unasked
    assert (run / "run.json").exists()


def test_maps_are_kept_only_if_whole_and_of_the_pairs_asked_for(tmp_path: Path) -> None:
    file, positions = tmp_path / "maps.npz", np.array([3, 5, 8])
    assert not holds_maps_of(file, positions)
    write_npz(file, maps=np.zeros((3, 1, 2, 2), np.float16), positions=positions)
    assert holds_maps_of(file, positions)
    assert not holds_maps_of(file, np.array([3, 5, 9]))  # as many pairs, but others
    file.write_bytes(file.read_bytes()[:-40])
    assert not holds_maps_of(file, positions)
