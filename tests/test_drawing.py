"""Matplotlib by way of `mris.drawing`: no file is left, no notebook's backend stops it, the user's own stays theirs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BACKEND = "module://of_a_notebook.that_is_elsewhere"


def run(code: str, home: Path, **variables: str) -> str:
    """Run Python with a home of its own; what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "MATPLOT", "XDG"))}
    environment |= {"HOME": str(home), "TMPDIR": str(home)} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


DRAW = "import mris.drawing, mris.reporting.figures as f; assert f.png(mris.drawing.Figure(figsize=(1, 1)))[:4]"


def test_a_backend_that_is_not_installed_stops_no_drawing(tmp_path: Path) -> None:
    run(DRAW, tmp_path, MPLBACKEND=BACKEND)


def test_drawing_leaves_nothing_in_an_empty_home(tmp_path: Path) -> None:
    run(DRAW + "\nimport matplotlib.pyplot", tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_a_home_that_cannot_be_written_is_no_reason_for_warnings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run("import sys; sys.stderr = sys.stdout\n" + DRAW, tmp_path / "file" / "home") == ""


def test_the_users_backend_stays_theirs(tmp_path: Path) -> None:
    code = "import os, mris.drawing, matplotlib; print(matplotlib.rcParams['backend'], os.environ['MPLBACKEND'])"
    assert run(code, tmp_path, MPLBACKEND="svg") == "svg svg\n"


def test_the_users_settings_and_fonts_are_read_and_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 7\n")
    run("import matplotlib.font_manager", tmp_path, MPLCONFIGDIR=str(tmp_path), MPL_IGNORE_SYSTEM_FONTS="1")
    (fonts,) = tmp_path.glob("fontlist*.json")
    listed = json.loads(fonts.read_text())
    listed["ttflist"].append(listed["ttflist"][0] | {"name": "A font of ours"})
    fonts.write_text(json.dumps(listed))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    code = (
        "import mris.drawing, matplotlib, matplotlib.font_manager as fonts\n"
        "print(matplotlib.rcParams['lines.linewidth'], 'A font of ours' in fonts.get_font_names())"
    )
    assert run(code, tmp_path, MPLCONFIGDIR=str(tmp_path)) == "7.0 True\n"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("place", [".config/matplotlib/matplotlibrc", "matplotlibrc"])
def test_a_command_draws_by_no_settings_of_the_user(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("lines.linewidth: 7\ntext.usetex: True\n")
    settings = (
        "import os, matplotlib\nprint(matplotlib.rcParams['lines.linewidth'], matplotlib.rcParams['text.usetex'])"
    )
    here = f"import os\nos.chdir({str(tmp_path)!r})\n"
    assert run(f"{here}import mris.drawing\n{settings}", tmp_path) == "7.0 True\n"
    ours = f"{here}from mris.quiet import keep_to_ourselves\nkeep_to_ourselves()\nimport mris.drawing\n{settings}"
    assert run(ours, tmp_path) == "1.5 False\n"


@pytest.mark.parametrize("damaged", ["", "{", "[1, 2]", '{"__class__": "FontManager"}'])
def test_a_damaged_list_of_fonts_is_passed_over(tmp_path: Path, damaged: str) -> None:
    code = "import mris.drawing, matplotlib.font_manager as fonts; print(fonts.FontManager.__version__)"
    version = run(code, tmp_path).strip()
    folder = tmp_path / ".cache" / "matplotlib"
    folder.mkdir(parents=True)
    (folder / f"fontlist-v{version}.json").write_text(damaged)
    run(DRAW, tmp_path)
    assert (folder / f"fontlist-v{version}.json").read_text() == damaged


def test_what_the_user_imported_before_is_left_alone(tmp_path: Path) -> None:
    code = (
        "import matplotlib.font_manager as fonts, matplotlib\n"
        "before = fonts.fontManager, dict(matplotlib.rcParams)\n"
        "import mris.drawing\n"
        "assert before == (fonts.fontManager, dict(matplotlib.rcParams))"
    )
    run(code, tmp_path)
