"""The paper's experiment on a cohort: all methods, all tables, one command.

    python experiments/paper/run.py --preset small                # the digital cohort
    python experiments/paper/run.py --preset paper --cohort PATH  # a prepared cohort with a split "downstream"

Interrupted, the same command goes on; a stage runs again only if what it depends on has changed. Seeds may run in
processes of their own (--seed 0 in one, --seed 1 in another); --report then makes the tables of all of them.
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PRESETS = ("smoke", "small", "full", "paper")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="small", help="settings of that name (default: small)")
    parser.add_argument("--settings", type=Path, help="a TOML file of settings instead of a preset")
    parser.add_argument("--cohort", type=Path, help="a prepared cohort instead of the digital one")
    parser.add_argument("--work", type=Path, help="where stages work (default: runs/paper/<preset>)")
    parser.add_argument("--out", type=Path, help="tables and figures (default: WORK/report)")
    parser.add_argument("--seed", type=whole, action="append", help="only this seed; may be repeated; no report")
    parser.add_argument("--report", action="store_true", help="only tables and figures of what is done")
    parser.add_argument("--threads", type=whole, help="threads of a process (default: all cores)")
    parser.add_argument("--dry-run", action="store_true", help="print the settings, check the cohort, and leave")
    given = parser.parse_args()
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded
    sys.path.insert(0, str(HERE))
    from mris.errors import MrisError

    try:
        run(given)
    except MrisError as error:
        print(f"paper: {error}", file=sys.stderr)
        sys.exit(2)


def run(given: argparse.Namespace) -> None:
    from cohorts import check_cohort, check_same_cohort, make_cohort
    from pipeline import measure_seed, train_seed
    from plan import read_plan
    from stages import Work

    name = given.settings.stem if given.settings else given.preset
    plan = read_plan(given.settings or HERE / "settings" / f"{given.preset}.toml")
    folder = given.work or Path("runs") / "paper" / name
    work = Work(folder, lambda line: print(line, flush=True))
    if given.dry_run and given.cohort is None:
        print(plan.model_dump_json(indent=2))
        return
    cohort, cohort_key = make_cohort(work, plan, given.cohort)
    tasks = check_cohort(cohort, plan)
    if given.dry_run:
        print(plan.model_dump_json(indent=2))
        print(cohort.describe())
        return
    check_same_cohort(work, cohort)
    if not given.report:
        for seed in given.seed or plan.seeds:
            keys = train_seed(work, plan, cohort, cohort_key, seed)
            measure_seed(work, plan, cohort, tasks, keys, seed)
    if given.report or not given.seed:
        from report import write_report

        page = write_report(work, plan, cohort, tasks, given.out or folder / "report", name, command_of(given))
        print(f"report: {page}")


def whole(text: str) -> int:
    """Read a whole number that generators take as their seed."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise ValueError(text)
    return number


def command_of(given: argparse.Namespace) -> str:
    """The command as anyone would repeat it: without the places of this machine."""
    settings = f"--settings {given.settings.name}" if given.settings else f"--preset {given.preset}"
    return f"python experiments/paper/run.py {settings}{' --cohort PATH' if given.cohort else ''}"


if __name__ == "__main__":
    main()
