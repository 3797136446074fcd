"""Two workers of a Ray cluster beside two plain processes: files synthesized a second (at least 85 % of theirs).

Both synthesize the same files with the package's digital bundle. The start of processes is left out: the rate is that
between a quarter and nine tenths of the results, which come in order. The ways take turns.

Run: python -m benchmarks.ray
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mris.cores import machine
from mris.digital.packaged import bundle_folder
from mris.engines.on_ray import on_ray
from mris.knee.anatomy import KNEE
from mris.serving.files import FileOptions, synthesize_files
from mris.synthesis.bundle import Bundle

WORKERS, FILES, ROUNDS, GOAL = 2, 1_500, 3, 0.85
OPTIONS = FileOptions(side="left", spacing=(0.5, 0.5), formats=("npz",), pictures=False)


def write_queries(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    folder.mkdir()
    paths = [folder / f"q{number:05d}.npy" for number in range(FILES)]
    for path in paths:
        np.save(path, rng.integers(0, 255, (200, 200), dtype=np.uint8))
    return paths


def finished(files: Sequence[Path], out: Path, engine: object = None) -> Iterator[float]:
    """When each file was done, seconds since the epoch."""
    synthesizer = Bundle.open(bundle_folder(Path("digital"))).synthesizer(anatomy=KNEE)
    for _ in synthesize_files(synthesizer, files, out, OPTIONS, engine=engine):  # type: ignore[arg-type]
        yield time.time()


def by_processes(queries: Path, out: Path) -> list[float]:
    commands = [
        [sys.executable, "-m", "benchmarks.ray", "--part", str(part), str(queries), str(out / str(part))]
        for part in range(WORKERS)
    ]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    return [float(line) for process in running for line in process.communicate()[0].splitlines()]


def rate(times: Sequence[float]) -> float:
    ordered = sorted(times)
    assert len(ordered) == FILES, f"{len(ordered)} of {FILES} files were done"
    first, last = FILES // 4, FILES * 9 // 10
    return (last - first) / (ordered[last] - ordered[first])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", type=int, nargs=1)
    parser.add_argument("folders", type=Path, nargs="*")
    asked = parser.parse_args()
    if asked.part:
        queries, out = asked.folders
        for done in finished(sorted(queries.iterdir())[asked.part[0] :: WORKERS], out):
            print(done)
        return
    plain, there = [], []
    with tempfile.TemporaryDirectory(prefix="mris-") as temporary, on_ray() as engine:
        folder = Path(temporary)
        files = write_queries(folder / "queries")
        for number in range(ROUNDS):
            plain.append(rate(by_processes(folder / "queries", folder / f"plain{number}")))
            there.append(rate(list(finished(files, folder / f"there{number}", engine))))
            ratio = there[-1] / plain[-1]
            print(f"round {number}: processes {plain[-1]:.1f} files/s, Ray {there[-1]:.1f}: {ratio:.2f}", flush=True)
    print(f"{machine()}; {FILES:,} files, {WORKERS} workers")
    median = np.median(np.divide(there, plain))
    print(f"Ray beside processes, median of {ROUNDS} rounds: {median:.2f}  (at least {GOAL})")


if __name__ == "__main__":
    main()
