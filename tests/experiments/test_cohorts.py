"""What the experiment is asked to do is checked before its first stage: settings, cohort, tasks."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.experiments.conftest import plan_of

from mris.cohort.cohort import Cohort
from mris.errors import CohortError
from mris.knee.progression import cohort_progression
from mris.study.experiment import check_same_cohort, open_experiment, queries_of
from mris.study.plan import Plan, PresetName, Task, make_plan
from mris.study.stages import Work
from mris.study.tasks import labeled

PRESETS = ("smoke", "small", "full", "paper")


@pytest.mark.parametrize("name", [*PRESETS, "adrenal"])
def test_settings_that_we_ship_are_read_and_printed_in_full_and_nothing_is_left(
    paper: SimpleNamespace, run_paper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = paper.run.HERE / "settings" / f"{name}.toml"
    asked = ["--preset", name] if name in PRESETS else ["--settings", file]
    outcome = run_paper(*asked, "--dry-run")
    assert outcome.code == 0, outcome
    plan = make_plan(paper.phantom_cohort.PaperPlan, name if name in PRESETS else "small", file=file)
    assert paper.phantom_cohort.PaperPlan.model_validate_json(outcome.out) == plan
    printed = json.loads(outcome.out)
    assert printed["methods"] == ["unet", "pix2pix", "transunet", "autoencoder"]
    assert printed["tasks"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PRESETS)
def test_encoders_and_baselines_of_a_preset_train_on_the_same_batches_and_augmentation(name: PresetName) -> None:
    plan = make_plan(Plan, name)
    recipes = [plan.metric_settings, *(plan.baseline_settings(method) for method in plan.methods)]
    for setting in ("sampler", "epochs", "batch_size", "validate_every", "rotation", "contrast", "noise"):
        assert len({getattr(recipe, setting) for recipe in recipes}) == 1, setting


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = [0]", "seads = [0]", r"seads is \[0\]: extra"),
        ("embedding_dim", "embeding_dim", "embeding_dim is 8: extra"),
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
    assert re.search(said, line), line
    assert not (tmp_path / "work").exists()


def test_settings_that_are_not_there_and_places_that_cannot_be_written_cost_one_line(
    refused, settings, small_cohort, tmp_path: Path
) -> None:
    assert "none.toml" in refused("--settings", tmp_path / "none.toml")
    (tmp_path / "file").write_text("in the way")
    asked = ["--settings", settings(), "--cohort", small_cohort().path, "--work"]
    assert "Not a directory" in refused(*asked, tmp_path / "file" / "work")
    assert "no seed of" in refused(*asked, tmp_path / "work", "--report")


def test_settings_without_a_digital_cohort_ask_for_one(refused, tmp_path: Path) -> None:
    assert "--cohort PATH" in refused("--preset", "paper", "--work", tmp_path / "work")
    assert "is not a cohort" in refused("--preset", "paper", "--work", tmp_path / "work", "--cohort", tmp_path)


@pytest.mark.parametrize("seed", ["-1", str(2**32), "one"])
def test_a_seed_that_no_generator_takes_is_refused(run_paper, seed: str) -> None:
    outcome = run_paper("--preset", "smoke", "--seed", seed)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].endswith(f"argument --seed: invalid whole value: '{seed}'")


def without(small_cohort: Callable[..., Cohort], region: int, split: str) -> Cohort:
    """A cohort whose pairs of one split have no value in one region."""
    targets = np.ones((80, 2, 8, 8), np.float32)
    targets[np.asarray(small_cohort(name="whole").splits) == split, region] = np.nan
    return small_cohort(targets=targets, name=f"without_{region}_{split}")


@pytest.mark.parametrize(
    ("change", "replaced", "said"),
    [
        ({}, ('by = ["klg"]', 'by = ["grade"]'), "has no label 'grade'; there are: klg"),
        ({}, ('label = "klg"', 'label = "side"'), "has no label 'side'"),
        ({"grades": [2] * 80}, None, "task 'KLG' has 8 labeled pairs in split 'downstream', of 1 classes"),
        ({"grades": [None] * 80}, None, "task 'KLG' has 0 labeled pairs in split 'downstream', of 0 classes"),
        ({"grades": [(i // 2 % 5 == 3) * (i % 4 // 2) for i in range(80)]}, None, "8 labeled pairs in split 'test'"),
        ({"split": ["train", "val", "test", "train"] * 20}, None, "no pairs in split 'downstream'"),
        ({"split": ["train", "downstream", "test", "train"] * 20}, None, "no pairs in split 'val'"),
        ({}, ("n_neighbors = 3", "n_neighbors = 16"), "has 16 training subjects, n_neighbors is 16"),
        ({}, ("methods = []", 'methods = ["unet"]\nbaselines.unet.width = 8'), "multiples of 16"),
        ({}, ("[shared]", "[merge.age]\n0 = '1'\n[shared]"), r"merge names \['age'\]"),
        ({}, ("[shared]", "[prevalence.klg]\n7 = 1.0\n[shared]"), "'7' is no stratum"),
        ({}, ('label = "klg"', 'label = "klg"\nkind = "progression"'), "task 'KLG' has 0 labeled pairs"),
    ],
)
def test_what_would_fail_after_hours_is_refused_before_the_first_stage(
    refused, small_cohort, settings, tmp_path: Path, change: dict, replaced: tuple[str, str] | None, said: str
) -> None:
    cohort = small_cohort(**change)
    path = settings(*([replaced] if replaced else []))
    line = refused("--settings", path, "--cohort", cohort.path, "--work", tmp_path / "work")
    assert re.search(said, line), line
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("split", ["train", "val", "downstream", "test"])
@pytest.mark.parametrize("region", [0, 1])
def test_a_region_without_a_value_in_a_split_is_named(
    small_cohort, settings, tmp_path: Path, split: str, region: int
) -> None:
    cohort, plan = without(small_cohort, region, split), plan_of(settings())
    with pytest.raises(
        CohortError, match=f"no target of split '{split}' has a value in region '{cohort.regions[region]}'"
    ):
        open_experiment(Work(tmp_path), plan, cohort, cohort_progression)


def test_a_cohort_without_a_second_set_will_do_where_no_classifier_is_asked_for(
    small_cohort, settings, tmp_path: Path
) -> None:
    cohort = small_cohort(split=["train", "train", "val", "test"] * 20)
    plan = plan_of(settings()).model_copy(update={"tasks": []})
    assert open_experiment(Work(tmp_path), plan, cohort, cohort_progression).tasks == {}


def test_a_region_missing_in_some_people_is_no_reason_to_refuse(
    run_paper, small_cohort, settings, rng: np.random.Generator, tmp_path: Path
) -> None:
    targets = rng.uniform(0.5, 3.0, (80, 2, 8, 8)).astype(np.float32)
    targets[::8, 1] = np.nan
    cohort = small_cohort(targets=targets)
    outcome = run_paper("--settings", settings(), "--cohort", cohort.path, "--work", tmp_path / "work", "--dry-run")
    assert outcome.code == 0, outcome
    assert "train: 32 pairs, 16 subjects" in outcome.out
    assert not (tmp_path / "work").exists()


def test_a_task_is_about_baseline_visits_with_a_label_their_values_merged(small_cohort) -> None:
    cohort = small_cohort(grades=[None if i % 7 == 0 else i % 5 for i in range(80)])
    task = Task(name="KLG", label="klg", merge={"0": "0-1", "1": "0-1"})
    found = labeled(cohort, task, cohort_progression)
    expected = {i: {0: "0-1", 1: "0-1", 2: "2", 3: "3", 4: "4"}[i % 5] for i in range(0, 80, 2) if i % 7}
    named = zip(found.positions.tolist(), (found.names[c] for c in found.classes), strict=True)
    assert dict(named) == expected
    assert found.names == ("0-1", "2", "3", "4")
    counts = found.counts(cohort)
    for split in ("downstream", "test"):
        inside = [name for i, name in expected.items() if cohort.splits[i] == split]
        assert counts[split] == {name: inside.count(name) for name in found.names}


def test_a_knee_progresses_if_its_grade_rises_and_grade_4_has_no_part(small_cohort) -> None:
    grades = [[(1, 2), (2, 2), (4, 4), (3, 1), (0, None)][i // 2 % 5][i % 2] for i in range(80)]
    cohort = small_cohort(grades=grades, timepoints=["0", "72"] * 40)
    task = Task(name="progression", label="klg", kind="progression")
    found = labeled(cohort, task, cohort_progression)
    expected = [(i, grades[i + 1] > grades[i]) for i in range(0, 80, 2) if i // 2 % 5 not in (2, 4)]
    assert list(zip(found.positions.tolist(), (found.classes == 1).tolist(), strict=True)) == expected
    assert found.names == ("stays", "rises")
    nothing = labeled(cohort, task.model_copy(update={"months": 48}), cohort_progression)
    assert len(nothing.positions) == 0


def test_queries_are_baseline_visits_of_the_test_people_or_all_their_visits(small_cohort, settings) -> None:
    cohort, plan = small_cohort(), plan_of(settings())
    every = plan.model_copy(update={"test_visits": "all"})
    of_test = [i for i in range(80) if i // 2 % 5 == 4]
    assert queries_of(cohort, every).keys.tolist() == cohort.keys[of_test].tolist()
    assert queries_of(cohort, plan).keys.tolist() == cohort.keys[of_test[::2]].tolist()


def test_a_folder_begun_with_other_splits_labels_or_sizes_of_one_manifest_is_refused(
    small_cohort, tmp_path: Path
) -> None:
    work = Work(tmp_path / "work")
    grades = [i % 3 for i in range(80)]
    cohort = small_cohort(grades=grades)
    check_same_cohort(work, cohort)
    check_same_cohort(work, Cohort.open(cohort.path))
    others = {
        "splits": {"split": ["test", "train", "val", "downstream"] * 20},
        "labels": {"grades": [1] * 80},
        "sizes": {"size": (16, 16)},
    }
    for name, change in others.items():
        with pytest.raises(CohortError, match="choose another folder"):
            check_same_cohort(work, small_cohort(name=name, **{"grades": grades, **change}))
    check_same_cohort(work, cohort)


def test_the_command_on_the_page_tells_settings_but_no_place_of_this_machine(paper: SimpleNamespace) -> None:
    def given(**changes: object) -> SimpleNamespace:
        return SimpleNamespace(**{"settings": None, "preset": "full", "cohort": None, **changes})

    command = "python experiments/paper/run.py"
    assert paper.run.command_of(given()) == f"{command} --preset full"
    adrenal = given(settings=Path("/home/me/adrenal.toml"), cohort=Path("/data/glands"))
    assert paper.run.command_of(adrenal) == f"{command} --settings adrenal.toml --cohort PATH"
