"""The cohort on disk: the same for every N and every number of workers, whole after any interruption."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mris
from mris.cohort import workers
from mris.cohort.names import subject_findings
from mris.errors import OutputError, SettingsError
from mris.knee.phantom import cohort, simulate_subject, write_phantom
from mris.knee.phantom.atlas import REGIONS, knee_atlas
from mris.knee.phantom.simulate import simulate_states, subject_name

SIZE = 32


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "knees"
    write_phantom(folder, n_subjects=5, size=SIZE, seed=4, max_visits=2, workers=1, progress=False)
    return folder


def test_a_subject_is_the_same_whoever_else_is_in_the_cohort(written: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "more", n_subjects=7, size=SIZE, seed=4, max_visits=2, workers=1, progress=False)
    few, more = digests(written), digests(tmp_path / "more")
    shared = {name: digest for name, digest in more.items() if name in few and name.startswith("P")}
    assert shared == {name: digest for name, digest in few.items() if name.startswith("P")}


def test_files_and_memory_hold_the_same_knee(written: Path) -> None:
    visits = simulate_subject(4, 3, size=SIZE, max_visits=2)
    table = [row for row in rows(written) if row["subject"] == "P4-00003"]
    assert len(table) == len(visits)
    for row, visit in zip(table, visits, strict=True):
        assert (row["timepoint"], row["side"]) == (str(visit.state.month), visit.state.knee.side)
        with PIL.Image.open(written / row["source"]) as image:
            assert image.mode == "I;16"
            assert np.array_equal(np.asarray(image), visit.radiograph)
        for region, name in enumerate(REGIONS):
            target = np.load(written / row[f"target_{name}"], allow_pickle=False)
            assert target.dtype == np.float32
            assert np.array_equal(target, visit.thickness[region], equal_nan=True)


def test_fewer_visits_are_the_first_visits() -> None:
    index = next(i for i in range(20) if len(simulate_subject(0, i, size=SIZE)) > 2)
    every, first = simulate_subject(0, index, size=SIZE), simulate_subject(0, index, size=SIZE, max_visits=1)
    for one, other in zip(first, every, strict=False):
        assert np.array_equal(one.radiograph, other.radiograph)
        assert np.array_equal(one.thickness, other.thickness, equal_nan=True)


def test_seeds_and_subjects_differ() -> None:
    pictures = [simulate_subject(s, i, size=SIZE, max_visits=1)[0].radiograph for s, i in ((0, 0), (0, 1), (1, 0))]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@given(st.sets(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=2))
@settings(max_examples=50, deadline=None)
def test_two_digital_people_never_share_a_name(people: set[tuple[int, int]]) -> None:
    names = {subject_name(seed, index) for seed, index in people}
    assert len(names) == len(people)
    assert not subject_findings(names)


def test_a_bundle_of_one_seed_knows_nobody_of_another() -> None:
    others = [state.subject for i in range(3) for state in simulate_states(1, i, atlas_size=16, max_visits=1)]
    assert not set(others) & set(mris.digital_knees().subjects.tolist())


def test_the_manifest_says_what_each_pair_is(written: Path) -> None:
    table = rows(written)
    assert tuple(table[0]) == cohort.COLUMNS
    assert len({(row["subject"], row["timepoint"], row["side"]) for row in table}) == len(table)
    header = json.loads((written / "phantom.json").read_text())
    assert header["n_pairs"] == len(table)
    assert header["settings"]["seed"] == 4
    for row in table:
        assert float(row["spacing"]) == pytest.approx(140.0 / SIZE, rel=1e-5)
        assert row["klg"] in {"", "0", "1", "2", "3", "4"}
        assert row["sex"] in {"female", "male"}
        assert row["site"] in {"A", "B"}


def test_maps_are_nan_exactly_outside_the_atlas(written: Path) -> None:
    mask = knee_atlas(SIZE).mask
    for row in rows(written):
        for region, name in enumerate(REGIONS):
            target = np.load(written / row[f"target_{name}"], allow_pickle=False)
            assert np.array_equal(np.isfinite(target), mask[region])
            assert np.nanmin(target) >= 0.0
            assert np.nanmax(target) < 8.0


def test_nothing_but_the_cohort_is_left_in_its_folder(written: Path) -> None:
    names = {path.name for path in written.iterdir()}
    assert names == {"manifest.csv", "phantom.json", *(f"P4-{i:05d}" for i in range(5))}


def test_an_interrupted_cohort_is_finished_by_the_same_call(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "knees"
    simulate = cohort.simulate_subject

    def interrupted(seed: int, index: int, **options: object) -> object:
        if index == 2:
            raise KeyboardInterrupt
        return simulate(seed, index, **options)  # type: ignore[arg-type]

    call = {"n_subjects": 5, "size": SIZE, "seed": 4, "max_visits": 2, "workers": 1, "progress": False}
    monkeypatch.setattr(cohort, "simulate_subject", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_phantom(folder, **call)
    assert not (folder / "phantom.json").exists()
    assert not (folder / "manifest.csv").exists()
    # What a kill in mid-write leaves: a truncated file of a subject without a record.
    (folder / "P4-00002").mkdir(exist_ok=True)
    (folder / "P4-00002" / "00_left.png").write_bytes(b"\x89PNG")
    monkeypatch.setattr(cohort, "simulate_subject", simulate)
    report = write_phantom(folder, **call)
    assert report.n_reused == 2
    assert digests(folder) == digests(written)


def test_a_finished_cohort_is_left_as_it_is(written: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    report = write_phantom(written, n_subjects=5, size=SIZE, seed=4, max_visits=2, workers=1, progress=False)
    assert report.n_reused == 5
    assert before == {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert "KLG 0/1/2/3/4" in report.summary()


@pytest.mark.parametrize("change", [{"seed": 5}, {"size": 48}, {"n_subjects": 6}, {"enriched": True}])
def test_a_folder_of_other_settings_is_refused(written: Path, change: dict[str, int]) -> None:
    call = {"n_subjects": 5, "size": SIZE, "seed": 4, "max_visits": 2, "workers": 1, "progress": False} | change
    before = digests(written)
    with pytest.raises(SettingsError, match=f"{next(iter(change))} .*asked.*choose another folder"):
        write_phantom(written, **call)
    assert digests(written) == before


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="not a digital cohort"):
        write_phantom(tmp_path, n_subjects=1, size=SIZE, workers=1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_header_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "phantom.json").write_text(text)
    with pytest.raises(SettingsError, match=r"phantom\.json is"):
        write_phantom(tmp_path, n_subjects=1, size=SIZE, workers=1, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_subjects": 0}, "n_subjects is 0"),
        ({"size": 8}, "size is 8 px"),
        ({"seed": -1}, "seed is -1"),
        ({"max_visits": 0}, "max_visits is 0"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_impossible_settings_leave_no_folder(tmp_path: Path, change: dict[str, int], message: str) -> None:
    call = {"n_subjects": 1, "size": SIZE, "workers": 1, "progress": False} | change
    with pytest.raises(SettingsError, match=message):
        write_phantom(tmp_path / "out", **call)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("written_by", ["numpy.save", "PIL.Image.Image.save", "mris.images.write._flush"])
def test_a_full_disk_is_one_clear_line_and_the_same_call_then_goes_on(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_by: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    call = {"n_subjects": 5, "size": SIZE, "seed": 4, "max_visits": 2, "workers": 1, "progress": False}
    with monkeypatch.context() as patched, pytest.raises(OutputError, match="No space left on device"):
        patched.setattr(written_by, full)
        write_phantom(tmp_path / "out", **call)
    write_phantom(tmp_path / "out", **call)
    assert digests(tmp_path / "out") == digests(written)


def test_what_a_kill_in_its_first_write_leaves_does_not_stop_the_next_call(written: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".started.json.0123456789ab.tmp.json").write_text("{")
    write_phantom(tmp_path / "out", n_subjects=5, size=SIZE, seed=4, max_visits=2, workers=1, progress=False)
    assert digests(tmp_path / "out") == digests(written)


_SCRIPT = """
from mris.knee.phantom import write_phantom
write_phantom({out!r}, n_subjects={n}, size=32, seed=4, max_visits=2, workers={workers}, progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["a file", "standard input"])
def test_a_script_without_a_guard_writes_with_two_workers_what_one_writes(
    written: Path, tmp_path: Path, way: str
) -> None:
    script = tmp_path / "write.py"
    script.write_text(_SCRIPT.format(out=str(tmp_path / "knees"), n=5, workers=2))
    command = [sys.executable, str(script) if way == "a file" else "-"]
    done = subprocess.run(command, input=script.read_text(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert digests(tmp_path / "knees") == digests(written)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see the workers")
def test_a_killed_call_leaves_no_worker_and_is_finished_by_the_next(
    tmp_path: Path, wait_until_gone: Callable[[int], None]
) -> None:
    folder, whole = tmp_path / "knees", tmp_path / "whole"
    script = tmp_path / "write.py"
    script.write_text(_SCRIPT.format(out=str(folder), n=40, workers=2))
    with subprocess.Popen([sys.executable, str(script)], start_new_session=True) as process:
        deadline = time.monotonic() + 120.0
        while len(list((folder / "records").glob("*.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    wait_until_gone(process.pid)
    assert not (folder / "phantom.json").exists()
    call = {"n_subjects": 40, "size": 32, "seed": 4, "max_visits": 2, "workers": 1, "progress": False}
    assert write_phantom(folder, **call).n_reused >= 3
    write_phantom(whole, **call)
    assert digests(folder) == digests(whole)


def test_a_worker_that_dies_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "start_worker", os.abort)
    with pytest.raises(OutputError, match=r"a process that simulates knees died .* run again with fewer workers"):
        write_phantom(tmp_path / "knees", n_subjects=3, size=SIZE, workers=2, progress=False)
