"""The study of digital bundles on real knees: its arithmetic, and who may be looked at when."""

import csv
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

FOLDER = Path(__file__).parents[2] / "experiments" / "real_thickness"
MODULES = ("judge", "knees", "report")


@pytest.fixture(scope="module")
def study() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        modules = {name: importlib.import_module(name) for name in MODULES}
        yield SimpleNamespace(**modules)
        for name in MODULES:
            sys.modules.pop(name)


@pytest.fixture
def pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(3.5, 0.7, 80).round(1)  # with ties
    return truth + rng.normal(0.4, 0.4, 80), truth, np.repeat(np.arange(40), 2)


def test_rank_correlation_agrees_with_scipy_on_ties(study: SimpleNamespace, pairs: tuple) -> None:
    told, truth, _ = pairs
    assert study.judge.spearman(told.round(0), truth) == pytest.approx(stats.spearmanr(told.round(0), truth)[0])


def test_agreement_is_one_of_equals_and_falls_with_a_shift(study: SimpleNamespace, pairs: tuple) -> None:
    told, truth, _ = pairs
    agreement = study.judge.agreement
    assert agreement(truth, truth) == pytest.approx(1.0)
    assert agreement(truth, truth + 1.0) == pytest.approx(truth.var(ddof=1) / (truth.var(ddof=1) + 0.5), rel=0.03)
    assert agreement(told, truth) < agreement(told - (told - truth).mean(), truth) < 1.0


def test_a_person_is_recalibrated_by_all_others(study: SimpleNamespace, pairs: tuple) -> None:
    told, truth, people = pairs
    found = study.judge.recalibrated(told, truth, people)
    for person in (0, 17):
        others = people != person
        slope, intercept, *_ = stats.linregress(told[others], truth[others])
        np.testing.assert_allclose(found[~others], intercept + slope * told[~others])
    moved = truth.copy()
    moved[people == 3] += 5.0
    np.testing.assert_allclose(study.judge.recalibrated(told, moved, people)[people == 3], found[people == 3])


def test_an_interval_over_people_is_wider_where_their_knees_are_alike(study: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    values = np.repeat(rng.normal(size=40), 2)
    by_person = study.judge.resampled(lambda rows: values[rows].mean(), np.repeat(np.arange(40), 2))
    by_knee = study.judge.resampled(lambda rows: values[rows].mean(), np.arange(80))
    assert by_person.upper - by_person.lower > 1.2 * (by_knee.upper - by_knee.lower)


def test_conformal_intervals_hold_their_share_of_new_people(study: SimpleNamespace) -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=400)
    share, half = study.judge.cross_conformal(truth + rng.normal(size=400), truth, np.arange(400))
    assert share == pytest.approx(0.9, abs=0.02)
    assert half == pytest.approx(stats.norm.ppf(0.95), abs=0.2)


def test_each_strange_picture_differs_from_its_crop_and_nothing_else_is_lost(study: SimpleNamespace) -> None:
    crops = np.random.default_rng(3).random((2, 1, 8, 8))
    made = study.report.strange_pictures(crops)
    assert all(pictures.shape == crops.shape and not np.allclose(pictures, crops) for pictures in made.values())
    for name in ("upside down", "turned by 90 degrees"):
        np.testing.assert_array_equal(np.sort(made[name], axis=None), np.sort(crops, axis=None))
    np.testing.assert_allclose(made["inverted grays"] + crops, 1.0)


def test_nobody_who_is_judged_steers(study: SimpleNamespace, tmp_path: Path) -> None:
    def table(path: str, rows: list[dict]) -> None:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        with (tmp_path / path).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    keys = [(str(9000 + person), side) for person in range(10) for side in "LR"]
    table("oai_radiographs/index.csv", [{"subject": s, "side": d, "image": f"{s}{d}.png"} for s, d in keys])
    readings = [{"subject": s, "side": d, "klg": "2.0", "jsn_medial": "1.0", "jsn_lateral": "0.0"} for s, d in keys]
    table("oai_tables/radiograph_readings.csv", readings)
    table("oai_tables/people.csv", [{"subject": s, "sex": "M"} for s, _ in keys])
    columns = {f"{name}_ThCtAB_aMe": "2.0" for name in study.knees.MEASURED}
    measured = [{"subject": "9003", "side": "L", "visit": visit, **columns} for visit in "01"]
    table("oai_tables/regional_thickness.csv", measured)
    knees = study.knees.read_knees(tmp_path)
    assert [(knee.subject, knee.side) for knee in knees.measured] == [("9003", "L")]
    steering = knees.steering(100)
    assert len(steering) == 18
    assert "9003" not in {knee.subject for knee in steering}
    assert steering[:5] == knees.steering(5)
