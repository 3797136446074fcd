"""Pages of the study: what steers, and what a look at the measured knees shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from judge import Interval, agreement, cross_conformal, fitted, pearson, recalibrated, resampled, spearman
from knees import MEASURED, RealKnee, RealKnees, sources

from mris.digital.knees import PARTS
from mris.knee.anatomy import KNEE
from mris.study.machine import machine
from mris.synthesis.bundle import Bundle
from mris.synthesis.synthesis import Synthesis

OF_PART = dict(zip(("MT", "cMF", "LT", "cLF"), PARTS, strict=True))
SUMS = {"MFTC": ("MT", "cMF"), "LFTC": ("LT", "cLF")}


N_STRANGE = 100
"""Pictures of each strange kind."""


class Told:
    """What a bundle says of some knees.

    Attributes:
        means: Of each of `MEASURED`, (n,) mm.
        halves: Half widths of their intervals; that of a sum is the sum of both.
        strange: (n,) whether the bundle calls the radiograph strange.
        doubted: (n,) whether the joint detector sees something else in it than an upright knee.
    """

    def __init__(self, bundle: Bundle, knees: list[RealKnee]) -> None:
        synthesizer = bundle.synthesizer(anatomy=KNEE)
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
        self.doubted = np.array([bool(each.doubts) for each in syntheses])


def strange_shares(bundle: Bundle, knees: list[RealKnee]) -> Iterator[str]:
    """Of pictures that show no knee as it should be seen, the share that a bundle calls strange, and that is told."""
    synthesizer = bundle.synthesizer(anatomy=KNEE)
    crops = sources(knees, synthesizer.preparation)
    for name, pictures in strange_pictures(crops).items():
        found = synthesizer.synthesize(np.ascontiguousarray(pictures, dtype=np.float32))
        strange, doubted = (np.array(one) for one in zip(*map(_told, found), strict=True))
        yield f"{name} {strange.mean():.0%}, {(strange | doubted).mean():.0%} with what the joint detector sees"


def _told(synthesis: Synthesis) -> tuple[bool, bool]:
    return synthesis.strangeness.unusual, bool(synthesis.doubts)


def strange_pictures(crops: np.ndarray) -> dict[str, np.ndarray]:
    """What nobody should take for a radiograph of a knee, as many as there are crops, (n, 1, h, w) each."""
    return {
        "upside down": crops[:, :, ::-1],
        "turned by 90 degrees": np.rot90(crops, axes=(2, 3)),
        "inverted grays": 1.0 - crops,
        "noise": np.random.default_rng(0).random(crops.shape),
    }


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
    for name, own, other in (("MFTC", medial, lateral), ("LFTC", lateral, medial)):
        means = (told.means[name][(own == grade) & (other == 0)].mean() for grade in range(4))
        shown = ", ".join(f"{mean:.2f}" for mean in means)
        lines += ["", f"Mean {name} (mm) of grades 0 to 3 of its own narrowing, none on the other side: {shown}."]
    both = (told.strange | told.doubted).mean()
    lines += ["", f"Called strange: {told.strange.mean():.0%}, {both:.0%} with what the joint detector sees.", ""]
    odd = "; ".join(strange_shares(bundle, knees[:N_STRANGE]))
    lines += [f"Called strange of {N_STRANGE} others made of them: {odd}.", ""]
    readouts = [f"{member.name}: {member.readout.name}; {member.readout.reason}" for member in bundle.header.members]
    return "\n".join([*lines, *readouts, ""])


@dataclass(frozen=True)
class Compared:
    """One sub-region of the knees in which it was measured: what the bundle says, the truth, and what else there is."""

    told: np.ndarray
    half: np.ndarray
    truth: np.ndarray
    people: np.ndarray
    rivals: dict[str, np.ndarray]

    @property
    def recalibrated(self) -> np.ndarray:
        """One line through all other people."""
        return recalibrated(self.told, self.truth, self.people)

    def rho(self, rival: str | None = None) -> Interval:
        """Spearman of the bundle, or of a rival."""
        values = self.told if rival is None else self.rivals[rival]
        return resampled(lambda rows: spearman(values[rows], self.truth[rows]), self.people)

    def lead(self, rival: str) -> Interval:
        """Spearman of the bundle less that of a rival, whichever way that one goes; paired."""
        other = self.rivals[rival] * np.sign(spearman(self.rivals[rival], self.truth))

        def gap(rows: np.ndarray) -> float:
            truth = self.truth[rows]
            return spearman(self.told[rows], truth) - spearman(other[rows], truth)

        return resampled(gap, self.people)


def compared(bundle: Bundle, knees: RealKnees, work: Path) -> tuple[dict[str, Compared], float]:
    """What a bundle says of the measured knees beside the truth, and the share that it calls strange."""
    from rivals import graded

    chosen = knees.measured
    told, network = Told(bundle, chosen), graded(knees, work)
    people = np.array([knee.subject for knee in chosen])
    read = {name: np.array([getattr(k, name) for k in chosen], float) for name in ("medial", "lateral", "klg", "male")}
    found = {}
    for name in MEASURED:
        truth = np.array([knee.thickness[name] for knee in chosen])
        k = np.isfinite(truth)
        rivals = {
            "medial narrowing": read["medial"][k],
            "lateral narrowing": read["lateral"][k],
            "KL grade": read["klg"][k],
            "sex": read["male"][k],
            "KL grade and sex": fitted(np.column_stack([read["klg"], read["male"]])[k], truth[k]),
            "network taught medial narrowing by real radiographs": network[0][k],
            "network taught lateral narrowing by real radiographs": network[1][k],
        }
        found[name] = Compared(told.means[name][k], told.halves[name][k], truth[k], people[k], rivals)
    return found, float(told.strange.mean())


def look_page(bundle: Bundle, knees: RealKnees, work: Path) -> str:
    """All that is asked of the measured knees."""
    found, strange = compared(bundle, knees, work)
    n, people = len(knees.measured), {knee.subject for knee in knees.measured}
    lines = [
        f"Measured: {n} knees of {len(people)} people, baseline; in brackets 95 % intervals by person.",
        "Recalibrated: one line, fitted to all other people.",
        "",
        "| | Spearman | Pearson | bias (mm) | limits of agreement, recalibrated (mm) | ICC, recalibrated "
        "| MAE, recalibrated | MAE of the mean |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in found.items():
        new, mean = one.recalibrated, recalibrated(np.zeros(len(one.truth)), one.truth, one.people)
        gap = new - one.truth
        linear = resampled(lambda rows, of=one: pearson(of.told[rows], of.truth[rows]), one.people)
        lines.append(
            f"| {name} | {one.rho()} | {linear} | {(one.told - one.truth).mean():+.2f} | {gap.mean():+.2f} ± "
            f"{1.96 * gap.std(ddof=1):.2f} | {agreement(new, one.truth):.2f} | {np.abs(gap).mean():.2f} | "
            f"{np.abs(mean - one.truth).mean():.2f} |"
        )
    lines += [
        "",
        "Spearman without its sign, beside what else there is. KL grade and sex are fitted to these very knees.",
        "",
    ]
    lines += ["| | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]
    lines.append("| this bundle | " + " | ".join(f"{spearman(o.told, o.truth):.2f}" for o in found.values()) + " |")
    for rival in found["MFTC"].rivals:
        cells = [f"{abs(spearman(one.rivals[rival], one.truth)):.2f}" for one in found.values()]
        lines.append(f"| {rival} | {' | '.join(cells)} |")
    lines += ["", "Bundle less KL grade and sex, paired by person: " + _leads(found, "KL grade and sex") + ".", ""]
    lines += ["Intervals of 90 %: share of knees inside, and half width (mm).", ""]
    lines += ["| | the bundle's own | its own, after recalibration | conformal, after recalibration |"]
    lines += ["|---|---|---|---|"]
    for name, one in found.items():
        new, truth, half = one.recalibrated, one.truth, one.half
        own, moved = (np.abs(one.told - truth) <= half).mean(), (np.abs(new - truth) <= half).mean()
        share, wide = cross_conformal(new, truth, one.people)
        mean = half.mean()
        lines.append(f"| {name} | {own:.0%}, {mean:.2f} | {moved:.0%}, {mean:.2f} | {share:.0%}, {wide:.2f} |")
    lines += ["", f"Called strange: {strange:.0%} of {n}.", ""]
    return "\n".join(lines)


def _leads(found: dict[str, Compared], rival: str) -> str:
    return "; ".join(f"{name} {found[name].lead(rival)}" for name in ("MFTC", "LFTC", "MT", "LT"))
