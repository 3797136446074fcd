"""A storage that refuses, throttles, fails, talks nonsense or is silent: one line, exit code 2, no secret, in time."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.command import call
from tests.storage.conftest import SECRET, use

pytest.importorskip("obstore", reason="the extra storage is not installed")

from mris.storage import objects

ANSWERS = {
    "refuses": (403, f"<Error><Code>AccessDenied</Code><Message>{SECRET}</Message></Error>", "no right"),
    "knows no such key": (403, f"<Code>InvalidAccessKeyId</Code>{SECRET}", "not accepted"),
    "finds the signature wrong": (403, f"<Code>SignatureDoesNotMatch</Code>{SECRET}", "not accepted"),
    "throttles": (503, f"<Code>SlowDown</Code>{SECRET}", "slower"),
    "fails": (500, SECRET, "fails (500)"),
    "moves": (301, SECRET, "it"),
    "has no such bucket": (404, f"<Code>NoSuchBucket</Code>{SECRET}", "no such bucket"),
    "has nothing there": (404, f"<Code>NoSuchKey</Code>{SECRET}", "holds nothing"),
    "talks nonsense": (200, f"<html>{SECRET}</html>", "published.json is damaged"),
    "hangs up": (0, "", "does not answer"),
}


class _Answers(BaseHTTPRequestHandler):
    status, body = 200, ""

    def do_GET(self) -> None:
        if not self.status:
            self.connection.close()
            return
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 00:00:00 GMT")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_storage_that_fails_costs_one_line_and_tells_no_secret(
    kind: str, endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(endpoint, monkeypatch)
    monkeypatch.setattr(objects, "_TRIES", 1)
    status, body, told = ANSWERS[kind]
    monkeypatch.setattr(_Answers, "status", status)
    monkeypatch.setattr(_Answers, "body", body)
    began = time.monotonic()
    assert call("bundle", "list", "s3://hospital/hands.bundle") == 2
    printed = capsys.readouterr()
    (line,) = printed.err.strip().splitlines()
    assert told in line
    assert "s3://hospital/hands.bundle" in line
    assert SECRET not in printed.out + printed.err
    assert time.monotonic() - began < 30


def test_plain_http_is_refused_unless_it_is_meant(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(endpoint, monkeypatch)
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert call("bundle", "list", "s3://hospital/hands.bundle") == 2
    assert "AWS_ALLOW_HTTP" in capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_the_other_storages_without_credentials_cost_one_line(
    scheme: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", f"not a key {SECRET}")
    monkeypatch.setattr(objects, "_TRIES", 0)
    assert call("bundle", "list", f"{scheme}://hospital/hands.bundle") == 2
    printed = capsys.readouterr()
    (line,) = printed.err.strip().splitlines()
    assert f"{scheme}://hospital/hands.bundle" in line
    assert SECRET not in printed.out + printed.err
