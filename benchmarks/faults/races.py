"""Race pairs of commands that change one bundle, and a reader that has it open all the while.

    python -m benchmarks.faults.races --races 500

After each race the bundle must hold what both commands, one after the other, leave; the reader must have had an answer
to every query, each from one committed state of all members. What is counted, as by `benchmarks.faults.kills`:

- refused: a command that failed though it had only to wait;
- unreadable, lost, doubled, undone, remnants: of the bundle afterwards;
- wrong answers: of the reader, or errors.

Linux only: writers and reader are forked from one process that has loaded everything.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.kills import GOING, MEMBERS, NEW, OLD, Place, make, start
from benchmarks.faults.processes import answer_of, forked

COUNTED = ("refused", "unreadable", "lost", "doubled", "undone", "remnants", "wrong answers")


@dataclass(frozen=True)
class Change:
    """One command, and who is in the bundle after it."""

    name: str
    adds: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()


ADD, ADD_ONE = Change("add three", adds=tuple(NEW)), Change("add one", adds=(NEW[0],))
REMOVE, REMOVE_OTHER = Change("remove --purge", removes=(GOING,)), Change("remove --purge another", removes=(OLD[0],))
PURGE, ADD_OTHER = Change("purge"), Change("add another", adds=(NEW[1],))
RACES = (
    (ADD, PURGE),
    (ADD_ONE, ADD_ONE),
    (ADD_ONE, ADD_OTHER),
    (REMOVE, REMOVE_OTHER),
    (ADD, REMOVE),
    (REMOVE, REMOVE),
)


def perform(place: Place, change: Change) -> str:
    """Make a change; its error, or ""."""
    from mris.cohort.cohort import Cohort
    from mris.errors import MrisError
    from mris.synthesis.bundle import Bundle

    try:
        bundle = Bundle.open(place.bundle)
        if change.adds:
            more = Cohort.open(place.more)
            bundle.add(more.select([NEW.index(name) for name in change.adds]), progress=False)
        elif change.removes:
            bundle.remove(list(change.removes), purge=True)
        else:
            bundle.purge()
    except MrisError as error:
        return str(error)
    return ""


def read_until(place: Place, stopped: Callable[[], bool]) -> dict[str, Any]:
    """Synthesize from one open bundle, again and again; gives who answered each time."""
    import numpy as np

    from mris.errors import MrisError
    from mris.synthesis.bundle import Bundle

    synthesizer = Bundle.open(place.bundle).synthesizer(n_neighbors=99, memory_limit=0)
    source = np.random.default_rng(0).uniform(0, 1, (1, 16, 16)).astype(np.float32)
    answers: set[tuple[str, ...]] = set()
    errors: list[str] = []
    n = 0
    while not stopped() or n == 0:
        try:
            parts = [
                sorted(filter(None, part.neighbors.subjects[0].tolist())) for part in synthesizer(source).contributions
            ]
        except MrisError as error:
            errors.append(str(error))
        else:
            if any(part != parts[0] for part in parts):
                errors.append(f"members of two states: {parts}")
            answers.add(tuple(parts[0]))
        n += 1
    return {"answers": sorted(answers), "errors": errors, "n": n}


def race(place: Place, first: Change, second: Change, members: int) -> dict[str, list[str]]:
    """Run two changes and a reader at once, and look at what is left."""
    start(place, "race", members)
    flag = place.root / "stop"
    flag.unlink(missing_ok=True)
    gate_in, gate_out = os.pipe()

    def at_the_gate(work: Callable[[], Any]) -> Callable[[], Any]:
        def waiting() -> Any:
            os.close(gate_out)
            os.read(gate_in, 1)  # ends for all at once, when the parent closes its end
            return work()

        return waiting

    reader = forked(at_the_gate(lambda: read_until(place, flag.exists)))
    writers = [forked(at_the_gate(lambda c=change: perform(place, c))) for change in (first, second)]
    os.close(gate_in)
    os.close(gate_out)
    errors = [answer_of(*writer)[0] for writer in writers]
    flag.touch()
    read, _ = answer_of(*reader)
    return dict(answer_of(*forked(lambda: judge(place, (first, second), errors, read)))[0])


def judge(place: Place, changes: tuple[Change, Change], errors: list[Any], read: Any) -> dict[str, list[str]]:
    from mris.errors import MrisError
    from mris.synthesis.bundle import Bundle

    found: dict[str, list[str]] = {}

    def note(what: str, detail: object) -> None:
        found.setdefault(what, []).append(str(detail))

    twice = changes[0] == changes[1] and bool(changes[0].removes)  # the second finds nobody to remove, and says so
    refused = [error for error in errors if error]
    if len(refused) > int(twice) or any("neither in a database" not in str(error) for error in refused):
        note("refused", refused)
    people = [*OLD, GOING]
    states = {tuple(sorted(_after(people, chosen))) for chosen in ([], changes[:1], changes[1:], changes)}
    if "crash" in read or read["errors"] or not set(map(tuple, read["answers"])) <= states:
        note("wrong answers", read)
    wanted = sorted(f"{name}/0" for name in _after(people, changes))
    try:
        bundle = Bundle.open(place.bundle)
        report = bundle.verify()
        if not report.ok:
            note("unreadable", report.summary())
        for member in bundle.members:
            keys = sorted(member.database.keys.tolist())
            if len(set(keys)) < len(keys):
                note("doubled", keys)
            elif set(wanted) - set(keys):
                note("lost", keys)
            elif set(keys) - set(wanted):
                note("undone", keys)
    except MrisError as error:
        note("unreadable", error)
    for path in place.bundle.rglob("*"):
        for name in {name for change in changes for name in change.removes}:
            if path.is_file() and name.encode() in path.read_bytes():
                note("remnants", f"{path.name} holds {name}")
    return found


def _after(people: list[str], changes: Any) -> set[str]:
    left = set(people)
    for change in changes:
        left = (left | set(change.adds)) - set(change.removes)
    return left


def run(n_races: int | None, seconds: float | None, report: Callable[[str, int, dict[str, Any]], None]) -> int:
    """Race until a number of races or a time is reached; gives how many there were."""
    import lance  # noqa: F401 - loaded once, before the forks

    import mris.synthesis.build_bundle

    assert mris.synthesis.build_bundle
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        made, _ = answer_of(*forked(lambda: make(place)))
        assert made is None, made
        n = 0
        while (n_races is None or n < n_races) and (seconds is None or time.perf_counter() - started < seconds):
            first, second = RACES[n % len(RACES)]
            members = MEMBERS[n // len(RACES) % len(MEMBERS)]
            report(f"{first.name} + {second.name}", members, race(place, first, second, members))
            n += 1
    return n


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--races", type=int, default=None, help="number of races")
    parser.add_argument("--seconds", type=float, default=None, help="time")
    arguments = parser.parse_args()
    started = time.perf_counter()
    results: list[tuple[str, int, dict[str, Any]]] = []

    def report(name: str, members: int, found: dict[str, Any]) -> None:
        results.append((name, members, found))
        if found:
            print(name, members, json.dumps(found), file=sys.stderr, flush=True)

    n = run(arguments.races if arguments.seconds else arguments.races or 500, arguments.seconds, report)
    print(f"| commands | members | races | {' | '.join(COUNTED)} |")
    print(f"| --- |{' ---: |' * (len(COUNTED) + 2)}")
    for name, members in dict.fromkeys((name, members) for name, members, _ in results):
        group = [found for title, count, found in results if (title, count) == (name, members)]
        counts = Counter(what for found in group for what in found)
        print(f"| {name} | {members} | {len(group)} | {' | '.join(str(counts[what]) for what in COUNTED)} |")
    print(f"\n{n} races in {time.perf_counter() - started:.0f} s")
    return int(any(found for _, _, found in results))


if __name__ == "__main__":
    sys.exit(main())
