"""KL grade, and whether it rises within 48 and 72 months, from the public radiographs of 900 people.

    python experiments/radiograph_klg/run.py [--work DIR] [--bilateral DIR] [--data DIR] [--out DIR]
    python experiments/radiograph_klg/run.py --smoke --data DIR --work DIR    # a minute: does every stage run?

The learned space is that of experiments/bilateral: its encoders are taken from --bilateral, and trained there if they
are missing. Interrupted, the same command goes on.
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with oai_radiographs and oai_sheets (default: MRIS_DATA)")
    parser.add_argument("--work", type=Path, default=Path("runs/radiograph_klg"), help="where stages work")
    parser.add_argument("--bilateral", type=Path, help="work folder of experiments/bilateral (default: beside --work)")
    parser.add_argument("--out", type=Path, help="tables and figures (default: WORK/report)")
    parser.add_argument("--smoke", action="store_true", help="tiny networks; the numbers mean nothing")
    parser.add_argument("--seed", type=int, action="append", help="only these seeds of the settings; may be repeated")
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded
    sys.path[:0] = [str(HERE), str(HERE.parent / "bilateral")]
    from mris.errors import MrisError

    try:
        run(given)
    except MrisError as error:
        print(f"radiograph-klg: {error}", file=sys.stderr)
        sys.exit(2)


def run(given: argparse.Namespace) -> None:
    from klg_tasks import check_agreement, grade_task, read_visits, rise_labels, rise_task
    from radiographs import data_folder, read_knees

    data = data_folder(given.data)  # first: what is refused is refused before torch is loaded
    knees, visits = read_knees(data), read_visits(data)
    agreement = check_agreement(knees, visits)
    from bilateral_plan import read_bilateral_plan
    from bilateral_stages import make_cohort, train
    from klg_methods import Parts
    from klg_plan import read_klg_plan
    from klg_report import write_klg_report
    from klg_stages import (
        CLASSIFIER,
        classifier_answers,
        make_classifier,
        make_others,
        make_pictures,
        make_spaces,
        other_answers,
        stem,
    )

    from mris.study.stages import Work

    settings = "smoke.toml" if given.smoke else "settings.toml"
    plan, space_plan = read_klg_plan(HERE / settings), read_bilateral_plan(HERE.parent / "bilateral" / settings)
    if given.seed:
        plan = plan.model_copy(update={"seeds": given.seed})

    def say(line: str) -> None:
        print(line, flush=True)

    work = Work(given.work, say)
    bilateral = Work(given.bilateral or given.work.with_name("bilateral"), lambda line: say(f"bilateral/{line}"))
    say(f"sheet: {agreement.summary()}")
    labels = [rise_labels(visits, knees, months) for months in plan.horizons]
    for known in labels:
        say(known.summary())
    splits = knees.splits(space_plan.fractions, space_plan.split_seed)
    tasks = [(task, Parts.of(task, splits)) for task in (grade_task(knees), *(rise_task(k, knees) for k in labels))]
    cohort, cohort_key = make_cohort(bilateral, space_plan, knees)
    pictures = make_pictures(work, knees, space_plan.size, cohort_key)
    answers: list[dict] = [{} for _ in tasks]
    for seed in plan.seeds:
        encoders = {
            "pictures": pictures,
            "metric": train(bilateral, space_plan, cohort, cohort_key, f"seed{seed}", seed),
        }
        spaces = make_spaces(work, bilateral, space_plan, knees, cohort, encoders, seed)
        made = [make_classifier(work, plan, knees, parts, pictures, seed) for _, parts in tasks]
        for (_, parts), key, found in zip(tasks, made, answers, strict=True):
            keys = {"spaces": spaces, "classifier": key, "grades": made[0]}
            make_others(work, plan, knees, parts, keys, seed, stem(tasks[0][0]))
            found.setdefault(CLASSIFIER, []).append(classifier_answers(work, knees, parts.test, seed))
            for method, one in other_answers(work, knees, parts.test, seed).items():
                found.setdefault(method, []).append(one)
    asked = [*(["--smoke"] if given.smoke else []), *(f"--seed {seed}" for seed in given.seed or [])]
    command = " ".join(["python experiments/radiograph_klg/run.py", *asked])
    out = given.out or given.work / "report"
    page = write_klg_report(work, plan, knees, agreement, labels, tasks, answers, out, command)
    print(f"report: {page}")


if __name__ == "__main__":
    main()
