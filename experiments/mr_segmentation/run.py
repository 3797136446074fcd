"""Judge ``mris segment`` where the truth is known, and write what was found.

    python experiments/mr_segmentation/run.py --work DIR [--data DIR] [--atlas DIR] [--model DIR] [--digital N]
        [--real N] [--varied N] [--minutes M]

Digital knees that were never trained on; real label maps (shapes real, pictures not), with a contrast like DESS, and
with noise, thick slices, cut edges or any contrast. Thickness maps of the segmentation are compared with those of the
true labels. Knees that are done are kept in DIR, apart for each network; after M minutes no further one is begun. No
scan of a person is used.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from judge import COMPARTMENTS, TISSUES, judged, overlap, summary, thickness
from knees import Knee, digital, real

from mris.errors import MrisError
from mris.images.write import atomic_write, write_json
from mris.knee.cartilage_atlas import CartilageAtlas, open_atlas
from mris.knee.mr.doubts import least_sure
from mris.knee.mr.model import Model
from mris.knee.mr.segment import segment_scan

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("MRIS_DATA", "../shared/data"))
DIGITAL, DESS = "digital knees", "real shapes, DESS-like"
VARIED = ("noise", "thick slices", "cut edges", "any contrast")
FAILED_DICE, FAILED_MM = 0.7, 0.5
"""A segmentation has failed below this Dice of a cartilage, or from this error of a compartment on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is done; never committed")
    parser.add_argument("--data", type=Path, default=DATA / "oai_knees")
    parser.add_argument("--atlas", type=Path, default=DATA / "oai_atlas")
    parser.add_argument("--model", type=Path, help="of another network than the package's")
    parser.add_argument("--digital", type=int, default=12)
    parser.add_argument("--real", type=int, default=51)
    parser.add_argument("--varied", type=int, default=12, help="knees of each condition beside DESS")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    model, atlas, start = Model(given.model), open_atlas(given.atlas), time.monotonic()
    given.work /= model.checksum[:8]
    given.work.mkdir(parents=True, exist_ok=True)
    for path, condition, number, file in plan(given):
        if not path.is_file() and time.monotonic() - start < 60 * given.minutes:
            knee = digital(number) if file is None else real(file, number, condition)
            write_json(path, {"condition": condition, "knee": knee.name, **judge(knee, model, atlas, condition)})
            print(f"{condition}: {knee.name}  {(time.monotonic() - start) / 60:.1f} min", flush=True)
    rows = [json.loads(path.read_text()) for path, *_ in plan(given) if path.is_file()]
    with atomic_write(given.out / "segmentation.md") as temporary:
        temporary.write_text(report(rows, model), encoding="utf-8")


def plan(given: argparse.Namespace) -> Iterator[tuple[Path, str, int, Path | None]]:
    """Name the file of each knee's results, its condition, its number, and the label map it is made of."""
    for number in range(given.digital):
        yield given.work / f"digital_{number:03d}.json", DIGITAL, number, None
    files = sorted((given.data / "segmentations").glob("*_seg.nii.gz"))
    spread = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
    for number, file in enumerate(spread[: given.real]):
        yield given.work / f"dess_{number:03d}.json", DESS, number, file
    for condition in VARIED:
        for number, file in enumerate(spread[: given.varied]):
            name = f"{condition.replace(' ', '_')}_{number:03d}.json"
            yield given.work / name, f"real shapes, {condition}", number, file


