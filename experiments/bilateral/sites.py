"""Does a bundle of real radiographs see the clinic? Left knee to right knee, 900 people of five clinics.

    python experiments/bilateral/sites.py [--work DIR] [--data DIR] [--out DIR]

Both knees of a person were made at one clinic, so its look is shared by source and target: recall is inflated by it.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIZE = 64
EPOCHS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with oai_radiographs and oai_tables (default: MRIS_DATA)")
    parser.add_argument("--work", type=Path, default=Path("runs/sites"), help="new folder for cohort, run and bundle")
    parser.add_argument("--out", type=Path, help="where the tables go (default: WORK/report)")
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded
    sys.path.insert(0, str(HERE))
    from mris.errors import MrisError

    try:
        run(given)
    except MrisError as error:
        print(f"sites: {error}", file=sys.stderr)
        sys.exit(2)


def run(given: argparse.Namespace) -> None:
    from bilateral_plan import read_bilateral_plan
    from radiographs import data_folder, read_knees, write_pairs

    from mris.cohort.cohort import Cohort
    from mris.cohort.prepare import PrepareSettings, prepare_cohort
    from mris.evaluation.bundle_evaluation import evaluate_bundle
    from mris.images.transforms import SourcePreparation
    from mris.metric.export import export_encoder
    from mris.metric.train import train_encoders
    from mris.synthesis.build_bundle import build_bundle

    started = time.perf_counter()
    data = data_folder(given.data)
    knees, plan = read_knees(data), read_bilateral_plan(HERE / "settings.toml")
    manifest = write_pairs(knees, knees.splits(plan.fractions, plan.split_seed), given.work / "pairs")
    add_sites(manifest, data / "oai_tables" / "people.csv")
    settings = PrepareSettings(SourcePreparation((SIZE, SIZE)), (SIZE, SIZE), unit="gray level", workers=1)
    prepare_cohort(manifest, given.work / "cohort", settings, progress=False)
    cohort = Cohort.open(given.work / "cohort")
    recipe = plan.metric_settings.model_copy(update={"epochs": EPOCHS})
    encoder = train_encoders(cohort, given.work / "run", settings=recipe, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        exported = export_encoder(encoder, Path(folder) / "encoder")
        bundle = build_bundle([exported], cohort, given.work / "bundle", progress=False)
    evaluation = evaluate_bundle(bundle, cohort, site="site", n_bootstrap=plan.n_bootstrap, progress=False)
    write_page(evaluation.results, given.out or given.work / "report", time.perf_counter() - started)


def add_sites(manifest: Path, people: Path) -> None:
    """Give each pair the clinic of its person, as the label "site"."""
    with people.open(newline="") as file:
        site_of = {row["subject"]: row["site"] for row in csv.DictReader(file)}
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "site"])
        writer.writeheader()
        writer.writerows({**row, "site": site_of.get(row["subject"], "")} for row in rows)


def write_page(results, out: Path, seconds: float) -> None:
    """Write sites.md: sentences and tables, no name of a person."""
    from mris.evaluation.verdict import verdict
    from mris.images.write import atomic_write
    from mris.reporting import tables
    from mris.reporting.site_tables import site_tables
    from mris.study.machine import machine

    cohort = results.cohort
    lines = ["# Left knee to right knee: does the bundle see the clinic?", ""]
    lines += [
        f"{cohort.n_training_subjects} people in the database, {cohort.n_subjects} test people, both knees of each "
        f"made at one of five clinics; {SIZE} x {SIZE} pixels, the recipe of `settings.toml` with {EPOCHS} epochs, "
        "seed 0.",
        "",
        *(f"{sentence}\n" for sentence in verdict(results)),
        tables.markdown(tables.recall_table(results)),
        *map(tables.markdown, site_tables(results)),
        tables.markdown(tables.error_table(results, results.regions[0])),
        f"Made by `python experiments/bilateral/sites.py` on {datetime.now(UTC):%Y-%m-%d}, on {machine()}, in "
        f"{tables.duration(seconds)}.",
        "",
    ]
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / "sites.md") as path:
        path.write_text("\n".join(lines), encoding="utf-8")
    print(f"report: {out / 'sites.md'}")


if __name__ == "__main__":
    main()
