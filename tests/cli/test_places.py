"""Places that cannot be written: a file in the way, no such folder, a full disk. One line, and nothing is lost."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.command import TINY

from mris.cohort.cohort import Cohort
from mris.images.read import read_image

FEW_FIGURES = ["--bootstrap", 10, "--no-references", "--quiet"]
WRITERS = ("phantom", "prepare", "train", "index", "synthesize", "evaluate", "demo")


@pytest.fixture
def command_into(
    tiny_cohort_path: Path, tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> Callable[[str, Path], list[object]]:
    """Arguments of a command that writes to a given place."""
    np.save(tmp_path / "query.npy", np.random.default_rng(3).random((16, 16)).astype(np.float32))

    def arguments(command: str, out: Path) -> list[object]:
        manifest = tiny_cohort_path.parent / "manifest.csv"
        return {
            "phantom": ["phantom", out, "--subjects", 2, "--size", 32, "--workers", 1, "--visits", 1, "--quiet"],
            "prepare": ["prepare", manifest, out, "--size", 16, "--workers", 1, "--quiet"],
            "train": ["train", tiny_cohort_path, out, *TINY],
            "index": ["index", tiny_run, tiny_cohort_path, out, "--quiet"],
            "synthesize": ["synthesize", tiny_bundle, tmp_path / "query.npy", "--out", out, "--quiet"],
            "evaluate": ["evaluate", tiny_bundle, tiny_cohort_path, "--out", out, *FEW_FIGURES],
            "demo": ["demo", out, "--subjects", 60, "--size", 32, "--quiet"],
        }[command]

    return arguments


@pytest.mark.parametrize("command", WRITERS)
def test_a_file_in_the_place_of_the_result_is_kept_and_named(
    refused, command_into, tmp_path: Path, command: str
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert str(file) in refused(*command_into(command, file))
    assert str(file) in refused(*command_into(command, file / "below"))
    assert file.read_text() == "mine"


def test_a_tilde_in_an_option_is_the_home_and_maps_are_whole(
    run_cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    np.save(home / "query.npy", np.random.default_rng(3).random((16, 16)).astype(np.float32))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    outcome = run_cli("synthesize", tiny_bundle, "~/query.npy", "--out=~/maps", "--quiet")
    assert outcome.code == 0, outcome
    assert list(here.iterdir()) == []
    assert all(path.stat().st_size > 0 for path in (home / "maps").iterdir())
    assert read_image(home / "maps" / "query.nii.gz").size == (16, 16)


def test_a_result_that_is_empty_is_no_success(
    refused, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "query.npy", np.random.default_rng(3).random((16, 16)).astype(np.float32))
    monkeypatch.setattr("mris.images.write.packed", lambda content: b"")
    said = refused("synthesize", tiny_bundle, tmp_path / "query.npy", "--out", tmp_path / "maps", "--quiet")
    assert "query.nii.gz was written and is empty" in said


def test_a_name_that_is_not_utf8_costs_its_own_file_alone(run_cli, refused, tiny_bundle: Path, tmp_path: Path) -> None:
    names = ["a.npy", os.fsdecode(b"caf\xe9.npy"), "b.npy"]
    files = [tmp_path / name for name in names]
    try:
        for file in files:
            np.save(file, np.random.default_rng(3).random((16, 16)).astype(np.float32))
    except OSError:
        pytest.skip("this file system knows no such name")
    command = ["synthesize", tiny_bundle, *map(os.fspath, files), "--out", tmp_path / "maps", "--quiet"]
    assert "its path is not UTF-8" in refused(*command)
    outcome = run_cli(*command, "--on-error", "skip")
    assert outcome.code == 0, outcome
    assert "2 of 3 files synthesized" in outcome.out
    assert "skipped: image b'" in outcome.err
    found = {path.name for path in (tmp_path / "maps").iterdir()}
    assert {name for name in found if name.endswith("provenance.json")} == {"a_provenance.json", "b_provenance.json"}
    assert {name[0] for name in found - {"means.csv"}} == {"a", "b"}


@pytest.mark.parametrize("name", ["knees:2024", "s3:x", "a#b?c%20d"])
def test_a_cohort_may_lie_in_a_folder_of_any_name(
    run_cli, tiny_cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_cli("prepare", tiny_cohort_path.parent / "manifest.csv", name, "--size=16", "--workers=1", "--quiet")
    assert outcome.code == 0, outcome
    cohort = Cohort.open(name)
    assert cohort.read_targets([0]).shape[0] == 1
    assert (tmp_path / name / "cohort.json").is_file()


def test_a_folder_that_is_not_utf8_is_refused_for_a_table(refused, tiny_cohort_path: Path, tmp_path: Path) -> None:
    out = os.fspath(tmp_path / os.fsdecode(b"caf\xe9"))
    assert "is not UTF-8" in refused("prepare", tiny_cohort_path.parent / "manifest.csv", out, "--size=16", "--quiet")


@pytest.mark.parametrize(
    ("code", "advice"), [(errno.EROFS, "mend its rights or how it is mounted"), (errno.ENOSPC, "make room")]
)
def test_shared_memory_that_is_full_or_read_only_is_named_and_no_disk(
    refused, tiny_cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
    manifest = tiny_cohort_path.parent / "manifest.csv"
    said = refused("prepare", manifest, tmp_path / "out", "--size=16", "--workers=2", "--quiet")
    assert f"{os.strerror(code)} in shared memory (/dev/shm)" in said
    assert f"{advice}, or use one process (--workers 1)" in said


def test_a_folder_of_other_files_is_no_place_for_a_report_and_an_empty_name_is_none(
    refused, command_into, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "report.html").write_text("mine")
    assert "it holds 'report.html', which no evaluation wrote" in refused(*command_into("evaluate", other))
    assert (other / "report.html").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert "--out is ''; give a folder" in refused(*command_into("evaluate", ""))  # type: ignore[arg-type]
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place that nobody may write: /proc of Linux")
@pytest.mark.parametrize("command", WRITERS)
def test_a_place_that_may_not_be_written_is_named(refused, command_into, command: str) -> None:
    assert "/proc/results" in refused(*command_into(command, Path("/proc/results")))


def test_a_folder_without_the_right_to_write_is_found_before_the_work(
    refused, command_into, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write everywhere
    for command in ("train", "evaluate"):
        assert "no right to write" in refused(*command_into(command, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", WRITERS[:-1])
def test_on_a_full_disk_a_command_stops_with_one_line_and_later_completes(
    run_cli, refused, command_into, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    out = tmp_path / "place" / "out"
    arguments = command_into(command, out)
    with monkeypatch.context() as patched:
        patched.setattr("mris.images.write._flush", full)
        assert "No space left on device" in refused(*arguments)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and ".tmp" in path.name]
    assert not left, "half-written files"
    assert run_cli(*arguments).code == 0


# --- a disk that is really full ----------------------------------------------------------------------------------

_ON_A_SMALL_DISK = """
import os, pathlib, shutil, subprocess, sys
sys.path.insert(0, {here!r})
from tests.command import call
disk, bundle, commands, sizes = {disk!r}, {bundle!r}, {commands!r}, {sizes!r}
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", disk], check=True)
resize = lambda size: subprocess.run(["mount", "-o", f"remount,size={{size}}", disk], check=True)
if __name__ == "__main__":
    for size in sizes:
        for name, command in commands.items():
            resize(size)
            code = call(*command)
            print("FIRST", name, size, code, file=sys.stderr, flush=True)
            resize("100m")
            if code and size == sizes[-1]:  # begun when the disk was full, and not stopped by the first file
                more = ["--resume"] if name == "train" and pathlib.Path(disk, "out", "run.json").exists() else []
                print("AGAIN", name, size, call(*command, *more), file=sys.stderr, flush=True)
            shutil.rmtree(disk + "/out", ignore_errors=True)
    shutil.copytree(bundle, disk + "/bundle")
    room = os.statvfs(disk)
    resize((room.f_blocks - room.f_bfree) * room.f_frsize + 8192)
    print("FIRST add", size, call(*{add!r}), file=sys.stderr, flush=True)
    assert call("bundle", "verify", disk + "/bundle") == 0
    resize("100m")
    print("AGAIN add", size, call(*{add!r}), file=sys.stderr, flush=True)
    assert call("bundle", "verify", disk + "/bundle") == 0
