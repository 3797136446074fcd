"""Kill -9 and a full disk, for real: what was there stays, what was begun is absent, and a second try succeeds."""

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

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


def test_a_full_disk_is_one_clear_line_and_nothing_else(tmp_path, cohort):
    child = run(cohort.path, tmp_path / "db.lance", "build", "full")
    assert child.returncode == 2, child.stderr
    assert "cannot write" in child.stderr and "\n" not in child.stderr and "Traceback" not in child.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
