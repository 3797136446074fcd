"""What starting costs: `import mris`, `mris --help`, and `mris synthesize` on one file, from nothing to its results.

Each is a process of its own, whose processor time (of itself and what it starts) is measured, beside one that only
imports the libraries that a synthesis cannot do without. All take turns; a number is the median of turns. Modules are
compiled before, as an installation does.

Run: python benchmarks/start.py BUNDLE IMAGE --side left [--beside SRC]
With --beside every command also runs from another checkout's ``src``, in turns with this one's.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from made_database import machine

HERE = Path(__file__).parents[1] / "src"
GOALS = {"import mris": 0.1, "mris --help": 0.3, "mris synthesize": 2.0}
"""Seconds that were asked for."""

LIBRARIES = "import numpy, PIL.Image, pydantic, typer, onnxruntime; from mris.cohort.lance_library import lance"
COMMAND = "from mris.cli.entry import main; main()"


def process(code: str, arguments: list[str], source: Path, compiled: Path) -> tuple[float, float]:
    """Seconds of the processor and of the clock that a Python process takes."""
    settings = {"PYTHONPATH": str(source), "PYTHONPYCACHEPREFIX": str(compiled), "OMP_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, started = _children(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, env=kept | settings)
    return _children() - before, time.perf_counter() - started


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_turns(
    ways: Mapping[str, Callable[[], tuple[float, float]]], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """What every way took in every turn, after one that does not count."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            found = way()
            if number:
                taken[name].append(found)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--side")
    parser.add_argument("--beside", type=Path, help="the src of another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        query = [
            "synthesize",
            str(given.bundle.absolute()),
            str(given.image.absolute()),
            "-q",
            "--out",
            f"{folder}/maps",
        ]
        query += ["--side", given.side] if given.side else []
        commands = {
            "import mris": ("import mris", []),
            "mris --help": (COMMAND, ["--help"]),
            "mris synthesize": (COMMAND, query),
        }
        sources = {"": HERE} | ({"before: ": given.beside.absolute()} if given.beside else {})
        ways = {"libraries alone": lambda: process(LIBRARIES, [], HERE, Path(folder, "compiled"))}
        for told, source in sources.items():
            for name, (code, arguments) in commands.items():
                ways[told + name] = lambda code=code, arguments=arguments, source=source: process(
                    code, arguments, source, Path(folder, "compiled")
                )
        taken = in_turns(ways, given.rounds)
    print(f"{machine()}, medians of {given.rounds} turns")
    print("| process | processor seconds | seconds | of the libraries' | asked |\n| --- | ---: | ---: | ---: | ---: |")
    alone = [seconds for seconds, _ in taken["libraries alone"]]
    for name, found in taken.items():
        used, passed = (statistics.median(values) for values in zip(*found, strict=True))
        ratio = statistics.median(ours / theirs for (ours, _), theirs in zip(found, alone, strict=True))
        goal = GOALS.get(name)
        print(f"| {name} | {used:.2f} | {passed:.2f} | {ratio:.2f} | {'' if goal is None else goal} |")


if __name__ == "__main__":
    main()
