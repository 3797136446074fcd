"""Does a bundle that has seen digital knees alone know the cartilage of real ones?

    python experiments/real_thickness/run.py RECIPE --work DIR [--data DIR] [--people N]           make it, and steer
    python experiments/real_thickness/run.py RECIPE --work DIR --look "why now" [--out DIR]       look at the 71

Without --look, digital validation people and the narrowing grades of knees without measured thickness are all that is
shown: settings are chosen by them. A look at the 71 knees is written to looks.md, and to results.md what came of it.
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

STEERING = 600
"""Knees without measured thickness, of other people, that may steer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="one of recipes.py; with --bundle any name")
    parser.add_argument("--bundle", type=Path, help="a bundle that is there already, such as the packaged one")
    parser.add_argument("--work", type=Path, required=True, help="folder for phantoms, runs and bundles")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MRIS_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--people", type=int, help="digital people; the recipe's by default")
    parser.add_argument("--look", metavar="WHY", help="look at the knees with measured thickness")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from dataclasses import replace

    from knees import read_knees
    from recipes import RECIPES, TEACHER, make_bundle
    from report import look_page, steering_page
    from rivals import teacher

    from mris.synthesis.bundle import Bundle

    knees = read_knees(given.data)
    if given.bundle:
        bundle = Bundle.open(given.bundle)
    else:
        recipe = RECIPES[given.recipe]
        if given.people:
            recipe = replace(recipe, people=given.people)
        if recipe.after == TEACHER:
            teacher(knees, given.work)
        bundle = make_bundle(recipe, given.work / given.recipe)
    page = steering_page(bundle, knees.steering(STEERING))
    print(page)
    if given.look is None:
        return
    page += "\n" + look_page(bundle, knees, given.work)
    (given.out / "results").mkdir(parents=True, exist_ok=True)
    (given.out / "results" / f"{given.recipe}.md").write_text(page, encoding="utf-8")
    note(given.out / "looks.md", given.recipe, bundle.id, given.look)
    print(page)


def note(path: Path, recipe: str, bundle_id: str, why: str) -> None:
    """Append a look to the log."""
    if not path.is_file():
        columns = "| when (UTC) | recipe | bundle | why |\n|---|---|---|---|\n"
        path.write_text(f"# Looks at the 71 knees with measured thickness\n\n{columns}", encoding="utf-8")
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"| {when} | {recipe} | {bundle_id[:12]} | {why} |\n")


if __name__ == "__main__":
    main()
