"""Sheets of real crops on which readers mark the joint, before anyone looks at a detection.

Usage: python experiments/joint_detector/mark_sheets.py DATA OUT    (DATA: folder that holds oai_radiographs)

One knee each of people who were not looked at in development. The point to mark is the middle of the intercondylar
eminence: the dip between the tips of the two tibial spines, on the outline of the bone. That is the middle one of the
nine tibial landmarks of KNEEL, round which it cuts its regions of 140 mm (Oulu-IMEDS/KNEEL, ``kneel/data/utils.py``).
`marks.csv` holds the answers of two readers: row of the index, reader, row and column in pixels of the crop.
"""

import sys
import tomllib
from pathlib import Path

import PIL.Image
import PIL.ImageChops
import PIL.ImageDraw
from real_crops import HERE, Crop, crops_to_mark, read_crops

ZOOM, A_SHEET, ACROSS, EDGE, STEP = 1.8, 9, 3, 28, 20


def sheet(crops: list[Crop]) -> PIL.Image.Image:
    """Crops with a ruler in their pixels, and faint lines every 20 of them."""
    pictures = [crop.pixels() for crop in crops]
    side = round(len(pictures[0]) * ZOOM)
    cell = side + EDGE
    page = PIL.Image.new("RGB", (ACROSS * cell, -(-len(crops) // ACROSS) * cell), "white")
    lines = PIL.Image.new("RGB", page.size)
    draw, rule = PIL.ImageDraw.Draw(page), PIL.ImageDraw.Draw(lines)
    for at, (crop, pixels) in enumerate(zip(crops, pictures, strict=True)):
        left, top = EDGE + at % ACROSS * cell, EDGE + at // ACROSS * cell
        page.paste(PIL.Image.fromarray(pixels).resize((side, side), PIL.Image.Resampling.BICUBIC), (left, top))
        for pixel in range(0, len(pixels), STEP):
            x = round((pixel + 0.5) * ZOOM)
            rule.line([(left + x, top), (left + x, top + side)], fill=(70, 70, 0))
            rule.line([(left, top + x), (left + side, top + x)], fill=(70, 70, 0))
            draw.text((left + x - 6, top - 12), str(pixel), fill="black")
            draw.text((left - 22, top + x - 6), str(pixel), fill="black")
        draw.rectangle([(left, top + side - 16), (left + 60, top + side)], fill="black")
        draw.text((left + 4, top + side - 14), f"row {crop.row}", fill=(255, 90, 90))
    return PIL.ImageChops.add(page, lines)


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    study = tomllib.loads((HERE / "settings.toml").read_text())
    _, others = read_crops(data, study["seed"], study["development_subjects"])
    chosen = crops_to_mark(others, study["marked_subjects"], study["seed"])
    out.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(chosen), A_SHEET):
        sheet(chosen[first : first + A_SHEET]).save(out / f"sheet_{first // A_SHEET:02}.png")
    print(f"{len(chosen)} knees on {-(-len(chosen) // A_SHEET)} sheets in {out}")


if __name__ == "__main__":
    main()