def judge(knee: Knee, model: Model, atlas: CartilageAtlas, condition: str) -> dict:
    """Segment a knee and compare with the truth; maps are made for the two main conditions."""
    before, clock = time.process_time(), time.monotonic()
    found = segment_scan(knee.scan, model, knee.side)
    seconds = time.process_time() - before, time.monotonic() - clock
    labels = judged(found.labels)
    spacing = np.linalg.norm(knee.scan.affine[:3, :3], axis=0)
    result = {
        "overlap": overlap(labels, knee.truth, spacing),
        "findings": [f"{one.severity}: {one}" for one in found.findings],
        "certainty": found.certainty.mean,
        "processor_seconds": seconds[0],
        "seconds": seconds[1],
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    if condition in (DIGITAL, DESS):
        truth = thickness(atlas, knee.truth, knee.scan.affine, knee.side)
        try:
            ours = thickness(atlas, labels, knee.scan.affine, knee.side)
        except MrisError as error:
            return result | {"no_maps": str(error)}
        result["thickness"] = {name: [ours[name], truth[name]] for name in COMPARTMENTS if np.isfinite(truth[name])}
    return result


def report(rows: list[dict], model: Model) -> str:
    """Lay the results out as a page."""
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [
        "# mris segment, judged where the truth is known",
        "",
        f"`python experiments/mr_segmentation/run.py`, {day}, 2 cores, no GPU ({platform.machine()}), network "
        f"`{model.card.sha256[:8]}`.",
        "",
        "No scan of a person was at hand. Digital knees were never trained on, but are of the same kind as those that "
        "were. Of the others the shapes are real (label maps of `oai_knees`), the pictures are not: the same code that "
        "made the training pictures dressed and rendered them.",
        "",
        "Median (lowest to highest).",
        "",
    ]
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    for measure, title in (("dice", "Dice"), ("surface_mm", "Mean distance of the surfaces, mm")):
        lines += [
            f"## {title}",
            "",
            f"| condition | knees | {' | '.join(name.replace('_', ' ') for name in TISSUES)} |",
        ]
        lines.append("| --- " * (len(TISSUES) + 2) + "|")
        for condition in conditions:
            of = [row for row in rows if row["condition"] == condition]
            cells = [summary([row["overlap"][t][measure] for row in of if t in row["overlap"]]) for t in TISSUES]
            lines.append(f"| {condition} | {len(of)} | {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "## Thickness of compartments, of the segmentation less of the true labels, mm",
        "",
        "| condition | compartment | knees | bias | limits of agreement | mean absolute error | largest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for condition in (DIGITAL, DESS):
        of = [row for row in rows if row["condition"] == condition and "thickness" in row]
        for name in COMPARTMENTS:
            off = np.array([np.subtract(*row["thickness"][name]) for row in of if name in row["thickness"]])
            off = off[np.isfinite(off)]
            if len(off) > 1:
                low, high = off.mean() - 1.96 * off.std(ddof=1), off.mean() + 1.96 * off.std(ddof=1)
                lines.append(
                    f"| {condition} | {name.replace('_', ' ')} | {len(off)} | {off.mean():+.3f} | {low:+.2f} to "
                    f"{high:+.2f} | {np.abs(off).mean():.3f} | {np.abs(off).max():.2f} |"
                )
    return "\n".join([*lines, "", *_flags(rows), *_costs(rows), ""])


def failed(row: dict) -> bool:
    """Tell whether a cartilage overlaps too little, a compartment is off by too much, or there are no maps."""
    dice = [row["overlap"][t]["dice"] for t in ("femoral_cartilage", "tibial_cartilage") if t in row["overlap"]]
    off = [abs(ours - truth) for ours, truth in row.get("thickness", {}).values()]
    return min(dice) < FAILED_DICE or "no_maps" in row or not all(one < FAILED_MM for one in off)


def doubted(row: dict) -> bool:
    """Tell whether the quality check says anything, by the limits of certainty that hold now."""
    return bool(row["findings"]) or any(mean < least_sure(name) for name, mean in row["certainty"].items())


def _flags(rows: list[dict]) -> list[str]:
    lines = [
        "## What the quality check says",
        "",
        f"Failed is a cartilage's Dice below {FAILED_DICE:g}, or a compartment off by {FAILED_MM:g} mm or more. "
        "The limits of certainty were raised after the first two knees were seen: that these are flagged says nothing.",
        "",
        "| condition | knees | failed | of these flagged | others flagged |",
        "| --- | --- | --- | --- | --- |",
    ]
    for condition in dict.fromkeys(row["condition"] for row in rows):
        of = [row for row in rows if row["condition"] == condition]
        bad = [row for row in of if failed(row)]
        good = [row for row in of if not failed(row)]
        flagged, others = (sum(map(doubted, some)) for some in (bad, good))
        lines.append(f"| {condition} | {len(of)} | {len(bad)} | {flagged} | {others} |")
    return [*lines, ""]


def _costs(rows: list[dict]) -> list[str]:
    told = [
        f"{np.median([row[key] for row in rows]):.0f} (at most {max(row[key] for row in rows):.0f})"
        for key in ("processor_seconds", "seconds")
    ]
    peak = max(row["peak_gib"] for row in rows)
    return [
        "## What it costs",
        "",
        f"A knee takes {told[0]} seconds of processor time and {told[1]} s by the clock, on a machine that others used "
        f"too. The judge's peak memory, pictures and maps among it, is {peak:.1f} GiB.",
    ]


if __name__ == "__main__":
    main()
