"""Real thickness maps beside those of the digital cohort: means, spread, spectrum, subregions, as numbers and figures.

    python experiments/real_knees/phantom_comparison.py --maps DIR --atlas DIR [--data DIR] [--out DIR]

One baseline map a person on either side; the digital people have the grades of the real ones. The two flat frames
differ in outline, so pixels are not compared with each other: named parts, distributions and spectra are.
"""

import argparse
import csv
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("MRIS_DATA", "../shared/data"))
REGIONS = ("femoral", "tibial")
PARTS = ("medial_tibia", "lateral_tibia", "medial_femur", "lateral_femur", "trochlea")
SIZE = 128
N_DIGITAL = 400
"""Digital people simulated to draw from."""
BANDS = ((0.02, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.4))
"""Of spatial frequency, cycles per mm: structures of 50 to 20, 20 to 10, 10 to 5 and 5 to 2.5 mm."""


@dataclass(frozen=True)
class Maps:
    """Maps of one region of several people.

    Attributes:
        values: Shape (n, h, w), mm, NaN outside; medial at the top, posterior at the left.
        pixel_mm: Edge of a pixel.
    """

    values: np.ndarray
    pixel_mm: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder of make_maps.py")
    parser.add_argument("--atlas", type=Path, default=DATA / "oai_atlas")
    parser.add_argument("--data", type=Path, default=DATA / "oai_knees")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    real, real_parts, grades = real_maps(given.data, given.maps, given.atlas)
    maps, parts = {"real": real}, {"real": real_parts}
    for extraction in ("smooth", "measured"):
        maps[f"digital, {extraction}"], parts[f"digital, {extraction}"] = digital_maps(grades, extraction)
    write_results(given.out, maps, parts, grades, visit_differences(given.data, given.maps, given.atlas))


def real_maps(data: Path, maps: Path, atlas_folder: Path) -> tuple[dict[str, Maps], dict[str, np.ndarray], list[int]]:
    """First visit of each person: maps by region, means by part, grades."""
    from mris.knee.cartilage_atlas import open_atlas
    from mris.knee.flatten import pixel_area, subregion_means

    atlas = open_atlas(atlas_folder)
    with (data / "index.csv").open(encoding="utf-8", newline="") as file:
        first = {row["subject"]: row for row in reversed(list(csv.DictReader(file)))}
    values: dict[str, list[np.ndarray]] = {region: [] for region in REGIONS}
    parts: dict[str, list[float]] = {part: [] for part in PARTS}
    grades: list[int] = []
    for _, row in sorted(first.items()):
        folder = maps / row["segmentation"].removesuffix(".nii.gz")
        if not (folder / "TC_2d_thickness.npy").is_file():
            print(f"{row['segmentation']}: no maps")
            continue
        if not row["kl_grade"]:
            print(f"{row['segmentation']}: no grade, so no digital knee is its like; left out")
            continue
        femoral, tibial = (np.load(folder / f"{name}_2d_thickness.npy", allow_pickle=False) for name in ("FC", "TC"))
        values["femoral"].append(femoral[::-1])  # its rows run from lateral to medial
        values["tibial"].append(tibial)
        means = subregion_means(femoral, atlas.femoral) | subregion_means(tibial, atlas.tibial)
        for part in PARTS:
            parts[part].append(means[part])
        grades.append(int(row["kl_grade"]))
    found = {}
    for region, mesh in (("femoral", atlas.femoral), ("tibial", atlas.tibial)):
        found[region] = Maps(np.stack(values[region]), float(np.sqrt(np.nanmean(pixel_area(mesh)))))
    return found, {part: np.array(numbers) for part, numbers in parts.items()}, grades