"""


@pytest.mark.slow
def test_every_command_survives_a_disk_that_is_really_full(
    command_into, tiny_bundle: Path, tiny_cohort_path: Path, tmp_path: Path
) -> None:
    """In a mount namespace of its own, on a RAM disk of a few kilobytes, then of 100 MB."""
    alone = [shutil.which("unshare") or "", "--user", "--map-root-user", "--mount"]
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "disk")]
    if not alone[0] or subprocess.run([*alone, *mount], capture_output=True, check=False).returncode:
        pytest.skip("no rights to mount a small disk in a namespace of this test's own")
    disk = tmp_path / "disk"
    commands = {name: [str(part) for part in command_into(name, disk / "out")] for name in WRITERS[:-1]}
    script = tmp_path / "small_disk.py"
    script.write_text(
        _ON_A_SMALL_DISK.format(
            here=str(Path(__file__).parents[2]),
            disk=str(disk),
            bundle=str(tiny_bundle),
            commands=commands,
            sizes=["4k", "100k"],
            add=["bundle", "add", str(disk / "bundle"), str(tiny_cohort_path), "--splits", "test", "--quiet"],
        )
    )
    done = subprocess.run([*alone, sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert all(line.startswith(("mris: ", "FIRST ", "AGAIN ")) for line in lines), lines
    outcomes = {tuple(line.split()[:3]): int(line.split()[3]) for line in lines if not line.startswith("mris")}
    assert {code for (when, *_), code in outcomes.items() if when == "AGAIN"} == {0}
    assert {code for (when, *_), code in outcomes.items() if when == "FIRST"} <= {0, 2}
    assert {name for (when, name, size), code in outcomes.items() if code == 2 and size == "4k"} == {*WRITERS[:-1]}
    assert sum(line.startswith("mris: ") for line in lines) == sum(code == 2 for code in outcomes.values())
    assert outcomes["FIRST", "add", "100k"] == 2


def test_encoders_are_exported_beside_the_bundle_and_not_into_the_systems_folder(
    run_cli, command_into, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mris.metric import export

    original, places = export.export_encoder, []

    def noted(encoder: object, folder: Path) -> object:
        places.append(Path(folder))
        return original(encoder, folder)

    monkeypatch.setattr(export, "export_encoder", noted)
    out = tmp_path / "new" / "knees.bundle"
    assert run_cli(*command_into("index", out)).code == 0
    assert [place.parents[1] for place in places] == [out.parent]
    assert list(out.parent.iterdir()) == [out]
