"""Connections attempted and files left outside the given folders, for every command, each kept open for a minute.

Run: OMP_NUM_THREADS=1 python -m benchmarks.quiet [--seconds 60] [--data FOLDER]   (needs strace; Linux)

A command does its work in a process of its own with an empty home; the process stays open until it is that old, since
libraries that send something do so after a while. With --data, thickness maps are made of a real knee, too.
"""

import argparse
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests import quiet_walk
from tests.quiet_walk import Trace, start_command, start_session


def walked(base: Path, seconds: float, data: Path | None) -> Iterator[tuple[str, Trace]]:
    """Start one command when the one before has done its work; then read what each of them did."""
    work = base / "work"
    work.mkdir()
    running = [start_session(work, base / "session", seconds)]
    for number, step in enumerate(_steps(work, data)):
        running.append(start_command(step, work, base / str(number), seconds))
        running[-1].name = _shown(step)
        running[-1].wait_until_done()
    for watched in running:
        yield watched.name, watched.trace()


def _shown(step: Sequence[object]) -> str:
    return "mris " + " ".join(part.name if isinstance(part, Path) else str(part) for part in step)


def _steps(work: Path, data: Path | None) -> Iterator[list[object]]:
    yield from quiet_walk.steps(work)
    yield quiet_walk.demo(work)
    if data is not None:
        scan = next((data / "oai_knees" / "segmentations").glob("*.nii.gz"))
        yield ["thickness", scan, "--atlas", data / "oai_atlas", "--out", work / "thickness", "--quiet"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    reason = quiet_walk.no_strace()
    if reason is not None:
        raise SystemExit(f"{reason}: nothing can be watched")
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; every process open for at least {arguments.seconds:g} s\n"
    )
    print("| command | exit code | connections attempted | files outside |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, trace in walked(Path(folder), arguments.seconds, arguments.data):
            print(f"| `{name}` | {trace.code} | {len(trace.connections)} | {len(trace.left)} |", flush=True)
            for call in (*trace.connections, *trace.left):
                print(f"\n{call}\n")


if __name__ == "__main__":
    main()
