"""Thickness maps of the real segmentations, and the checks that a table of them allows.

    python experiments/real_knees/make_maps.py --maps DIR [--atlas DIR] [--data DIR] [--out DIR] [--laws N]

Finished maps in DIR are kept: a run that was stopped goes on. Then: overlap with the atlas, time, thinning of those
seen twice, thickness against the grade, and laws (mirror, rigid motion, scale) on N volumes.
"""

import argparse
import csv
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage, stats

from mris.evaluation.bootstrap import percentile_interval, resample_counts
from mris.images.write import atomic_write, write_json
from mris.knee.alignment import apply
from mris.knee.cartilage_atlas import CartilageAtlas, open_atlas
from mris.knee.flatten import pixel_area
from mris.knee.label_map import PRESETS
from mris.knee.segmentation import Segmentation, read_segmentation
from mris.knee.segmentation_files import KneeFile
from mris.knee.thickness_folder import FEMORAL_FILE, TIBIAL_FILE, ThicknessSettings, write_thickness_maps
from mris.knee.thickness_maps import ThicknessMaps, thickness_maps

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("MRIS_DATA", "../shared/data"))
N_RESAMPLES = 10_000
WHOLE = "whole knee"
PARTS = ("medial_tibia", "external_medial_tibia", "lateral_tibia", "medial_femur", "lateral_femur", "trochlea", WHOLE)
ANGLE = np.radians(9.0)
SCALE = 1.1


@dataclass(frozen=True)
class Knee:
    """One volume of the collection, with what its record says."""

    file: KneeFile
    grade: int | None
    record: dict[str, Any]
    thickness: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder for the maps; never committed")
    parser.add_argument("--atlas", type=Path, default=DATA / "oai_atlas")
    parser.add_argument("--data", type=Path, default=DATA / "oai_knees")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--laws", type=int, default=3, help="volumes on which the laws are tried")
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    files = collection(given.data)
    settings = ThicknessSettings(given.atlas, PRESETS["oai_knees"], "skip", given.workers)
    report = write_thickness_maps([file for file, _ in files], given.maps, settings, progress=True)
    atlas = open_atlas(given.atlas)
    grades = {file.key: grade for file, grade in files}
    knees = [
        Knee(r.knee, grades[r.knee.key], r.record, thickness(given.maps / r.knee.key, r.record, atlas))
        for r in report.results
        if r.record is not None
    ]
    # What is committed names rows of the index (header: 1), not people.
    row = {file.key: f"row {number}" for number, (file, _) in enumerate(files, start=2)}
    results = {
        "n_volumes": len(files),
        "failed": {row[r.knee.key]: r.error for r in report.results if r.error},
        "flagged": {
            row[r.knee.key]: [str(found) for found in r.findings] for r in report.results if r.findings and not r.error
        },
        **overlap(knees),
        "follow_up": follow_up(knees),
        "grade": against_grade(knees),
        "laws": laws(atlas, spread([file for file, _ in files], given.laws), row),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one process",
    }
    write_json(given.out / "maps.json", results)
    with atomic_write(given.out / "maps.md") as temporary:
        temporary.write_text(page(results), encoding="utf-8")
    print(page(results))


def collection(data: Path) -> list[tuple[KneeFile, int | None]]:
    """Files of the index with their grades; month 0 is "0"."""
    with (data / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    side = {"L": "left", "R": "right"}
    return [
        (
            KneeFile(
                data / "segmentations" / row["segmentation"],
                row["subject"],
                side[row["side"]],  # type: ignore[arg-type]
                row["month"].removesuffix("m").lstrip("0") or "0",
            ),
            int(row["kl_grade"]) if row["kl_grade"] else None,
        )
        for row in rows
    ]


def spread(files: Sequence[KneeFile], n: int) -> list[KneeFile]:
    """So many files, evenly over the list."""
    return [files[round(i)] for i in np.linspace(0, len(files) - 1, n)] if n else []


def thickness(folder: Path, record: dict[str, Any], atlas: CartilageAtlas) -> dict[str, float]:
    """Means of the parts, and of both maps together by the area of bone."""
    pairs = [
        (np.load(folder / name, allow_pickle=False), pixel_area(region))
        for name, region in ((FEMORAL_FILE, atlas.femoral), (TIBIAL_FILE, atlas.tibial))
    ]
    area = sum(float(size[np.isfinite(flat)].sum()) for flat, size in pairs)
    whole = sum(float(np.nansum(flat * size)) for flat, size in pairs) / area
    return {**{name: float(value) for name, value in record["subregions_mm"].items()}, WHOLE: whole}


def overlap(knees: Sequence[Knee]) -> dict[str, Any]:
    """Dice, folds, sides and time over all volumes."""
    table = {
        region: np.array([knee.record[kind][region] for knee in knees])
        for kind in ("dice",)
        for region in ("femoral", "tibial")
    }
    table["mean"] = (table["femoral"] + table["tibial"]) / 2
    before = np.array([np.mean(list(knee.record["dice_affine"].values())) for knee in knees])
    seconds = np.array([sum(knee.record["seconds"].values()) for knee in knees])
    ratio = np.array([knee.record["residual_other_side_mm"] / knee.record["residual_mm"] for knee in knees])
    return {
        "dice": {name: quartiles(values) for name, values in table.items()},
        "dice_affine": quartiles(before),
        "jacobian_positive_min": min(knee.record["jacobian_positive"] for knee in knees),
        "other_side_residual_ratio": quartiles(ratio),
        "n_would_flag_other_side": int((1 / ratio < 0.95).sum()),
        "seconds": quartiles(seconds),
    }


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.0, 0.5, 1.0])
    return {"min": round(float(low), 3), "median": round(float(middle), 3), "max": round(float(high), 3)}


