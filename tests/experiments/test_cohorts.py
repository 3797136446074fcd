"""What the experiment is asked to do is checked before its first stage: settings, cohort, tasks."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest_names import FOLDER

from mris.cohort.cohort import Cohort
from mris.errors import CohortError

PRESETS = ("smoke", "small", "full", "paper")


@pytest.mark.parametrize("name", [*PRESETS, "adrenal"])
def test_settings_that_we_ship_read_and_print_in_full_and_leave_nothing(
    run_paper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--preset", name] if name in PRESETS else ["--settings", FOLDER / "settings" / f"{name}.toml"]
    outcome = run_paper(*asked, "--dry-run")
    assert outcome.code == 0, outcome
    printed = json.loads(outcome.out)
    assert printed["methods"] == ["unet", "pix2pix", "transunet", "autoencoder"]
    assert printed["seeds"]
    assert printed["tasks"]
    assert list(tmp_path.iterdir()) == []


def test_encoders_and_baselines_of_a_preset_see_the_same_batches_for_the_same_epochs(paper: SimpleNamespace) -> None:
    shared = ("sampler", "epochs", "batch_size", "validate_every", "rotation", "contrast", "noise", "target_scale")
    for name in PRESETS:
        plan = paper.plan.read_plan(FOLDER / "settings" / f"{name}.toml")
        recipes = [plan.metric_settings, *(plan.baseline_settings(method) for method in plan.methods)]
        for setting in shared:
            assert len({getattr(recipe, setting) for recipe in recipes}) == 1, (name, setting)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = [0]", "seads = [0]", r"seads is \[0\]: extra"),
        ("width = 8\nembedding_dim", "widht = 8\nembedding_dim", "widht is 8: extra"),
        ("[metric]", "[baselines.unnet]\nwidth = 8\n[metric]", "unnet"),
        ("epochs = 1\nbatch_size", "epochs = 0\nbatch_size", "epochs is 0: .* greater than or equal to 1"),
        ("seeds = [0]", "seeds = [-1]", "seeds.0 is -1"),
        ("[1.0]", "[2.0]", "curve_shares.0 is 2.0"),
        ("n_neighbors = 3", "n_neighbors = 0", "n_neighbors is 0"),
        ("methods = []", 'methods = ["gan"]', "methods.0 is 'gan'"),
        ("methods = []", "methods = [", "cannot be read"),
    ],
)
def test_a_setting_that_is_unknown_or_out_of_range_is_named_with_its_file(
    refused, settings, tmp_path: Path, old: str, new: str, said: str
) -> None:
    line = refused("--settings", settings((old, new)), "--work", tmp_path / "work")
    assert "tiny.toml" in line
    assert pytest.importorskip("re").search(said, line), line
    assert not (tmp_path / "work").exists()
