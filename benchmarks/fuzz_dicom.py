"""Reads thousands of spoiled DICOM files, makes DICOM objects of each, and counts what becomes of it.

Run: python -m benchmarks.fuzz_dicom [--cases N] [--seed N] [--keep FOLDER]

Cases are drawn by Hypothesis from tests/dicom_strategies.py: radiographs of 8 to 16 bit, signed and not, native,
deflated, RLE, JPEG (baseline, lossless), JPEG-LS and JPEG 2000, with lies in their elements (sizes, depths, lengths,
types, private and nested sequences, tables); small files that announce pictures of gigabytes; the files that pydicom
ships, cut, or with bytes changed, taken out or put in; compressed streams with bytes changed; sound pixels under a
header of patient, study, side and spacing with values, types and character sets that DICOM does not allow. Nothing is
downloaded.

Each is read as a picture and for its facts; then its knees are located (by a detector that is told where they are), its
header is read, and both objects are made of it and of a fixed map, de-identified of every other file
(tests/dicom_road.py). Objects are read back, and checked by ``dciodvfy`` where that is installed. No library may warn
on the way.

Files are read in child processes, since decoders are native code: a child writes the case to a file first, so a
crash, or a case that takes longer than a minute, is counted and its file kept in FOLDER. Every case's processor time
and peak of memory are taken from the kernel (Linux). Anything that is neither an image (or two objects) nor an
`ImageError` is a fault, and so is a case of more than 500 MB; the exit code is 1 if there is one. One seed gives the
same cases on one machine with the same versions. Interrupted, the same command with the same FOLDER goes on where it
stopped; a summary of a folder that is complete costs nothing.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from rich.console import Console
from rich.progress import Progress
from tests.dicom_road import objects_of
from tests.dicom_strategies import DicomCase, dicom_files
from tests.validators import HAS_DCIODVFY

from mris.errors import ImageError
from mris.images.dicom import read_dicom_facts
from mris.images.read import read_image

BATCH = 500
LONGEST_S = 60.0
LONGEST_START_S = 600.0
LARGEST_MB = 500.0
CASE_FILE, OUTCOMES_FILE = "case.dcm", "outcomes.jsonl"
_NUMBERS = re.compile(r"'[^']*'|\([0-9A-F]{4},[0-9A-F]{4}\)|(?<=position )\S+|[-+]?\b\d[\d,.]*")


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    seed: int
    kind: str
    result: str
    objects: str
    seconds: float
    peak_mb: float


def status_kb(name: str) -> int:
    """A figure of this process, as the kernel counts it."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def result_of(path: Path) -> str:
    """Read a file twice, as a picture and for its facts; what was said."""
    try:
        image = read_image(path)
    except ImageError as error:
        if str(path) not in str(error) or not str(error).isprintable():
            return "FAULT a message of several lines, with control characters, or without the file"
        refused = refusal(str(error))
    except Exception as error:  # noqa: BLE001 what must not happen is what is counted here
        return f"FAULT {type(error).__name__}: {str(error)[:80]}"
    else:
        refused = ""
        if image.pixels.dtype != "float32":
            return "FAULT pixels are not float32"
    try:
        read_dicom_facts(path)
    except ImageError:
        pass
    except Exception as error:  # noqa: BLE001
        return f"FAULT of the facts, {type(error).__name__}: {str(error)[:80]}"
    return refused or "read"


def objects_result(path: Path) -> str:
    """Make both objects of a file, as far as it is read; what was said."""
    try:
        said = objects_of(path, path.parent)
    except Exception as error:  # noqa: BLE001
        return f"FAULT of the objects, {type(error).__name__}: {str(error)[:80]}"
    return said if said.startswith("made") else refusal(said)


def refusal(message: str) -> str:
    """What one kind of refusal has in common."""
    reason = re.sub(r"^image \S+: ", "", message)
    reason = re.sub(r"(?<=PhotometricInterpretation is ).*(?= with)", "#", reason)
    return "refused: " + _NUMBERS.sub("#", reason)[:56]


def is_fault(outcome: Outcome) -> bool:
    """Whether an outcome is none that may be."""
    return "FAULT" in (outcome.result[:5], outcome.objects[:5]) or outcome.peak_mb > LARGEST_MB


