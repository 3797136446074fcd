"""Sub-regions of the atlas beside those that experts measure, and maps made with and without bone labels.

    python experiments/real_knees/subregions.py DATA --maps DIR [--out DIR]

DATA holds ``oai_knees``, ``oai_tables`` and ``oai_atlas``. Nobody is in both: seven segmentations are compared with the
sheet's first visits as groups, each part by its share of the thickness of its plate, which depends on the grade less
than thickness does. Shares of area come from the sheet alone: the weights by which the parts' means give the plate's.
Finished maps in DIR are kept. Only figures over all people are written.
"""

import argparse
import csv
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mris.images.write import atomic_write
from mris.knee.cartilage_atlas import CartilageAtlas, open_atlas
from mris.knee.flatten import pixel_area, subregion_masks
from mris.knee.segmentation import read_segmentation
from mris.knee.segmentation_files import KneeFile, knee_files
from mris.knee.thickness_folder import ThicknessSettings, write_thickness_maps
from mris.knee.thickness_maps import thickness_maps

HERE = Path(__file__).resolve().parent
ROWS = (2, 3, 16, 18, 40, 47, 50)
"""Of the index of segmentations, its header being row 1: six people, grades 1 to 4, one of them twice."""
TIBIAL = {"c": "central", "e": "external", "i": "internal", "a": "anterior", "p": "posterior"}
FEMORAL = {"c": "central", "e": "external", "i": "internal"}
PLATES = {"MT": "medial_tibia", "LT": "lateral_tibia", "cMF": "medial_femur", "cLF": "lateral_femur"}


@dataclass(frozen=True)
class Part:
    """One sub-region: its name here and in the sheet, and the plate that it is a part of ("" for a plate itself)."""

    name: str
    column: str
    plate: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--maps", type=Path, required=True, help="folder for the maps; never committed")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    atlas = open_atlas(given.data / "oai_atlas")
    with (given.data / "oai_knees" / "index.csv").open(encoding="utf-8", newline="") as file:
        names = [row["segmentation"] for row in csv.DictReader(file)]
    files = knee_files([given.data / "oai_knees" / "segmentations" / names[row - 2] for row in ROWS])
    settings = ThicknessSettings(given.data / "oai_atlas", None, workers=1)
    report = write_thickness_maps(files, given.maps, settings, progress=True)
    records = [result.record for result in report.results if result.record is not None]
    ours = [dict(record["subregions_mm"]) for record in records]
    bare = [dict(record["denuded_percent"]) for record in records]
    boneless = [without_bones(file, atlas, given.maps) for file in files]
    with (given.data / "oai_tables" / "regional_thickness.csv").open(encoding="utf-8", newline="") as file:
        sheet = list(csv.DictReader(file))
    with atomic_write(given.out / "subregions.md") as temporary:
        temporary.write_text(page(ours, bare, boneless, sheet, areas(atlas)), encoding="utf-8")
    print((given.out / "subregions.md").read_text(encoding="utf-8"))


def parts() -> list[Part]:
    """The plates, each followed by its parts."""
    found = []
    for column, plate in PLATES.items():
        found.append(Part(plate, column))
        places = TIBIAL if plate.endswith("tibia") else FEMORAL
        found += [Part(f"{place}_{plate}", f"{letter}{column}", plate) for letter, place in places.items()]
    return found


def without_bones(file: KneeFile, atlas: CartilageAtlas, maps: Path) -> dict[str, float]:
    """Means of the parts if the file held no bone; kept beside the maps."""
    kept = maps / file.key / "without_bones.npz"
    if not kept.is_file():
        knee = read_segmentation(file.path, None, file.side)
        cartilage = np.where(knee.labels % 2 == 0, knee.labels, 0).astype(np.uint8)
        means = thickness_maps(atlas, replace(knee, labels=cartilage)).subregions
        np.savez(kept, **{name: np.array(mean) for name, mean in means.items()})
    with np.load(kept, allow_pickle=False) as found:
        return {name: float(found[name]) for name in found.files}


