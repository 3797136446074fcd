"""The modules of `experiments/paper`, and its command in this process: one import of torch for all tests."""

import importlib
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.command import Outcome

from mris.cohort.cohort import Cohort
from mris.study.plan import Plan, make_plan

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "paper"
MODULES = ("phantom_cohort", "run")
SPLITS = ("train", "train", "val", "downstream", "test")

TINY = """
seeds = [0]
by = ["klg"]
methods = []
n_neighbors = 3
n_bootstrap = 20
curve_shares = [1.0]
curve_draws = 1

[shared]
epochs = 1
batch_size = 16

[metric]
width = 8
embedding_dim = 8

[classifier]
width = 8
epochs = 1

[[tasks]]
name = "KLG"
label = "klg"
"""
"""Settings of the smallest experiment."""


def plan_of(path: Path) -> Plan:
    """The plan that settings make, laid over the preset that run.py takes without another being named."""
    return make_plan(Plan, "small", file=path)


@pytest.fixture(scope="session")
def paper() -> Iterator[SimpleNamespace]:
    """Modules of the experiment, imported by their bare names as its script does, and only for as long as needed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        modules = {name: importlib.import_module(name) for name in MODULES}
        for name, module in modules.items():
            assert Path(str(module.__file__)).parent == FOLDER, f"{name} is another module's name"
        yield SimpleNamespace(**modules)
        for name in MODULES:
            sys.modules.pop(name)


@pytest.fixture
def run_paper(
    paper: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run ``run.py ARGUMENTS`` here."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            paper.run.main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``python SCRIPT ARGUMENTS`` here; modules of the experiment are forgotten after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")

    def run(*command: object) -> Outcome:
        script, *_ = words = [str(word) for word in command]
        monkeypatch.setattr(sys, "argv", words)
        before = set(sys.modules)
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        finally:
            for name in set(sys.modules) - before:
                if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER.parent)):
                    del sys.modules[name]
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(run_paper: Callable[..., Outcome]) -> Callable[..., str]:
    """Run what must be refused: exit code 2 and one line; return the line."""

    def run(*arguments: object) -> str:
        outcome = run_paper(*arguments)
        assert outcome.code == 2, outcome
        assert outcome.err.startswith("paper: "), outcome
        assert len(outcome.err.splitlines()) == 1, outcome
        return outcome.err

    return run


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny settings, each ``old, new`` replaced in them."""

    def write(*changes: tuple[str, str]) -> Path:
        text = TINY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def small_cohort(make_cohort: Callable[..., Cohort], rng: np.random.Generator) -> Callable[..., Cohort]:
    """Forty people with two visits each, in all four splits; grades 0 to 2 at random. Arguments as `make_cohort`."""

    def make(**changes: object) -> Cohort:
        subjects = [f"S{i // 2:03d}" for i in range(80)]
        split = [SPLITS[i // 2 % 5] for i in range(80)]
        grades = rng.integers(0, 3, 80).tolist()
        return make_cohort(subjects, **{"rng": rng, "split": split, "grades": grades, **changes})

    return make
