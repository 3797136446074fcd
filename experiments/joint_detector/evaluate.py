"""Measure the joint detector: phantom plates of held-out subjects, plates to be refused, real radiographs, speed.

Usage: python experiments/joint_detector/evaluate.py [DATA]    (DATA: folder that holds oai_radiographs; optional)
"""

import os
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from real_crops import CROP_PIXEL_MM, HERE, Crop, read_crops, read_marks

from mris.evaluation.bootstrap import percentile_interval, resample_counts, resampled_means, subject_codes
from mris.images.image import Image
from mris.images.write import atomic_write, write_json
from mris.knee.joint_detector import MIN_CONFIDENCE, WEIGHTS, JointDetection, detect_joints, detector_facts
from mris.knee.phantom.plate import DETECTORS, PlateLayout, compose_plate, sample_plate_layout
from mris.knee.phantom.simulate import KneeVisit, simulate_subject
from plates import Frame, eminence_mm, joint_space_mm, replaced

N_RESAMPLES = 2000
NOT_FOUND_MM = 40.0


@dataclass(frozen=True)
class Knee:
    """One joint that should be found."""

    subject: str
    group: str
    error_mm: float
    offset_mm: tuple[float, float]
    confidence: float


def nearest(
    found: tuple[JointDetection, ...], truth: tuple[float, float], spacing: float, subject: str, group: str
) -> Knee:
    """The detection nearest to a joint."""
    offsets = [
        ((one.center[0] - truth[0]) * spacing, (one.center[1] - truth[1]) * spacing, one.confidence) for one in found
    ]
    down, across, confidence = min(offsets, key=lambda at: np.hypot(at[0], at[1]))
    return Knee(subject, group, float(np.hypot(down, across)), (down, across), confidence)


def layout_of(rng: np.random.Generator, detector: int) -> PlateLayout:
    """Draw layouts until one is of that detector."""
    while True:
        layout = sample_plate_layout(rng)
        if layout.shape == DETECTORS[detector][0]:
            return layout


def subjects(seed: int, n: int, size: int) -> Iterator[tuple[KneeVisit, KneeVisit]]:
    for i in range(n):
        left, right = simulate_subject(seed, i, size=size, enriched=True, max_visits=1)[:2]
        yield left, right


@dataclass(frozen=True)
class PhantomParts:
    """What plates of both detectors and plates to be refused gave."""

    knees: list[Knee]  # measured from the middle of the eminence, as on real radiographs
    from_space: list[Knee]  # the same, measured from the middle of the joint space, the center of a phantom's sheet
    refused: dict[str, list[float]]  # confidences where there is no knee, or an implant
    seconds: list[float]  # a plate


def phantom_parts(study: dict, n: int) -> PhantomParts:
    """Detect the joints of held-out phantom subjects, and what must not be taken for one."""
    knees: list[Knee] = []
    from_space: list[Knee] = []
    refused: dict[str, list[float]] = {
        "no knee: shafts only": [],
        "no knee: noise and shapes": [],
        "joint replacement": [],
    }
    seconds = []
    for i, (left, right) in enumerate(subjects(study["seed"] + 2, n, 192)):
        rng = np.random.default_rng([study["seed"], 9, i])
        pictures = {"right": right, "left": left}
        for detector in range(len(DETECTORS)):
            layout = layout_of(rng, detector)
            plate = compose_plate(
                right.radiograph,
                left.radiograph,
                spacing_mm=layout.spacing_mm,
                shape=layout.shape,
                centers=layout.centers,
                rng=rng,
            )
            inverted = (i + detector) % 2 == 1
            pixels = 65535 - plate.pixels if inverted else plate.pixels
            image = Image.from_array(pixels, spacing=plate.spacing)
            start = time.perf_counter()
            found = detect_joints(image)
            seconds.append(time.perf_counter() - start)
            group = f"{layout.spacing_mm:g} mm, bone {'dark' if inverted else 'bright'}"
            for point_of, part in ((eminence_mm, knees), (joint_space_mm, from_space)):
                for side, visit in pictures.items():
                    truth = np.add(layout.centers[side], np.divide(point_of(visit), layout.spacing_mm))
                    part.append(nearest(found, (truth[0], truth[1]), layout.spacing_mm, f"P{i}", group))
        refused["joint replacement"] += implanted(right, left, rng)
        far = {side: (-float(rng.uniform(60, 110)), column) for side, column in (("right", 55), ("left", 160))}
        shafts = compose_plate(
            right.radiograph, left.radiograph, spacing_mm=2.0, shape=(150, 215), centers=far, rng=rng
        )
        refused["no knee: shafts only"].append(most_sure(shafts.pixels, 2.0))
        refused["no knee: noise and shapes"].append(most_sure(shapes(rng), 1.0))
        show(i + 1, n, "phantom subjects")
    return PhantomParts(knees, from_space, refused, seconds)


