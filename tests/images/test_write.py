import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mris.errors import OutputError
from mris.images.write import atomic_directory, atomic_write, write_json, write_nifti, write_npz, write_png

WRITERS = {
    "a.nii.gz": lambda path: write_nifti(path, np.ones((3, 4)), (1.0, 1.0)),
    "a.npz": lambda path: write_npz(path, a=np.ones((3, 4))),
    "a.png": lambda path: write_png(path, np.ones((3, 4), np.uint8)),
    "a.json": lambda path: write_json(path, {"a": 1}),
}


def test_a_file_appears_when_its_block_succeeds_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "new" / "folder" / "note.tar.gz"
    for text in ("first", "second"):
        with atomic_write(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.name.endswith(".tar.gz")
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fault", [RuntimeError("mid-way"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(type(fault)), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise fault
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_clear_line_and_leaves_the_old_file(tmp_path, monkeypatch, name):
    path = tmp_path / name
    WRITERS[name](path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=f"cannot write .*{name}: No space left on device"):
        WRITERS[name](path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_real_limit_on_file_size_is_one_clear_line(tmp_path):
    script = """
import resource, signal, sys
import numpy as np
from mris.errors import OutputError
from mris.images.write import write_nifti, write_npz
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
noise = np.random.default_rng(0).normal(size=(100, 100))
folder = sys.argv[1]
for write in (lambda: write_npz(folder + "/a.npz", a=noise), lambda: write_nifti(folder + "/a.nii", noise, None)):
    try:
        write()
    except OutputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.count("File too large") == 2, done.stderr
    assert not list(tmp_path.iterdir())


def test_of_a_copy_that_is_refused_the_written_file_is_named(tmp_path):
    refused = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "read.onnx", None, "written.onnx")
    with pytest.raises(OutputError, match=r"cannot write .*bundle: No space left on device \(written\.onnx\)"):  # noqa: SIM117
        with atomic_directory(tmp_path / "bundle"):
            raise refused
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WRITERS)
def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        WRITERS[name](tmp_path / "file" / name)
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        WRITERS[name](tmp_path / name)


def test_a_new_file_or_folder_is_its_owners_alone_and_a_shared_one_stays_shared(tmp_path):
    def rights(path):
        return stat.S_IMODE(path.stat().st_mode)

    write_json(tmp_path / "new" / "a.json", {})
    assert rights(tmp_path / "new" / "a.json") == 0o600 and rights(tmp_path / "new") == 0o700
    (tmp_path / "new" / "a.json").chmod(0o640)
    write_json(tmp_path / "new" / "a.json", {"changed": True})
    assert rights(tmp_path / "new" / "a.json") == 0o640
    with atomic_directory(tmp_path / "folder") as temporary:
        assert rights(temporary) == 0o700
    assert rights(tmp_path / "folder") == 0o700


def test_what_a_killed_process_left_is_gone_after_the_next_write_to_the_same_place(tmp_path):
    script = """
import os, signal, sys
from pathlib import Path
from mris.images.write import atomic_directory, atomic_write
with (atomic_write if sys.argv[2] == "file" else atomic_directory)(Path(sys.argv[1])) as temporary:
    (temporary if sys.argv[2] == "file" else temporary / "part").write_text("somebody's map")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    for kind in ("file", "folder"):
        path = tmp_path / kind / "result"
        done = subprocess.run([sys.executable, "-c", script, str(path), kind], check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL and len(list(path.parent.iterdir())) == 1
        if kind == "file":
            write_json(path, {})
        else:
            with atomic_directory(path) as temporary:
                assert not list(temporary.iterdir())
        assert list(path.parent.iterdir()) == [path]


def test_two_processes_do_not_make_one_folder_at_once(tmp_path):
    with atomic_directory(tmp_path / "bundle") as temporary:
        (temporary / "part").touch()
        with pytest.raises(OutputError, match="another process is making"), atomic_directory(tmp_path / "bundle"):
            pass
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["part"]


def test_equal_arrays_give_equal_bytes_whenever_they_are_written(tmp_path):
    arrays = {"file": np.arange(6.0), "path": np.array(["a", "b"]), "allow_pickle": np.array(True)}
    write_npz(tmp_path / "a.npz", **arrays)
    write_npz(tmp_path / "b.npz", **arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as read:
        assert sorted(read) == sorted(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)


def test_objects_are_not_written_because_they_need_pickle(tmp_path):
    with pytest.raises(OutputError, match="array 'a' holds objects"):
        write_npz(tmp_path / "a.npz", a=np.array([None]))
    assert not list(tmp_path.iterdir())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_json_reads_back_as_it_was(tmp_path, value):
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_json_takes_numpy_and_paths(tmp_path):
    write_json(tmp_path / "a.json", {"n": np.int64(3), "x": np.float32(0.5), "a": np.arange(3), "p": Path("b/c")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 3, "x": 0.5, "a": [0, 1, 2], "p": "b/c"}


@pytest.mark.parametrize("value", [float("nan"), np.float64("inf"), {1, 2}, object(), "\ud800"])
def test_json_refuses_what_json_cannot_hold(tmp_path, value):
    with pytest.raises(OutputError, match="not JSON"):
        write_json(tmp_path / "a.json", {"value": value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 2)),
        np.ones((2, 2), np.int16),
        np.ones(3, np.uint8),
        np.ones((0, 2), np.uint8),
        np.ones((2, 2, 2), np.uint8),
        np.ones((2, 2, 3), np.uint16),
    ],
)
def test_what_png_cannot_hold_is_not_written(tmp_path, array):
    with pytest.raises(OutputError, match="is no PNG"):
        write_png(tmp_path / "a.png", array)
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "deep" / "bundle"
    with atomic_directory(path) as temporary:
        (temporary / "members").mkdir()
        (temporary / "members" / "a.txt").write_text("a")
        assert not path.exists()
    assert (path / "members" / "a.txt").read_text() == "a"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fault", [ValueError("mid-way"), KeyboardInterrupt()])
def test_a_folder_whose_block_fails_never_appears_and_an_empty_one_stays(tmp_path, fault):
    path = tmp_path / "bundle"
    path.mkdir()
    with pytest.raises(type(fault)), atomic_directory(path) as temporary:
        (temporary / "new.txt").write_text("half")
        raise fault
    assert not list(path.iterdir())
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_holds_something_is_never_replaced(tmp_path):
    path = tmp_path / "bundle"
    path.mkdir()
    with atomic_directory(path) as temporary:  # empty: replaced
        (temporary / "one.txt").write_text("1")
    with pytest.raises(OutputError, match="the folder is not empty"), atomic_directory(path):
        pytest.fail("the block must not run")
    assert [file.name for file in path.iterdir()] == ["one.txt"]
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="a file of that name is in the way"), atomic_directory(path / "one.txt"):
        pytest.fail("the block must not run")
