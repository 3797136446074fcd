"""A bundle behaves like a database: killed anywhere, on a full disk, and with two writers and a reader at once.

The long versions are `python -m benchmarks.faults.kills` and `python -m benchmarks.faults.races`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.faults import kills

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"),
]


def test_killed_or_out_of_disk_at_any_change_a_command_is_finished_by_repeating_it():
    results = kills.run(limit=4)
    assert {(r["scenario"], r["members"], r["fault"]) for r in results} == {
        (scenario, members, fault)
        for scenario in kills.SCENARIOS
        for members in kills.MEMBERS
        for fault in kills.FAULTS
    }
    assert [result for result in results if result["found"]] == []
    assert sum(result["hit"] for result in results) > 0.8 * len(results)  # a kill that hits nothing would prove nothing


def test_what_a_fault_leaves_would_be_noticed(tmp_path):
    """The judge itself: an added entry that is lost, a name that stays, a half-written file."""
    place = kills.Place(tmp_path)
    kills.make(place)
    kills.start(place, "remove --purge", 1)
    assert kills.judge(place, "remove --purge", 1) == {}
    (place.bundle / "notes").write_text(kills.GOING)
    (place.bundle / ".model_card.md.tmp").touch()
    assert set(kills.judge(place, "remove --purge", 1)) == {"remnants"}
    assert set(kills.judge(place, "add", 1)) == {"lost", "remnants"}
    (place.bundle / "commit.json").write_text("{")
    assert {"unreadable", "unfinished"} <= set(kills.judge(place, "add", 1))


def test_two_writers_and_a_reader_at_once_lose_nothing_and_see_one_state():
    command = [sys.executable, "-m", "benchmarks.faults.races", "--seconds", "8"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "races in" in done.stdout
