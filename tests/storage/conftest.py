"""A storage in memory, with obstore's own conditions; and a real server of S3, where one is installed."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

SECRET = "never-to-be-printed-0123456789abcdef"
BUCKET = "hospital"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Every address is a storage in memory; Lance alone does not know it."""
    from obstore.store import MemoryStore

    from mris.storage import objects

    stores: dict[str, object] = {}
    monkeypatch.setattr(objects, "_store_of", lambda address: stores.setdefault(str(address), MemoryStore()))
    return stores


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The endpoint of a moto server, which is a program of its own: its packages contradict those of ours."""
    pytest.importorskip("obstore", reason="the extra storage is not installed")
    program = shutil.which("moto_server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("no S3 server: pip install 'moto[server]' into an environment of its own, and put it into PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{endpoint}/moto-api/")
                break
            except OSError:
                time.sleep(0.1)
        yield endpoint
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, and credentials for it in the environment."""
    use(server, monkeypatch)
    ask(server, "POST", "/moto-api/reset")
    ask(server, "PUT", f"/{BUCKET}")
    return f"s3://{BUCKET}"


def use(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a storage's address and credentials into the environment."""
    for name, value in {
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)


def ask(endpoint: str, method: str, path: str, body: bytes | None = None) -> None:
    named = "AWS4-HMAC-SHA256 Credential=key/20261130/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    headers = {"Authorization": named, "Content-Type": "application/xml"}
    request = urllib.request.Request(endpoint + path, method=method, data=body, headers=headers)
    urllib.request.urlopen(request).close()
