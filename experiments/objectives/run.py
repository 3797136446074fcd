"""Train for the synthesis, or for identity: the same encoders, pairs and steps, beside a U-Net, on the digital cohort.

    python experiments/objectives/run.py [--size 64] [--work DIR] [--threads N]

Each step is a command of the program, printed before it starts; interrupted, the same call goes on. 1,008 people train,
96 validate, and the knees of 600 others are judged, at all their visits; 64 pixels. With `--size 128` 1,020 people
train, 102 validate, 578 are judged, and identity alone is not asked for: an hour or two of one core.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

EPOCHS = 50
SHARED = ["sampler=subject", f"epochs={EPOCHS}", "validate_every=5", "accelerator=cpu", "devices=1"]
"""One pair of every person an epoch, the same number of steps for every method."""

UNET = ["width=8", "rotation=5", "contrast=0.1", "noise=0.01"]
"""The U-Net as experiments/paper has it, with the milder augmentation of its preset."""

OBJECTIVES = {64: {"MRIS": "both", "MRIS, triplet": "triplet"}, 128: {"MRIS": "both"}}
PEOPLE = {
    64: (2400, "train=0.42,val=0.04,downstream=0.29,test=0.25"),
    128: (1700, "train=0.6,val=0.06,test=0.34"),
}
"""How many are simulated for images of a size, and their splits; nobody of `downstream` is used."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, choices=list(PEOPLE), default=64, help="rows and columns of an image")
    parser.add_argument("--work", type=Path, help="where trainings lie (default: runs/objectives, -128 with that size)")
    parser.add_argument("--threads", type=int, help="threads of a training (default: all cores)")
    given = parser.parse_args()
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    small = given.size == 64
    work: Path = given.work or Path("runs") / ("objectives" if small else f"objectives-{given.size}")
    cohort = make_cohort(work, given.size)
    bundles = {}
    for name, objective in OBJECTIVES[given.size].items():
        run, bundles[name] = work / objective, work / f"{objective}.bundle"
        train(run, "train", cohort, run, "--objective", objective, *settings(SHARED))
        if not bundles[name].exists():
            mris("index", run, cohort, bundles[name])
    unet = work / "unet"
    train(unet, "baseline", "train", cohort, unet, "--method", "unet", *settings([*SHARED, *UNET]))
    (first, bundle), *others = bundles.items()
    report = work / "report"
    also = [part for name, other in others for part in ("--also", f"{name}={other}")]
    asked = ["--by", "klg", *also, "--baseline", f"U-Net={unet}", "--out", report]
    mris("evaluate", bundle, cohort, "--name", first, *asked)
    results = Path(__file__).with_name("results") / ("" if small else f"{given.size}")
    results.mkdir(exist_ok=True)
    shutil.copyfile(report / "tables.md", results / "tables.md")
    readouts(bundle, cohort, results)


def make_cohort(work: Path, size: int = 64) -> Path:
    """Simulate and prepare the people, once."""
    work.mkdir(parents=True, exist_ok=True)
    knees, cohort = work / "knees", work / "cohort"
    if not cohort.exists():
        people, fractions = PEOPLE[size]
        mris("phantom", knees, "--subjects", people, "--size", size, "--extraction", "smooth")
        mris("prepare", knees / "manifest.csv", cohort, "--size", size, "--mirror", "right", "--stratify", "klg",
             "--fractions", fractions)  # fmt: skip
    return cohort


def readouts(bundle: Path, cohort: Path, results: Path) -> None:
    """Every readout of one bundle, on the same test people."""
    lines = ["| readout | median error (mm) | MAE (mm) |", "|---|---:|---:|"]
    from mris.cohort.cohort import Cohort
    from mris.evaluation.bundle_evaluation import evaluate_bundle
    from mris.synthesis.bundle import Bundle
    from mris.synthesis.readouts import READOUTS, SynthesisSettings

    opened, pairs = Bundle.open(bundle), Cohort.open(cohort)
    wanted = {name: SynthesisSettings(readout=name) for name in READOUTS}
    wanted["the paper's: k = 20, Eq. 4"] = SynthesisSettings(n_neighbors=20)
    for name, synthesis in wanted.items():
        found = evaluate_bundle(opened, pairs, synthesis=synthesis, references=False, progress=False).results
        median, mae = (found.estimate("MRIS", metric).value for metric in ("median", "mae"))
        lines.append(f"| {name} | {median:.4f} | {mae:.4f} |")
    lines += ["", *(f"Chosen: {member.readout.name} ({member.readout.reason})." for member in opened.header.members)]
    text = "\n".join(lines) + "\n"
    (results / "readouts.md").write_text(text, encoding="utf-8")
    print(text)


def settings(assignments: list[str]) -> list[str]:
    return [part for one in assignments for part in ("--set", one)]


def train(run: Path, *command: object) -> None:
    """Train, continue an interrupted run, or leave a finished one."""
    mris(*command, "--quiet", *(["--resume"] if (run / "run.json").is_file() else []))


def mris(*command: object) -> None:
    words = [str(part) for part in command]
    print("mris", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "mris.cli.main", *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
