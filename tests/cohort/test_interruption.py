"""Killed, out of space, or run twice: what was written stays, and the same call goes on where it stopped."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from mris.cohort import prepare, work_folder, workers
from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.errors import CohortError, MrisError, OutputError
from mris.images.transforms import SourcePreparation
from mris.images.write import temporary_sibling

Study = Any  # of conftest.py
MakeStudy = Callable[..., Study]


@pytest.fixture(autouse=True)
def _small_appends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "ROWS_PER_APPEND", 6)


@pytest.fixture
def study(make_study: MakeStudy) -> Study:
    """20 pairs; the files of four cannot be used, one in each append and the last one of all; two maps are larger."""
    study = make_study()
    for row in (1, 5, 13, 19):
        study.put(row, "source", np.zeros((4, 4)))
    for row in (3, 14):
        study.put(row, "target_femoral", np.ones((16, 16)))
    return study


@pytest.fixture
def skipping(settings: PrepareSettings) -> PrepareSettings:
    return replace(settings, on_error="skip")


def _content(folder: Path) -> tuple[Any, ...]:
    """All that a cohort holds, with pixels as bits, so that NaN equals NaN."""
    table = lance.dataset(str(folder / "pairs.lance")).to_table(scan_in_order=True)
    pixels = [
        np.concatenate([chunk.flatten().to_numpy().view(np.uint16) for chunk in table[name].chunks]).tobytes()
        for name in ("source", "target")
    ]
    texts = [(folder / name).read_bytes() for name in ("cohort.json", "report.json", "atlas_mask.npz")]
    return *pixels, table.drop(["source", "target", "target_spacing"]).to_pylist(), *texts


def _uninterrupted(study: Study, settings: PrepareSettings) -> tuple[Any, ...]:
    prepare_cohort(study.manifest, study.folder / "whole", settings, progress=False)
    return _content(study.folder / "whole")


# Each child of this program is killed somewhere in a preparation; a second child then runs the same preparation.
# It forks before Lance has started a thread, which costs a tenth of starting Python anew.
KILLER = """
import os, resource, signal, sys
from pathlib import Path
from mris.cohort import prepare, work_folder, writer
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.errors import OutputError
from mris.images.transforms import SourcePreparation

prepare.ROWS_PER_APPEND = 6
settings = PrepareSettings(SourcePreparation(size=(8, 8)), target_size=(6, 6), workers=1, on_error="skip")
folder = Path(sys.argv[1])


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number, module, name, before=die, after=lambda: None):
    original, calls = getattr(module, name), []

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == number:
            before(*arguments)
        result = original(*arguments, **options)
        if len(calls) == number:
            after()
        return result

    setattr(module, name, counted)


def torn_line(path, findings):
    with path.open("a") as file:
        file.write('{"row": 20, "key": "0')
    die()


def no_space(*_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))


nothing = lambda *_: None
POINTS = {
    "before the first file": lambda: at_call(1, work_folder, "write_json"),
    "before the first append": lambda: at_call(1, writer.lance, "write_dataset"),
    "after the first append": lambda: at_call(1, writer.lance, "write_dataset", nothing, die),
    "before the third append": lambda: at_call(3, writer.lance, "write_dataset"),
    "after the last append": lambda: at_call(4, writer.lance, "write_dataset", nothing, die),
    "in the middle of a line": lambda: at_call(5, work_folder, "add_lines", torn_line),
    "before the mask": lambda: at_call(1, prepare, "write_npz"),
    "before the report": lambda: at_call(1, prepare, "write_json"),
    "before the header": lambda: at_call(2, prepare, "write_json"),
    "after the header": lambda: at_call(2, prepare, "write_json", nothing, die),
    "out of space": lambda: at_call(2, writer.lance, "write_dataset", no_space),
}


def child(out, prepare_fault):
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    prepare_fault()
    try:
        prepare_cohort(folder / "manifest.csv", out, settings, progress=False)
    except OutputError as error:
        print(error, file=sys.stderr)
        os._exit(2)
    os._exit(0)


