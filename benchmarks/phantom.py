"""Milliseconds of one core to simulate and to write a knee of the digital cohort, at 64 and 128 px.

python benchmarks/phantom.py [--subjects N]
"""

import argparse
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from mris.knee.phantom import simulate_subject, write_phantom

BUDGET_MS = 50.0


def best_ms_per_knee(size: int, n_subjects: int, *, written: bool, repeats: int = 3) -> float:
    """Least processor time per knee over some repeats (other people's load only ever adds)."""
    simulate_subject(0, 0, size=size, max_visits=1)  # the field model of a size is made once per process
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        if written:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "knees"
                n = write_phantom(out, n_subjects=n_subjects, size=size, workers=1, progress=False).n_pairs
        else:
            n = sum(len(simulate_subject(0, index, size=size)) for index in range(n_subjects))
        times.append(1e3 * (time.process_time() - begin) / n)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=8)
    n_subjects = parser.parse_args().subjects
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}, one core")
    print("size  simulate ms/knee  write ms/knee  simulate : budget of 50 ms at 128 px")
    for size in (64, 128):
        simulated = best_ms_per_knee(size, n_subjects, written=False)
        written = best_ms_per_knee(size, n_subjects, written=True)
        print(f"{size:4d}  {simulated:16.1f}  {written:13.1f}  {simulated / BUDGET_MS:.2f}")


if __name__ == "__main__":
    main()