def run_batch(seed: int, n_cases: int, folder: Path) -> None:
    """Read cases of a seed; append one line each to the log."""
    path = folder / CASE_FILE
    with (folder / "log").open("a") as log:

        @hypothesis.seed(seed)
        @settings(
            max_examples=n_cases,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(dicom_files())
        def read_one(case: DicomCase) -> None:
            path.write_bytes(case.content)
            log.write("begin\n")
            log.flush()
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before, begin = status_kb("VmRSS"), time.process_time()
            result, objects = result_of(path), objects_result(path)
            seconds, peak = time.process_time() - begin, (status_kb("VmHWM") - before) / 1024
            outcome = Outcome(seed, case.kind, result, objects, seconds, peak)
            if is_fault(outcome):
                keep(path, folder, seed)
            log.write(json.dumps(asdict(outcome)) + "\n")
            log.flush()

        read_one()


def keep(path: Path, folder: Path, seed: int) -> None:
    """Keep a case's file under a new name."""
    n = len(list(folder.glob("kept_*.dcm")))
    (folder / f"kept_{n:03d}_seed{seed}.dcm").write_bytes(path.read_bytes())


def run_all(n_cases: int, seed: int, folder: Path) -> list[Outcome]:
    """Run batches in children until there are enough cases; a child that dies costs one case and a batch's rest."""
    found = earlier_outcomes(folder)
    seed = max([seed, *(outcome.seed + 1 for outcome in found)])
    with Progress(console=Console(stderr=True)) as progress, (folder / OUTCOMES_FILE).open("a") as file:
        task = progress.add_task("Reading", total=n_cases, completed=len(found))
        while len(found) < n_cases:
            batch = outcomes_of_batch(min(BATCH, n_cases - len(found)), seed, folder)
            file.writelines(json.dumps(asdict(outcome)) + "\n" for outcome in batch)
            file.flush()
            found += batch
            progress.update(task, completed=len(found))
            seed += 1
    return found


def earlier_outcomes(folder: Path) -> list[Outcome]:
    """Those of an interrupted run."""
    path = folder / OUTCOMES_FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return [Outcome(**json.loads(line)) for line in lines if line.endswith("}")]


def outcomes_of_batch(n_cases: int, seed: int, folder: Path) -> list[Outcome]:
    """Run one child; if it dies, its last case is a fault."""
    log = folder / "log"
    log.write_text("")
    command = [sys.executable, "-m", "benchmarks.fuzz_dicom", "--batch", str(n_cases), "--seed", str(seed)]
    with (folder / "stderr").open("w+") as stderr:
        child = subprocess.Popen([*command, "--keep", str(folder)], stderr=stderr)
        size, since = 0, time.monotonic()
        while child.poll() is None:
            time.sleep(0.2)
            if log.stat().st_size != size:
                size, since = log.stat().st_size, time.monotonic()
            elif time.monotonic() - since > (LONGEST_S if size else LONGEST_START_S):
                child.kill()
    lines = log.read_text().splitlines()
    found = [Outcome(**json.loads(line)) for line in lines if line.startswith("{")]
    if child.returncode != 0:
        if not lines or lines[-1] != "begin":
            raise SystemExit(f"a child failed between cases:\n{(folder / 'stderr').read_text()[-2000:]}")
        keep(folder / CASE_FILE, folder, seed)
        how = "HANG" if child.returncode == -9 else f"CRASH with code {child.returncode}"
        found.append(Outcome(seed, "unknown", f"FAULT {how}", "", 0.0, 0.0))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Folder for the files of faults.")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.batch:
        run_batch(arguments.seed, arguments.batch, arguments.keep)
        return 0
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="fuzz_dicom_"))
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    found = run_all(arguments.cases, arguments.seed, folder)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}, seed {arguments.seed}"
    )
    print(f"objects {'also' if HAS_DCIODVFY else 'not'} checked by dciodvfy")
    print(f"{len(found)} cases in {time.monotonic() - begin:.0f} s")
    for kind, n in Counter(outcome.kind for outcome in found).most_common():
        n_read = sum(outcome.result == "read" for outcome in found if outcome.kind == kind)
        n_made = sum(outcome.objects.startswith("made") for outcome in found if outcome.kind == kind)
        print(f"  {n:6d}  {kind}: {n_read} read, {n_made} with both objects")
    for heading, results in (
        ("pixels and facts", (outcome.result for outcome in found)),
        ("knees, header and objects of those read", (o.objects for o in found if o.result == "read")),
    ):
        print(heading)
        for result, n in Counter(results).most_common():
            print(f"{n:6d}  {result}")
    slowest = max(found, key=lambda outcome: outcome.seconds)
    largest = max(found, key=lambda outcome: outcome.peak_mb)
    print(f"slowest: {slowest.seconds:.2f} s of processor time ({slowest.kind}; {slowest.result})")
    print(f"largest peak of memory: {largest.peak_mb:.0f} MB ({largest.kind}; {largest.result})")
    faults = sum(is_fault(outcome) for outcome in found)
    print(f"faults: {faults}" + (f", files in {folder}" if faults else ""))
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
