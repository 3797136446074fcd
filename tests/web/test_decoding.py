"""Processes that decode: a file costs itself, whatever is in it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.dicom_sources import write_radiograph
from tests.web.conftest import API, client_of, settings_for

from mris.errors import ImageError
from mris.images.read import read_image
from mris.serving.dicom_source import read_source_header
from mris.web.decoding import Decoders
from mris.web.pictures import picture_of
from mris.web.run import running
from mris.web.settings import Limits

MB = 1 << 20


@pytest.fixture(scope="module")
def decoders():
    ended = []
    decoders = Decoders(Limits(decoders=1, decode_bytes=700 * MB, decode_seconds=1.0), ended=lambda: ended.append(1))
    decoders.ended = ended
    yield decoders
    decoders.close()


def decoded(decoders, path, **options):
    with decoders.decode(path.parent, path.name, **options) as found:
        return found


def test_large_images_are_worked_on_one_at_a_time_and_hold_up_no_small_one(tmp_path, monkeypatch):
    monkeypatch.setattr("mris.web.decoding.LARGE_BYTES", 4 * 99)
    decoders = Decoders(Limits(decoders=2))
    for edge in (9, 10):
        np.save(tmp_path / f"{edge}.npy", np.eye(edge))
    try:
        with ThreadPoolExecutor(1) as thread, decoders.decode(tmp_path, "10.npy"):
            second = thread.submit(decoded, decoders, tmp_path / "10.npy")
            assert decoded(decoders, tmp_path / "9.npy").image.size == (9, 9)
            assert not wait([second], timeout=0.2).done
        assert second.result().image.size == (10, 10)
    finally:
        decoders.close()


def test_what_comes_back_is_what_the_file_holds(decoders, tmp_path, rng):
    path = write_radiograph(tmp_path / "plate.dcm", rng.integers(0, 4000, (60, 50)), PatientName="Doe^Jane")
    found, expected = decoded(decoders, path, picture=True), read_image(path)
    np.testing.assert_array_equal(found.image.pixels, expected.pixels)
    assert found.image.header == expected.header
    assert found.image.spacing == expected.spacing
    seen, picture = found.picture, picture_of(expected)
    np.testing.assert_array_equal(seen.pixels, picture.pixels)
    assert (seen.step, seen.least, seen.largest, seen.window) == (
        picture.step,
        picture.least,
        picture.largest,
        picture.window,
    )
    source = read_source_header(path)
    assert found.source.patient_and_study == source.patient_and_study
    for name in ("sop_class_uid", "sop_instance_uid", "series_instance_uid", "identifiers", "notes", "body_part"):
        assert getattr(found.source, name) == getattr(source, name)


def test_a_file_that_needs_more_memory_than_is_allowed_costs_itself_alone(decoders, tmp_path):
    np.save(tmp_path / "large.npy", np.broadcast_to(np.arange(8000, dtype=np.float64), (9000, 8000)))
    with pytest.raises(ImageError, match="image large"):
        decoded(decoders, tmp_path / "large.npy")
    (tmp_path / "large.npy").unlink()
    np.save(tmp_path / "small.npy", np.eye(9))
    assert decoded(decoders, tmp_path / "small.npy").image.size == (9, 9)


def test_a_process_that_is_killed_while_it_decodes_is_replaced(decoders, tmp_path):
    np.save(tmp_path / "knee.npy", np.eye(9))
    before = decoders.processes
    os.kill(before[0], signal.SIGKILL)
    with pytest.raises(ImageError, match="breaks the decoder"):
        decoded(decoders, tmp_path / "knee.npy")
    assert decoded(decoders, tmp_path / "knee.npy").image.size == (9, 9)
    assert decoders.processes != before and decoders.ended
    with pytest.raises(ProcessLookupError):
        os.kill(before[0], 0)


def test_whatever_goes_wrong_with_an_answer_costs_that_file_and_its_process_alone(decoders, tmp_path, monkeypatch):
    np.save(tmp_path / "knee.npy", np.eye(9))
    before = decoders.processes
    with monkeypatch.context() as patched:
        patched.setattr("mris.web.decoding.parse_json", lambda text: 1 / 0)
        with pytest.raises(ImageError, match="breaks the decoder"):
            decoded(decoders, tmp_path / "knee.npy")
    assert decoded(decoders, tmp_path / "knee.npy").image.size == (9, 9)
    assert decoders.processes != before


def test_a_decoder_that_cannot_be_started_is_started_for_a_later_file(decoders, tmp_path, monkeypatch):
    np.save(tmp_path / "knee.npy", np.eye(9))

    def refuse(*command, **options):
        raise BlockingIOError("no process is left")

    with monkeypatch.context() as patched:
        patched.setattr("mris.web.decoding.subprocess.Popen", refuse)
        os.kill(decoders.processes[0], signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(ImageError, match="breaks the decoder"):
                decoded(decoders, tmp_path / "knee.npy")
    with pytest.raises(ImageError, match="breaks the decoder"):  # its process is not there yet
        decoded(decoders, tmp_path / "knee.npy")
    assert decoded(decoders, tmp_path / "knee.npy").image.size == (9, 9)


def test_who_waited_when_the_decoders_ended_starts_no_process(tmp_path):
    decoders = Decoders(Limits(decoders=1))
    decoders.close()
    before = decoders.processes
    with pytest.raises(ImageError, match="image knee"):
        decoded(decoders, tmp_path / "knee.npy")
    assert decoders.processes == before


SPIN = """
import sys
from mris.web import decoder
decoder.read_image = lambda name: {what}
sys.argv[1:] = ["{memory}", "0.5"]
decoder.main()
"""


@pytest.mark.parametrize("what", ["[0 for _ in iter(int, 1)]", "open(name + '.written', 'w').write('x')"])
def test_a_decoder_that_was_taken_over_neither_runs_on_nor_writes(tmp_path, monkeypatch, what):
    real = subprocess.Popen

    def taken_over(command, **options):
        code = SPIN.format(what=what, memory=2000 * MB)
        return real([sys.executable, "-P", "-c", code], **options)

    monkeypatch.setattr("mris.web.decoding.subprocess.Popen", taken_over)
    decoders, started = Decoders(Limits(decoders=1, decode_seconds=0.5)), time.monotonic()
    try:
        (tmp_path / "knee.png").write_bytes(b"x")
        with pytest.raises(ImageError, match="image knee"):
            decoded(decoders, tmp_path / "knee.png")
    finally:
        decoders.close()
    assert time.monotonic() - started < 20
    assert [path.stat().st_size for path in tmp_path.glob("*.written")] in ([], [0])


def test_a_slow_file_does_not_hold_up_others(serve, knees):
    """One of two decoders hangs; the other answers."""
    url = serve(knees.bundle, limits=Limits(decoders=2))
    client = client_of(url)
    file = {"file": ("knee.png", knees.knee.read_bytes())}
    assert client.post(f"{API}/synthesize", files=file, data={"side": "left"}).status_code == 200
    children = _decoders_of(os.getpid())
    stopped = children[-1]
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as threads:
        asked = [
            threads.submit(client_of(url).post, f"{API}/synthesize", files=file, data={"side": "left"})
            for _ in range(2)
        ]
        done, waiting = wait(asked, timeout=20, return_when=FIRST_COMPLETED)
        os.kill(stopped, signal.SIGCONT)
    assert [one.result().status_code for one in (*done, *waiting)] == [200, 200]
    assert len(done) == len(waiting) == 1


def _decoders_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(told[1]) == parent and b"mris.web.decoder" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def test_a_server_that_ends_does_not_wait_for_what_hangs(knees):
    started, others = time.monotonic(), {*_decoders_of(os.getpid())}
    with running(settings_for(knees.bundle)) as url:
        client = client_of(url)
        file = {"file": ("knee.png", knees.knee.read_bytes())}
        assert client.post(f"{API}/synthesize", files=file, data={"side": "left"}).status_code == 200
        (child,) = {*_decoders_of(os.getpid())} - others
        os.kill(child, signal.SIGSTOP)
        asking = threading.Thread(target=_ask, args=(client, file))
        asking.start()
        time.sleep(0.3)
    asking.join()
    assert time.monotonic() - started < 25
    assert not Path(f"/proc/{child}").exists()


def _ask(client, file):
    with contextlib.suppress(httpx.HTTPError):
        client.post(f"{API}/synthesize", files=file, data={"side": "left"})
