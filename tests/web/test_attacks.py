"""What somebody sends who means no good: it is refused, in time, and costs nobody else anything."""

import contextlib
import io
import resource
import socket
import struct
import tempfile
import time
import unicodedata
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from tests.web.browser_world import MARKUP
from tests.web.conftest import API, client_of

from mris.web.settings import Limits

SMALL = Limits(decoders=1, file_bytes=2 << 20, files=3, body_seconds=3.0, head_seconds=2.0, waiting=2)


@pytest.fixture
def small(serve, knees):
    """A server that takes little."""
    return serve(knees.bundle, limits=SMALL)


def send(client, name, data, **fields):
    return client.post(f"{API}/synthesize", files={"file": (name, data)}, data={"side": "left"} | fields)


def head_of(client, n_bytes):
    """Head of an upload of so many bytes."""
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    return (
        f"POST {API}/synthesize HTTP/1.1\r\nHost: {urlsplit(str(client.base_url)).netloc}\r\nCookie: {cookie}\r\n"
        f"X-CSRF-Token: {client.headers['X-CSRF-Token']}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {n_bytes}\r\n\r\n"
    ).encode()


def until(condition):
    """Wait until something is the case, which takes a moment."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "name", ["../../../tmp/mris-was-here.png", "/tmp/mris-was-here.png", "..\\..\\mris-was-here.png", "a/../.."]
)
def test_a_path_in_a_file_s_name_leads_nowhere(client, knees, tmp_path, monkeypatch, name):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer = send(client, name, knees.knee.read_bytes())
    assert answer.json()["results"][0]["query"]["name"] in ("mris-was-here.png", "file")
    assert not list(tmp_path.iterdir())
    assert not Path("/tmp/mris-was-here.png").exists()
    assert str(tmp_path) not in answer.text


def zip_bomb() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            head = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1), np.float64))
            with io.BytesIO() as npy:
                np.lib.format.write_array_header_1_0(npy, head | {"shape": (200_000, 40_000)})
                archive.writestr("bomb.npy", npy.getvalue() + bytes(64 << 20))
        return file.getvalue()


def image_bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(60_001) * 200)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("name", "bomb"), [("bomb.npz", zip_bomb), ("bomb.png", image_bomb)])
def test_a_bomb_is_refused_by_what_it_announces(client, name, bomb):
    started = time.monotonic()
    answer = send(client, name, bomb())
    assert answer.status_code == 422 and name in answer.json()["detail"]
    assert time.monotonic() - started < 10


def test_an_upload_of_a_gigabyte_is_refused_before_it_is_read(client):
    path = urlsplit(str(client.base_url))
    with socket.create_connection((path.hostname, path.port), timeout=10) as connection:
        connection.sendall(head_of(client, 1 << 30))
        assert b" 413 " in connection.recv(4096)


def test_a_body_that_grows_beyond_the_limit_is_cut_off(small):
    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(64):
            yield bytes(1 << 20)

    client = client_of(small)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    try:
        answer = client.post(f"{API}/synthesize", content=endless(), headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (413, "TooLargeError")
    except httpx.WriteError:  # the server has hung up while we still wrote
        pass
    many = [("file", (f"{number}.png", b"x")) for number in range(4)]
    assert client.post(f"{API}/synthesize", files=many).json()["error"] == "TooLargeError"


@pytest.mark.slow
def test_a_slow_upload_is_given_up_and_holds_up_nobody(small, knees):
    def slow():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(100):
            time.sleep(0.7)
            yield b"x"

    client, started = client_of(small), time.monotonic()
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "100000"}
    try:
        answer = client.post(f"{API}/synthesize", content=slow(), headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (408, "SlowUploadError")
    except httpx.HTTPError:  # it has hung up while we still wrote
        pass
    assert time.monotonic() - started < 10
    assert send(client_of(small), "knee.png", knees.knee.read_bytes()).status_code == 200


def test_an_upload_that_is_cut_off_leaves_no_file_no_place_and_no_fault(serve, knees, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = client_of(serve(knees.bundle, limits=SMALL))
    path = urlsplit(str(client.base_url))
    with caplog.at_level("INFO", "mris"):
        with socket.create_connection((path.hostname, path.port), timeout=10) as connection:
            part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
            connection.sendall(head_of(client, 2_000_000) + part + bytes(1_500_000))
        until(lambda: 'synthesize",status="400"} 1' in client.get(f"{API}/metrics").text)
        assert "mris_requests_waiting 0" in client.get(f"{API}/metrics").text
    assert list(tmp_path.iterdir()) == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("headers", ["X: " + "x" * (1 << 20), "X: x\r\n" * 200_000], ids=["long", "many"])
def test_headers_without_end_are_cut_off(url, client, headers):
    path = urlsplit(url)
    with socket.create_connection((path.hostname, path.port), timeout=10) as connection:
        with contextlib.suppress(OSError):  # it may hang up while we still write
            connection.sendall(f"GET {API}/card HTTP/1.1\r\nHost: {path.netloc}\r\n{headers}\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            assert b"markdown" not in connection.recv(1 << 16)
    assert client.get(f"{API}/health").status_code == 200


@pytest.mark.parametrize("name", ["\u202egnp.eenk.png", "\u200f\u2066a.png", "k\u0301.png", "\U0001f9b4.png"])
def test_a_file_s_name_in_any_script_comes_back_without_signs_that_turn_it(client, knees, name):
    (result,) = send(client, name, knees.knee.read_bytes()).json()["results"]
    shown = result["query"]["name"]
    assert shown == "".join(sign for sign in name if sign.isprintable())
    assert not {unicodedata.bidirectional(sign) for sign in shown} & {"RLO", "LRO", "RLI", "LRI", "FSI"}
    assert shown in result["command"]


@pytest.mark.parametrize(
    "lengths",
    [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 5, 6\r\n",
    ],
)
def test_a_request_of_two_lengths_smuggles_nothing(url, lengths):
    path = urlsplit(url)
    smuggled = f"GET {API}/card HTTP/1.1\r\nHost: {path.netloc}\r\n\r\n"
    with socket.create_connection((path.hostname, path.port), timeout=10) as connection:
        head = f"POST {API}/session HTTP/1.1\r\nHost: {path.netloc}\r\n{lengths}\r\n0\r\n\r\n"
        connection.sendall((head + smuggled).encode())
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"HTTP/1.1 ") == 1 and b"markdown" not in answer


def test_a_thousand_connections_held_open_lock_nobody_out(small, knees):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096:
        pytest.skip("the system does not let this process hold both ends of a thousand connections")
    path = urlsplit(small)
    with ExitStack() as stack:
        held = []
        for number in range(1000):
            connection = stack.enter_context(socket.create_connection((path.hostname, path.port), timeout=10))
            if number % 2:
                connection.sendall(b"POST /api/v1/synthesize HTTP/1.1\r\nHost: 127")  # a head that never ends
            held.append(connection)
        assert send(client_of(small), "knee.png", knees.knee.read_bytes()).status_code == 200
        time.sleep(SMALL.head_seconds)
        for connection in (held[0], held[1], held[-1]):
            connection.settimeout(5)
            assert connection.recv(100) == b""  # closed by the server


def test_names_that_look_like_html_are_text_on_the_page(client):
    found = client.get(f"{API}/subjects", params={"search": "onerror"}).json()
    assert [one["subject"] for one in found["subjects"]] == [MARKUP]
    page = client.get("/database", params={"search": "onerror"}).text
    assert MARKUP not in page and "&lt;img src=x" in page
    assert "<script>" not in client.get("/database", params={"search": '"><script>alert(1)</script>'}).text
    assert "<b>" not in client.get("/<b>").text


def test_a_name_of_a_dicom_file_that_looks_like_html_is_text_on_the_page(client, knees):
    typed = {"csrf_token": client.headers["X-CSRF-Token"]}
    answer = client.post("/synthesize", files={"file": ("<b>plate</b>.dcm", knees.plate.read_bytes())}, data=typed)
    assert answer.status_code == 200
    assert "<b>plate" not in answer.text


def test_who_comes_when_all_places_are_taken_is_told_when_to_come_back(small, knees):
    path = urlsplit(small)
    clients = [client_of(small) for _ in range(3)]
    with ExitStack() as stack:
        for client in clients[:2]:  # two uploads that have begun take both places
            connection = stack.enter_context(socket.create_connection((path.hostname, path.port), timeout=10))
            connection.sendall(head_of(client, 1000) + b"--b")
        time.sleep(0.3)
        answer = send(clients[2], "knee.png", knees.knee.read_bytes())
    assert (answer.status_code, answer.json()["error"]) == (503, "BusyError")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1]",
        b'{"image": 5}',
        b'{"image": "img-none"}',
        b"[" * 10_000,
        b'{"image": "x", "spacing": -1}',
        b'{"image": "\\ud800", "bundle": "\\ud800"}',
    ],
)
def test_a_body_that_is_no_request_is_told_in_a_sentence(client, body):
    answer = client.post(f"{API}/synthesize", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 410)
    assert answer.json()["detail"] and answer.json()["request_id"]