def implanted(right: KneeVisit, left: KneeVisit, rng: np.random.Generator) -> list[float]:
    """Confidences at the two joints of a plate with joint replacements on both sides."""
    spacing = 0.5
    centers = {"right": (350.0, 230.0), "left": (350.0, 630.0)}
    plate = compose_plate(
        right.radiograph, left.radiograph, spacing_mm=spacing, shape=(700, 860), centers=centers, rng=rng
    )
    metal = plate.pixels.astype(np.float32) / 65535.0
    for center in centers.values():
        metal = replaced(metal, center, Frame(pixel_mm=spacing), rng)
    image = Image.from_array(np.clip(metal / 1.15, 0.0, 1.0), spacing=plate.spacing)
    found = detect_joints(image)
    return [sure_near(found, center, spacing) for center in centers.values()]


def sure_near(found: tuple[JointDetection, ...], place: tuple[float, float], spacing: float) -> float:
    """Largest confidence of a detection within 40 mm of a place; 0 where there is none."""
    near = [one for one in found if np.hypot(*np.subtract(one.center, place)) * spacing < 40.0]
    return max((one.confidence for one in near), default=0.0)


def most_sure(pixels: np.ndarray, spacing: float) -> float:
    return max(one.confidence for one in detect_joints(Image.from_array(pixels, spacing=(spacing, spacing))))


def shapes(rng: np.random.Generator) -> np.ndarray:
    """A plate with bars, disks and noise."""
    pixels = rng.normal(0.0, rng.uniform(0.01, 0.2), (350, 420))
    r, c = np.mgrid[:350, :420]
    for _ in range(int(rng.integers(0, 9))):
        row, column, size = rng.uniform(0, 350), rng.uniform(0, 420), rng.uniform(5, 80)
        if rng.random() < 0.5:
            inside = np.hypot(r - row, c - column) < size
        else:
            inside = (np.abs(r - row) < size) & (np.abs(c - column) < rng.uniform(5, 80))
        pixels[inside] += rng.normal(0.0, 0.7)
    return pixels


def real_knees(crops: list[Crop], seed: int) -> list[Knee]:
    """Real crops on random plates, in three ways by turns; the error is from the crop's center."""
    phantoms = list(subjects(seed + 3, 12, 128))
    knees = []
    for i, crop in enumerate(crops):
        rng = np.random.default_rng([seed, 13, crop.row])
        way = real_ways[i % len(real_ways)]
        plate, center, spacing = way(crop.pixels(), crop.side == "R", phantoms[crop.row % len(phantoms)], rng)
        if rng.random() < 0.5:
            plate = plate.max() - plate
        found = detect_joints(Image.from_array(plate, spacing=(spacing, spacing)))
        knees.append(nearest(found, center, spacing, crop.subject, way.__name__.replace("_", " ")))
        show(i + 1, len(crops), "real radiographs")
    return knees


def legs_continued(
    crop: np.ndarray, is_right: bool, _phantom: tuple[KneeVisit, KneeVisit], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float], float]:
    """A plate of one knee whose leg goes on beyond the crop."""
    spacing, shape = 0.5, (int(rng.integers(400, 700)), int(rng.integers(300, 600)))
    center = (float(rng.uniform(0.3, 0.7) * shape[0]), float(rng.uniform(0.35, 0.65) * shape[1]))
    picture = crop.astype(np.uint16) * np.uint16(257)
    pictures = (picture, None) if is_right else (None, picture)
    plate = compose_plate(
        *pictures,
        spacing_mm=spacing,
        shape=shape,
        centers={"right" if is_right else "left": center},
        rng=rng,
        region_mm=CROP_PIXEL_MM * len(crop),
    )
    return plate.pixels, center, spacing


