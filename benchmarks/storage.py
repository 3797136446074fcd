"""Training on a cohort in a storage that answers 20 ms late, beside one on a disk: the share of steps spent waiting.

The storage is a small server in a process of its own that keeps objects as files and lets each request wait before it
is answered. Images are read for each batch (nothing is kept in memory), in turns from the disk and from the storage.

Run: OMP_NUM_THREADS=1 python -m benchmarks.storage
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

LATENCY, SIZES, BATCH, STEPS, ROUNDS = 0.020, (64, 128), 32, 8, 3


async def _answered(folder: Path, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    """What a storage of S3 answers, as far as reading and a first publication need it."""
    url = urlsplit(target)
    path = folder / unquote(url.path).strip("/")
    asked = parse_qs(url.query)
    if "list-type" in asked:
        return _response(200, _listed(path, asked["prefix"][0] if "prefix" in asked else "", "delimiter" in asked))
    if method == "PUT":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return _response(200, b"", ETag='"1"')
    if not path.is_file():
        return _response(404, b"<Error><Code>NoSuchKey</Code></Error>")
    data, status, more = path.read_bytes(), 200, {}
    size = len(data)
    if "range" in headers:
        start, _, end = headers["range"].removeprefix("bytes=").partition("-")
        first = int(start) if start else size - int(end)
        last = int(end) if start and end else size - 1
        data, status = data[first : last + 1], 206
        more = {"Content-Range": f"bytes {first}-{first + len(data) - 1}/{size}"}
    dated = {"Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT", "ETag": '"1"', **more}
    if method == "HEAD":
        return _response(status, b"", length=size, **dated)
    return _response(status, data, **dated)


def _response(status: int, body: bytes, length: int | None = None, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _listed(bucket: Path, prefix: str, by_folder: bool) -> bytes:
    names = sorted(file.relative_to(bucket).as_posix() for file in bucket.rglob("*") if file.is_file())
    names = [name for name in names if name.startswith(prefix)]
    folders = sorted({prefix + rest.partition("/")[0] for name in names if "/" in (rest := name[len(prefix) :])})
    if by_folder:
        names = [name for name in names if "/" not in name[len(prefix) :]]
    found = "".join(
        f"<Contents><Key>{escape(name)}</Key><Size>{(bucket / name).stat().st_size}</Size><ETag>1</ETag>"
        "<LastModified>2026-11-30T00:00:00.000Z</LastModified></Contents>"
        for name in names
    )
    if by_folder:
        found += "".join(f"<CommonPrefixes><Prefix>{escape(name)}/</Prefix></CommonPrefixes>" for name in folders)
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()


async def serve(folder: Path, port: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.strip().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await asyncio.sleep(LATENCY)
                writer.write(await _answered(folder, method, target, headers, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def measure(size: int, folder: Path, place: str) -> Iterator[str]:
    import numpy as np
    import torch

    from mris.bench.training import random_cohort, trained_on
    from mris.cohort.cohort import Cohort
    from mris.storage.address import place_of
    from mris.storage.publish import publish
    from mris.training.networks import embed_with_features
    from mris.training.pairs import PrefetchedBatches

    here = random_cohort(folder, BATCH * STEPS, size)
    publish(folder / "cohort", place_of(place), None)
    ways = {"disk": here, "storage": Cohort.open(place)}
    trained = {
        name: trained_on(cohort, "triplet", cache_megabytes=0, batch_size=BATCH) for name, cohort in ways.items()
    }

    def epoch(name: str, number: int) -> tuple[float, float, float]:
        """Seconds of all steps but the first, of waiting in them, and of one reading alone."""
        module, data = trained[name]
        order = np.random.default_rng(number).permutation(BATCH * STEPS).reshape(STEPS, BATCH)
        module.train()
        (optimizer,), _ = module.configure_optimizers()
        began = time.perf_counter()
        data.reader.read(order[-1])
        alone = time.perf_counter() - began
        batches, waited, started = iter(PrefetchedBatches(data.reader.read, list(order))), 0.0, 0.0
        for step in range(STEPS):
            began = time.perf_counter()
            batch = next(batches)
            if step:  # nothing can hide the first batch
                waited += time.perf_counter() - began
            else:
                started = time.perf_counter()
            optimizer.zero_grad()
            sources = batch.sources.contiguous(memory_format=torch.channels_last)
            embedded, features = embed_with_features(module.encoder.source, sources)
            loss = module.loss(embedded.float(), features.float(), batch, step)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        list(batches)
        return time.perf_counter() - started, waited, alone

    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name in ways:
            found[name].append(epoch(name, number))
    for name, rounds in found.items():
        total, waited, alone = np.median(np.array(rounds), axis=0)
        step = total / (STEPS - 0.5) * 1000
        yield (
            f"{size} pixels, {name}: waiting {waited / total:.1%} of the steps; a step {step:.0f} ms, "
            f"reading its batch {alone * 1000:.0f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "PORT"))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="Rows and columns of the images.")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(Path(given.serve[0]), int(given.serve[1])))
        return
    from mris.cores import machine

    print(machine())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "benchmarks.storage", "--serve", str(Path(work) / "store"), str(port)]
        server = subprocess.Popen(command)
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            for size in given.sizes:
                for line in measure(size, Path(work) / str(size), f"s3://bucket/cohort{size}"):
                    print(line, flush=True)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
