"""`mris experiment`: the whole experiment through the command, a dry run, and what is refused before any stage."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mris.cohort.cohort import Cohort

TINY = """
seeds = [0]
methods = []
n_neighbors = 3
n_bootstrap = 20
curve_shares = [1.0]
curve_draws = 1
[shared]
epochs = 1
[metric]
embedding_dim = 8
[classifier]
epochs = 1
"""
SPLITS = ("train", "train", "val", "downstream", "test")
SOME_LABELS = ["--class-label", "klg", "--progression-label", "klg", "--by", "klg"]


@pytest.fixture
def cohort(make_cohort: Callable[..., Cohort], rng: np.random.Generator) -> Cohort:
    """Seventy people with two visits, six years apart, in all four splits; half of the grades rise."""
    n = 140
    grades = [(i // 10 % 3) + i % 2 * (i // 2 % 4 < 2) for i in range(n)]
    split = [SPLITS[i // 2 % 5] for i in range(n)]
    subjects = [f"S{i // 2:03d}" for i in range(n)]
    return make_cohort(
        subjects, rng=rng, split=split, grades=grades, timepoints=["0", "72"] * (n // 2), regions=["gland"]
    )


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.mark.slow
def test_a_cohort_of_ones_own_gets_every_table_from_one_command_which_goes_on_where_it_was(
    run_cli, cohort: Cohort, settings: Path, tmp_path: Path
) -> None:
    command = ["experiment", cohort.path, "--out", tmp_path / "run", "--preset", "smoke", "--settings", settings]
    first = run_cli(*command, *SOME_LABELS, "--merge", "klg:3=2", "--quiet")
    assert first.code == 0, first.err
    page = tmp_path / "run" / "report" / "results.md"
    assert first.out.splitlines()[-1] == f"report: {page}"
    text = page.read_text()
    for heading in ("Table 1: retrieval", "Table 2: error", "Table 3: what classifiers", "### klg", "### progression"):
        assert heading in text
    assert "baseline grade alone" in text
    assert "`mris experiment cohort --out run --preset smoke --settings tiny.toml --class-label klg" in text
    assert str(tmp_path) not in text
    for name in re.findall(r"\(figures/([^)]+)\)", text):
        assert (page.parent / "figures" / name).stat().st_size > 1000
    again = run_cli(*command, *SOME_LABELS, "--merge", "klg:3=2", "--quiet")
    assert again.code == 0, again.err
    assert [line for line in again.out.splitlines()[:-1] if not line.endswith(": kept")] == []


def test_a_dry_run_prints_settings_and_cohort_and_writes_nothing(
    run_cli, cohort: Cohort, settings: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    command = ["experiment", cohort.path, "--out", tmp_path / "run", "--settings", settings, "--dry-run"]
    outcome = run_cli(*command, *SOME_LABELS)
    assert outcome.code == 0, outcome.err
    assert '"epochs": 1' in outcome.out
    assert '"kind": "progression"' in outcome.out
    assert "train: 56 pairs, 28 subjects" in outcome.out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--class-label", "grade"], "has no label 'grade'; there are: klg"),
        (["--class-label", "klg", "--class-label", "klg"], "two tasks are named 'klg'"),
        (["--merge", "klg:0=0-1"], "--merge names label 'klg', which neither --by nor --class-label names"),
        (["--by", "klg", "--prevalence", "klg:9=1"], "'9' is no stratum"),
        (["--progression-label", "klg", "--months", "48"], "task 'progression' has 0 labeled pairs"),
        (["--settings", "none.toml"], "settings none.toml cannot be read"),
        (["--seed", "7"], r"--seed 7 is none of the experiment's seeds \[0, 1, 2\]"),
        (["--report", "--settings", "TINY"], "is evaluated yet; run the experiment without --report"),
        (["--preset", "paper"], "U-Net of depth 5: sources have 8 x 8 pixels"),
    ],
)
def test_what_would_fail_after_hours_costs_one_line_and_nothing_is_written(
    refused, cohort: Cohort, settings: Path, tmp_path: Path, asked: list[str], said: str
) -> None:
    words = [settings if word == "TINY" else word for word in asked]
    if "--preset" not in asked and "--settings" not in asked and "--seed" not in asked:
        words += ["--settings", settings]
    line = refused("experiment", cohort.path, "--out", tmp_path / "run", *words)
    assert re.search(said, line), line
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_cohort_costs_one_line(refused, tmp_path: Path) -> None:
    assert "is not a cohort" in refused("experiment", tmp_path, "--out", tmp_path / "run")