def pasted_over_a_phantom(
    crop: np.ndarray, is_right: bool, phantom: tuple[KneeVisit, KneeVisit], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float], float]:
    """A plate of two phantom knees with the crop laid over one of them, borders and all."""
    layout = sample_plate_layout(rng)
    spacing = CROP_PIXEL_MM
    factor = layout.spacing_mm / spacing
    shape = (round(layout.shape[0] * factor), round(layout.shape[1] * factor))
    centers = {side: (row * factor, column * factor) for side, (row, column) in layout.centers.items()}
    plate = compose_plate(
        phantom[1].radiograph, phantom[0].radiograph, spacing_mm=spacing, shape=shape, centers=centers, rng=rng
    )
    top, left = (round(v - (len(crop) - 1) / 2) for v in centers["right" if is_right else "left"])
    pixels = plate.pixels.copy()
    pixels[top : top + len(crop), left : left + len(crop)] = crop.astype(np.uint16) * np.uint16(257)
    return pixels, (top + (len(crop) - 1) / 2, left + (len(crop) - 1) / 2), spacing


def pasted_on_nothing(
    crop: np.ndarray, _is_right: bool, _phantom: tuple[KneeVisit, KneeVisit], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float], float]:
    """An empty plate, evenly grey with noise, with the crop somewhere."""
    shape = (int(rng.integers(450, 800)), int(rng.integers(450, 1000)))
    pixels = np.clip(rng.normal(rng.uniform(0, 200), rng.uniform(1, 20), shape), 0, 255)
    top, left = (int(rng.integers(0, n - len(crop))) for n in shape)
    pixels[top : top + len(crop), left : left + len(crop)] = crop
    return pixels, (top + (len(crop) - 1) / 2, left + (len(crop) - 1) / 2), CROP_PIXEL_MM


Way = Callable[
    [np.ndarray, bool, tuple[KneeVisit, KneeVisit], np.random.Generator], tuple[np.ndarray, tuple[float, float], float]
]
real_ways: tuple[Way, ...] = (legs_continued, pasted_over_a_phantom, pasted_on_nothing)


def show(done: int, n: int, what: str) -> None:
    if done % 10 == 0 or done == n:
        print(f"{done}/{n} {what}", file=sys.stderr, flush=True)


def shares(knees: list[Knee], errors: np.ndarray, limits: tuple[float, ...]) -> dict[str, list[float]]:
    """Mean error, and shares within limits, each with a 95 % interval over subjects."""
    columns = np.stack([errors, *(errors <= limit for limit in limits)], axis=1).astype(float)
    codes, n = subject_codes([knee.subject for knee in knees])
    counts = resample_counts(n, N_RESAMPLES, np.random.default_rng(0))
    low, high = percentile_interval(resampled_means(columns, codes, counts))
    names = ["mean_mm", *(f"within_{limit:g}_mm" for limit in limits)]
    return {
        name: [float(a), float(b), float(c)]
        for name, a, b, c in zip(names, columns.mean(axis=0), low, high, strict=True)
    }


def by_group(knees: list[Knee]) -> dict[str, list[Knee]]:
    return {"all": knees} | {
        name: [knee for knee in knees if knee.group == name] for name in sorted({knee.group for knee in knees})
    }


def machine() -> str:
    """Cores and processor."""
    path = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith("model name")]
    return f"{os.cpu_count()} cores {models[0] if models else ''}".strip()


def summary(study: dict, data: Path | None) -> dict:
    """All figures."""
    phantom = phantom_parts(study, study["test_subjects"])
    sure = [knee.confidence for knee in phantom.knees]
    result: dict = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "weights_sha256": detector_facts().sha256,
        "weights_bytes": WEIGHTS.stat().st_size,
        "phantom": {
            name: {"knees": len(part), "median_mm": float(np.median([k.error_mm for k in part]))}
            | {"p99_mm": float(np.percentile([k.error_mm for k in part], 99))}
            | shares(part, np.array([k.error_mm for k in part]), (5.0,))
            for name, part in by_group(phantom.knees).items()
        },
        "phantom_from_joint_space": shares(
            phantom.from_space, np.array([knee.error_mm for knee in phantom.from_space]), (5.0,)
        ),
        "below_threshold": {
            name: {"n": len(part), "share": float(np.mean(np.array(part) < MIN_CONFIDENCE))}
            for name, part in ({"phantom knees": sure} | phantom.refused).items()
        },
        "seconds": {"median": float(np.median(phantom.seconds)), "largest": float(max(phantom.seconds))},
    }
    if data is not None:
        development, others = read_crops(data, study["seed"], study["development_subjects"])
        knees = real_knees(others, study["seed"])
        marked = marked_knees(others, knees)
        usual = np.median([one.mark_mm for one in marked], axis=0)
        result["real"] = {
            "crop_pixel_mm": CROP_PIXEL_MM,
            "development_subjects": len({crop.subject for crop in development}),
            "median_mark_mm": [float(v) for v in usual],
            "readers": readers_of(marked),
            "marked": {name: marked_group(part) for name, part in marks_by_group(marked).items()},
            "groups": {name: real_group(part, usual) for name, part in by_group(knees).items()},
        }
    return result


