"""``kill -9`` in the middle of a command: no half result, and the same command then completes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.command import TINY

from mris.cli import entry

# Each child of this program dies in the middle of a command. It forks before a child has started a thread of Lance's or
# torch's, which costs a tenth of starting Python anew.
_KILLER = """
import importlib, json, os, signal, sys
import mris.evaluation.bundle_evaluation, mris.metric.export, mris.reporting.html
from mris.cli.main import main

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

for module, name, arguments in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        setattr(importlib.import_module(module), name, die)
        sys.argv = ["mris", *map(str, arguments)]
        main()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_killed_index_or_evaluation_leaves_no_half_result_and_runs_again(
    run_cli, tiny_cohort_path: Path, tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    outs = header, folder, report = [tmp_path / name for name in ("header", "folder", "report")]
    index = ["index", tiny_run, tiny_cohort_path]
    evaluate = ["evaluate", tiny_bundle, tiny_cohort_path, "--bootstrap", 10, "--no-references", "--quiet", "--out"]
    deaths = [
        ("mris.synthesis.build_bundle", "write_json", [*index, header, "--quiet"]),
        ("mris.images.write", "_put_in_place", [*index, folder, "--quiet"]),
        ("mris.reporting.html", "write_per_image", [*evaluate, report]),
    ]
    killer = [sys.executable, "-c", _KILLER, json.dumps(deaths, default=str)]
    done = subprocess.run(killer, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * 3, done.stderr
    assert not header.exists()
    assert not folder.exists()
    assert not (report / "report.html").exists()
    for out, (_, _, command) in zip(outs, deaths, strict=True):
        assert run_cli(*command).code == 0, out.name
    assert run_cli("bundle", "verify", header).code == 0
    assert run_cli("bundle", "verify", folder).code == 0
    names = {path.name for path in report.iterdir()}
    assert names == {"results.json", "per_image.csv", "tables.md", "figures", "report.html"}


# A file of a library's name goes before the library; Ctrl-C comes while it loads. Tests in the background ignore it.
_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); signal.raise_signal(signal.SIGINT)"
_COMPILED = (
    f"try:\n    {_CTRL_C}\nexcept KeyboardInterrupt as stop:\n    raise ImportError('not initialized') from stop"
)


@pytest.mark.parametrize("code", [_CTRL_C, _COMPILED])
@pytest.mark.parametrize("library", ["typer", "pyarrow"])
def test_ctrl_c_while_libraries_load_costs_one_line(tmp_path: Path, library: str, code: str) -> None:
    (tmp_path / f"{library}.py").write_text(code)
    command = "import sys\nfrom mris.cli.entry import main\nsys.argv = ['mris', 'check', 'pairs.csv']\nmain()\n"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "mris: interrupted\n")


def test_the_command_starts_where_ctrl_c_is_caught() -> None:
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["scripts"] == {"mris": "mris.cli.entry:main"}


def test_an_exit_code_and_an_error_of_a_command_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mris", "check", "absent.csv"])
    with pytest.raises(SystemExit) as leaving:
        entry.main()
    assert leaving.value.code == 2
    monkeypatch.setitem(sys.modules, "mris.cli.main", None)
    with pytest.raises(ImportError, match="halted"):
        entry.main()


def test_a_run_that_died_before_its_first_epoch_resumes_to_the_same_encoder(
    run_cli, tiny_cohort_path: Path, tiny_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(tiny_run / "run.json", tmp_path / "run")
    shutil.copytree(tiny_run / "tensorboard", tmp_path / "run" / "tensorboard")
    assert run_cli("train", tiny_cohort_path, tmp_path / "run", *TINY, "--resume").code == 0
    encoders = [(run / "encoder" / "encoder.json").read_bytes() for run in (tiny_run, tmp_path / "run")]
    assert encoders[0] == encoders[1]  # with the fingerprint of the weights


def test_a_finished_run_is_left_as_it_is_by_resume(run_cli, tiny_cohort_path: Path, tiny_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
    assert run_cli("train", tiny_cohort_path, tiny_run, *TINY, "--resume").code == 0
    assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")} == before


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
def test_a_truncated_checkpoint_costs_one_line(
    refused, tiny_cohort_path: Path, tiny_run: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("encoder"))
    checkpoint = tmp_path / "run" / "checkpoints" / name
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    assert name in refused("train", tiny_cohort_path, tmp_path / "run", *TINY, "--resume")