def follow_up(knees: Sequence[Knee]) -> dict[str, Any]:
    """Change from the first to the later visit of each person seen twice, by part."""
    visits: dict[str, list[Knee]] = {}
    for knee in knees:
        if knee.file.timepoint.isdigit():
            visits.setdefault(knee.file.subject, []).append(knee)
    pairs = [sorted(both, key=lambda knee: int(knee.file.timepoint)) for both in visits.values() if len(both) == 2]
    years = np.array([(int(late.file.timepoint) - int(early.file.timepoint)) / 12 for early, late in pairs])
    parts = {}
    for part in PARTS:
        early, late = (np.array([pair[i].thickness[part] for pair in pairs]) for i in (0, 1))
        change = late - early
        low, high = interval(lambda rows, change=change: float(change[rows].mean()), len(pairs))
        parts[part] = {
            "n_thinner": int((change < 0).sum()),
            "mean_mm": float(change.mean()),
            "interval_mm": [low, high],
            "percent_a_year": float(np.median(100 * change / early / years)),
        }
    return {"n_people": len(pairs), "months": sorted({round(12 * year) for year in years}), "parts": parts}


def against_grade(knees: Sequence[Knee]) -> dict[str, Any]:
    """Rank correlation of thickness and grade over the first visits, resampled by person."""
    first: dict[str, Knee] = {}
    for knee in sorted(knees, key=lambda knee: knee.file.timepoint):
        if knee.grade is not None:
            first.setdefault(knee.file.subject, knee)
    grades = np.array([knee.grade for knee in first.values()])
    parts = {}
    for part in PARTS:
        values = np.array([knee.thickness[part] for knee in first.values()])

        def correlation(rows: np.ndarray, values: np.ndarray = values) -> float:
            drawn = grades[rows]
            return float(stats.spearmanr(values[rows], drawn)[0]) if np.ptp(drawn) else np.nan

        low, high = interval(correlation, len(first))
        parts[part] = {"spearman": correlation(np.arange(len(first))), "interval": [low, high]}
        parts[part]["mean_by_grade"] = {str(g): float(values[grades == g].mean()) for g in np.unique(grades)}
    counts = {str(g): int((grades == g).sum()) for g in np.unique(grades)}
    return {"n_people": len(first), "people_by_grade": counts, "parts": parts}


def interval(statistic: Callable[[np.ndarray], float], n: int) -> tuple[float, float]:
    """95 % percentile interval over resampled people (one row a person)."""
    counts = resample_counts(n, N_RESAMPLES, np.random.default_rng(51))
    resampled = np.array([[statistic(np.repeat(np.arange(n), row))] for row in counts])
    low, high = percentile_interval(resampled)
    return float(low[0]), float(high[0])


def laws(atlas: CartilageAtlas, files: Sequence[KneeFile], row: Mapping[str, str]) -> list[dict[str, Any]]:
    """What mirroring, turning, resampling and scaling a volume does to its maps."""
    rows = []
    for file in files:
        knee = read_segmentation(file.path, PRESETS["oai_knees"], file.side)
        plain = thickness_maps(atlas, knee)
        mirrored = thickness_maps(atlas, other_side(knee))
        turned = thickness_maps(atlas, replace(knee, affine=motion() @ knee.affine))
        resampled = thickness_maps(atlas, turned_grid(knee))
        scaled = thickness_maps(atlas, replace(knee, affine=np.diag([SCALE] * 3 + [1.0]) @ knee.affine))
        rows.append(
            {
                "volume": row[file.key],
                "mirror_mean_difference_mm": difference(mirrored, plain),
                "turned_median_ratio": ratio_of_medians(turned, plain),
                "resampled_median_ratio": ratio_of_medians(resampled, plain),
                "resampled_mean_difference_mm": difference(resampled, plain),
                "scaled_median_ratio": ratio_of_medians(scaled, plain),
            }
        )
        print(rows[-1], flush=True)
    return rows


def other_side(knee: Segmentation) -> Segmentation:
    side = "left" if knee.side == "right" else "right"
    return replace(knee, affine=np.diag([-1.0, 1.0, 1.0, 1.0]) @ knee.affine, side=side)