@dataclass(frozen=True)
class MarkedKnee:
    """A detection and the readers' marks of the same knee; all places are row and column from the crop's center."""

    knee: Knee
    mark_mm: np.ndarray  # middle of the readers' marks
    apart_mm: float  # from reader to reader

    @property
    def from_mark_mm(self) -> np.ndarray:
        """Detection from the mark."""
        return np.array(self.knee.offset_mm) - self.mark_mm


def marked_knees(crops: list[Crop], knees: list[Knee]) -> list[MarkedKnee]:
    marks, found = read_marks(), []
    for crop, knee in zip(crops, knees, strict=True):
        if crop.row in marks:
            places = (marks[crop.row] - (len(crop.pixels()) - 1) / 2) * CROP_PIXEL_MM
            found.append(MarkedKnee(knee, places.mean(axis=0), float(np.hypot(*(places[0] - places[1])))))
    return found


def marks_by_group(marked: list[MarkedKnee]) -> dict[str, list[MarkedKnee]]:
    return {
        name: [one for one in marked if name in ("all", one.knee.group)] for name in by_group([m.knee for m in marked])
    }


def readers_of(marked: list[MarkedKnee]) -> dict:
    """How far readers are apart, and how far their marks are from the crop's center."""
    apart = np.array([one.apart_mm for one in marked])
    far = np.array([np.hypot(*one.mark_mm) for one in marked])
    return {
        "knees": len(marked),
        "apart_mm": {"mean": float(apart.mean()), "p95": float(np.percentile(apart, 95))},
        "to_crop_centre": shares([one.knee for one in marked], far, (8.0,)),
    }


def marked_group(part: list[MarkedKnee]) -> dict:
    knees = [one.knee for one in part]
    offsets = np.array([one.from_mark_mm for one in part])
    errors = np.hypot(*offsets.T)
    sure = np.array([knee.confidence >= MIN_CONFIDENCE for knee in knees])
    return {
        "knees": len(part),
        "median_mm": float(np.median(errors)),
        "median_offset_mm": [float(v) for v in np.median(offsets, axis=0)],
        "to_mark": shares(knees, errors, (5.0, 8.0)),
        "below_threshold": float(np.mean(~sure)),
        "sure": int(sure.sum()),
        "sure_beyond_8_mm": int(np.sum(sure & (errors > 8.0))),
        "to_crop_centre": shares(knees, np.array([knee.error_mm for knee in knees]), (8.0,)),
    }


def real_group(part: list[Knee], usual: np.ndarray) -> dict:
    offsets = np.array([knee.offset_mm for knee in part])
    return {
        "knees": len(part),
        "subjects": len({knee.subject for knee in part}),
        "below_threshold": float(np.mean([knee.confidence < MIN_CONFIDENCE for knee in part])),
        "not_found": int(np.sum(np.hypot(*offsets.T) > NOT_FOUND_MM)),
        "median_offset_mm": [float(v) for v in np.median(offsets, axis=0)],
        "to_crop_centre": shares(part, np.hypot(*offsets.T), (8.0,)),
        "to_median_mark": shares(part, np.hypot(*(offsets - usual).T), (8.0,)),
    }


