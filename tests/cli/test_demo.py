"""``mris demo`` starts anew only what it began itself, and finds out before it works."""

import json
import shutil
from pathlib import Path

import pytest

from mris.errors import SettingsError
from mris.training.run_folder import foreign_to_run

OPTIONS = ["--subjects", 60, "--size", 32, "--epochs", 1, "--quiet"]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


RUN = json.dumps({"kind": "metric", "seed": 0})
FOREIGN = {
    "a thesis": {"run/thesis.txt": "mine"},
    "a thesis in a run": {"run/run.json": RUN, "run/thesis.txt": "mine"},
    "a thesis among checkpoints": {"run/run.json": RUN, "run/checkpoints/thesis.txt": "mine"},
    "weights without a run": {"run/checkpoints/best.safetensors": "mine"},
    "a run of another program": {"run/run.json": '{"name": "mine"}'},
    "a run of a baseline": {"run/run.json": '{"kind": "unet"}'},
    "a finished encoder": {"run/run.json": RUN, "run/encoder/encoder.json": "mine"},
    "no cohort": {"cohort/thesis.txt": "mine"},
    "no bundle": {"knees.bundle/thesis.txt": "mine"},
    "no report": {"report/thesis.txt": "mine"},
    "no knees": {"knees/thesis.txt": "mine"},
    "a file for a folder": {"maps": "mine"},
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_demo_refuses_what_is_not_its_own_before_it_works(refused, tmp_path: Path, files: dict[str, str]) -> None:
    put(tmp_path / "demo", files)
    before = files_below(tmp_path)
    assert str(tmp_path / "demo" / next(iter(files)).partition("/")[0]) in refused("demo", tmp_path / "demo", *OPTIONS)
    assert files_below(tmp_path) == before


def test_a_link_to_a_run_elsewhere_is_refused(refused, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", {"run.json": RUN})
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "run").symlink_to(tmp_path / "elsewhere")
    assert "run" in refused("demo", tmp_path / "demo", *OPTIONS)
    assert (tmp_path / "elsewhere" / "run.json").read_text() == RUN


def test_a_run_is_known_by_all_that_training_writes_until_an_epoch_is_finished(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    shutil.rmtree(run / "encoder")
    assert foreign_to_run(run, "metric") == "checkpoints/last.safetensors"
    (run / "checkpoints" / "last.safetensors").unlink()
    (run / ".metrics.csv.12345.tmp").write_text("cut")
    assert foreign_to_run(run, "metric") is None
    assert foreign_to_run(run, "unet") == "run.json"


def test_an_empty_folder_and_one_killed_at_once_are_started_anew(tmp_path: Path) -> None:
    assert foreign_to_run(tmp_path, "metric") is None
    (tmp_path / ".run.json.ab12.tmp").write_text("{")
    assert foreign_to_run(tmp_path, "metric") is None


@pytest.mark.slow
def test_a_demo_starts_its_own_run_anew_that_finished_no_epoch(
    refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise SettingsError("far enough")

    monkeypatch.setattr("mris.synthesis.build_bundle.build_bundle", stop)  # the whole road is walked elsewhere
    put(tmp_path / "demo", {"run/run.json": RUN, "run/metrics.csv": ""})
    assert "far enough" in refused("demo", tmp_path / "demo", *OPTIONS)
    assert (tmp_path / "demo" / "run" / "encoder" / "encoder.json").is_file()
