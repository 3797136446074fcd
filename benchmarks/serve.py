"""Load on ``mris serve``: errors, latency, memory and throughput, beside ``mris synthesize`` on the same files.

    python -m benchmarks.serve BUNDLE IMAGES... --side left --seconds 600

One client alone gives the median that eight clients at once are held against. Server, clients and command have the same
cores. Prints a row for `benchmarks/README.md`; exit code 1 if a request failed.
"""

import argparse
import contextlib
import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

API = "/api/v1"
BOUNDARY = "a-boundary-that-no-picture-holds"
COMMAND = [sys.executable, "-c", "from mris.cli.entry import main; main()"]


@dataclass(frozen=True)
class Load:
    """What a number of clients met.

    Attributes:
        seconds: Of each answer.
        errors: Answers other than 200.
        memory: MB of the server, once a second.
        duration: Seconds of all of it.
    """

    seconds: Sequence[float]
    errors: int
    memory: Sequence[float]
    duration: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.seconds, n=20)[-1]

    @property
    def throughput(self) -> float:
        return len(self.seconds) / self.duration


@contextlib.contextmanager
def started(command: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Start a server, which prints a line with its address; gives that and its process."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield next(word for word in server.stdout.readline().split() if word.startswith("http")), server.pid
        finally:
            server.terminate()


def load(url: str, files: Sequence[Path], n_clients: int, seconds: float, pid: int, **fields: str) -> Load:
    """Let clients ask one file after the other for a while, each as soon as it is answered."""
    taken: list[float] = []
    failed: list[int] = []
    memory: list[float] = []
    bodies = [body_of(path, fields) for path in files]
    started = time.perf_counter()

    def ask(first: int) -> None:
        connection, headers = session_at(url)
        number = first
        while time.perf_counter() - started < seconds:
            asked = time.perf_counter()
            connection.request("POST", f"{API}/synthesize", bodies[number % len(bodies)], headers)
            answer = connection.getresponse()
            answer.read()
            taken.append(time.perf_counter() - asked)
            if answer.status != 200:
                failed.append(answer.status)
            number += n_clients

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(n_clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        memory.append(resident_mb(pid))
        time.sleep(min(1.0, seconds / 10))
    return Load(taken, len(failed), memory, time.perf_counter() - started)


def session_at(url: str) -> tuple[http.client.HTTPConnection, dict[str, str]]:
    """A connection and the heads of its requests; a client that costs little leaves the cores to the server."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    connection.request("GET", f"{API}/session")
    answer = connection.getresponse()
    proof = json.loads(answer.read())["csrf_token"]
    cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return connection, {"X-CSRF-Token": proof, "Cookie": cookie, "Content-Type": kind}


def body_of(path: Path, fields: Mapping[str, str]) -> bytes:
    """A form with a file."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    return "".join(parts).encode() + head.encode() + path.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


def resident_mb(pid: int) -> float:
    """MB that a process holds, without what it shares with files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def command_throughput(bundle: Path, files: Sequence[Path], side: str, times: int) -> float:
    """Files a second of ``mris synthesize`` that writes NIfTI alone; its start is not counted."""
    with tempfile.TemporaryDirectory() as folder:

        def run(count: int) -> float:
            copies = []
            for number in range(count):
                copies.append(Path(folder) / f"{number:06d}{files[0].suffix}")
                shutil.copy(files[number % len(files)], copies[-1])
            options = ["--out", f"{folder}/out", "--side", side, "--formats", "nifti", "--no-pictures", "--quiet"]
            started = time.perf_counter()
            subprocess.run([*COMMAND, "synthesize", str(bundle), *copies, *options], check=True, capture_output=True)
            return time.perf_counter() - started

        few, many = run(1), run(times + 1)
    return times / (many - few)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--side", default="left")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--single-seconds", type=float, default=15)
    parser.add_argument("--command-files", type=int, default=200)
    wanted = parser.parse_args()
    with started([*COMMAND, "serve", str(wanted.bundle), "--port", "0", "--quiet"]) as (url, pid):
        load(url, wanted.images, 1, 3, pid, side=wanted.side)  # networks are loaded, files are in memory
        alone = load(url, wanted.images, 1, wanted.single_seconds, pid, side=wanted.side)
        load(url, wanted.images, wanted.clients, wanted.single_seconds, pid, side=wanted.side)  # held results
        many = load(url, wanted.images, wanted.clients, wanted.seconds, pid, side=wanted.side)
    beside = command_throughput(wanted.bundle, wanted.images, wanted.side, wanted.command_files)
    half = len(many.memory) // 2
    print(f"clients {wanted.clients}, {wanted.seconds:g} s: {len(many.seconds)} requests, {many.errors} errors")
    print(f"single client: median {1000 * alone.median:.1f} ms, {alone.throughput:.1f} a second")
    ratio = many.p95 / alone.median
    print(f"all clients: median {1000 * many.median:.1f} ms, p95 {1000 * many.p95:.1f} ms, {ratio:.2f} x single median")
    grown = statistics.median(many.memory[half:]) - statistics.median(many.memory[:half])
    print(f"memory: {min(many.memory):.0f} to {max(many.memory):.0f} MB; second half against first {grown:+.0f} MB")
    print(f"throughput: {many.throughput:.1f} a second; mris synthesize {beside:.1f} ({many.throughput / beside:.0%})")
    return int(many.errors > 0)


if __name__ == "__main__":
    sys.exit(main())
