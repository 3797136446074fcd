"""The paper's experiment on digital knees: `mris experiment`, and before it the cohort.

    python experiments/paper/run.py --preset small                # the digital cohort
    python experiments/paper/run.py --preset paper --cohort PATH  # a prepared cohort with a split "downstream"

Interrupted, the same command goes on; a stage runs again only if what it depends on has changed. Seeds may run in
processes of their own (--seed 0 in one, --seed 1 in another); --report then makes the tables of all of them.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PRESETS = ("smoke", "small", "full", "paper")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="small", help="settings of that name (default: small)")
    parser.add_argument("--settings", type=Path, help="a TOML file of settings, laid over the recipe of the preset")
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
    from phantom_cohort import PaperPlan, open_cohort

    import mris
    from mris.knee.progression import cohort_progression
    from mris.reporting.experiment_page import write_experiment_page
    from mris.reporting.html import write_evaluation
    from mris.study.experiment import open_experiment, run_experiment
    from mris.study.plan import make_plan
    from mris.study.read_experiment import read_experiment
    from mris.study.stages import Work

    name = given.settings.stem if given.settings else given.preset
    plan = make_plan(PaperPlan, given.preset, file=given.settings or HERE / "settings" / f"{given.preset}.toml")
    folder = given.work or Path("runs") / "paper" / name
    work = Work(folder, lambda line: print(line, flush=True))
    if given.dry_run and given.cohort is None:
        print(plan.model_dump_json(indent=2))
        return
    cohort = open_cohort(work, plan, given.cohort)
    experiment = open_experiment(work, plan, cohort, cohort_progression, progress=sys.stderr.isatty())
    if given.dry_run:
        print(plan.model_dump_json(indent=2))
        print(cohort.describe())
        return
    if not given.report:
        run_experiment(experiment, write_evaluation, given.seed)
    if given.report or not given.seed:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        software = f"mris {mris.__version__} at commit {commit.stdout.strip() or 'unknown'}"
        out, command = given.out or folder / "report", command_of(given)
        page = write_experiment_page(read_experiment(experiment), out, name=name, command=command, software=software)
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
