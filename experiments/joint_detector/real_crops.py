"""The public radiographs: which people were looked at in development, and where two readers marked the joint."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

HERE = Path(__file__).resolve().parent
MARKS = HERE / "marks.csv"
CROP_PIXEL_MM = 75.0 / 182.0
"""A tibial plateau is 182 pixels wide in a crop (by eye, 24 of the development part) and about 75 mm in people."""


@dataclass(frozen=True)
class Crop:
    """One knee of the index; `row` is its place there, the first row of data being 0."""

    row: int
    subject: str
    side: str
    path: Path

    def pixels(self) -> np.ndarray:
        """224 x 224 pixels, uint8."""
        with PIL.Image.open(self.path) as picture:
            return np.asarray(picture.convert("L"))


def read_crops(data: Path, seed: int, n_development: int) -> tuple[list[Crop], list[Crop]]:
    """Knees of the people who were looked at in development, and of all others; people in the study's random order."""
    folder = data / "oai_radiographs"
    with (folder / "index.csv").open(newline="") as file:
        crops = [
            Crop(i, row["subject"], row["side"], folder / "images" / row["image"])
            for i, row in enumerate(csv.DictReader(file))
        ]
    order = np.random.default_rng(seed).permutation(sorted({crop.subject for crop in crops})).tolist()
    rank = {subject: i for i, subject in enumerate(order)}
    crops.sort(key=lambda crop: (rank[crop.subject], crop.row))
    n_first = sum(rank[crop.subject] < n_development for crop in crops)
    return crops[:n_first], crops[n_first:]


def crops_to_mark(others: list[Crop], n_subjects: int, seed: int) -> list[Crop]:
    """One random knee each of the first people."""
    rng = np.random.default_rng([seed, 21])
    subjects = list(dict.fromkeys(crop.subject for crop in others))[:n_subjects]
    return [
        (knees := [crop for crop in others if crop.subject == name])[int(rng.integers(len(knees)))] for name in subjects
    ]


def read_marks() -> dict[int, np.ndarray]:
    """Row and column (pixels of the crop) as each reader marked them, (readers, 2), by row of the index."""
    marks: dict[int, list[tuple[float, float]]] = {}
    with MARKS.open(newline="") as file:
        for line in csv.DictReader(file):
            marks.setdefault(int(line["index_row"]), []).append((float(line["row"]), float(line["column"])))
    return {row: np.array(points) for row, points in marks.items()}
