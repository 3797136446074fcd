"""A real archive for tests: Orthanc with its DICOMweb plugin, on loopback, as long as a test lasts."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/lib/orthanc/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "a password of the tests"


@contextlib.contextmanager
def running_orthanc(folder: Path, *, authentication: bool = False) -> Iterator[str]:
    """Start Orthanc with an empty storage in a folder; yield the address of its DICOMweb service."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    plugin = next((path for path in PLUGINS if Path(path).exists()), None)
    if program is None or plugin is None:
        pytest.skip("Orthanc with its DICOMweb plugin is not installed (packages orthanc, orthanc-dicomweb)")
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    settings = {
        "Name": "tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": authentication,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [plugin],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(f"http://127.0.0.1:{port}/dicom-web/studies", process, folder / "orthanc.log")
            yield f"http://127.0.0.1:{port}/dicom-web"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 20
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        try:
            with opener.open(url, timeout=2):
                return
        except urllib.error.HTTPError:  # it answers, and wants a password
            return
        except OSError:
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            time.sleep(0.05)
    raise AssertionError(f"Orthanc does not answer: {log.read_text(errors='replace')[-2000:]}")