def areas(atlas: CartilageAtlas) -> dict[str, float]:
    """Share of its plate's area that each part has on the atlas."""
    area = {
        name: float(pixel_area(region)[mask].sum())
        for region in (atlas.femoral, atlas.tibial)
        for name, mask in subregion_masks(region).items()
    }
    return {part.name: area[part.name] / area[part.plate or part.name] for part in parts()}


def column(sheet: Sequence[Mapping[str, str]], name: str) -> np.ndarray:
    """Mean thickness (mm) of a part in rows of the sheet, NaN where it is empty."""
    return np.array([float(row[f"{name}_ThCtAB_aMe"] or "nan") for row in sheet])


def sheet_areas(sheet: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Weights by which the means of its parts give the mean of a plate, by least squares over all visits."""
    weights = {}
    for plate in PLATES.values():
        own = [part for part in parts() if plate in (part.name, part.plate)]
        values = np.stack([column(sheet, part.column) for part in own])
        whole, *rest = values[:, np.isfinite(values).all(axis=0)]
        found = np.linalg.lstsq(np.stack(rest, axis=1), whole, rcond=None)[0]
        weights |= {part.name: float(weight) for part, weight in zip(own[1:], found, strict=True)}
    return weights


def page(
    ours: Sequence[Mapping[str, float]],
    bare: Sequence[Mapping[str, float]],
    boneless: Sequence[Mapping[str, float]],
    sheet: Sequence[Mapping[str, str]],
    own_areas: Mapping[str, float],
) -> str:
    """The results as Markdown."""
    first: dict[tuple[str, str], Mapping[str, str]] = {}
    for row in sorted(sheet, key=lambda row: int(row["visit"])):
        first.setdefault((row["subject"], row["side"]), row)
    baseline, of_sheet = list(first.values()), sheet_areas(sheet)
    lines = [
        "# Sub-regions of the atlas and of the experts",
        "",
        f"`python experiments/real_knees/subregions.py DATA --maps DIR`, {datetime.now(tz=UTC).date().isoformat()}, "
        f"{os.cpu_count()} cores, {platform.machine()}. {len(ours)} segmentations; {len(baseline)} other knees at "
        f"their first of {len(sheet)} measured visits. Nobody is in both. Thickness of a plate in mm, of a part by its "
        "plate, mean and SD over knees. Area of a part by that of its plate; the sheet's by least squares over all "
        "visits.",
        "",
        "| part | name in the sheet | area, atlas | area, sheet | thickness here | thickness in the sheet |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for part in parts():
        here = np.array([one[part.name] / (one[part.plate] if part.plate else 1.0) for one in ours])
        there = column(baseline, part.column)
        if part.plate:
            there = there / column(baseline, next(key for key, plate in PLATES.items() if plate == part.plate))
        shares = (f"{own_areas[part.name]:.2f}", f"{of_sheet[part.name]:.2f}") if part.plate else ("", "")
        unit = "" if part.plate else " mm"
        told = [f"{np.nanmean(values):.2f}{unit} ({np.nanstd(values):.2f})" for values in (here, there)]
        lines.append(f"| {' | '.join((part.name, part.column, *shares, *told))} |")
    change = {name: np.array([b[name] - a[name] for a, b in zip(ours, boneless, strict=True)]) for name in ours[0]}
    single = {name: values for name, values in change.items() if not name.endswith("compartment")}
    worst = max(single, key=lambda name: float(np.abs(single[name]).max()))
    every = np.concatenate(list(single.values()))
    of_plates = np.concatenate([change[plate] for plate in PLATES.values()])
    bald = {plate: np.array([one[plate] for one in bare]) for plate in PLATES.values()}
    lines += [
        "",
        "Bare bone (%), mean and most: "
        + "; ".join(f"{plate} {values.mean():.1f}, {values.max():.1f}" for plate, values in bald.items())
        + ".",
        "",
        f"Without bone labels, the means of {len(single)} parts of {len(ours)} knees change by "
        f"{np.abs(every).mean():.3f} mm in the mean of their sizes, by {np.abs(every).max():.3f} mm at most ({worst}), "
        f"by more than 0.1 mm {np.count_nonzero(np.abs(every) > 0.1)} of {every.size} times; "
        f"those of the four plates by {np.abs(of_plates).max():.3f} mm at most. Mean change {every.mean():+.3f} mm.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
