"""ONNX Runtime is silent before it is imported; a stand-in for it tells what it would have found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SWITCH = "ORT_DISABLE_TELEMETRY"


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A package called onnxruntime that prints whether it may speak."""
    package = tmp_path / "onnxruntime"
    (package / "capi").mkdir(parents=True)
    (package / "capi" / "__init__.py").write_text("")
    (package / "capi" / "onnxruntime_pybind11_state.py").write_text("")
    (package / "__init__.py").write_text(
        f"import os\n__version__ = '1.32.0'\nprint('imported with', os.environ.get('{SWITCH}'))\n"
        "def disable_telemetry_events():\n    print('and told to be silent')\n"
    )
    return tmp_path


def run(code: str, stand_in: Path, **variables: str) -> tuple[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != SWITCH} | variables
    environment["PYTHONPATH"] = os.pathsep.join([str(stand_in), environment.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


ALL_IS_WELL = "imported with 1\nand told to be silent\n"


@pytest.mark.parametrize("setting", [None, "0", "1", ""])
def test_telemetry_is_off_before_the_runtime_loads_whatever_the_user_set(stand_in: Path, setting: str | None) -> None:
    variables = {} if setting is None else {SWITCH: setting}
    assert run("import mris.training.onnx_runtime", stand_in, **variables) == (ALL_IS_WELL, "")


def test_processes_that_are_started_are_told_too(stand_in: Path) -> None:
    code = (
        "import sys, subprocess, mris\nsubprocess.run([sys.executable, '-c', 'import onnxruntime'], check=True)\n"
        "from multiprocessing import get_context\nfrom importlib import import_module\n"
        "process = get_context('spawn').Process(target=import_module, args=('onnxruntime',))\n"
        "process.start(), process.join()"
    )
    out, _ = run(code, stand_in)
    assert out.splitlines().count("imported with 1") == 2


def test_a_runtime_that_was_imported_first_is_warned_about(stand_in: Path) -> None:
    out, said = run("import onnxruntime, mris.training.onnx_runtime", stand_in)
    assert out == "imported with None\nand told to be silent\n"
    assert "UserWarning: onnxruntime was imported before mris" in said
    assert f"import mris first, or set {SWITCH}=1" in said


def test_no_warning_where_the_user_had_switched_it_off(stand_in: Path) -> None:
    assert run("import onnxruntime, mris.training.onnx_runtime", stand_in, **{SWITCH: "1"}) == (ALL_IS_WELL, "")


def test_no_warning_about_a_runtime_too_old_to_speak(stand_in: Path) -> None:
    package = stand_in / "onnxruntime" / "__init__.py"
    package.write_text(package.read_text().replace("1.32.0", "1.28.2"))
    assert run("import onnxruntime, mris.training.onnx_runtime", stand_in)[1] == ""
