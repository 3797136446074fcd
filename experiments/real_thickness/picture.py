"""Digital radiographs to look at, plain and varied; and, for your own eyes, beside real crops.

    python experiments/real_thickness/picture.py [--out FILE] [--beside FILE --data DIR]

The picture of --beside shows real people: it is not to be committed.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

PIXELS, COLUMNS, ROWS, SEED = 128, 7, 3, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "docs" / "images" / "phantom-varied.png")
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MRIS_DATA", "../shared/data")))
    given = parser.parse_args()
    write_sheet(given.out, [digital("plain", 1), digital("varied", ROWS)])
    if given.beside:
        write_sheet(given.beside, [seen_alike(digital("varied", ROWS)), seen_alike(real(given.data))])


def digital(look: str, rows: int) -> np.ndarray:
    """Left knees of as many digital people, of all grades, as the files hold them; values 0 to 1."""
    from mris.knee.phantom.simulate import simulate_subject

    people = range(rows * COLUMNS)
    knees = [simulate_subject(SEED, i, size=PIXELS, enriched=True, max_visits=1, look=look)[0] for i in people]
    return np.stack([knee.radiograph / 65535.0 for knee in knees])


def real(data: Path) -> np.ndarray:
    """Crops of people of whom no knee was measured."""
    from knees import read_knees, sources

    from mris.images.transforms import SourcePreparation

    prepared = SourcePreparation((PIXELS, PIXELS), mirror_sides=("right",))
    return sources(read_knees(data).steering(ROWS * COLUMNS), prepared)[:, 0]


def seen_alike(pictures: np.ndarray) -> np.ndarray:
    """What the source encoder of the preset "varied" sees, as grays."""
    import torch

    from mris.training.local_contrast import LIMIT, LocalContrast

    seen = LocalContrast((PIXELS, PIXELS))(torch.from_numpy(pictures.astype(np.float32))[:, None])[:, 0]
    return (seen.numpy() / LIMIT + 1.0) / 2.0


def write_sheet(path: Path, parts: list[np.ndarray]) -> None:
    """Pictures in rows, a white line between the parts."""
    from mris.images.write import write_png

    rows = [np.hstack(part[i : i + COLUMNS]) for part in parts for i in range(0, len(part), COLUMNS)]
    line = np.ones((4, COLUMNS * PIXELS))
    first = len(parts[0]) // COLUMNS
    sheet = np.vstack([*rows[:first], line, *rows[first:]])
    write_png(path, np.round(255 * np.clip(sheet, 0, 1)).astype(np.uint8))


if __name__ == "__main__":
    main()
