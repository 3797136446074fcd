"""Left knee to right knee: the split, the pairs, what a shortcut could see, and the whole study on made-up knees."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.cohort.cohort import Cohort
from mris.cohort.manifest import read_manifest
from mris.errors import ManifestError
from mris.retrieval import own_ranks, recall_at_k

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "bilateral"


@pytest.fixture(scope="module")
def study() -> Iterator[SimpleNamespace]:
    """The modules without torch, imported by their bare names as the script does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in ("radiographs", "shortcuts")})


@pytest.fixture
def made_up(study: SimpleNamespace, rng: np.random.Generator, tmp_path: Path) -> Path:
    study.radiographs.write_made_up(tmp_path / "data", rng, n_people=20)
    return tmp_path / "data"


def rewrite_index(data: Path, change: object) -> None:
    index = data / "oai_radiographs" / "index.csv"
    head, *lines = index.read_text().splitlines()
    index.write_text("\n".join([head, *change(lines)]) + "\n")  # type: ignore[operator]


def test_both_knees_of_a_person_share_a_split_whatever_the_order_of_the_index(
    study: SimpleNamespace, made_up: Path, rng: np.random.Generator
) -> None:
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    knees = study.radiographs.read_knees(made_up)
    splits = knees.splits(fractions, seed=0)
    of_person = {person: set(splits[knees.subjects == person]) for person in knees.people}
    assert {len(found) for found in of_person.values()} == {1}
    assert {name: int((splits == name).sum()) for name in fractions} == {"train": 24, "val": 8, "test": 8}

    rewrite_index(made_up, lambda lines: [lines[i] for i in rng.permutation(len(lines))])
    again = study.radiographs.read_knees(made_up)
    assert again.files == knees.files
    assert again.splits(fractions, seed=0).tolist() == splits.tolist()
    assert again.splits(fractions, seed=1).tolist() != splits.tolist()


def test_a_pair_is_the_left_file_and_the_mirrored_right_one_with_both_grades(
    study: SimpleNamespace, made_up: Path, tmp_path: Path
) -> None:
    knees = study.radiographs.read_knees(made_up)
    splits = knees.splits({"train": 0.6, "val": 0.2, "test": 0.2}, seed=0)
    manifest = read_manifest(study.radiographs.write_pairs(knees, splits, tmp_path / "pairs"))
    assert manifest.findings == ()
    assert [row.subject for row in manifest.rows] == knees.people.tolist()
    for row, left, right in zip(manifest.rows, knees.grades_of("left"), knees.grades_of("right"), strict=True):
        files = [made_up / "oai_radiographs" / "images" / f"{row.subject}{side}.png" for side in "LR"]
        assert Path(row.source) == files[0]
        pixels = np.asarray(PIL.Image.open(files[1]), dtype=np.float32)
        np.testing.assert_allclose(np.load(row.targets[0]), pixels[:, ::-1] / 255, atol=1e-7)
        assert row.labels == (left, right)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[1:], "missing or stands twice"),
        (lambda lines: [*lines, lines[0]], "missing or stands twice"),
        (lambda lines: [lines[0].replace(",L,", ",left,"), *lines[1:]], "row 2: side 'left'"),
        (lambda lines: [lines[0].replace("P000L.png", "P999L.png"), *lines[1:]], "no image P999L.png"),
    ],
)
def test_an_index_that_is_not_two_knees_a_person_is_refused(
    study: SimpleNamespace, made_up: Path, change: object, message: str
) -> None:
    rewrite_index(made_up, change)
    with pytest.raises(ManifestError, match=message):
        study.radiographs.read_knees(made_up)


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 5.0), shift=st.floats(-1.0, 1.0))
@settings(max_examples=25, deadline=None)
def test_blinded_images_tell_neither_exposure_nor_border(
    study: SimpleNamespace, seed: int, scale: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 1, (3, 1, 32, 32)).astype(np.float32)
    other = np.float32(scale) * images + np.float32(shift)
    other[:, :, :4], other[:, :, -4:], other[..., :4], other[..., -4:] = rng.uniform(-9, 9, 4)
    found, of_other = study.shortcuts.blinded(images), study.shortcuts.blinded(other)
    assert found.shape == (3, 1, 24, 24)
    np.testing.assert_allclose(found, of_other, atol=0.02)  # float32 may exchange two ranks that are almost equal
    np.testing.assert_allclose(np.sort(found.reshape(3, -1)), np.tile(np.linspace(0, 1, 576), (3, 1)), atol=0.02)


