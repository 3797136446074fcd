"""Commands, and what they make of a tiny cohort."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import TINY, Outcome, call


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = call(*arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def refused(run_cli: Callable[..., Outcome]) -> Callable[..., str]:
    """Run a command that must be refused: exit code 2, a line that begins with "mris: ", no traceback."""

    def run(*arguments: object) -> str:
        outcome = run_cli(*arguments)
        lines = [line for line in outcome.err.splitlines() if line.startswith("mris: ")]
        assert outcome.code == 2, outcome
        assert len(lines) == 1, outcome
        assert "Traceback" not in outcome.err
        return lines[0] + outcome.out + outcome.err

    return run


@pytest.fixture(scope="session")
def tiny_run(tiny_cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cli") / "run"
    assert call("train", tiny_cohort_path, run, *TINY) == 0
    return run


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path, tiny_cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("cli") / "tiny.bundle"
    assert call("index", tiny_run, tiny_cohort_path, bundle, "--splits", "train,val", "--quiet") == 0
    return bundle


@pytest.fixture(scope="session")
def tiny_ridge(tiny_run: Path, tiny_cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cli") / "ridge"
    method = ["--method", "embedding-ridge", "--encoder", tiny_run]
    assert call("baseline", "train", tiny_cohort_path, run, *method) == 0
    return run