def page(result: dict) -> str:
    """The figures as Markdown."""

    def share(values: list[float]) -> str:
        return "{:.1f} % ({:.1f} to {:.1f})".format(*(100 * v for v in values))

    def mm(values: list[float]) -> str:
        return "{:.2f} ({:.2f} to {:.2f})".format(*values)

    lines = [
        "# Joint detector: figures",
        "",
        f"`python experiments/joint_detector/evaluate.py DATA`, {result['date']}, {result['machine']}, weights "
        f"`{result['weights_sha256'][:12]}` ({result['weights_bytes'] / 1e6:.2f} MB). Brackets: 95 % interval, "
        "subjects drawn with replacement.",
        "",
        "## Phantom plates of held-out subjects, full size",
        "",
        "| plates | knees | mean error, mm | median | 99 % | within 5 mm |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {g['knees']} | {mm(g['mean_mm'])} | {g['median_mm']:.2f} | {g['p99_mm']:.2f} | "
            f"{share(g['within_5_mm'])} |"
            for name, g in result["phantom"].items()
        ),
        "",
        "Measured from the middle of the eminence, as on real radiographs. A phantom's sheet gives the middle of the "
        "joint space, which lies lower: from there the mean is {} mm, and {} are within 5 mm.".format(
            mm(result["phantom_from_joint_space"]["mean_mm"]), share(result["phantom_from_joint_space"]["within_5_mm"])
        ),
        "",
        "## Confidence",
        "",
        "| what | n | below the threshold |",
        "| --- | --- | --- |",
        *(f"| {name} | {g['n']} | {100 * g['share']:.1f} % |" for name, g in result["below_threshold"].items()),
        "",
        "On {plates} random plates of the kind that training uses, of other subjects, {right_and_sure} of "
        "{right_peaks} peaks within {right_mm:g} mm of a joint were sure, and {other_and_sure} of {other_peaks} other "
        "peaks; {joints_not_reached} joints had no peak within {right_mm:g} mm.".format(**detector_facts().validation),
        "",
        f"Time of one plate on one thread: median {1000 * result['seconds']['median']:.0f} ms, largest "
        f"{1000 * result['seconds']['largest']:.0f} ms.",
    ]
    if "real" in result:
        real, readers = result["real"], result["real"]["readers"]
        down, across = real["median_mark_mm"]
        lines += [
            "",
            "## Real radiographs, pasted into random plates",
            "",
            f"Crops of 224 pixels; pixel taken as {real['crop_pixel_mm']:.3f} mm. {real['development_subjects']} "
            "subjects were looked at during development and are left out.",
            "",
            f"Two readers marked the middle of the intercondylar eminence in {readers['knees']} knees, one of each "
            f"person, without seeing a detection. They are {readers['apart_mm']['mean']:.1f} mm apart on average "
            f"(95 %: {readers['apart_mm']['p95']:.1f} mm). The median mark lies {down:.1f} mm below and "
            f"{across:.1f} mm right of the crop's centre: the crops are centred above the joint. Of the readers' "
            f"own marks, {share(readers['to_crop_centre']['within_8_mm'])} lie within 8 mm of the crop's centre.",
            "",
            "| marked knees on plates | knees | mean error from the mark, mm | median | within 5 mm | within 8 mm | "
            "below the threshold | above it, but beyond 8 mm | within 8 mm of the crop's centre |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *(
                f"| {name} | {g['knees']} | {mm(g['to_mark']['mean_mm'])} | {g['median_mm']:.2f} | "
                f"{share(g['to_mark']['within_5_mm'])} | {share(g['to_mark']['within_8_mm'])} | "
                f"{100 * g['below_threshold']:.1f} % | {g['sure_beyond_8_mm']} of {g['sure']} | "
                f"{share(g['to_crop_centre']['within_8_mm'])} |"
                for name, g in real["marked"].items()
            ),
            "",
            "Median detection from the mark: {:.1f} mm down, {:.1f} mm right. Where no one is beyond a limit, "
            "resampling gives no width; with none of {} beyond, the exact lower bound (95 %) is {:.1f} %.".format(
                *real["marked"]["all"]["median_offset_mm"], readers["knees"], 100 * 0.05 ** (1 / readers["knees"])
            ),
            "",
            "All other knees have no mark; the last column measures them from where the median mark lies in a crop.",
            "",
            "| all knees on plates | knees | subjects | no detection within 40 mm | below the threshold | "
            "within 8 mm of the crop's centre | within 8 mm of the median mark |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(
                f"| {name} | {g['knees']} | {g['subjects']} | {g['not_found']} | {100 * g['below_threshold']:.1f} % | "
                f"{share(g['to_crop_centre']['within_8_mm'])} | {share(g['to_median_mark']['within_8_mm'])} |"
                for name, g in real["groups"].items()
            ),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    study = tomllib.loads((HERE / "settings.toml").read_text())
    result = summary(study, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    write_json(HERE / "results" / "detector.json", result)
    with atomic_write(HERE / "results" / "detector.md") as path:
        path.write_text(page(result), encoding="utf-8")
    print(page(result))


if __name__ == "__main__":
    main()
