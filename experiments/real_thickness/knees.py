"""The real knees: crops, readings and measured thickness, and which of them may be looked at when."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mris.digital.knees import FIELD_MM
from mris.images.image import Image
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation, prepare_source

CROP_MM = FIELD_MM
"""Width of the real crops, about: their plateaus are some 190 of 224 pixels wide, and the digital ones 75 mm."""
PIXELS = 224
SIDES = {"L": "left", "R": "right"}
MEASURED = ("MT", "cMF", "MFTC", "LT", "cLF", "LFTC")
"""Sub-regions as the measurements name them: tibia, central femur and their sum, medial and lateral."""


@dataclass(frozen=True)
class RealKnee:
    """One knee at baseline; thickness in mm, None where nobody measured it, NaN where a part is missing."""

    subject: str
    side: str
    male: bool
    klg: float
    medial: float
    lateral: float
    image: Path
    thickness: dict[str, float] | None


@dataclass(frozen=True)
class RealKnees:
    """All knees that have a radiograph and readings."""

    knees: tuple[RealKnee, ...]

    @cached_property
    def measured(self) -> list[RealKnee]:
        """The knees to be looked at once per finished recipe."""
        return [knee for knee in self.knees if knee.thickness is not None]

    def steering(self, n: int, seed: int = 1) -> list[RealKnee]:
        """Some knees of people of whom no knee was measured, to choose settings by."""
        judged = {knee.subject for knee in self.measured}
        others = [knee for knee in self.knees if knee.subject not in judged]
        order = np.random.default_rng(seed).permutation(len(others))
        return [others[i] for i in order[:n]]


def read_knees(data: Path) -> RealKnees:
    """Read the tables of `oai_radiographs` and `oai_tables`."""
    tables = data / "oai_tables"
    readings = {(row["subject"], row["side"]): row for row in _rows(tables / "radiograph_readings.csv")}
    men = {row["subject"] for row in _rows(tables / "people.csv") if row["sex"] == "M"}
    thickness = {
        (row["subject"], row["side"]): {name: float(row[f"{name}_ThCtAB_aMe"] or "nan") for name in MEASURED}
        for row in _rows(tables / "regional_thickness.csv")
        if row["visit"] == "0"
    }
    knees = []
    for row in _rows(data / "oai_radiographs" / "index.csv"):
        key = row["subject"], row["side"]
        read = readings.get(key)
        if read is not None:
            image = data / "oai_radiographs" / "images" / row["image"]
            grades = (float(read[name]) for name in ("klg", "jsn_medial", "jsn_lateral"))
            knees.append(RealKnee(*key, key[0] in men, *grades, image, thickness.get(key)))
    return RealKnees(tuple(knees))


def sources(knees: Sequence[RealKnee], preparation: SourcePreparation) -> np.ndarray:
    """Prepare crops as a bundle wants them, (n, 1, h, w)."""
    prepared = []
    for knee in knees:
        pixels = read_image(knee.image).pixels[:1]
        image = Image.from_array(pixels, spacing=(CROP_MM / PIXELS, CROP_MM / PIXELS))
        prepared.append(prepare_source(image, preparation, side=SIDES[knee.side]))
    return np.stack(prepared)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