def test_the_border_look_does_not_see_the_middle_and_the_gray_look_sees_no_place(
    study: SimpleNamespace, rng: np.random.Generator
) -> None:
    images = rng.uniform(0, 1, (4, 64, 64)).astype(np.float32)
    changed = images.copy()
    changed[:, 12:-12, 12:-12] = 0.5  # the filter of the reduction reaches one coarse pixel further
    border, gray = study.shortcuts.border_look, study.shortcuts.gray_look
    np.testing.assert_array_equal(border(images), border(changed))
    assert not np.allclose(gray(images), gray(changed))
    moved = images.reshape(4, -1)[:, rng.permutation(64 * 64)].reshape(images.shape)
    np.testing.assert_allclose(gray(images), gray(moved), atol=1e-6)
    assert not np.allclose(border(images), border(moved))


def test_a_look_is_compared_by_what_two_knees_of_a_person_share(
    study: SimpleNamespace, make_cohort, rng: np.random.Generator
) -> None:
    """Each person has a weak pattern of its own; a strong stripe changes from knee to knee and must not count."""
    n, size = 120, (16, 16)
    own = rng.normal(0, 0.05, (n, 1, *size))
    stripes = rng.normal(0, 0.3, (2, n, 1, 1, size[1]))
    sources, targets = (np.asarray(0.5 + own + stripe, dtype=np.float32) for stripe in stripes)
    split = ["train"] * 80 + ["test"] * 40
    people = [f"S{i:03d}" for i in range(n)]
    cohort: Cohort = make_cohort(
        people, rng=rng, size=size, sources=sources, targets=targets, split=split, regions=["target"]
    )
    test = cohort.split("test")
    encoder = study.shortcuts.LookEncoder.fit(study.shortcuts.pixels_look, cohort.split("train"))
    queries, gallery = encoder.encode_sources(test.read_sources()), encoder.encode_targets(test.read_targets())
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, rtol=1e-5)
    learned = recall_at_k(queries, gallery, np.arange(40))[1]
    plain = [part.reshape(40, -1) - part.mean() for part in (test.read_sources(), test.read_targets())]
    plain = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in plain]
    assert learned > recall_at_k(*plain, np.arange(40))[1] + 0.3


def test_matched_ranks_are_those_of_a_plain_loop(study: SimpleNamespace, rng: np.random.Generator) -> None:
    n, n_distractors = 30, 7
    queries, gallery = (rng.normal(size=(n, 5)).astype(np.float32) for _ in range(2))
    queries, gallery = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (queries, gallery))
    look = rng.normal(size=(n, 3)) * [1, 10, 100]
    found = study.shortcuts.matched_ranks(queries, gallery, look, n_distractors)
    scaled = (look - look.mean(axis=0)) / look.std(axis=0)
    for i in range(n):
        likest = sorted((j for j in range(n) if j != i), key=lambda j: np.linalg.norm(scaled[j] - scaled[i]))
        closer = [j for j in likest[:n_distractors] if queries[i] @ gallery[j] >= queries[i] @ gallery[i]]
        assert found[i] == 1 + len(closer)
    everyone = study.shortcuts.matched_ranks(queries, gallery, look, n - 1)
    np.testing.assert_array_equal(everyone, own_ranks(queries, gallery, np.arange(n)))


@pytest.mark.slow
def test_the_study_runs_whole_keeps_what_is_done_and_names_nobody(
    study: SimpleNamespace, run_script, tmp_path: Path
) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    study.radiographs.write_made_up(data, np.random.default_rng(0), n_people=48)
    command = [FOLDER / "run.py", "--smoke", "--data", data, "--work", work]
    first = run_script(*command)
    assert first.code == 0, first.err
    report = work / "report"
    page = (report / "results.md").read_text()
    for row in ("learned", "learned, blinded", "border alone", "gray levels alone", "the left knee itself", "mean map"):
        assert f"| {row} |" in page
    assert "nan" not in page.lower()
    for file in report.glob("*.*"):
        assert "P00" not in file.read_text(), f"{file.name} names a person"
    assert {path.name for path in (report / "figures").iterdir()} == {"recall.png", "errors.png", "training.png"}
    matched = json.loads((report / "matched.json").read_text())
    assert {row["matched_by"] for row in matched} == {"gray levels", "border"}

    from mris.training.networks import build_network, load_weights

    network = build_network("resnet18", channels=1, embedding_dim=4, width=8)
    assert load_weights(network, work / "seed0" / "weights" / "source.safetensors") > 0

    again = run_script(*command)
    assert again.code == 0, again.err
    assert [line for line in again.out.splitlines()[:-1] if not line.endswith(": kept")] == []


def test_absent_data_costs_one_line(tmp_path: Path) -> None:
    command = [sys.executable, FOLDER / "run.py", "--data", tmp_path, "--work", tmp_path / "work"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("bilateral: there is no ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.data
def test_the_real_index_is_both_knees_of_each_person(study: SimpleNamespace, data_dir: Path) -> None:
    knees = study.radiographs.read_knees(data_dir)
    assert len(knees) == 2 * len(knees.people)
    image = knees.image(1)
    assert (image.laterality, image.pixels.shape) == ("right", (1, 224, 224))
    assert 0 <= image.pixels.min() < image.pixels.max() <= 255
