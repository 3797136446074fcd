"""The studies of real knees: their arithmetic against closed forms and plain loops, their road on made-up people."""

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from mris.images.write import write_png
from mris.knee.phantom.simulate import simulate_subject

FOLDER = Path(__file__).parents[2] / "experiments" / "real_knees"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"real_knees_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_needed_pairs_find_a_gain_four_times_in_five() -> None:
    gain, spread = 0.02, 0.06
    n = round(load("power").needed(gain, spread))
    draws = np.random.default_rng(0).normal(gain, spread, (4000, n))
    found = stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05
    assert abs(found.mean() - 0.8) < 0.03


def test_what_gains_nothing_is_never_found() -> None:
    power = load("power")
    errors = {"mean map": np.array([0.3, 0.3, 0.4]), "worse": np.array([0.4, 0.3, 0.4])}
    rows = power.summary(30, [errors])
    assert [row["needed"] for row in rows] == [float("inf")] * 2
    assert power.first_sufficient(rows, "worse") is None


def test_the_first_sufficient_number_is_the_smallest_that_exceeds_its_need() -> None:
    rows = [{"n_pairs": n, "method": "m", "needed": needed} for n, needed in ((30, 90.0), (125, 80.0), (250, 40.0))]
    assert load("power").first_sufficient(rows, "m") == 125


def test_neighbors_are_averaged_as_a_plain_loop_does() -> None:
    rng = np.random.default_rng(3)
    embeddings = rng.normal(size=(9, 4)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    keys, queries = embeddings[:7], embeddings[7:]
    targets = rng.normal(size=(7, 2, 3, 3)).astype(np.float32)
    targets[2, 0, 0, 0] = np.nan
    found = load("learn").neighbor_average(queries, keys, targets, 3)
    for query, average in zip(queries, found, strict=True):
        similarity = keys @ query
        nearest = np.argsort(-similarity)[:3]
        weights = np.maximum(similarity[nearest], 0.0)[:, None, None, None]
        valid = np.isfinite(targets[nearest])
        wanted = (np.where(valid, targets[nearest], 0.0) * weights).sum(axis=0) / (valid * weights).sum(axis=0)
        np.testing.assert_allclose(average, wanted, rtol=1e-4, atol=1e-5)


def test_white_noise_has_its_variance_in_all_bands_together() -> None:
    comparison = load("phantom_comparison")
    noise = np.random.default_rng(0).normal(0.0, 0.5, (200, 32, 32))
    power = comparison.spectrum(comparison.Maps(noise, 0.5), [(0.0, 10.0)])
    assert power[0] == pytest.approx(0.25, rel=0.02)


def test_a_wave_of_ten_millimetres_lies_in_its_band() -> None:
    comparison = load("phantom_comparison")
    phase = np.random.default_rng(1).uniform(0, 2 * np.pi, 400)
    place = np.arange(80) * 0.5
    waves = np.cos(2 * np.pi * place[None, None, :] / 10.0 + phase[:, None, None]) * np.ones((1, 80, 1))
    low, own, high = comparison.spectrum(comparison.Maps(waves, 0.5), [(0.0, 0.09), (0.09, 0.11), (0.11, 1.0)])
    assert own == pytest.approx(0.5, rel=0.05)
    assert low + high < 0.01


@pytest.mark.slow
def test_the_study_runs_from_made_up_people_to_its_table_and_goes_on_after_a_stop(run_script, tmp_path: Path) -> None:
    data, maps, work, out = (tmp_path / name for name in ("data", "maps", "work", "out"))
    rows = []
    for index in range(8):
        visit = simulate_subject(4, index, size=64, max_visits=1)[1]
        subject = visit.state.subject
        write_png(data / "radiographs" / f"{subject}R.png", (visit.radiograph >> 8).astype(np.uint8))
        for name, one in zip(("FC", "TC"), visit.thickness, strict=True):
            place = maps / f"{subject}_seg" / f"{name}_2d_thickness.npy"
            place.parent.mkdir(parents=True, exist_ok=True)
            np.save(place, one.astype(np.float64))
        rows.append((subject, "R", "00m", "made up", visit.state.klg, f"{subject}_seg.nii.gz", f"{subject}R.png"))
    with (data / "index.csv").open("w", newline="", encoding="utf-8") as file:
        header = ("subject", "side", "month", "source", "kl_grade", "segmentation", "radiograph")
        csv.writer(file).writerows([header, *rows])
    command = [FOLDER / "run.py", "--smoke", "--data", data, "--maps", maps, "--work", work, "--out", out]
    first = run_script(*command)
    assert first.code == 0, first.err
    table = (out / "real_knees.md").read_text(encoding="utf-8")
    assert {"mean map", "PCA ridge", "MRIS, k = 5, random start", "MRIS, k = 5, digital start"} <= {
        line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()
    }
    kept = sorted((work / "folds").rglob("*.npz"))
    assert len(kept) == 4
    kept[0].unlink()
    again = run_script(*command)
    assert again.code == 0, again.err
    assert (out / "real_knees.md").read_text(encoding="utf-8") == table


def test_shares_of_area_are_found_from_the_means_of_parts_and_plates(rng: np.random.Generator) -> None:
    study = load("subregions")
    sheet = [{} for _ in range(60)]
    shares = {}
    for column, plate in study.PLATES.items():
        own = [part for part in study.parts() if part.plate == plate]
        shares |= dict(zip([part.name for part in own], rng.dirichlet(np.full(len(own), 9.0)), strict=True))
        for row in sheet:
            means = {part.column: rng.uniform(0.5, 3.0) for part in own}
            whole = sum(shares[part.name] * means[part.column] for part in own)
            row |= {f"{name}_ThCtAB_aMe": str(mean) for name, mean in {**means, column: whole}.items()}
    sheet[3]["MT_ThCtAB_aMe"] = ""
    assert study.sheet_areas(sheet) == pytest.approx(shares, abs=1e-9)
