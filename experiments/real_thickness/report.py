"""Pages of the study: what steers, and what a look at the measured knees shows."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from judge import Interval, agreement, cross_conformal, fitted, pearson, recalibrated, resampled, spearman
from knees import MEASURED, RealKnee, RealKnees, sources
from recipes import PARTS

from mris.study.machine import machine
from mris.synthesis.bundle import Bundle
from mris.synthesis.synthesis import Synthesis

OF_PART = dict(zip(("MT", "cMF", "LT", "cLF"), PARTS, strict=True))
SUMS = {"MFTC": ("MT", "cMF"), "LFTC": ("LT", "cLF")}


class Told:
    """What a bundle says of some knees.

    Attributes:
        means: Of each of `MEASURED`, (n,) mm.
        halves: Half widths of their intervals; that of a sum is the sum of both.
        strange: (n,) whether the bundle calls the radiograph strange.
    """

    def __init__(self, bundle: Bundle, knees: list[RealKnee]) -> None:
        synthesizer = bundle.synthesizer()
        syntheses: list[Synthesis] = []
        for first in range(0, len(knees), 32):
            syntheses += synthesizer.synthesize(sources(knees[first : first + 32], synthesizer.preparation))
        by_part = [{one.part: one for s in each.contributions for one in s.intervals.means} for each in syntheses]
        self.means = {name: np.array([of[part].mean for of in by_part]) for name, part in OF_PART.items()}
        self.halves = {
            name: np.array([(of[part].upper - of[part].lower) / 2 for of in by_part]) for name, part in OF_PART.items()
        }
        for name, (first, second) in SUMS.items():
            self.means[name] = self.means[first] + self.means[second]
            self.halves[name] = self.halves[first] + self.halves[second]
        self.strange = np.array([each.strangeness.unusual for each in syntheses])


def steering_page(bundle: Bundle, knees: list[RealKnee]) -> str:
    """Narrowing grades of knees without measured thickness against what the bundle says."""
    told = Told(bundle, knees)
    medial, lateral, klg, male = (
        np.array([getattr(knee, name) for knee in knees], float) for name in ("medial", "lateral", "klg", "male")
    )
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; bundle {bundle.id[:12]}.",
        "",
        f"Steering: {len(knees)} radiographs of people without measured thickness.",
        "",
        "| synthesized | medial narrowing | lateral narrowing | KL grade | male | mean (mm) | SD |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in MEASURED:
        values = told.means[name]
        rhos = " | ".join(f"{spearman(values, of):.2f}" for of in (medial, lateral, klg, male))
        lines.append(f"| {name} | {rhos} | {values.mean():.2f} | {values.std():.2f} |")
    lines += ["", f"Called strange: {told.strange.mean():.0%}.", ""]
    readouts = [f"{member.name}: {member.readout.name}; {member.readout.reason}" for member in bundle.header.members]
    return "\n".join([*lines, *readouts, ""])


def look_page(bundle: Bundle, knees: RealKnees, work: Path) -> str:
    """All that is asked of the measured knees."""
    from rivals import graded

    chosen = knees.measured
    told = Told(bundle, chosen)
    people = np.array([knee.subject for knee in chosen])
    truths = {name: np.array([knee.thickness[name] for knee in chosen]) for name in MEASURED}
    read = {name: np.array([getattr(k, name) for k in chosen], float) for name in ("medial", "lateral", "klg", "male")}
    network = graded(knees, work)
    lines = [
        f"Measured: {len(chosen)} knees of {len(set(people))} people, baseline; in brackets 95 % intervals by person.",
        "",
        "Recalibrated: one line, fitted to all other people.",
        "",
        "| | Spearman | Pearson | bias (mm) | limits of agreement, recalibrated (mm) | ICC, recalibrated "
        "| MAE, recalibrated | MAE of the mean |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in MEASURED:
        x, y = told.means[name], truths[name]
        new = recalibrated(x, y, people)
        mean = recalibrated(np.zeros(len(y)), y, people)
        lines.append(
            f"| {name} | {_rho(x, y, people)} | {resampled(lambda r: pearson(x[r], y[r]), people)} | "  # noqa: B023
            f"{(x - y).mean():+.2f} | {(new - y).mean():+.2f} ± {1.96 * (new - y).std(ddof=1):.2f} | "
            f"{agreement(new, y):.2f} | {np.abs(new - y).mean():.2f} | {np.abs(mean - y).mean():.2f} |"
        )
    lines += ["", "Against what else there is, |Spearman| (KL grade and sex: fitted to these very knees):", ""]
    rivals = {
        "medial narrowing": lambda _: -read["medial"],
        "lateral narrowing": lambda _: -read["lateral"],
        "KL grade": lambda _: -read["klg"],
        "sex": lambda _: read["male"],
        "KL grade and sex": lambda y: fitted(np.column_stack([read["klg"], read["male"]]), y),
        "network taught narrowing grades (real, medial)": lambda _: -network[0],
        "network taught narrowing grades (real, lateral)": lambda _: -network[1],
    }
    lines += ["| rival | " + " | ".join(MEASURED) + " |", "|---|" + "---:|" * len(MEASURED)]
    lines.append("| this bundle | " + " | ".join(f"{spearman(told.means[n], truths[n]):.2f}" for n in MEASURED) + " |")
    for rival, of in rivals.items():
        cells = [f"{abs(spearman(of(truths[name]), truths[name])):.2f}" for name in MEASURED]
        lines.append(f"| {rival} | {' | '.join(cells)} |")
    lines += ["", "Bundle less KL grade and sex, difference of Spearman, paired by person:", ""]
    for name in ("MFTC", "LFTC", "MT", "LT"):
        x, y = told.means[name], truths[name]
        both = rivals["KL grade and sex"](y)
        gap = resampled(lambda r: spearman(x[r], y[r]) - spearman(both[r], y[r]), people)  # noqa: B023
        lines.append(f"- {name}: {gap}")
    lines += ["", "Intervals of 90 %: share of knees inside, and half width (mm).", ""]
    lines += [
        "| | the bundle's own | after recalibration, its own widths | after recalibration, conformal |",
        "|---|---|---|---|",
    ]
    for name in MEASURED:
        x, y, half = told.means[name], truths[name], told.halves[name]
        new = recalibrated(x, y, people)
        own, moved = (np.abs(x - y) <= half).mean(), (np.abs(new - y) <= half).mean()
        share, wide = cross_conformal(new, y, people)
        lines.append(
            f"| {name} | {own:.0%}, {half.mean():.2f} | {moved:.0%}, {half.mean():.2f} | {share:.0%}, {wide:.2f} |"
        )
    lines += ["", f"Called strange: {told.strange.mean():.0%} of {len(chosen)}.", ""]
    return "\n".join(lines)


def _rho(x: np.ndarray, y: np.ndarray, people: np.ndarray) -> Interval:
    return resampled(lambda rows: spearman(x[rows], y[rows]), people)
