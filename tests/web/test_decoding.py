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


def test_what_comes_back_is_what_the_file_holds(decoders, tmp_path, rng):
    path = write_radiograph(tmp_path / "plate.dcm", rng.integers(0, 4000, (60, 50)), PatientName="Doe^Jane")
    decoded, expected = decoders.decode(tmp_path, "plate.dcm"), read_image(path)
    np.testing.assert_array_equal(decoded.image.pixels, expected.pixels)
    assert decoded.image.header == expected.header
    assert decoded.image.spacing == expected.spacing
    source = read_source_header(path)
    assert decoded.source.patient_and_study == source.patient_and_study
    for name in ("sop_class_uid", "sop_instance_uid", "series_instance_uid", "identifiers", "notes", "body_part"):
        assert getattr(decoded.source, name) == getattr(source, name)


def test_a_file_that_needs_more_memory_than_is_allowed_costs_itself_alone(decoders, tmp_path):
    np.save(tmp_path / "large.npy", np.broadcast_to(np.arange(8000, dtype=np.float64), (9000, 8000)))
    with pytest.raises(ImageError, match="image large"):
        decoders.decode(tmp_path, "large.npy")
    (tmp_path / "large.npy").unlink()
    np.save(tmp_path / "small.npy", np.eye(9))
    assert decoders.decode(tmp_path, "small.npy").image.size == (9, 9)


def test_a_process_that_is_killed_while_it_decodes_is_replaced(decoders, tmp_path):
    np.save(tmp_path / "knee.npy", np.eye(9))
    before = decoders.processes
    os.kill(before[0], signal.SIGKILL)
    with pytest.raises(ImageError, match="breaks the decoder"):
        decoders.decode(tmp_path, "knee.npy")
    assert decoders.decode(tmp_path, "knee.npy").image.size == (9, 9)
    assert decoders.processes != before and decoders.ended
    with pytest.raises(ProcessLookupError):
        os.kill(before[0], 0)


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
            decoders.decode(tmp_path, "knee.png")
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
