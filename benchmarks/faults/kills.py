"""Kill ``bundle add``, ``bundle remove --purge`` and ``index`` at every change of a file, and fill the disk there.

    python -m benchmarks.faults.kills --kills 1000

After each fault the bundle must open, hold what it held before or after, and be finished by the same command again,
with nothing of a removed person, name or pixels, left in any file. What is counted:

- crashed: a command that ended in a traceback instead of one clear line;
- unreadable: a bundle that does not open, or that `verify` finds damaged;
- lost, doubled: people who are missing or there twice;
- undone: a removal that a repeated command did not bring about;
- unfinished: a repeated command that failed;
- remnants: names, embeddings, pixels or half-written files that stayed on the disk.

Linux only: faults are made by a preloaded library (`faulty_disk.c`), compiled with ``cc``.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.processes import answer_of, forked

HERE = Path(__file__).resolve().parent
SCENARIOS = ("add", "remove --purge", "index")
COUNTED = ("crashed", "unreadable", "lost", "doubled", "undone", "unfinished", "remnants")
MEMBERS = (1, 2)
FAULTS = {"kill": 1, "full disk": 2}
OLD, GOING, NEW = [f"STAYS{i:02d}" for i in range(5)], "LEAVES17", [f"COMES{i:02d}" for i in range(3)]


@dataclass(frozen=True)
class Place:
    """Where one scenario lives."""

    root: Path

    @property
    def bundle(self) -> Path:
        return self.root / "work" / "knees.bundle"

    @property
    def cohort(self) -> Path:
        return self.root / "cohort"

    @property
    def more(self) -> Path:
        return self.root / "more"

    def encoders(self, members: int) -> list[Path]:
        return [self.root / f"encoder{members}{i}" for i in range(members)]

    def base(self, members: int) -> Path:
        return self.root / f"base{members}.bundle"


def compiled(folder: Path) -> Path:
    """Compile the faulty disk; raises FileNotFoundError where there is no compiler."""
    library = folder / "faulty_disk.so"
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler `cc`")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "faulty_disk.c"), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def make(place: Place) -> None:
    from benchmarks.faults.made_bundle import REGIONS, export_encoder, make_cohort

    from mris.synthesis.build_bundle import build_bundle

    cohort = make_cohort(place.cohort, [*OLD, GOING], 1)
    make_cohort(place.more, NEW, 2)
    for members in MEMBERS:
        regions = [REGIONS] if members == 1 else [(name,) for name in REGIONS]
        for i, folder in enumerate(place.encoders(members)):
            export_encoder(folder, cohort, regions[i], 10 * members + i)
        build_bundle(place.encoders(members), cohort, place.base(members), progress=False)


def perform(place: Place, scenario: str, members: int) -> str:
    """What the command does; its error as text, or "" where it succeeded."""
    from mris.cohort.cohort import Cohort
    from mris.errors import MrisError
    from mris.synthesis.build_bundle import build_bundle
    from mris.synthesis.bundle import Bundle

    try:
        if scenario == "index":
            build_bundle(place.encoders(members), Cohort.open(place.cohort), place.bundle, progress=False)
        elif scenario == "add":
            Bundle.open(place.bundle).add(Cohort.open(place.more), progress=False)
        else:
            Bundle.open(place.bundle).remove([GOING], purge=True)
    except MrisError as error:
        return str(error)
    return ""


def judge(place: Place, scenario: str, members: int) -> dict[str, list[str]]:
    """Look at what a fault left, repeat the command, and look again."""
    from mris.errors import MrisError
    from mris.synthesis.bundle import Bundle

    found: dict[str, list[str]] = {}

    def note(what: str, detail: str) -> None:
        found.setdefault(what, []).append(detail)

    before = {f"{name}/0" for name in [*OLD, GOING]}
    after = {"add": before | {f"{name}/0" for name in NEW}, "index": before}.get(scenario, before - {f"{GOING}/0"})
    traces = traces_of(place, members) if scenario == "remove --purge" else {}

    def look(*, finished: bool) -> None:
        if scenario == "index" and not finished and not place.bundle.exists():
            return
        try:
            bundle = Bundle.open(place.bundle)
            report = bundle.verify()
            for member in bundle.members:
                keys = member.database.keys.tolist()
                allowed = [after] if finished else [before, after]
                if len(set(keys)) < len(keys):
                    note("doubled", str(sorted(keys)))
                if set(keys) not in allowed:
                    note("undone" if f"{GOING}/0" in keys and finished else "lost", str(sorted(keys)))
        except MrisError as error:
            note("unreadable", str(error))
            return
        problems = [p for p in report.findings if finished or "model_card.md" not in p]
        if problems or not all(r.ok for r in report.databases.values()):
            note("unreadable", report.summary())

    look(finished=False)
    error = perform(place, scenario, members)
    if error and not _says_done(error, scenario):
        note("unfinished", error)
    look(finished=True)
    for path in place.bundle.parent.rglob("*"):
        name = str(path.relative_to(place.bundle.parent))
        if ".tmp" in path.name or "#" in path.name or (path.parent == place.bundle.parent and path != place.bundle):
            note("remnants", name)
        if path.is_file():
            content = path.read_bytes()
            found_here = [what for what, trace in traces.items() if trace in content]
            if found_here:
                note("remnants", f"{name} holds {', '.join(found_here)}")
    return found


def _says_done(error: str, scenario: str) -> bool:
    """A repeated command of which nothing was left to do says so."""
    if scenario == "index":
        return "exists" in error
    return scenario == "remove --purge" and "neither in a database nor removed and still on the disk" in error


def traces_of(place: Place, members: int) -> dict[str, bytes]:
    """Bytes by which the removed person would be found: name, embeddings, pixels."""
    import numpy as np

    from mris.synthesis.bundle import Bundle

    traces = {"the name": GOING.encode()}
    for member in Bundle.open(place.base(members)).members:
        (row,) = member.database.rows_of([f"{GOING}/0"])
        traces[f"an embedding of {member.name}"] = member.database.embeddings[row].tobytes()
        pixels = member.database.read_targets([row]).astype(np.float16).reshape(-1)
        traces[f"pixels of {member.name}"] = pixels[np.isfinite(pixels)][:32].tobytes()
    return traces


def start(place: Place, scenario: str, members: int) -> None:
    shutil.rmtree(place.bundle.parent, ignore_errors=True)
    place.bundle.parent.mkdir()
    if scenario != "index":
        shutil.copytree(place.base(members), place.bundle)


def serve(root: Path, limit: int, library: Path) -> Iterator[dict[str, Any]]:
    """Make every fault, or `limit` of them evenly spread over each scenario; one result a fault."""
    import lance  # noqa: F401 - loaded once, before the forks; nothing of it is used here, it does not survive one
    import numpy as np

    import mris.synthesis.build_bundle

    assert mris.synthesis.build_bundle
    disk = ctypes.CDLL(str(library))
    place = Place(root)
    _, status = answer_of(*forked(lambda: make(place)))
    assert status == 0 and place.base(2).exists(), "the bundles could not be made"

    def faulty(scenario: str, members: int, at: int, mode: int) -> Any:
        def work() -> Any:
            disk.fault_arm(os.fsencode(place.bundle.parent), ctypes.c_long(at), mode)
            error = perform(place, scenario, members)
            return {"error": error, "changes": disk.fault_changes()}

        return answer_of(*forked(work))

    for scenario in SCENARIOS:
        for members in MEMBERS:
            start(place, scenario, members)
            undisturbed, _ = faulty(scenario, members, 0, 0)
            assert undisturbed and not undisturbed["error"] and undisturbed["changes"] > 10, undisturbed
            n = undisturbed["changes"]
            for fault, mode in FAULTS.items():
                points = np.unique(np.linspace(1, n, min(n, limit)).round().astype(int)).tolist()
                for at in points:
                    start(place, scenario, members)
                    answer, status = faulty(scenario, members, at, mode)
                    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                    crash = (answer or {}).get("crash", "")
                    found, _ = answer_of(*forked(lambda s=scenario, m=members: judge(place, s, m)))
                    yield {
                        "scenario": scenario,
                        "members": members,
                        "fault": fault,
                        "at": at,
                        "of": n,
                        "hit": killed or bool(crash or (answer and answer["error"])),
                        "found": (found if found is not None else {"unreadable": ["the check itself died"]})
                        | ({"crashed": [crash]} if crash else {}),
                    }


def run(limit: int, report: Callable[[dict[str, Any]], None] = lambda _: None) -> list[dict[str, Any]]:
    """Make faults in a process of its own; gives all results.

    Args:
        limit: Faults of each kind in each scenario, evenly spread over its changes.
        report: Called with each result.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(Path(folder))
        environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.faults.kills", "--serve", folder, "--limit", str(limit)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE.parents[1]
        ) as server:
            results = []
            for line in server.stdout or ():
                results.append(json.loads(line))
                report(results[-1])
        if server.returncode:
            raise RuntimeError(f"the faults could not be made (exit code {server.returncode})")
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Results as a table in Markdown."""
    lines = [
        f"| command | members | fault | faults | {' | '.join(COUNTED)} |",
        f"| --- |{' ---: |' * (len(COUNTED) + 3)}",
    ]
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["scenario"], result["members"], result["fault"]), []).append(result)
    for (scenario, members, fault), group in groups.items():
        counts = Counter(what for result in group for what in result["found"])
        numbers = " | ".join(str(counts[what]) for what in COUNTED)
        lines.append(f"| {scenario} | {members} | {fault} | {len(group)} | {numbers} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=1000, help="about so many faults in all")
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        for result in serve(arguments.serve, arguments.limit, arguments.serve / "faulty_disk.so"):
            print(json.dumps(result), flush=True)
        return 0
    started = time.perf_counter()

    def show(result: dict[str, Any]) -> None:
        unexpected = set(result["found"]) - set(COUNTED)
        if result["found"]:
            print(json.dumps(result), file=sys.stderr, flush=True)
        assert not unexpected, result

    limit = -(-arguments.kills // (len(SCENARIOS) * len(MEMBERS) * len(FAULTS)))
    results = run(limit, show)
    print(table(results))
    hit = sum(result["hit"] for result in results)
    print(f"\n{len(results)} faults, {hit} of which ended the command, in {time.perf_counter() - started:.0f} s")
    return int(any(result["found"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
