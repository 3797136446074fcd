"""The judge of ``mris segment``: what is told of a network is what that network did."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tests.mr_oracle import write_oracle

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "mr_segmentation"


@pytest.fixture
def run() -> Iterator[ModuleType]:
    """The script, and the modules that it imports by their bare names."""
    spec = importlib.util.spec_from_file_location("mr_segmentation_run", FOLDER / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", sys.path.copy())
        for name in ("judge", "knees"):
            patch.delitem(sys.modules, name, raising=False)
        spec.loader.exec_module(module)
        yield module
        for name in ("judge", "knees"):  # another study has a module of that name
            sys.modules.pop(name, None)


def test_each_network_is_judged_by_its_own_knees(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    told = {"overlap": {}, "findings": [], "certainty": {}, "processor_seconds": 1.0, "seconds": 1.0, "peak_gib": 1.0}
    monkeypatch.setattr(run, "open_atlas", lambda _: None)
    monkeypatch.setattr(run, "digital", lambda _: SimpleNamespace(name="knee"))
    monkeypatch.setattr(run, "judge", lambda knee, model, *_: seen.append(model.card.spacing_mm[0]) or told)
    monkeypatch.setattr(run, "report", lambda rows, _: str(len(rows)))
    for step_mm in (4.0, 5.0, 5.0):
        model = write_oracle(tmp_path / str(step_mm), edge=32, step_mm=step_mm)
        words = ["--work", tmp_path / "work", "--model", model, "--digital", 1, "--real", 0, "--varied", 0]
        monkeypatch.setattr(sys, "argv", ["run.py", *map(str, [*words, "--out", tmp_path / "out"])])
        run.main()
    assert seen == [4.0, 5.0]
    assert (tmp_path / "out" / "segmentation.md").read_text() == "1"


def test_plates_that_are_told_apart_are_doubted_as_the_whole(run: ModuleType) -> None:
    row = {"findings": [], "certainty": {"femur": 0.99, "medial_tibial_cartilage": 0.95}}
    assert not run.doubted(row)
    assert run.doubted(row | {"certainty": {"lateral_tibial_cartilage": 0.5}})
