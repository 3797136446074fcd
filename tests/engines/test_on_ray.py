"""Ray does what this process does: the same bytes in the same order, whoever dies; and it says nothing."""

import json
import os
import pickle
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from tests import ray_work

import mris
from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.database.database import EmbeddingDatabase
from mris.database.embed import embedded_entries, n_features_of
from mris.engines.engine import Engine
from mris.engines.on_ray import _read_token_anew, _Worker, on_ray
from mris.errors import ImageError, OutputError, SettingsError
from mris.evaluation.bundle_evaluation import evaluate_bundle
from mris.images.transforms import SourcePreparation
from mris.serving.files import FileOptions, FileOutcome, synthesize_files
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.onnx_encoder import OnnxEncoder
from mris.synthesis.synthesizer import Synthesizer

pytest.importorskip("ray", reason="Ray is not installed (extra 'ray')")

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = FileOptions(formats=("nifti", "npz", "png"), pictures=True, on_error="skip")


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[Engine]:
    with on_ray():
        pass  # the first cluster of a process must not keep a second one from starting
    with on_ray() as engine:
        yield engine


@pytest.fixture
def synthesizer(make_cohort, export_linear, tmp_path, rng) -> Synthesizer:
    cohort = make_cohort([f"S{number:02d}" for number in range(12)], rng=rng)
    encoder = OnnxEncoder(export_linear(cohort), threads=2)
    database = EmbeddingDatabase.build(tmp_path / "db.lance", cohort, encoder, progress=False)
    return Synthesizer(encoder, database, 4, preparation=SourcePreparation(size=(8, 8)))


@pytest.fixture
def files(tmp_path, rng) -> list[Path]:
    folder = tmp_path / "queries"
    folder.mkdir()
    paths = [folder / f"q{number:02d}.npy" for number in range(16)]
    for path in paths:
        np.save(path, rng.random((8, 8)))
    paths[9].write_bytes(b"")
    return paths


def contents(folder: Path) -> dict[str, object]:
    """Every file's bytes; of provenance all but the time."""

    def content(path: Path) -> object:
        if path.suffix != ".json":
            return path.read_bytes()
        return {name: value for name, value in json.loads(path.read_text()).items() if name != "created"}

    return {path.name: content(path) for path in folder.iterdir()}


def told(outcomes: list[FileOutcome]) -> list[object]:
    return [(one.path, [path.name for path in one.written], one.n_queries, one.notes, one.finding) for one in outcomes]


def test_a_synthesizer_that_is_sent_to_another_process_answers_alike(synthesizer, rng):
    sources = rng.random((3, 1, 8, 8), dtype=np.float32)
    before = synthesizer.synthesize(sources)
    sent = pickle.loads(pickle.dumps(synthesizer))  # noqa: S301 - our own
    for ours, theirs in zip(before, sent.synthesize(sources), strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.contributions[0].all_weights, theirs.contributions[0].all_weights)


@pytest.mark.slow
def test_two_workers_one_of_them_killed_write_the_same_bytes_in_order(
    ray_engine, synthesizer, files, tmp_path, monkeypatch
):
    monkeypatch.setattr("mris.serving.files.BATCH_SIZE", 2)
    plain, there = tmp_path / "plain", tmp_path / "there"
    expected = list(synthesize_files(synthesizer, files, plain, OPTIONS))
    mortal = ray_work.Mortal(synthesizer, tmp_path)
    found = list(synthesize_files(mortal, files, there, OPTIONS, engine=ray_engine))
    assert (tmp_path / "killed").exists() and len(list(tmp_path.glob("worker_*"))) > 2
    assert told(found) == told(expected)
    assert [one.path for one in found if one.finding] == [files[9]]
    assert contents(there) == contents(plain)
    assert (there / "q00.npz").stat().st_mode == (plain / "q00.npz").stat().st_mode


@pytest.mark.slow
def test_a_cohort_prepared_and_embedded_on_ray_is_the_same(ray_engine, tiny_manifest, export_linear, tmp_path):
    manifest = tiny_manifest(tmp_path)
    (tmp_path / "S003_0_left.npy").write_bytes(b"")
    source = SourcePreparation((16, 16))
    settings = PrepareSettings(source, (16, 16), workers=1, target_spacing=(0.5, 0.5), on_error="skip")
    for name, engine in (("plain", None), ("there", ray_engine)):
        prepare_cohort(manifest, tmp_path / name, settings, progress=False, engine=engine)
    plain, there = (Cohort.open(tmp_path / name) for name in ("plain", "there"))
    assert there.keys.tolist() == plain.keys.tolist() and len(plain) == 71
    np.testing.assert_array_equal(there.read_sources(), plain.read_sources())
    np.testing.assert_array_equal(there.read_targets(), plain.read_targets())
    for name in ("cohort.json", "report.json", "atlas_mask.npz"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    encoder = OnnxEncoder(export_linear(plain), threads=2)
    asked = {"n_features": n_features_of(encoder)}
    expected = list(embedded_entries(plain, encoder, 8, False, **asked))
    found = list(embedded_entries(there, encoder, 8, False, **asked, engine=ray_engine))
    assert len(found) == len(expected) == 9
    for theirs, ours in zip(found, expected, strict=True):
        for name in ("embeddings", "features", "targets"):
            np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))
        assert {name: column.tolist() for name, column in theirs.metadata.items()} == {
            name: column.tolist() for name, column in ours.metadata.items()
        }


