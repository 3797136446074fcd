"""KL grade and progression from radiographs: labels, neighbors, references, and the whole study on made-up knees."""

import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mris.errors import ManifestError
from mris.study.class_predictions import ClassPredictions

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FRACTIONS = {"train": 0.6, "val": 0.15, "test": 0.25}


@pytest.fixture(scope="module")
def study() -> Iterator[SimpleNamespace]:
    """The modules without torch, imported by their bare names as the script does."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in ("bilateral", "radiograph_klg"):
            patch.syspath_prepend(str(EXPERIMENTS / folder))
        names = ("radiographs", "klg_tasks", "klg_methods")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture
def world(study: SimpleNamespace, rng: np.random.Generator, tmp_path: Path) -> SimpleNamespace:
    """Made-up knees of 40 people, their sheet, and their split."""
    study.radiographs.write_made_up(tmp_path / "data", rng, n_people=40)
    knees = study.radiographs.read_knees(tmp_path / "data")
    visits = study.klg_tasks.read_visits(tmp_path / "data")
    return SimpleNamespace(data=tmp_path / "data", knees=knees, visits=visits, splits=knees.splits(FRACTIONS, 0))


def test_a_sheet_with_sides_exchanged_or_of_other_people_is_refused(study: SimpleNamespace, world) -> None:
    found = study.klg_tasks.check_agreement(world.knees, world.visits)
    assert found.n_equal == found.n_read == found.n_knees == 80
    sides = np.where(world.visits.sides == "left", "right", "left")
    with pytest.raises(ManifestError, match="do not belong together"):
        study.klg_tasks.check_agreement(world.knees, world.visits._replace(sides=sides))
    with pytest.raises(ManifestError, match="0 of 80 knees are in the sheet"):
        study.klg_tasks.check_agreement(
            world.knees, world.visits._replace(subjects=np.char.add("X", world.visits.subjects))
        )


def test_a_task_of_progression_holds_the_knees_that_can_rise_and_were_read(study: SimpleNamespace, world) -> None:
    knees, visits = world.knees, world.visits
    for months in (48, 72):
        task = study.klg_tasks.rise_task(study.klg_tasks.rise_labels(visits, knees, months), knees)
        expected = {}
        for i in range(len(knees)):
            own = (visits.subjects == knees.subjects[i]) & (visits.sides == knees.sides[i])
            (later,) = visits.grades[own & (visits.months == months)]
            if knees.grades[i] < 4 and np.isfinite(later):
                expected[i] = int(later > knees.grades[i])
        assert dict(zip(task.rows.tolist(), task.classes.tolist(), strict=True)) == expected
        assert task.is_ranking
        assert 0 < sum(expected.values()) < len(expected)


def test_merged_grades_keep_truth_and_probability(study: SimpleNamespace, rng: np.random.Generator) -> None:
    probabilities = rng.dirichlet(np.ones(5), 10)
    truth = np.arange(10) % 5
    names = tuple(map(str, range(10)))
    merged = study.klg_tasks.merge_grades(ClassPredictions(names, names, truth, probabilities, tuple("01234")))
    assert merged.truth.tolist() == [0, 0, 1, 2, 3] * 2
    np.testing.assert_allclose(merged.probabilities[:, 0], probabilities[:, 0] + probabilities[:, 1])
    np.testing.assert_allclose(merged.probabilities[:, 1:], probabilities[:, 2:])


def test_neighbor_shares_are_those_of_a_plain_loop(study: SimpleNamespace, world, rng: np.random.Generator) -> None:
    parts = study.klg_methods.Parts.of(study.klg_tasks.grade_task(world.knees), world.splits)
    space = np.abs(rng.normal(size=(len(world.knees), 6))).astype(np.float32)
    space /= np.linalg.norm(space, axis=1, keepdims=True)
    k = 7
    found = study.klg_methods.neighbor_shares(space, parts.train, parts.test, k)
    prior = np.bincount(parts.train.classes, minlength=5) / len(parts.train.rows)
    for row, shares in zip(parts.test.rows, found, strict=True):
        similarities = space[parts.train.rows] @ space[row]
        nearest = np.argsort(-similarities)[:k]
        expected = prior.copy()
        for i in nearest:
            expected[parts.train.classes[i]] += k * similarities[i] / similarities[nearest].sum()
        np.testing.assert_allclose(shares, expected / (k + 1), rtol=1e-4)


def test_neighbors_and_regression_find_a_grade_that_the_space_holds_and_choose_on_validation_people(
    study: SimpleNamespace, world, rng: np.random.Generator
) -> None:
    knees = world.knees
    parts = study.klg_methods.Parts.of(study.klg_tasks.grade_task(knees), world.splits)
    angles = knees.grades * 0.3 + rng.normal(0, 0.03, len(knees))
    space = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    for found, _ in (
        study.klg_methods.by_neighbors(space, parts, knees, [1, 3, 40]),
        study.klg_methods.by_logistic(space, parts, knees, [1e-6, 1.0, 100.0]),
    ):
        assert np.mean(found.argmax(axis=1) == parts.test.classes) > 0.8
        np.testing.assert_allclose(found.sum(axis=1), 1)
    _, k = study.klg_methods.by_neighbors(space, parts, knees, [3, 40])
    assert k == 3
    worse = replace(parts, test=replace(parts.test, classes=4 - parts.test.classes))
    assert study.klg_methods.by_neighbors(space, worse, knees, [3, 40])[1] == k, "test people have a say"


def test_the_grade_alone_is_the_share_of_risers_of_its_training_knees(study: SimpleNamespace, world) -> None:
    knees = world.knees
    parts = study.klg_methods.Parts.of(
        study.klg_tasks.rise_task(study.klg_tasks.rise_labels(world.visits, knees, 48), knees), world.splits
    )
    found = study.klg_methods.by_grade(parts, knees)
    for row, rises in zip(parts.test.rows, found[:, 1], strict=True):
        own = parts.train.classes[knees.grades[parts.train.rows] == knees.grades[row]]
        assert rises == pytest.approx(own.mean())
    kept = knees.grades[parts.train.rows] != 1
    lacking = replace(parts, train=parts.train.part(np.isin(np.arange(len(knees)), parts.train.rows[kept])))
    shares = study.klg_methods.rise_shares(lacking, knees)
    assert shares[1] == pytest.approx(lacking.train.classes.mean())


def test_grades_of_both_knees_are_own_then_other(study: SimpleNamespace, world) -> None:
    knees = world.knees
    numbers = study.klg_methods.grade_numbers(knees)
    for i in range(len(knees)):
        (other,) = np.flatnonzero((knees.subjects == knees.subjects[i]) & (knees.sides != knees.sides[i]))
        assert np.flatnonzero(numbers[i]).tolist() == [knees.grades[i], 5 + knees.grades[other]]


@pytest.mark.slow
def test_the_study_runs_whole_uses_the_bilateral_encoders_and_names_nobody(
    study: SimpleNamespace, run_script, tmp_path: Path
) -> None:
    data, work = tmp_path / "data", tmp_path / "klg"
    study.radiographs.write_made_up(data, np.random.default_rng(0), n_people=48)
    script = EXPERIMENTS / "radiograph_klg" / "run.py"
    command = [script, "--smoke", "--data", data, "--work", work, "--bilateral", tmp_path / "bilateral"]
    first = run_script(*command)
    assert first.code == 0, first.err
    assert "bilateral/seed0/metric: done" in first.out
    page = (work / "report" / "results.md").read_text()
    for row in ("classifier", "k-NN, bilateral", "k-NN, untrained network", "baseline grade alone", "chance"):
        assert f"| {row} |" in page
    for file in (work / "report").glob("*.*"):
        assert "P00" not in file.read_text(), f"{file.name} names a person"
    results = json.loads((work / "report" / "results.json").read_text())
    assert results["sheet"]["n_equal"] == 96
    assert results["progression to 48 months"]["reference"] == "baseline grade alone"

    again = run_script(*command)
    assert again.code == 0, again.err
    stages = [line for line in again.out.splitlines() if ": " in line and "months:" not in line]
    begun = [line for line in stages if line.endswith((": begun", ": resumed"))]
    assert begun == []


@pytest.mark.data
def test_the_real_index_agrees_with_the_real_sheet(study: SimpleNamespace, data_dir: Path) -> None:
    knees, visits = study.radiographs.read_knees(data_dir), study.klg_tasks.read_visits(data_dir)
    found = study.klg_tasks.check_agreement(knees, visits)
    assert found.n_in_sheet == found.n_knees
    for months in (48, 72):
        labels = study.klg_tasks.rise_labels(visits, knees, months)
        assert sum(labels.counts.values()) == len(knees)
