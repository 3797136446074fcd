"""``mris serve`` as it is started: by a person, by a container, and where something is missing."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.command import call
from tests.web.conftest import API, client_of, settings_for
from threadpoolctl import threadpool_info, threadpool_limits

from mris.errors import SettingsError
from mris.web.run import running, serve, take_address

REPOSITORY = Path(__file__).resolve().parents[2]
TOKEN = "a token of the tests"
NOBODY = 65534
COMMAND = [sys.executable, "-c", "from mris.cli.entry import main; main()", "serve"]


def environment_of(home, **variables):
    """Of a process whose home and folder for temporary files is empty."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MRIS_T")}
    kept["PYTHONPATH"] = os.pathsep.join(map(str, map(Path.absolute, map(Path, sys.path[1:]))))
    return kept | {"HOME": str(home), "TMPDIR": str(home)} | variables


def test_a_server_multiplies_with_one_thread_for_each_request(knees, monkeypatch):
    class Watched:
        started = True

        def run(self, sockets):
            np.eye(2) @ np.eye(2)
            used.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")

    used = set()
    monkeypatch.setattr("sys.setswitchinterval", lambda seconds: None)
    monkeypatch.setattr("mris.web.run.server_of", lambda settings, started: Watched())
    with threadpool_limits(2, user_api="blas"):
        serve(settings_for(knees.bundle), started=print)
    assert used == {1}


@pytest.fixture
def refused(capsys, monkeypatch):
    """Run the command in this process, whose log stays as it is; it must end with one line."""
    monkeypatch.setattr("mris.web.run.log_to_stderr", lambda level: None)

    def run(*words):
        assert call("serve", *words) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("mris: "), lines
        return lines[0]

    return run


def test_a_port_in_use_and_a_bundle_that_is_none_cost_one_line(knees, tmp_path, refused, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} is in use" in refused(knees.bundle, "--port", port)
    assert "is not a bundle" in refused(tmp_path / "no.bundle")
    assert "give a token" in refused(knees.bundle, "--host", "0.0.0.0")
    monkeypatch.setenv("MRIS_TOKEN", "short")
    assert "at least 16" in refused(knees.bundle)


@contextlib.contextmanager
def bound_by_rights():
    """As somebody whom rights bind: root is bound by none."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)  # in the kernel, its capabilities go with it
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_to_all(knees):
    """A copy of the bundle in a folder that everybody may enter and only we may write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(shutil.copytree(knees.bundle, Path(folder) / "knees.bundle"))


@pytest.mark.parametrize("name", [".", "bundle.json", "commit.json", "members/*/encoder.json"])
def test_a_bundle_that_may_not_be_read_costs_one_line(open_to_all, refused, name):
    (closed,) = open_to_all.glob(name) if name != "." else [open_to_all]
    refused(open_to_all / "none")  # all that is imported late is here now: nobody may be kept from our code, too
    closed.chmod(0)
    with bound_by_rights():
        told = refused(open_to_all, "--port", 0)
    closed.chmod(0o700)
    assert "knees.bundle" in told and "Permission denied" in told


def test_a_port_that_is_not_allowed_and_a_token_that_may_not_be_read_cost_one_line(knees, tmp_path, refused):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0)
    refused(tmp_path / "none")
    free = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    with bound_by_rights():
        assert "token file" in refused(knees.bundle, "--token-file", token)
        if not free.exists() or int(free.read_text()) <= 80:
            pytest.skip("on this system everybody may use every port")
        with pytest.raises(SettingsError, match="port 80 may not be used by you; give one above 1023"):
            take_address("127.0.0.1", 80)


def test_a_bundle_that_may_only_be_read_is_served_and_nobody_is_removed(open_to_all, knees):
    send = {"files": {"file": ("knee.png", knees.knee.read_bytes())}, "data": {"side": "left"}}
    removal = {"subject": "P00003", "confirmation": "P00003"}
    for path in open_to_all.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    open_to_all.chmod(0o555)
    with running(settings_for(open_to_all)) as address, closing(client_of(address)) as client:
        assert client.post(f"{API}/synthesize", **send).status_code == 200
        with bound_by_rights():
            answer = client.post(f"{API}/subjects/remove", json=removal)
            assert client.get(f"{API}/subjects", params={"search": "P00003"}).json()["n_found"] == 1
            assert client.post(f"{API}/synthesize", **send).status_code == 200
    assert (answer.status_code, answer.json()["error"]) == (503, "OutputError")
    assert "mend the rights" in answer.json()["detail"]
    open_to_all.chmod(0o755)


