"""What the joint detector learns from, how its threshold is chosen, and what its figures on real knees stand on."""

import importlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from mris.knee.joint_detector import MIN_CONFIDENCE, PIXEL_MM, STRIDE, heat_peaks
from mris.knee.phantom.bones import FAR, Body, eminence_dip
from mris.knee.phantom.projection import Canvas
from mris.knee.phantom.radiograph import expose
from mris.knee.phantom.simulate import simulate_subject

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "experiments" / "joint_detector"
DATA = Path(os.environ.get("MRIS_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def study() -> Iterator[SimpleNamespace]:
    """The modules, imported by their bare names as the scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in ("plates", "train", "real_crops")})


@pytest.fixture(scope="module")
def dots(study: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    """A plate that shows nothing but a dot at each joint."""
    centers = np.array([[232.0, 160.0], [225.0, 350.0]])
    r, c = np.mgrid[: study.plates.POOL_SHAPE[0], : study.plates.POOL_SHAPE[1]]
    plate = sum(np.exp(-0.5 * ((r - row) ** 2 + (c - column) ** 2) / 3.0**2) for row, column in centers)
    return (65535 * plate).astype(np.uint16), centers


def test_turned_bent_and_lifted_a_joint_stays_under_its_label(
    study: SimpleNamespace, dots: tuple[np.ndarray, np.ndarray]
) -> None:
    plate, centers = dots
    errors = []
    for seed in range(100):
        pixels, found, _ = study.plates._window(plate, centers, (120, 160), np.random.default_rng(seed), away=False)
        for row, column in found:
            if not (8 <= row <= 111 and 8 <= column <= 151):
                continue
            top, left = round(row) - 6, round(column) - 6
            part = pixels[top : top + 13, left : left + 13]
            rows, columns = np.indices(part.shape)
            seen = np.array([(part * rows).sum() / part.sum() + top, (part * columns).sum() / part.sum() + left])
            errors.append(np.hypot(*(seen - (row, column))) * PIXEL_MM)
    assert len(errors) > 100
    assert np.mean(errors) < 0.5 and max(errors) < 2.0


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_wire_laid_into_the_dip_between_the_spines_shows_where_the_label_says(
    study: SimpleNamespace, side: str
) -> None:
    size = 560
    for subject in range(8):
        left, right = simulate_subject(5, subject, size=32, max_visits=1)[:2]
        visit = left if side == "left" else right
        state = visit.state
        view = replace(state.view, roll=3.0 * state.view.roll, scatter=0.0, photons=1e7)
        lateral, up = eminence_dip(state.shape)
        canvas = Canvas(size, view, 0.5 * state.placement.height)
        y = np.linspace(-3.0, 3.0, 5)
        x, _ = canvas.columns(y)
        floor = np.where(np.abs(x - lateral) < 1.0, up - 1.0, FAR)
        canvas.add(Body(floor, np.where(floor < FAR, up + 1.0, -FAR)), y, 1.0)
        seen = 1.0 - expose(canvas.total(), view, size, np.random.default_rng(0))
        seen = np.where(seen > 0.5 * seen.max(), seen, 0.0)[:, :: 1 if side == "left" else -1]
        rows, columns = np.indices(seen.shape)
        middle = (np.array([(seen * rows).sum(), (seen * columns).sum()]) / seen.sum() - (size - 1) / 2) * 140.0 / size
        label = study.plates.eminence_mm(replace(visit, state=replace(state, view=view)))
        assert np.hypot(*(middle - label)) < 0.3


def test_what_is_taught_is_found_where_it_was_asked_for(study: SimpleNamespace) -> None:
    draw = study.plates.Draw(np.zeros((80, 120), np.float32), ((31.0, 20.5), (40.0, 99.0)), (), ())
    taught = study.train.tomllib.loads((FOLDER / "settings.toml").read_text())["target_mm"]  # as heat_peaks expects it
    heat, weight = study.train.heat_target(draw, taught, (80 // STRIDE, 120 // STRIDE))
    peaks = sorted(heat_peaks(heat, (80, 120)), key=lambda peak: peak[1])
    for (row, column, share), center in zip(peaks, draw.centers, strict=True):
        assert np.allclose([STRIDE * row + 0.5, STRIDE * column + 0.5], center, atol=0.4)
        assert share == pytest.approx(1.0, abs=0.05)
    assert (weight == 1).all()


def test_a_hidden_joint_asks_for_no_answer_and_an_implant_for_none_at_all(study: SimpleNamespace) -> None:
    hidden = study.plates.Draw(np.zeros((80, 120), np.float32), (), (), ((40.0, 60.0),))
    heat, weight = study.train.heat_target(hidden, 6.0, (40, 60))
    assert heat.max() == 0 and weight[20, 30] == 0 and weight[0, 0] == 1
    replaced = study.plates.Draw(np.zeros((80, 120), np.float32), (), ((40.0, 60.0),), ())
    heat, weight = study.train.heat_target(replaced, 6.0, (40, 60))
    assert heat.max() == 0 and weight.min() == 1


@given(seed=st.integers(0, 1000), gap=st.floats(0.3, 3.0))
@settings(deadline=None, max_examples=30)
def test_the_threshold_loses_the_stated_share_of_right_joints_whatever_the_wrong_ones_are(
    study: SimpleNamespace, seed: int, gap: float
) -> None:
    rng = np.random.default_rng(seed)
    right = rng.random(2000) < 0.6
    share = rng.normal(0.0, 0.5, 2000) - gap * ~right
    found = {"share": share, "distance": np.where(right, 1.0, 50.0)}
    calibration, threshold = study.train.calibrate(found)
    confidence = expit(calibration["scale"] * share + calibration["offset"])
    assert np.mean(confidence[right] < MIN_CONFIDENCE) == pytest.approx(study.train.LOST, abs=0.002)
    assert calibration["scale"] > 0
    at = expit(calibration["scale"] * np.log(threshold) + calibration["offset"])
    assert at == pytest.approx(MIN_CONFIDENCE)


def test_two_readers_marked_each_knee_and_agree(study: SimpleNamespace) -> None:
    marks = study.real_crops.read_marks()
    assert len(marks) == 200 and all(points.shape == (2, 2) for points in marks.values())
    apart = np.array([np.hypot(*(points[0] - points[1])) for points in marks.values()])
    assert apart.max() * study.real_crops.CROP_PIXEL_MM < 5.0


@pytest.mark.data
def test_no_marked_person_was_looked_at_in_development_and_none_is_marked_twice(study: SimpleNamespace) -> None:
    if not (DATA / "oai_radiographs" / "index.csv").is_file():
        pytest.skip(f"{DATA} has no oai_radiographs; set MRIS_DATA")
    settings_of = study.train.tomllib.loads((FOLDER / "settings.toml").read_text())
    development, others = study.real_crops.read_crops(DATA, settings_of["seed"], settings_of["development_subjects"])
    marks = study.real_crops.read_marks()
    people = [crop.subject for crop in others if crop.row in marks]
    assert len(people) == len(set(people)) == len(marks)
    assert not set(people) & {crop.subject for crop in development}
    chosen = study.real_crops.crops_to_mark(others, settings_of["marked_subjects"], settings_of["seed"])
    assert {crop.row for crop in chosen} == set(marks)
