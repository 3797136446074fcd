"""The public radiographs of 900 people, both knees each: read, split by person, and written as pairs left -> right.

A right knee is mirrored, so that both knees of a person look alike. Both studies on real radiographs use this split.
"""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import PIL.Image

from mris.cohort.manifest_file import read_cells
from mris.cohort.split import check_disjoint, split_by_subject
from mris.errors import ImageError, ManifestError
from mris.images.image import Image
from mris.images.read import read_image
from mris.images.write import atomic_write

SIDES = {"L": "left", "R": "right"}
GRADES = ("0", "1", "2", "3", "4")
COLUMNS = ("subject", "side", "kl_grade", "image")


@dataclass(frozen=True)
class Knees:
    """Radiographs of knees, in the order of subject and side (left first).

    Args:
        subjects: (n,) person of each knee, strings.
        sides: (n,) "left" or "right".
        grades: (n,) KL grade, 0 to 4.
        files: One PNG a knee.
    """

    subjects: np.ndarray
    sides: np.ndarray
    grades: np.ndarray
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def people(self) -> np.ndarray:
        """Each person once, sorted."""
        return np.unique(self.subjects)

    def grades_of(self, side: str) -> np.ndarray:
        """Grade of one side of each of the `people`."""
        return self.grades[self.sides == side]

    def splits(self, fractions: dict[str, float], seed: int) -> np.ndarray:
        """Split of each knee; both knees of a person share it, and each split has its share of the worse grades."""
        worse = np.maximum(self.grades_of("left"), self.grades_of("right"))
        by_person = split_by_subject(self.people.tolist(), fractions=fractions, seed=seed, stratify=worse.tolist())
        found = by_person[np.searchsorted(self.people, self.subjects)]
        check_disjoint(self.subjects.tolist(), found.tolist())
        return found

    def image(self, i: int) -> Image:
        """Read a knee as it is, gray levels 0 to 255; its side is known."""
        image = read_image(self.files[i])
        if image.n_channels != 1:
            raise ImageError(f"{self.files[i].name} has {image.n_channels} channels; a radiograph has one")
        return replace(image, laterality=str(self.sides[i]))


def data_folder(given: Path | None) -> Path:
    """Where the public data is: as given, the folder that MRIS_DATA names, or ``shared/data`` beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = given or Path(os.environ.get("MRIS_DATA", beside))
    if not (folder / "oai_radiographs" / "index.csv").is_file():
        raise ManifestError(
            f"there is no {folder / 'oai_radiographs' / 'index.csv'}; name the folder that holds oai_radiographs with "
            "--data, or set MRIS_DATA"
        )
    return folder


def read_knees(data: Path) -> Knees:
    """Read ``oai_radiographs/index.csv``; every person must have both knees once.

    Raises:
        ManifestError: A column, a file or a person's other knee is missing, or a side or grade is unknown.
    """
    index = data / "oai_radiographs" / "index.csv"
    cells = read_cells(index)
    missing = [name for name in COLUMNS if name not in cells.columns]
    if missing:
        raise ManifestError(f"{index} lacks the column {missing[0]!r}; it has {', '.join(cells.columns)}")
    subjects, codes, grades, names = (cells.text(name) for name in COLUMNS)
    files = [index.parent / "images" / name for name in names]
    for row, code, grade, file in zip(cells.row_numbers, codes, grades, files, strict=True):
        if code not in SIDES or grade not in GRADES:
            raise ManifestError(f"{index} row {row}: side {code!r}, grade {grade!r}; give L or R, and 0 to 4")
        if not file.is_file():
            raise ManifestError(f"{index} row {row}: there is no image {file.name}; fetch the radiographs again")
    order = np.lexsort((codes, subjects))
    held = list(zip(np.array(subjects)[order].tolist(), np.array(codes)[order].tolist(), strict=True))
    wanted = [(person, code) for person in sorted(set(subjects)) for code in SIDES]
    if held != wanted:
        odd = sorted(set(held) ^ set(wanted)) or [knee for knee in held if held.count(knee) > 1]
        raise ManifestError(f"{index}: knee {odd[0]} is missing or stands twice; each person has both knees once")
    return Knees(
        np.array(subjects)[order],
        np.array([SIDES[code] for code in codes])[order],
        np.array(grades)[order].astype(np.int64),
        tuple(files[i] for i in order),
    )


def gray_levels(knees: Knees, i: int) -> np.ndarray:
    """A knee as a target: gray levels / 255, a right knee mirrored; (h, w) float32."""
    pixels = knees.image(i).pixels[0] / np.float32(255)
    return np.ascontiguousarray(pixels[:, ::-1] if knees.sides[i] == "right" else pixels)


def write_pairs(knees: Knees, splits: np.ndarray, folder: Path) -> Path:
    """Write each person's right knee as a target, and the manifest of pairs left -> right.

    The source is the left knee's file itself; labels are the grades of both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["subject,timepoint,source,target,split,klg_left,klg_right"]
    left, right = np.flatnonzero(knees.sides == "left"), np.flatnonzero(knees.sides == "right")
    for one, other in zip(left, right, strict=True):
        person, target = knees.subjects[one], folder / f"{knees.subjects[one]}_right.npy"
        with atomic_write(target) as path, path.open("wb") as file:
            np.save(file, gray_levels(knees, other))
        cells = [person, "0", knees.files[one].resolve(), target.name, splits[one], knees.grades[one]]
        lines.append(",".join(map(str, [*cells, knees.grades[other]])))
    manifest = folder / "manifest.csv"
    with atomic_write(manifest) as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def write_made_up(data: Path, rng: np.random.Generator, *, n_people: int, size: int = 32) -> None:
    """Write radiographs of nobody in the layout of the real ones, with a sheet of grades: for tests.

    A person has a bright joint at a height of its own in both knees; the higher the grade the narrower the dark gap.
    Grades rise in every third knee of grade 1 to 3.
    """
    folder = data / "oai_radiographs" / "images"
    folder.mkdir(parents=True)
    (data / "oai_sheets").mkdir()
    index, sheet = [",".join(COLUMNS)], ["ID,SIDE,READPRJ,V00XRKL,V01XRKL,V03XRKL,V05XRKL,V06XRKL,V08XRKL,V10XRKL"]
    rows = np.arange(size)[:, None]
    for i in range(n_people):
        person, height, tilt = f"P{i:03d}", rng.uniform(0.35, 0.65) * size, rng.uniform(-0.2, 0.2)
        for code, side, sign in (("L", 2, 1), ("R", 1, -1)):
            grade = int(rng.integers(0, 5))
            middle = height + sign * tilt * (np.arange(size)[None, :] - size / 2)
            gap = np.exp(-(((rows - middle) / (1.0 + 0.6 * (4 - grade))) ** 2))
            pixels = 200 - 150 * gap + rng.normal(0, 6, (size, size))
            name = f"{person}{code}.png"
            PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name)
            index.append(f"{person},{code},{grade},{name}")
            later = min(4, grade + int(1 <= grade <= 3 and rng.random() < 0.4))
            sheet.append(f"{person},{side},15,{grade},{grade},NA,NA,{later},{later if i % 2 else 'NA'},NA")
    (data / "oai_radiographs" / "index.csv").write_text("\n".join(index) + "\n")
    (data / "oai_sheets" / "KLG_score.csv").write_text("\n".join(sheet) + "\n")