for name, fault in POINTS.items():
    out = folder / name.replace(" ", "_")
    print(name, child(out, fault), (out / "cohort.json").exists(), child(out, nothing), sep=";", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no fork, no kill -9")
def test_killed_anywhere_or_out_of_space_the_same_call_gives_the_table_of_an_uninterrupted_one(
    study: Study, skipping: PrepareSettings
) -> None:
    whole = _uninterrupted(study, skipping)
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(KILLER), str(study.folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = [line.split(";") for line in run.stdout.splitlines()]
    assert len(lines) == 11, run.stderr
    for name, first, finished, second in lines:
        assert int(first) == (2 if name == "out of space" else -9), (name, run.stderr)
        assert finished == str(name == "after the header"), name
        assert int(second) == 0, (name, run.stderr)
        assert _content(study.folder / name.replace(" ", "_")) == whole, name
    assert "it resumes" in run.stderr


def test_a_full_disk_is_one_clear_line_and_what_was_written_stays(
    study: Study, skipping: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _uninterrupted(study, skipping)
    write = lance.write_dataset

    def full_at_the_second_append(*arguments: Any, mode: str) -> Any:
        if mode == "append":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments, mode=mode)

    with monkeypatch.context() as patched:
        patched.setattr(lance, "write_dataset", full_at_the_second_append)
        with pytest.raises(OutputError, match=r"cannot write .*pairs\.lance: .*No space left on device.*it resumes"):
            prepare_cohort(study.manifest, study.out, skipping, progress=False)
    assert lance.dataset(str(study.out / "pairs.lance")).count_rows() == 4
    with pytest.raises(CohortError, match="not finished"):
        Cohort.open(study.out)
    prepare_cohort(study.manifest, study.out, skipping, progress=False)
    assert _content(study.out) == whole


def test_a_resumed_preparation_reads_no_pair_twice(
    study: Study, skipping: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(prepare.PairWriter, "tidy", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_cohort(study.manifest, study.out, skipping, progress=False)
    read: list[int] = []
    original = workers.read_pairs
    monkeypatch.setattr(
        workers, "read_pairs", lambda rows, **rest: read.extend(r.row for r in rows) or original(rows, **rest)
    )
    prepare_cohort(study.manifest, study.out, skipping, progress=False)
    assert read == [21], "only the row after the last one in the table, whose file cannot be used"


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_finished_cohort_is_left_as_it_is(study: Study, skipping: PrepareSettings) -> None:
    first = prepare_cohort(study.manifest, study.out, skipping, progress=False)
    before = {path: path.stat().st_mtime_ns for path in study.out.rglob("*") if path.is_file()}
    again = prepare_cohort(study.manifest, study.out, replace(skipping, workers=2), progress=False)
    assert {path: path.stat().st_mtime_ns for path in study.out.rglob("*") if path.is_file()} == before
    assert again.notes == (*first.notes, "the cohort was already finished; nothing was done")
    assert again.findings == first.findings


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_or_another_manifest_are_refused_by_name(
    study: Study, skipping: PrepareSettings, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    if not finished:
        monkeypatch.setattr(prepare.PairWriter, "tidy", _interrupted)
    try:
        prepare_cohort(study.manifest, study.out, skipping, progress=False)
    except KeyboardInterrupt:
        assert not finished
    other = replace(skipping, unit="voxel", seed=3)
    with pytest.raises(
        CohortError, match=r"begun with other input: seed was 0 and is 3; unit was 'mm' and is 'voxel';"
    ):
        prepare_cohort(study.manifest, study.out, other, progress=False)
    study.rows[0]["klg"] = "4"
    with pytest.raises(CohortError, match="begun with other input: the manifest has changed; choose another OUT"):
        prepare_cohort(study.manifest, study.out, skipping, progress=False)


def test_overwriting_is_asked_for_and_checks_the_new_manifest_first(study: Study, skipping: PrepareSettings) -> None:
    prepare_cohort(study.manifest, study.out, skipping, progress=False)
    smaller = replace(skipping, target_size=(4, 4))
    prepare_cohort(study.manifest, study.out, smaller, progress=False, overwrite=True)
    assert Cohort.open(study.out).header.target_shape == (2, 4, 4)
    study.rows[0]["subject"] = ""
    with pytest.raises(MrisError, match="empty"):
        prepare_cohort(study.manifest, study.out, replace(smaller, on_error="stop"), progress=False, overwrite=True)
    assert len(Cohort.open(study.out)) == 16, "the cohort survives a manifest that is refused"


def test_hidden_files_of_others_are_never_touched_and_our_own_leftovers_go(
    study: Study, skipping: PrepareSettings
) -> None:
    study.out.mkdir()
    notes, leftover = study.out / ".notes.tmp.txt", temporary_sibling(study.out / "cohort.json")
    notes.write_text("years of work")
    leftover.write_text("{")
    with pytest.raises(OutputError, match=r"it holds '\.notes\.tmp\.txt'"):
        prepare_cohort(study.manifest, study.out, skipping, progress=False, overwrite=True)
    assert notes.read_text() == "years of work"
    notes.unlink()
    prepare_cohort(study.manifest, study.out, skipping, progress=False)
    assert not leftover.exists() and len(Cohort.open(study.out)) > 0


def test_files_of_others_are_never_touched(study: Study, skipping: PrepareSettings) -> None:
    study.out.mkdir()
    (study.out / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"not empty and not a cohort \(it holds 'thesis.tex'\)"):
            prepare_cohort(study.manifest, study.out, skipping, progress=False, overwrite=overwrite)
    assert (study.out / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_place_of_out_is_refused(study: Study, skipping: PrepareSettings) -> None:
    study.out.write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write to .*File exists"):
        prepare_cohort(study.manifest, study.out, skipping, progress=False)


def test_two_preparations_into_one_folder_are_one_too_many(study: Study, skipping: PrepareSettings) -> None:
    with work_folder.locked(study.out), pytest.raises(OutputError, match="another process is preparing"):
        prepare_cohort(study.manifest, study.out, skipping, progress=False)
    prepare_cohort(study.manifest, study.out, skipping, progress=False)


def test_a_file_that_appears_later_does_not_move_subjects_between_splits(
    study: Study, skipping: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = study.folder / study.rows[8]["source"], study.folder / study.rows[9]["source"]
    content = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()
    whole = _uninterrupted(study, skipping)
    with monkeypatch.context() as patched:
        patched.setattr(prepare.PairWriter, "tidy", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_cohort(study.manifest, study.out, skipping, progress=False)
    for path, data in zip(lost, content, strict=True):
        path.write_bytes(data)
    report = prepare_cohort(study.manifest, study.out, skipping, progress=False)
    assert report.counts_by_rule["missing file"] == 2
    assert _content(study.out) == whole


def test_a_torn_account_of_the_work_is_a_clear_error(study: Study, skipping: PrepareSettings) -> None:
    prepare_cohort(study.manifest, study.out, skipping, progress=False)
    (study.out / "cohort.json").unlink()
    for text in ("", "{", "[]", json.dumps({"assignment": {}})):
        (study.out / "prepare.json").write_text(text)
        with pytest.raises(CohortError, match=r"prepare\.json is damaged"):
            prepare_cohort(study.manifest, study.out, skipping, progress=False)


def test_a_table_that_lost_rows_is_not_continued(
    study: Study, skipping: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(prepare.PairWriter, "tidy", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_cohort(study.manifest, study.out, skipping, progress=False)
    lance.dataset(str(study.out / "pairs.lance")).delete("manifest_row = 5")
    with pytest.raises(CohortError, match=r"does not fit its manifest \(15 pairs, 16 expected up to row 20\)"):
        prepare_cohort(study.manifest, study.out, skipping, progress=False)


WITH_WORKERS = """
import sys
from pathlib import Path
from mris.cohort import prepare
from mris.images.transforms import SourcePreparation

prepare.ROWS_PER_APPEND = 6
settings = prepare.PrepareSettings(SourcePreparation(size=(8, 8)), (6, 6), workers=2, on_error="skip")
prepare.prepare_cohort(Path(sys.argv[1], "manifest.csv"), Path(sys.argv[1], "out"), settings, progress=False)
"""


CTRL_C_IN_WORKERS = """
import signal, sys
if any("spawn_main" in argument for argument in sys.orig_argv):
    signal.raise_signal(signal.SIGINT)
else:  # tests in the background ignore Ctrl-C, and so would all that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Ctrl-C cannot be held back on this system")
def test_ctrl_c_while_workers_load_is_left_to_their_parent(study: Study) -> None:
    (study.folder / "script.py").write_text(WITH_WORKERS)
    (study.folder / "sitecustomize.py").write_text(CTRL_C_IN_WORKERS)  # the first that a new process loads
    assert study.manifest.is_file()
    done = subprocess.run(
        [sys.executable, str(study.folder / "script.py"), str(study.folder)],
        env=os.environ | {"PYTHONPATH": str(study.folder)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (study.out / "cohort.json").is_file()


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Ctrl-C cannot be held back on this system")
def test_the_parent_of_workers_hears_ctrl_c() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with workers.WorkerPool(1) as pool:
        in_worker = pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.SIGINT in in_worker - before


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see the workers")
def test_a_kill_at_any_moment_loses_nothing_and_leaves_no_worker(
    make_study: MakeStudy, skipping: PrepareSettings, rng: np.random.Generator, wait_until_gone: Callable[[int], None]
) -> None:
    study = make_study(n_subjects=150)
    whole = _uninterrupted(study, skipping)
    (study.folder / "script.py").write_text(WITH_WORKERS)
    command = [sys.executable, str(study.folder / "script.py"), str(study.folder)]
    kills = 0
    while kills < 5:
        process = subprocess.Popen(command, start_new_session=True)
        until = time.monotonic() + rng.uniform(1.0, 5.0)
        while time.monotonic() < until and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:
            assert process.returncode == 0
            break
        process.kill()
        process.wait()
        kills += 1
        wait_until_gone(process.pid)
    subprocess.run(command, check=True, timeout=120)
    assert _content(study.out) == whole


def test_a_worker_that_dies_is_one_clear_line(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "start_worker", os.abort)
    settings = PrepareSettings(SourcePreparation(size=(8, 8)), target_size=(6, 6), workers=2)
    with pytest.raises(CohortError, match=r"a process that reads images died .* run again with fewer workers"):
        prepare_cohort(study.manifest, study.out, settings, progress=False)