@pytest.mark.slow
def test_an_evaluation_on_ray_has_the_same_numbers(ray_engine, make_cohort, export_linear, tmp_path, rng):
    splits = ["train"] * 30 + ["calibration"] * 62 + ["test"] * 24
    cohort = make_cohort([f"P{row // 2:02d}" for row in range(len(splits))], rng=rng, split=splits)
    bundle = build_bundle([export_linear(cohort)], cohort, tmp_path / "b", progress=False)
    plain, there = (
        evaluate_bundle(bundle, cohort, by=("klg",), n_bootstrap=20, progress=False, engine=engine)
        for engine in (None, ray_engine)
    )
    np.testing.assert_array_equal(there.per_image.values, plain.per_image.values)
    np.testing.assert_array_equal(there.error_maps.signed, plain.error_maps.signed)
    for name in ("estimates", "differences", "recalls", "intervals"):
        assert getattr(there.results, name) == getattr(plain.results, name), name


@pytest.mark.slow
def test_work_that_kills_every_worker_ends_in_one_line(ray_engine, monkeypatch):
    monkeypatch.setattr("mris.engines.on_ray._RETRIES", 1)
    with pytest.raises(OutputError, match=r"a worker .* died 2 times with the same images \(out of memory\?\); give"):
        list(ray_engine(ray_work.deadly, range(3)))


def done_by_a_worker(work, version=mris.__version__, folder=ROOT) -> tuple[list[int], Exception]:
    """What a worker hands back of the item 7, without a cluster."""
    worker = _Worker(version, str(folder), pickle.dumps(work))
    (done,) = worker(pa.table({"item": [pickle.dumps(7)]}))["done"].to_pylist()
    return pickle.loads(done)  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [
        (ray_work.unreadable, ImageError, "image 7.npy: it is empty"),
        (ray_work.too_much, OutputError, "a worker of the Ray cluster ran out of memory; give it more memory, or"),
        (ray_work.faulty, RuntimeError, "Traceback .*a fault of ours"),
    ],
)
def test_what_ends_the_work_comes_home_after_what_came_before(monkeypatch, work, kind, message):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("os.umask", lambda mask: mask)
    results, error = done_by_a_worker(work)
    assert results == [7] and type(error) is kind
    assert re.search(message, str(error), re.DOTALL)


def test_a_worker_of_another_version_or_without_the_folder_does_nothing(tmp_path):
    results, error = done_by_a_worker(ray_work.squares, version="9.9.9")
    assert results == [] and isinstance(error, SettingsError)
    assert re.search(rf"has mris {mris.__version__}, and this is 9\.9\.9; install the same on all machines", str(error))
    results, error = done_by_a_worker(ray_work.squares, folder=tmp_path / "here alone")
    assert results == [] and "does not see the folder" in str(error)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"no Ray cluster answers at 127\.0\.0\.1:1 \(Connection refused\)"),
        ("ray://127.0.0.1:10001", "give HOST:PORT, or auto"),
        ("knees", "give HOST:PORT, or auto"),
        ("127.0.0.1:99999999", "no Ray cluster answers"),
    ],
)
def test_an_address_where_no_cluster_answers_is_one_line_and_exit_code_2(refused, tmp_path, address, message):
    np.save(tmp_path / "x.npy", np.eye(8))
    arguments = ["--spacing", "0.5", "--out", tmp_path / "out", "--side", "left"]
    found = refused("synthesize", "digital", tmp_path / "x.npy", *arguments, "--engine", "ray", "--address", address)
    assert re.search(message, found)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_a_server_that_is_no_ray_is_refused_before_ray_waits_for_it(answer, monkeypatch):
    monkeypatch.setattr("mris.engines.on_ray._CONNECT_SECONDS", 0.3)

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            if answer is None:
                connection.recv(1 << 10)
                connection.recv(1 << 10)
            else:
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        with (
            pytest.raises(SettingsError, match="no Ray cluster answers at"),
            on_ray(f"127.0.0.1:{listening.getsockname()[1]}"),
        ):
            pass
        thread.join(5)


def test_a_ray_that_knows_no_tokens_can_be_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray._raylet", ModuleType("of Ray 2.51"))
    _read_token_anew()


def test_an_address_without_ray_is_refused(refused, tmp_path):
    assert "give --engine ray" in refused("synthesize", "digital", tmp_path / "x.npy", "--address", "auto")


def test_without_ray_the_command_names_the_extra_and_leaves_nothing(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    np.save(tmp_path / "x.npy", np.eye(8))
    arguments = ["--out", tmp_path / "out", "--engine", "ray"]
    assert "pip install 'mris[ray]'" in refused("synthesize", "digital", tmp_path / "x.npy", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.slow
def test_a_command_on_ray_says_nothing_else_and_leaves_nothing_behind(tmp_path, rng):
    knees = []
    for number in range(3):
        np.save(tmp_path / f"MUSTERMANN_{number}.npy", rng.random((200, 200)))
        knees.append(f"MUSTERMANN_{number}.npy")
    home = tmp_path / "home"
    home.mkdir()
    around = {"home": home, "tmp": Path(tempfile.mkdtemp(prefix="r"))}  # short: Ray's sockets lie there
    before = set(Path(tempfile.gettempdir()).glob("ray*"))
    arguments = ["--side", "left", "--spacing", "0.5", "--out", "maps", "--formats", "npz", "--no-pictures", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "mris.cli.main", "synthesize", "digital", *knees, *arguments, "--engine", "ray"],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(around["home"]), "TMPDIR": str(around["tmp"]), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "3 of 3 files synthesized into maps\n"), done.stderr
    assert all(line.startswith("note: ") for line in done.stderr.splitlines()), done.stderr
    assert [list(folder.rglob("*")) for folder in around.values()] == [[], []]
    assert set(Path(tempfile.gettempdir()).glob("ray*")) == before
    around["tmp"].rmdir()
    assert sorted(path.name for path in (tmp_path / "maps").glob("*.npz")) == [f"{name[:-4]}.npz" for name in knees]