def motion() -> np.ndarray:
    matrix = np.eye(4)
    c, s = np.cos(ANGLE), np.sin(ANGLE)
    matrix[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix[:3, 3] = [15.0, -10.0, 25.0]
    return matrix


def turned_grid(knee: Segmentation) -> Segmentation:
    """The same knee on voxel axes that are turned against it: nearest labels on a grid of the same spacing."""
    middle = apply(knee.affine, (np.array(knee.labels.shape)[np.newaxis] - 1) / 2)[0]
    turn = motion()
    turn[:3, 3] = middle - turn[:3, :3] @ middle
    affine = turn @ knee.affine
    to_voxel = np.linalg.inv(knee.affine) @ affine
    labels = ndimage.affine_transform(knee.labels, to_voxel[:3, :3], to_voxel[:3, 3], order=0, mode="constant")
    return replace(knee, labels=labels, affine=affine)


def difference(a: ThicknessMaps, b: ThicknessMaps) -> float:
    return float(np.mean([np.nanmean(np.abs(a.femoral - b.femoral)), np.nanmean(np.abs(a.tibial - b.tibial))]))


def ratio_of_medians(a: ThicknessMaps, b: ThicknessMaps) -> list[float]:
    pairs = ((a.femoral, b.femoral), (a.tibial, b.tibial))
    return [round(float(np.nanmedian(x) / np.nanmedian(y)), 4) for x, y in pairs]


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    dice, seconds, change, grade = results["dice"], results["seconds"], results["follow_up"], results["grade"]
    flagged = results["flagged"]
    lines = [
        "# Maps of the real segmentations",
        "",
        f"`python experiments/real_knees/make_maps.py --maps DIR`, {results['date']}, {results['machine']}.",
        "",
        f"{results['n_volumes']} volumes, {len(results['failed'])} failed, {len(flagged)} flagged.",
        "",
        "| | minimum | median | maximum |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {row['min']} | {row['median']} | {row['max']} |"
            for name, row in (
                ("Dice, femoral", dice["femoral"]),
                ("Dice, tibial", dice["tibial"]),
                ("Dice, mean of both", dice["mean"]),
                ("the same after the affine map alone", results["dice_affine"]),
                ("residual of the other side / of the stated side", results["other_side_residual_ratio"]),
                ("processor seconds a knee, reading not counted", seconds),
            )
        ),
        "",
        f"Least share of a deformation without folds: {results['jacobian_positive_min']}. Called by the other side, "
        f"{results['n_would_flag_other_side']} of the volumes would be flagged as doubtful.",
        "",
        *(f"- flagged {key}: {'; '.join(flags)}" for key, flags in flagged.items()),
        *(f"- failed `{key}`: {error}" for key, error in results["failed"].items()),
        "",
        "## Seen twice",
        "",
        f"{change['n_people']} people, {change['months'][0]} to {change['months'][-1]} months apart. Mean change with "
        "a 95 % bootstrap interval over people; median rate. Two segmentations differ for other reasons, too.",
        "",
        "| part | thinner | change (mm) | interval | % a year |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {part.replace('_', ' ')} | {row['n_thinner']} of {change['n_people']} | {row['mean_mm']:+.2f} | "
            f"{row['interval_mm'][0]:+.2f} to {row['interval_mm'][1]:+.2f} | {row['percent_a_year']:+.1f} |"
            for part, row in change["parts"].items()
        ),
        "",
        "## Against the grade",
        "",
        f"First visits of {grade['n_people']} people (KL grade: people, "
        + ", ".join(f"{g}: {n}" for g, n in grade["people_by_grade"].items())
        + "). Spearman's correlation with a 95 % bootstrap interval over people; mean thickness (mm) by grade.",
        "",
        "| part | correlation | interval | " + " | ".join(f"KL {g}" for g in grade["people_by_grade"]) + " |",
        "| --- | --- | --- |" + " --- |" * len(grade["people_by_grade"]),
        *(
            f"| {part.replace('_', ' ')} | {row['spearman']:+.2f} | {row['interval'][0]:+.2f} to "
            f"{row['interval'][1]:+.2f} | " + " | ".join(f"{v:.2f}" for v in row["mean_by_grade"].values()) + " |"
            for part, row in grade["parts"].items()
        ),
        "",
        "## Laws",
        "",
        f"Mirrored and called by the other side; turned by two times {np.degrees(ANGLE):.0f} degrees in the header; "
        f"turned as much on another grid of voxels (nearest labels); scaled by {SCALE}. Ratios are of medians, "
        "femoral and tibial.",
        "",
        "| volume | mirror: difference (mm) | header turned | grid turned | grid turned: difference (mm) | scaled |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row['volume']} | {row['mirror_mean_difference_mm']:.4f} | {_pair(row['turned_median_ratio'])} | "
            f"{_pair(row['resampled_median_ratio'])} | {row['resampled_mean_difference_mm']:.3f} | "
            f"{_pair(row['scaled_median_ratio'])} |"
            for row in results["laws"]
        ),
    ]
    return "\n".join(lines) + "\n"


def _pair(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
