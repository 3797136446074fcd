"""Left knee to right knee of one person, on the public radiographs of 900 people.

    python experiments/bilateral/run.py [--work DIR] [--data DIR] [--out DIR]
    python experiments/bilateral/run.py --smoke --data DIR --work DIR    # a minute: does every stage run?

Interrupted, the same command goes on; a stage runs again only if what it depends on has changed.
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with oai_radiographs (default: MRIS_DATA or ../shared/data)")
    parser.add_argument("--work", type=Path, default=Path("runs/bilateral"), help="where stages work")
    parser.add_argument("--out", type=Path, help="tables and figures (default: WORK/report)")
    parser.add_argument("--smoke", action="store_true", help="tiny networks; the numbers mean nothing")
    parser.add_argument("--settings", type=Path, help="a TOML file instead of settings.toml")
    parser.add_argument("--seed", type=int, action="append", help="only these seeds of the settings; may be repeated")
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded
    sys.path.insert(0, str(HERE))
    from mris.errors import MrisError

    try:
        run(given)
    except MrisError as error:
        print(f"bilateral: {error}", file=sys.stderr)
        sys.exit(2)


def run(given: argparse.Namespace) -> None:
    from radiographs import data_folder, read_knees

    knees = read_knees(data_folder(given.data))  # first: what is refused is refused before torch is loaded
    from bilateral_plan import read_bilateral_plan
    from bilateral_report import write_bilateral_report
    from bilateral_stages import make_blinded_cohort, make_cohort, make_methods, measure, train

    from mris.study.stages import Work

    plan = read_bilateral_plan(given.settings or HERE / ("smoke.toml" if given.smoke else "settings.toml"))
    if given.seed:
        kept = [seed for seed in plan.blinded_seeds if seed in given.seed]
        plan = plan.model_copy(update={"seeds": given.seed, "blinded_seeds": kept})
    work = Work(given.work, lambda line: print(line, flush=True))
    cohort, cohort_key = make_cohort(work, plan, knees)
    blinded, blinded_key = make_blinded_cohort(work, cohort, cohort_key)
    for seed in plan.seeds:
        keys = {"metric": train(work, plan, cohort, cohort_key, f"seed{seed}", seed)}
        if seed in plan.blinded_seeds:
            keys["blinded"] = train(work, plan, blinded, blinded_key, f"blinded/seed{seed}", seed)
        keys |= make_methods(work, plan, cohort, keys["metric"], seed)
        measure(work, plan, knees, cohort, keys, seed)
    asked = [*(["--smoke"] if given.smoke else []), *(f"--seed {seed}" for seed in given.seed or [])]
    command = " ".join(["python experiments/bilateral/run.py", *asked])
    page = write_bilateral_report(work, plan, cohort, given.out or given.work / "report", command)
    print(f"report: {page}")


if __name__ == "__main__":
    main()