def visit_differences(data: Path, maps: Path, atlas_folder: Path) -> dict[str, Maps]:
    """Differences of two visits of a knee, divided by the root of two: noise of one map, and half of what changed."""
    from mris.knee.cartilage_atlas import open_atlas
    from mris.knee.flatten import pixel_area

    atlas, visits = open_atlas(atlas_folder), {}
    with (data / "index.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            folder = maps / row["segmentation"].removesuffix(".nii.gz")
            if (folder / "TC_2d_thickness.npy").is_file():
                visits.setdefault((row["subject"], row["side"]), []).append(folder)
    twice = [folders for folders in visits.values() if len(folders) == 2]
    found = {}
    for region, mesh, name in (("femoral", atlas.femoral, "FC"), ("tibial", atlas.tibial, "TC")):
        first, second = (
            np.stack([np.load(pair[i] / f"{name}_2d_thickness.npy", allow_pickle=False) for pair in twice])
            for i in range(2)
        )
        found[region] = Maps((second - first) / np.sqrt(2.0), float(np.sqrt(np.nanmean(pixel_area(mesh)))))
    return found


def digital_maps(grades: Sequence[int], extraction: str) -> tuple[dict[str, Maps], dict[str, np.ndarray]]:
    """As many digital people of each grade, one right knee each, as extracted by the simulated MR pipeline."""
    from mris.knee.phantom.atlas import (
        FEMORAL_HEIGHT_MM,
        FEMORAL_LENGTH_MM,
        TIBIAL_HEIGHT_MM,
        TIBIAL_LENGTH_MM,
        knee_atlas,
    )
    from mris.knee.phantom.extraction import extract_maps
    from mris.knee.phantom.simulate import simulate_states

    wanted = {grade: list(grades).count(grade) for grade in set(grades)}
    atlas, chosen = knee_atlas(SIZE), []
    for index in range(N_DIGITAL):
        state = simulate_states(51, index, atlas_size=SIZE, enriched=True, max_visits=1)[1]
        if wanted.get(state.klg, 0) > 0:
            wanted[state.klg] -= 1
            chosen.append(extract_maps(state.thickness, np.random.default_rng((51, index)), extraction))
    stack = np.stack(chosen).astype(np.float64)
    parts = {part: np.array([atlas.mean_thickness(one, part) for one in stack]) for part in PARTS}
    pixels = (
        np.sqrt(FEMORAL_HEIGHT_MM * FEMORAL_LENGTH_MM) / SIZE,
        np.sqrt(TIBIAL_HEIGHT_MM * TIBIAL_LENGTH_MM) / SIZE,
    )
    return {region: Maps(stack[:, i], float(pixels[i])) for i, region in enumerate(REGIONS)}, parts


def spectrum(maps: Maps, bands: Sequence[tuple[float, float]] = BANDS) -> np.ndarray:
    """Variance (mm2) between people in bands of spatial frequency, per pixel of the mask.

    Each map's difference to the mean map, 0 outside, is transformed; its power is summed in rings of the frequency
    plane. Rings are of different area, so bands compare the two cohorts, not with each other.
    """
    covered = np.isfinite(maps.values).mean(axis=0) > 0.5
    mean = np.nanmean(np.where(covered, maps.values, 0.0), axis=0)
    rest = np.where(np.isfinite(maps.values) & covered, maps.values - mean, 0.0)
    power = (np.abs(np.fft.fft2(rest)) ** 2).mean(axis=0) / (covered.size * covered.sum())
    rows, columns = (np.fft.fftfreq(n, maps.pixel_mm) for n in covered.shape)
    frequency = np.hypot(rows[:, None], columns[None, :])
    return np.array([power[(frequency >= low) & (frequency < high)].sum() for low, high in bands])


def statistics(maps: Maps) -> dict[str, float]:
    """Numbers of one region: level, spread between people, spread within maps, quantiles, bare bone, roughness."""
    values = maps.values
    seen = np.isfinite(values)
    shape = values - np.nanmean(values, axis=(1, 2), keepdims=True)
    pair = seen[:, 1:] & seen[:, :-1]
    steps = np.abs(np.diff(values, axis=1))[pair] / maps.pixel_mm
    low, middle, high = np.percentile(values[seen], (5, 50, 95))
    overlap = seen.mean(axis=0) > 0.5
    return {
        "mean (mm)": float(values[seen].mean()),
        "SD of people's means (mm)": float(np.nanmean(values, axis=(1, 2)).std(ddof=1)),
        "SD between people at a pixel (mm)": float(np.nanmean(np.nanstd(values[:, overlap], axis=0, ddof=1))),
        "SD within a map (mm)": float(np.sqrt(np.nanmean(shape**2))),
        "5th percentile (mm)": float(low),
        "median (mm)": float(middle),
        "95th percentile (mm)": float(high),
        "bare bone (% of pixels)": float(100 * (values[seen] < 0.05).mean()),
        "median slope (mm per mm)": float(np.median(steps)),
    }


def write_results(
    out: Path, maps: dict[str, dict[str, Maps]], parts: dict[str, dict[str, np.ndarray]], grades, changes
) -> None:
    from mris.images.write import atomic_write, write_json

    day, machine = datetime.now(UTC).date().isoformat(), f"{platform.system()} {platform.machine()}"
    counts = {grade: list(grades).count(grade) for grade in sorted(set(grades))}
    spread = ", ".join(f"{n} of KLG {grade}" for grade, n in counts.items())
    lines = [
        "# Real maps beside digital ones",
        "",
        f"`python experiments/real_knees/phantom_comparison.py --maps DIR`, {day}, {machine}.",
        f"{len(grades)} people on either side ({spread}), one map each.",
        "",
        f"| region | | {' | '.join(maps)} |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    record: dict[str, object] = {"made": day, "grades": counts}
    for region in REGIONS:
        numbers = {kind: statistics(maps[kind][region]) for kind in maps}
        record[region] = numbers
        lines += [
            f"| {region} | {name} | {' | '.join(f'{one[name]:.3f}' for one in numbers.values())} |"
            for name in numbers["real"]
        ]
        power = {kind: spectrum(maps[kind][region]) for kind in maps}
        record[f"{region}_spectrum_mm2"] = {kind: one.tolist() for kind, one in power.items()}
        for i, (low, high) in enumerate(BANDS):
            name = f"variance at {1 / high:.3g} to {1 / low:.3g} mm (mm²)"
            lines.append(f"| {region} | {name} | {' | '.join(f'{one[i]:.4f}' for one in power.values())} |")
    n_twice = len(next(iter(changes.values())).values)
    lines += [
        "",
        f"How much of the real variance is between visits of one knee ({n_twice} knees seen twice, 36 to 96 months",
        "apart; half the variance of the difference: noise of extraction, and half of what changed):",
        "",
        "| structures of | femoral, people | femoral, visits | tibial, people | tibial, visits |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    within = {region: spectrum(changes[region]) for region in REGIONS}
    record["between_visits_mm2"] = {region: one.tolist() for region, one in within.items()}
    between = {region: spectrum(maps["real"][region]) for region in REGIONS}
    for i, (low, high) in enumerate(BANDS):
        cells = [f"{one[region][i]:.4f}" for region in REGIONS for one in (between, within)]
        lines.append(f"| {1 / high:.3g} to {1 / low:.3g} mm | {' | '.join(cells)} |")
    head = f"| {' | '.join(maps)} |"
    rule = "| --- | ---: | ---: | ---: |"
    lines += ["", "Means of parts (mm), SD between people:", "", f"| part {head}", rule]
    for part in PARTS:
        cells = [f"{parts[kind][part].mean():.2f} ± {parts[kind][part].std(ddof=1):.2f}" for kind in parts]
        lines.append(f"| {part.replace('_', ' ')} | {' | '.join(cells)} |")
    pairs = (("medial_tibia", "lateral_tibia"), ("medial_tibia", "medial_femur"), ("medial_femur", "trochlea"))
    lines += ["", "Correlation of parts between people:", "", f"| parts {head}", rule]
    for one, other in pairs:
        cells = [f"{np.corrcoef(parts[kind][one], parts[kind][other])[0, 1]:+.2f}" for kind in parts]
        lines.append(f"| {one.replace('_', ' ')}, {other.replace('_', ' ')} | {' | '.join(cells)} |")
    record["parts"] = {
        kind: {part: [float(v.mean()), float(v.std(ddof=1))] for part, v in named.items()}
        for kind, named in parts.items()
    }
    write_json(out / "phantom_comparison.json", record)
    with atomic_write(out / "phantom_comparison.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    draw_maps(out / "phantom_comparison_maps.png", maps)
    draw_spectra(out / "phantom_comparison_spectra.png", maps)


def draw_maps(path: Path, maps: dict[str, dict[str, Maps]]) -> None:
    """Mean and SD maps of both cohorts, one color scale each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from mris.images.write import atomic_write

    figure, axes = plt.subplots(3, 4, figsize=(12, 8.2), layout="constrained")
    for row, kind in enumerate(maps):
        for column, region in enumerate(REGIONS):
            values = maps[kind][region].values
            often = np.isfinite(values).mean(axis=0) > 0.5
            pictures = (np.nanmean(values[:, often], axis=0), np.nanstd(values[:, often], axis=0, ddof=1))
            for which, (numbers, title, top, color) in enumerate(
                zip(pictures, ("mean", "SD between people"), (3.5, 1.2), ("viridis", "magma"), strict=True)
            ):
                picture = np.full(often.shape, np.nan)
                picture[often] = numbers
                axis = axes[row, 2 * which + column]
                shown = axis.imshow(picture, vmin=0, vmax=top, cmap=color, interpolation="nearest")
                axis.set_title(f"{kind}\n{region}: {title}", fontsize=8)
                axis.axis("off")
                if row == 0 and column == 1:
                    figure.colorbar(shown, ax=axes[:, 2 * which : 2 * which + 2], label="mm", shrink=0.8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def draw_spectra(path: Path, maps: dict[str, dict[str, Maps]]) -> None:
    """Variance between people by the size of the structure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from mris.images.write import atomic_write

    edges = np.geomspace(0.015, 0.6, 13)
    bands = list(pairwise(edges))
    middle = np.sqrt(edges[:-1] * edges[1:])
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
    for axis, region in zip(axes, REGIONS, strict=True):
        for kind in maps:
            axis.plot(middle, spectrum(maps[kind][region], bands), marker="o", label=kind)
        axis.set(xscale="log", yscale="log", xlabel="cycles per mm", title=region)
        axis.legend()
    axes[0].set_ylabel("variance between people in a band (mm²)")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