def test_without_its_libraries_the_command_says_how_to_get_them(knees):
    code = (
        "import sys\n"
        "sys.modules['fastapi'] = None\n"
        "from mris.cli.main import app, main\n"
        "assert 'Serve a bundle' in str([command.callback.__doc__ for command in app.registered_commands])\n"
        "main()"
    )
    command = [sys.executable, "-c", code, "serve", str(knees.bundle)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment_of("/nonexistent"))
    assert (ran.returncode, ran.stderr) == (2, "mris: this command needs fastapi; pip install 'mris[serve]'\n")


@pytest.mark.slow
def test_a_server_leaves_no_trace_loads_no_torch_and_keeps_its_token(knees, tmp_path):
    """The command of the Dockerfile, where nothing but an empty folder for temporary files can be written."""
    (tmp_path / "token").write_text(TOKEN)
    home = tmp_path / "home"
    home.mkdir()
    paths = {"/bundle": str(knees.bundle), "/run/token": str(tmp_path / "token")}
    words = [paths.get(word, word) for word in json.loads(dockerfile()["CMD"][0])[2:]]
    command, environment = [*COMMAND, *words, "--port", "0"], environment_of(home)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=home
    ) as server:
        assert server.stdout is not None
        address = re.search(r"http://127.0.0.1:\d+", server.stdout.readline())[0]
        file = {"file": ("Jane Doe.png", knees.knee.read_bytes())}
        with httpx.Client(base_url=address, trust_env=False, timeout=60) as program:
            assert program.get(f"{API}/card").status_code == 401
            program.headers["Authorization"] = f"Bearer {TOKEN}"
            assert program.post(f"{API}/synthesize", files=file, data={"side": "left"}).status_code == 200
        libraries = Path(f"/proc/{server.pid}/maps").read_text()
        server.send_signal(signal.SIGINT)
        _, log = server.communicate(timeout=30)
    assert server.returncode in (0, 130)
    assert "torch" not in libraries
    assert "without https" in log
    assert re.search(r"[0-9a-f]{8} POST /api/v1/synthesize 200 \d+ ms", log)
    assert not re.search(r"Jane|Traceback|P0000", log)
    assert list(home.rglob("*")) == []


def dockerfile() -> dict[str, list[str]]:
    """Instructions of the last stage by their word."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for line in stages[-1].splitlines()[1:]:
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest.strip())
    return found


def test_the_container_runs_as_nobody_special_and_checks_itself(knees):
    steps = dockerfile()
    assert steps["USER"] == ["10001"]
    assert "torch" not in json.dumps(steps)
    checked = steps["HEALTHCHECK"][0].partition("CMD ")[2]
    assert json.loads(checked) == ["mris", "serve", "/bundle", "--check"]
    served = json.loads(steps["CMD"][0])
    assert served[:3] == ["mris", "serve", "/bundle"] and "--token-file" in served
    copied = re.findall(r"^COPY (?!--from)(.*)$", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    for name in {word for line in copied for word in shlex.split(line)[:-1]}:
        assert (REPOSITORY / name).exists(), name


def test_the_container_s_health_check_works_where_nothing_can_be_written(knees, tmp_path):
    steps, locked, temporary = dockerfile(), tmp_path / "locked", tmp_path / "tmp"
    locked.mkdir()
    temporary.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    words = json.loads(steps["HEALTHCHECK"][0].partition("CMD ")[2])[2:]
    words = [str(knees.bundle) if word == "/bundle" else word for word in words]
    settings = dict(pair.split("=") for pair in steps["ENV"][0].split())
    environment = environment_of(locked, **settings, TMPDIR=str(temporary))
    ran = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=120, env=environment, cwd=locked)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"started in [\d.]+ s\nfirst query: \d+ ms\nnext query: \d+ ms\nok: femoral", ran.stdout)
    assert re.search(r"ok: femoral [\d.]+ mm, femoral anterior [\d.]+ mm, femoral posterior", ran.stdout)
    assert list(locked.iterdir()) == list(temporary.iterdir()) == []


def test_a_server_that_dies_in_the_middle_is_followed_by_one_that_knows_nothing(serve, knees):
    """Sessions, images and results end with the process; a page asks for a new session and goes on."""
    with running(settings_for(knees.bundle)) as address:
        client = client_of(address)
        file = {"file": ("knee.png", knees.knee.read_bytes())}
        result = client.post(f"{API}/synthesize", files=file, data={"side": "left"}).json()["results"][0]
    client.base_url = serve(knees.bundle)
    assert client.get(result["arrays"]["url"]).status_code == 410
    started = time.monotonic()
    assert client.post(f"{API}/synthesize", files=file).json()["error"] == "SessionError"
    client.headers["X-CSRF-Token"] = client.get(f"{API}/session").json()["csrf_token"]
    assert client.post(f"{API}/synthesize", files=file, data={"side": "left"}).status_code == 200
    assert time.monotonic() - started < 30
