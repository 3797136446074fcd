"""``mris serve --check``: start, answer one phantom query over HTTP, tell how long it took."""

import http.client
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mris.errors import BundleError
from mris.images.write import write_png
from mris.knee.crop import REGION_MM
from mris.knee.phantom.simulate import simulate_subject
from mris.reading import parse_json
from mris.web.run import running
from mris.web.settings import ServeSettings

_SIZE = 64
_PATIENCE = 120.0


def check_service(settings: ServeSettings) -> Iterator[str]:
    """Start a server on a free port of loopback, and ask it.

    Args:
        settings: Of the server; host and port are not used.

    Yields:
        Lines of what was measured.

    Raises:
        BundleError: The query was not answered.
        OutputError: The server did not start in time.
    """
    started = time.perf_counter()
    with running(replace(settings, host="127.0.0.1", port=0)) as address:
        yield f"started in {time.perf_counter() - started:.2f} s"
        picture = _phantom()
        for what in ("first query", "next query"):
            asked = time.perf_counter()
            results = _synthesized(address, picture, settings.token)
            yield f"{what}: {1000 * (time.perf_counter() - asked):.0f} ms"
        yield f"ok: {', '.join(map(_told, results[0]['means']))}"


def _told(mean: dict[str, Any]) -> str:
    name = f"{mean['region']} {mean['part']}".strip()
    return f"{name} {mean['mean']:.4g} {mean['unit']}"


def _phantom() -> bytes:
    radiograph = simulate_subject(0, 1, size=_SIZE, max_visits=1)[0].radiograph
    with tempfile.TemporaryDirectory(prefix="mris-") as folder:
        write_png(Path(folder) / "phantom.png", radiograph)
        return (Path(folder) / "phantom.png").read_bytes()


def _synthesized(address: str, picture: bytes, token: str | None) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"}
    if token is None:
        _, given, proof = _asked(address, "GET", "/api/v1/session", b"", {})
        headers = {"Cookie": given.partition(";")[0], "X-CSRF-Token": proof["csrf_token"]}
    boundary = secrets.token_hex(16)
    fields = {"side": "left", "spacing": f"{REGION_MM / _SIZE:g}", "find": "false"}
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="phantom.png"\r\n\r\n')
    body = "".join(lines).encode() + picture + f"\r\n--{boundary}--\r\n".encode()
    headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
    status, _, answer = _asked(address, "POST", "/api/v1/synthesize", body, headers)
    if status != 200:
        raise BundleError(f"the phantom query was answered {status}: {answer.get('detail', 'without a reason')}")
    results: list[dict[str, Any]] = answer["results"]
    return results


def _asked(
    address: str, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, str, dict[str, Any]]:
    """Ask the server itself, whatever proxies the environment names."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=_PATIENCE)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Set-Cookie") or "", parse_json(answer.read().decode())
    finally:
        connection.close()
