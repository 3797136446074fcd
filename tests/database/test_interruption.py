"""Kill -9 and a full disk, for real: what was there stays, what was begun is absent, and a second try succeeds."""

import importlib.util
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import lance
import numpy as np
import pytest

from mris.database.database import EmbeddingDatabase

SCRIPT = Path(__file__).with_name("interrupted_writer.py")


def run(cohort, database, action, fault):
    command = [sys.executable, str(SCRIPT), str(cohort), str(database), action, fault]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def encoder():
    spec = importlib.util.spec_from_file_location("interrupted_writer", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PixelEncoder()


@pytest.fixture
def cohort(make_cohort, rng):
    return make_cohort([f"S{row:02d}" for row in range(16)], rng=rng, size=(32, 32))


def test_a_killed_build_leaves_nothing_at_its_place(tmp_path, cohort, encoder):
    path = tmp_path / "db.lance"
    assert run(cohort.path, path, "build", "encode:3").returncode == -signal.SIGKILL
    assert not path.exists()
    assert EmbeddingDatabase.build(path, cohort, encoder, progress=False).verify().ok


def test_an_addition_killed_before_its_commit_leaves_the_database_as_it_was(
    tmp_path, cohort, make_cohort, encoder, rng
):
    path = tmp_path / "db.lance"
    earlier = make_cohort(["A", "B"], rng=rng, size=(32, 32), name="earlier")
    EmbeddingDatabase.build(path, earlier, encoder, progress=False)
    assert run(cohort.path, path, "add", "commit").returncode == -signal.SIGKILL
    opened = EmbeddingDatabase.open(path)
    assert opened.subjects.tolist() == ["A", "B"] and opened.verify().ok
    assert opened.add(cohort, encoder, progress=False) == 16
    files = sum(1 for _ in (path / "entries.lance" / "data").iterdir())
    opened.purge()  # sweeps up what the dead process had written
    assert sum(1 for _ in (path / "entries.lance" / "data").iterdir()) < files
    assert len(EmbeddingDatabase.open(path)) == 18 and opened.verify().ok


@pytest.fixture
def removed(tmp_path, cohort, encoder):
    """A database of two fragments from which S03 was removed, but not purged."""
    database = EmbeddingDatabase.build(tmp_path / "db.lance", cohort.select(range(8)), encoder, progress=False)
    database.add(cohort.select(range(8, 16)), encoder, progress=False)
    database.create_index()
    database.remove(["S03"])
    return database


def check_purged_by_a_second_try(path, names, embeddings):
    """What a killed purge left opens without the removed person, and a second purge leaves no trace of them."""
    for purged in (False, True):
        opened = EmbeddingDatabase.open(path)
        assert opened.subjects.tolist() == names and opened.verify().ok
        np.testing.assert_array_equal(opened.embeddings, embeddings)
        if not purged:
            opened.purge()
    assert [file for file in path.rglob("*") if file.is_file() and b"S03" in file.read_bytes()] == []


@pytest.mark.parametrize("step", ["compact", "clean"])
def test_a_purge_killed_before_a_step_is_finished_by_a_second_try(removed, cohort, step):
    names, embeddings = removed.subjects.tolist(), removed.embeddings
    assert run(cohort.path, removed.path, "purge", step).returncode == -signal.SIGKILL
    assert any(b"S03" in file.read_bytes() for file in removed.path.rglob("*") if file.is_file())
    check_purged_by_a_second_try(removed.path, names, embeddings)


def test_a_purge_killed_between_any_two_files_is_finished_by_a_second_try(removed, tmp_path, rng, monkeypatch):
    states = []

    def remember(step):
        def recording(table, *args, **kwargs):
            states.append(contents(removed.path))
            answer = step(table, *args, **kwargs)
            states.append(contents(removed.path))
            return answer

        return recording

    names, embeddings = removed.subjects.tolist(), removed.embeddings
    before = contents(removed.path)
    monkeypatch.setattr(lance.LanceDataset, "cleanup_old_versions", remember(lance.LanceDataset.cleanup_old_versions))
    removed.purge()
    monkeypatch.undo()
    rewritten, cleaned = states
    written = [name for name in rewritten if name not in before and not name.endswith(".manifest")]
    deleted = [name for name in rewritten if name not in cleaned]
    assert len(written) >= 2 and len(deleted) >= 10 and set(cleaned) <= set(rewritten)
    hint = next(name for name in before if name.endswith("latest_version_hint.json"))
    possible = [rewritten | {hint: before[hint]}]  # killed after the commit, before the hint of the newest version
    for share in rng.uniform(size=6):
        some = [name for name in written if rng.uniform() < share]
        possible.append(before | {name: rewritten[name] for name in some})
        gone = {name for name in deleted if rng.uniform() < share}
        possible.append({name: content for name, content in rewritten.items() if name not in gone})
    for number, files in enumerate(possible):
        path = tmp_path / f"killed{number}.lance"
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        check_purged_by_a_second_try(path, names, embeddings)
        shutil.rmtree(path)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_full_disk_is_one_clear_line_and_nothing_else(tmp_path, cohort):
    child = run(cohort.path, tmp_path / "db.lance", "build", "full")
    assert child.returncode == 2, child.stderr
    assert "cannot write" in child.stderr and "\n" not in child.stderr and "Traceback" not in child.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
