"""The whole experiment: every table and figure of a preset, a kill, cohorts of other kinds, and what a method costs."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.experiments.conftest import plan_of

from mris.cohort.cohort import Cohort
from mris.metric.encoders import DualEncoder
from mris.metric.train import train_encoders

RUN = Path(__file__).resolve().parents[2] / "experiments" / "paper" / "run.py"
METHODS = ["MRIS-S", "MRIS-C", "U-Net", "pix2pix", "TransUNet", "autoencoder", "ridge on the embedding"]
REFERENCES = ["mean map", "PCA k-NN", "PCA ridge"]

_COST = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_module("mris.study.cost", run_name="__main__")
print("torch" in sys.modules)
"""


def tables_of(page: str, heading: str) -> dict[str, dict[str, dict[str, str]]]:
    """Tables below a heading: caption to row to column to cell."""
    begin = re.search(rf"^(#+) {re.escape(heading)}$", page, re.MULTILINE)
    assert begin, heading
    section = re.split(rf"^#{{1,{len(begin[1])}}} ", page[begin.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    found: dict[str, dict[str, dict[str, str]]] = {}
    for block in re.findall(r"^(\S.*)\n\n((?:\|.*\n)+)", section, re.MULTILINE):
        header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block[1].splitlines())
        found[block[0]] = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    return found


def the_one(tables: dict[str, dict[str, dict[str, str]]], *beginnings: str) -> dict[str, dict[str, str]]:
    """The one table whose caption begins so."""
    (found,) = [rows for caption, rows in tables.items() if caption.startswith(beginnings)]
    return found


def check_filled(rows: dict[str, dict[str, str]], names: Sequence[str], columns: Sequence[str]) -> None:
    assert list(rows) == list(names)
    for name, row in rows.items():
        for column in columns:
            (cell,) = [cell for title, cell in row.items() if re.fullmatch(column, title)]
            assert re.search(r"\d", cell), (name, column)


def check_tables(page: str) -> None:
    """Every table of the paper, each method and both anatomies in it, chance and base rate beside them."""
    assert "nan" not in page.lower()
    (recall,) = tables_of(page, "Table 1: retrieval").values()
    check_filled(recall, ["femoral", "tibial", "combined", "chance"], [f"R@{k}" for k in (1, 5, 10, 20)])
    assert [row["encoder"] for row in recall.values()] == ["MRIS-S femoral", "MRIS-S tibial", "MRIS-C", ""]

    errors = tables_of(page, "Table 2: error of the synthesized maps")
    for region in ("femoral", "tibial", "combined"):
        rows = the_one(errors, f"{region}: median absolute error")
        check_filled(rows, [*METHODS, *REFERENCES], [r"others \(.*", r"all \(.*", "prevalence-.*"])
    for reference in ("mean map", "MRIS-S"):
        ((_, rows),) = [(c, t) for c, t in errors.items() if c.startswith(f"median error minus that of {reference}")]
        assert set(rows) == {"femoral", "tibial", "combined"}

    for task, more in (("KLG", []), ("progression", ["baseline grade alone"])):
        judged = ["true maps", *METHODS, *more, "chance"]
        classified = tables_of(page, task)
        check_filled(the_one(classified, f"Accuracy by {task}"), judged, ["overall", "balanced", "kappa"])
        against = the_one(classified, "Classifier on each method's maps minus classifier on true maps")
        check_filled(against, [*METHODS, *more], ["accuracy|roc_auc"])
    check_filled(the_one(classified, "Ranking by the probability of 'rises'"), judged, ["AP", "ROC AUC", "base rate"])
    assert float(the_one(classified, "Ranking")["chance"]["base rate"]) > 0

    costs = the_one(tables_of(page, "Cost"), "Cost beside error")
    check_filled(costs, METHODS, ["parameters", "training", "ms, .*y", "ms, batched", "peak memory .*", "median error"])
    sizes = tables_of(page, "Size of the database")
    for region in ("femoral", "tibial", "combined"):
        check_filled(
            the_one(sizes, f"{region}: "), ["MRIS-S", "MRIS-C", "mean map"], [r"10 % \(n = 2\)", r"100 % \(n = 24\)"]
        )


def check_figures(page: str, folder: Path, some: Sequence[str]) -> None:
    """The page names each figure of its folder; none is blank."""
    named = re.findall(r"!\[[^\]]+\]\((figures/[^)]+\.png)\)", page)
    assert sorted(named) == sorted(f"figures/{path.name}" for path in (folder / "figures").iterdir())
    assert {f"figures/{stem}.png" for stem in some} <= set(named)
    for name in named:
        pixels = np.asarray(PIL.Image.open(folder / name).convert("L"), dtype=float)
        assert pixels.shape[0] > 100, name
        assert np.mean(pixels < 250) > 0.005, f"{name} is blank"


def check_costs(work: Path) -> None:
    """Measured beside a parent that is larger than any prediction: neither its memory nor torch is counted."""
    ballast = np.ones(100_000_000)  # 800 MB
    for method in ("bundle/MRIS-S", "baseline/transunet"):
        command = [sys.executable, "-c", _COST, "cost", work / "seed0" / method, work / "cohort", '{"n_neighbors": 5}']
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        line, has_torch = done.stdout.splitlines()
        found = json.loads(line)
        names = {"n_parameters", "training_seconds", "ms_single", "ms_batched", "peak_megabytes"}
        assert found.keys() == names
        assert all(value > 0 for value in found.values()), found
        assert found["peak_megabytes"] < 0.75 * ballast.nbytes / 1e6
        assert has_torch == "False"
    encoders = [work / "seed0" / "metric" / region / "metrics.csv" for region in ("femoral", "tibial")]
    columns = [np.genfromtxt(file, delimiter=",", names=True)["seconds"] for file in encoders]
    costs = json.loads((work / "seed0" / "costs" / "costs.json").read_text())
    assert list(costs) == METHODS
    assert costs["MRIS-S"]["training_seconds"] == pytest.approx(np.sum(columns))


@pytest.mark.slow
def test_the_smoke_preset_makes_every_table_and_figure_and_run_again_keeps_every_stage(
    run_paper, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    first = run_paper("--preset", "smoke", "--work", work)
    assert first.code == 0, first.err
    page = (work / "report" / "results.md").read_text()
    check_tables(page)
    regions = ("femoral", "tibial")
    some = [f"figure3_{kind}{region}" for kind in ("", "errors_") for region in regions]
    check_figures(page, work / "report", [*some, "error_map", "database_size", "by_klg", "classifier_klg"])
    check_costs(work)

    stages = {path: path.read_bytes() for path in (work / "stages").iterdir()}
    again = run_paper("--preset", "smoke", "--work", work)
    assert again.code == 0, again.err
    *lines, last = again.out.splitlines()
    assert len(lines) == len(stages) == 39
    assert [line for line in lines if not line.endswith(": kept")] == []
    assert last == f"report: {work / 'report' / 'results.md'}"
    assert {path: path.read_bytes() for path in (work / "stages").iterdir()} == stages
    undated = [
        re.sub(r"on 20\d\d-\d\d-\d\d, mris \S+ at commit \w+", "", text)
        for text in (page, (work / "report" / "results.md").read_text())
    ]
    assert undated[0] == undated[1]
    assert "Made by `python experiments/paper/run.py --preset smoke` , on" in undated[0]


@pytest.mark.slow
def test_a_killed_experiment_goes_on_to_the_same_network_on_a_cohort_that_lacks_a_region_in_some(
    run_paper, small_cohort, settings, rng: np.random.Generator, tmp_path: Path
) -> None:
    targets = rng.uniform(0.5, 3.0, (80, 2, 16, 16)).astype(np.float32)
    targets[::8, 1] = np.nan
    cohort: Cohort = small_cohort(targets=targets, size=(16, 16))
    path = settings(("epochs = 1\nbatch_size = 16", "epochs = 8\nbatch_size = 4"))
    work = tmp_path / "work"
    command = ["--settings", path, "--cohort", cohort.path, "--work", work]
    process = subprocess.Popen([sys.executable, RUN, *map(str, command)], stdout=subprocess.PIPE, text=True)
    training = work / "seed0" / "metric" / "combined"
    deadline = time.monotonic() + 120
    while not (training / "checkpoints" / "last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[0].splitlines()[-1] == "seed0/metric/combined: begun"
    assert not (training / "encoder").exists()

    resumed = run_paper(*command)
    assert resumed.code == 0, resumed.err
    assert resumed.out.splitlines()[0] == "seed0/metric/combined: resumed"
    plan = plan_of(path)
    whole = train_encoders(cohort, settings=plan.metric_settings, seed=0, progress=False)
    found = DualEncoder.load(training / "encoder").state_dict()
    assert found.keys() == whole.state_dict().keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.state_dict().items())
    errors = tables_of((work / "report" / "results.md").read_text(), "Table 2: error of the synthesized maps")
    for region in cohort.regions:
        rows = the_one(errors, f"{region}: median")
        check_filled(rows, ["MRIS-S", "MRIS-C", METHODS[-1], *REFERENCES], [r"all \(n = \d+\)"])


@pytest.mark.slow
def test_a_cohort_of_one_region_has_one_bundle_two_seeds_stand_side_by_side_and_a_new_task_reruns_little(
    run_paper, small_cohort, settings, tmp_path: Path
) -> None:
    cohort = small_cohort(regions=["gland"])
    asked = ["--cohort", cohort.path, "--work", tmp_path / "work"]
    two = settings(("seeds = [0]", "seeds = [0, 1]"))
    for seed in (0, 1):
        outcome = run_paper("--settings", two, *asked, "--seed", seed)
        assert outcome.code == 0, outcome.err
    assert not (tmp_path / "work" / "report").exists()
    assert run_paper("--settings", two, *asked, "--report").code == 0
    page = (tmp_path / "work" / "report" / "results.md").read_text()
    assert "Seeds 0, 1 (" in page
    assert "MRIS-S" not in page
    methods = ["MRIS-C", METHODS[-1]]
    spread = the_one(tables_of(page, "Table 2: error of the synthesized maps"), "median error in mm: mean over 2 seeds")
    check_filled(spread, [*methods, *REFERENCES], ["gland"])
    check_figures(page, tmp_path / "work" / "report", ["figure3_gland", "database_size", "training_combined"])

    merged = settings(("seeds = [0]", "seeds = [0, 1]"), ('label = "klg"', 'label = "klg"\nmerge = { 0 = "none" }'))
    outcome = run_paper("--settings", merged, *asked, "--seed", 1)
    assert outcome.code == 0, outcome.err
    begun = [line.removesuffix(": begun") for line in outcome.out.splitlines() if line.endswith(": begun")]
    assert begun == [f"seed1/classifier/KLG/{name}" for name in ("true-maps", "MRIS-C", "ridge-on-the-embedding")]
