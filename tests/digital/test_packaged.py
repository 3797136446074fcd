"""The bundle of digital knees that comes with the package."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import call

import mris
from mris.digital.packaged import FOLDER, bundle_folder
from mris.knee.phantom.simulate import simulate_states, take_radiograph

MADE = "922f5c3499dc8d9c7c2a195bcada2825ed6ed1baa7c339470f419d675aa7fe64"
"""SHA-256 of its files, as `mris bundle make-digital` made them."""


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A left knee that the bundle has not seen."""
    path = tmp_path_factory.mktemp("plate") / "knee.npy"
    state = simulate_states(99, 0, max_visits=1)[0]
    np.save(path, take_radiograph(state, 128, np.random.default_rng(0)))
    return path


def test_it_is_the_one_that_was_made() -> None:
    digest = hashlib.sha256()
    for path in sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.name != ".lock"):
        digest.update(path.relative_to(FOLDER).as_posix().encode() + path.read_bytes())
    assert digest.hexdigest() == MADE


def test_nobody_in_it_lived_and_it_knows_how_sure_it_is() -> None:
    bundle = mris.digital_knees()
    assert bundle.header.origin == "simulated"
    assert len(set(bundle.subjects.tolist())) == len(bundle.keys) == 300
    assert bundle.header.members[0].calibration is not None
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 15 << 20


def test_its_card_says_on_whom_it_was_judged_and_nothing_is_damaged() -> None:
    bundle = mris.digital_knees()
    assert "71 real knees" in (FOLDER / "model_card.md").read_text()
    assert not bundle.verify().findings


def test_a_folder_of_the_name_goes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle_folder(Path("digital")) == FOLDER
    Path("digital").mkdir()
    assert bundle_folder(Path("digital")) == Path("digital")


def test_every_command_that_reads_a_bundle_knows_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("bundle", "list", "digital") == call("bundle", "verify", "digital") == 0
    assert "300 targets of 300 subjects" in capsys.readouterr().out
    assert call("evaluate", "digital", tmp_path / "cohort", "--out", tmp_path / "report", "--also", "B=digital") == 2
    assert "is not a cohort" in capsys.readouterr().err  # bundles are opened before it
    served = []
    monkeypatch.setattr("mris.web.run.serve", lambda settings, started: served.append(settings.bundles))
    assert call("serve", "digital", "--compare", "digital", "--quiet") == 0
    assert served == [(FOLDER, FOLDER)]


def test_no_report_is_written_into_the_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", "digital", tmp_path / "cohort") == 2
    assert "the bundle of the package takes no report; give a folder for it with --out" in capsys.readouterr().err
    assert not (FOLDER / "report").exists()


def test_a_command_uses_it_without_torch_and_leaves_it_as_it_was(plate: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")}
    program = "import sys; sys.modules['torch'] = None\nfrom mris.cli.entry import main\nmain()"
    options = ["--side", "left", "--spacing", "1.09", "--out", str(tmp_path / "maps"), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", program, "synthesize", "digital", str(plate), *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "simulated images" in done.stderr
    assert (tmp_path / "maps" / "knee.nii.gz").is_file()
    assert {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")} == before
