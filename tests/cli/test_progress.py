"""On a terminal a progress bar is gone once its command has ended: no dead bar stands above an error."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

_CONTROL = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[?0-9;]*[A-Za-z]")


def shown(written: str) -> list[str]:
    """What a terminal shows in the end: the cursor goes up, lines are erased, the rest is color."""
    lines, row, place = [""], 0, 0
    while place < len(written):
        control = _CONTROL.match(written, place)
        if control is not None:
            row -= int(control[1] or 1) if control[2] == "A" else 0
            lines[row] = "" if control[2] == "K" else lines[row]
        elif written[place] == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif written[place] != "\r":  # no line is written over but an erased one
            lines[row] += written[place]
        place = place + 1 if control is None else control.end()
    return [line for line in lines if line]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    np.save(good, np.random.default_rng(3).random((16, 16)).astype(np.float32))
    bad.write_bytes(good.read_bytes()[:90])
    return good, bad


@pytest.mark.usefixtures("terminal")
def test_an_error_stands_alone_where_the_bar_of_a_synthesis_was(
    run_cli: Callable, tiny_bundle: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    command = ["synthesize", tiny_bundle, *files, "--formats", "npz", "--no-pictures", "--out", tmp_path / "out"]
    stopped = run_cli(*command)
    assert stopped.code == 2
    assert "Synthesizing" in stopped.err  # there was a bar
    (line,) = shown(stopped.err)
    assert line.startswith("mris: ") and "bad.npy" in line
    skipped = run_cli(*command, "--on-error", "skip")
    assert skipped.code == 0
    (line,) = shown(skipped.err)
    assert line.startswith("skipped: ")


@pytest.mark.usefixtures("terminal")
def test_an_error_stands_alone_where_the_bar_of_a_preparation_was(
    run_cli: Callable, files: tuple[Path, Path], tmp_path: Path
) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("subject,timepoint,source,target\nA,0,good.npy,good.npy\nB,0,bad.npy,good.npy\n")
    command = ["prepare", table, tmp_path / "cohort", "--size", "8", "--fractions", "train=0.5,val=0.5"]
    stopped = run_cli(*command, "--workers", 1)
    assert stopped.code == 2
    assert "Preparing pairs" in stopped.err
    assert [line.partition(":")[0] for line in shown(stopped.err)] == ["mris", "  row 3 (B/0), source"]
