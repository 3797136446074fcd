"""No command opens a connection or leaves a file beside what it was asked for: each is watched by the system's eyes.

`python -m benchmarks.quiet` is the long version: every command has a process of its own, kept open for a minute.
"""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from benchmarks.faults.made_bundle import export_encoder, make_cohort
from tests import quiet_walk
from tests.quiet_walk import Trace, start, start_command, start_session, walk

from mris.synthesis.build_bundle import build_bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(quiet_walk.no_strace() is not None, reason=f"{quiet_walk.no_strace()}: nothing can be watched"),
]

LONGER_THAN_TELEMETRY_WAITS = 35.0


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trace]:
    """Every command, and a program that keeps a session of ONNX Runtime open meanwhile."""
    base = tmp_path_factory.mktemp("quiet")
    work = base / "work"
    work.mkdir()
    session = start_session(work, base / "session", LONGER_THAN_TELEMETRY_WAITS)
    demo = start("mris demo", quiet_walk.DEMO_OF_ONE_QUERY, quiet_walk.demo(work), work, base / "demo")
    found = {f"{number}: {watched.name}": watched.trace() for number, watched in enumerate(walk(work, base))}
    for watched in (demo, session):
        watched.wait_until_done()
        found[watched.name] = watched.trace()
    return found


def test_every_command_does_its_work(traces: dict[str, Trace]) -> None:
    assert {name: trace.output for name, trace in traces.items() if trace.code} == {}


def test_no_command_asks_the_network_for_anything(traces: dict[str, Trace]) -> None:
    assert {name: trace.connections for name, trace in traces.items() if trace.connections} == {}


def test_no_command_leaves_a_file_outside_the_folders_it_is_given(traces: dict[str, Trace]) -> None:
    assert {name: trace.left for name, trace in traces.items() if trace.left} == {}


def test_all_commands_are_walked(traces: dict[str, Trace]) -> None:
    import typer.main

    from mris.cli.main import app

    command = typer.main.get_command(app)
    names = {
        f"mris {name} {part}".strip()
        for name, one in command.commands.items()  # type: ignore[attr-defined]
        for part in getattr(one, "commands", [""])
        if name not in ("archive", "serve")  # a network is what they are for; they have tests of their own
    }
    assert names <= {command for name in traces for command in name.split(": ")[-1].split(", ")}


@pytest.fixture
def archive() -> Iterator[int]:
    """An archive without a study; yields its port on loopback."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Empty)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_archive_is_asked_at_the_address_given_and_nowhere_else(archive: int, tmp_path: Path) -> None:
    pytest.importorskip("dicomweb_client")
    ask = ["archive", "query", f"http://127.0.0.1:{archive}/dicom-web", "--patient", "NOBODY"]
    watched = start_command(ask, tmp_path / "work", tmp_path / "around", network=True)
    watched.wait_until_done()
    trace = watched.trace()
    assert trace.code == 0 and "0 studies" in trace.output, trace
    asked = [call for call in trace.connections if call.startswith("connect")]
    assert asked and all(f"htons({archive})" in call and '"127.0.0.1"' in call for call in asked), trace
    assert trace.left == ()


def test_a_server_speaks_on_loopback_with_who_asked_and_with_nobody_else(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    cohort = make_cohort(tmp_path / "cohort", [f"S{number}" for number in range(12)], seed=0)
    encoder = export_encoder(tmp_path / "encoder", cohort, cohort.regions, 0)
    bundle = build_bundle([encoder], cohort, tmp_path / "knees.bundle", progress=False)
    watched = start_command(["serve", bundle.path, "--check"], tmp_path / "work", tmp_path / "around", network=True)
    watched.wait_until_done()
    trace = watched.trace()
    assert trace.code == 0 and "ok: femoral" in trace.output, trace
    named = [call for call in trace.connections if call.startswith(("connect", "sendto", "bind"))]
    assert named and all('"127.0.0.1"' in call or ("AF_INET6" in call and '"::1"' in call) for call in named), trace
    assert trace.left == ()


SPEAKS = """
import os, socket, pathlib
pathlib.Path.home().joinpath("note").write_text("here")
pathlib.Path("relative").mkdir()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as telling:
    try:
        telling.connect(("192.0.2.1", 53))
    except OSError:
        pass
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as trying:
    pass
memory = pathlib.Path("/dev/shm", f"mris_quiet_{os.getpid()}")
memory.write_text("shared")
passing = pathlib.Path("/dev/shm", f"mris_quiet_passing_{os.getpid()}")
passing.write_text("for a while")
passing.unlink()
"""


def test_the_watch_sees_what_a_program_says_and_leaves(tmp_path: Path) -> None:
    watched = start("a program that speaks", SPEAKS, (), tmp_path / "work", tmp_path / "around")
    watched.wait_until_done()
    trace = watched.trace()
    left = [Path(path) for path in trace.left]
    try:
        assert trace.code == 0, trace
        assert [call.split("(")[0] for call in trace.connections] == ["connect", "socket", "socket"]
        names = sorted(path.name.rstrip("0123456789") for path in left)
        assert names == ["mris_quiet_", "note", "relative"]
    finally:
        for path in left:
            if path.parent == Path("/dev/shm"):
                path.unlink()
