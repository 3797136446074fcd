"""Map quality: seconds for 3,000 maps, faults found at the default threshold, what broken maps do to a synthesis.

Run: OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 python benchmarks/map_quality.py
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from made_database import machine
from scipy import ndimage

from mris.cohort.quality.map_measures import MapMeasures, measure_map
from mris.cohort.quality.map_quality import SCORES, MapQuality, judge_maps
from mris.cohort.quality.nearest_maps import nearest_of_others
from mris.defaults import QC_THRESHOLD
from mris.knee.phantom.atlas import knee_atlas
from mris.knee.phantom.extraction import extract_maps
from mris.knee.phantom.population import subject_generator
from mris.knee.phantom.simulate import simulate_states

SIZE, N_SUBJECTS, SHARE, N_TIMED = 64, 200, 0.04, 3_000
Maps = np.ndarray
Fault = Callable[[Maps, int, np.random.Generator], Maps]


class Rows(NamedTuple):
    """Maps of shape (n, 2, h, w) and whose they are."""

    targets: Maps
    subjects: tuple[str, ...]
    months: tuple[int, ...]
    sides: tuple[str, ...]

    def chosen(self, which: Sequence[int]) -> "Rows":
        names = (tuple(column[row] for row in which) for column in self[1:])
        return Rows(self.targets[list(which)], *names)

    def judged(self, targets: Maps, threshold: float = QC_THRESHOLD) -> MapQuality:
        keys = [f"{s}/{m}/{side}" for s, m, side in zip(self.subjects, self.months, self.sides, strict=True)]
        return _judged([measure_map(target) for target in targets], keys, self.subjects, self.sides, threshold)


def _judged(
    measures: Sequence[MapMeasures], keys: Sequence[str], subjects: Sequence[str], sides: Sequence[str], limit: float
) -> MapQuality:
    regions = ("femoral", "tibial")
    return judge_maps(measures, keys=keys, subjects=subjects, sides=sides, regions=regions, unit="mm", threshold=limit)


def digital(seed: int, *, noise: bool = True) -> Rows:
    """Thickness maps of digital people at all visits, as extracted or without noise of extraction."""
    rows = [
        (
            extract_maps(state.thickness, subject_generator(seed, index, 2, place), "smooth")
            if noise
            else state.thickness,
            *(state.subject, state.month, state.knee.side),
        )
        for index in range(N_SUBJECTS)
        for place, state in enumerate(simulate_states(seed, index, atlas_size=SIZE))
    ]
    targets, *names = zip(*rows, strict=True)
    return Rows(np.stack(targets).astype(np.float16).astype(np.float32), *names)


def _drawn(change: Callable[[Maps, np.random.Generator], Maps]) -> Fault:
    def fault(maps: Maps, region: int, rng: np.random.Generator) -> Maps:
        changed = maps.copy()
        changed[region] = change(maps[region], rng)
        return changed

    return fault


def _fixed(change: Callable[[Maps], Maps]) -> Fault:
    return _drawn(lambda image, _: change(image))


def _hole(image: Maps, rng: np.random.Generator) -> Maps:
    """14 x 14 pixels of 0 round a pixel of the map."""
    holed, inside = image.copy(), np.argwhere(np.isfinite(image))
    row, column = inside[rng.integers(len(inside))]
    holed[max(row - 7, 0) : row + 7, max(column - 7, 0) : column + 7] *= 0
    return holed


def _turned_inside(image: Maps) -> Maps:
    """Upside down where both have a value: the mask does not tell."""
    both = np.isfinite(image) & np.isfinite(image[::-1])
    return np.where(both, image[::-1], image)


def _smoothed(image: Maps) -> Maps:
    inside = np.isfinite(image)
    weights = ndimage.uniform_filter(inside.astype(np.float64), 5)
    return np.where(inside, ndimage.uniform_filter(np.nan_to_num(image), 5) / np.maximum(weights, 1e-6), np.nan)


FAULTS: dict[str, Fault] = {
    "times 10 (mm for cm)": _fixed(lambda image: 10 * image),
    "times 1.5": _fixed(lambda image: 1.5 * image),
    "divided by 1.5": _fixed(lambda image: image / 1.5),
    "shifted by 8 px": _fixed(lambda image: np.pad(image, ((8, 0), (0, 0)), constant_values=np.nan)[:-8]),
    "upside down": _fixed(lambda image: image[::-1]),
    "upside down within the mask": _fixed(_turned_inside),
    "noise of 0.3 mm": _drawn(lambda image, rng: np.maximum(image + 0.3 * rng.standard_normal(image.shape), 0)),
    "smoothed over 5 px": _fixed(_smoothed),
    "a hole of 14 x 14 zeros": _drawn(_hole),
    "half of it NaN": _fixed(lambda image: np.where(np.arange(SIZE)[:, None] < SIZE // 2, np.nan, image)),
    "0 for NaN": _fixed(np.nan_to_num),
    "the other region's map": lambda maps, region, _: np.stack([maps[1 - region]] * 2),
}


def timed(size: int) -> None:
    """Time 3,000 pairs of two regions, in seconds of one core."""
    rng = np.random.default_rng(0)
    mask = knee_atlas(size).mask
    levels = 2 + 0.3 * rng.standard_normal(50)
    pool = [
        np.where(mask, level + 0.1 * rng.standard_normal(mask.shape), np.nan).astype(np.float16) for level in levels
    ]
    start = time.process_time()
    measures = [measure_map(pool[row % len(pool)]) for row in range(N_TIMED)]
    measured = time.process_time() - start
    maps = [
        MapMeasures(m.numbers, m.values + 0.1 * rng.standard_normal(m.values.shape, dtype=np.float32), m.shares)
        for m in measures
    ]
    keys = [f"S{row // 6:05d}/{row % 6}" for row in range(N_TIMED)]
    start = time.process_time()
    _judged(maps, keys, [key.split("/")[0] for key in keys], [""] * N_TIMED, QC_THRESHOLD)
    judged = time.process_time() - start
    kept = sum(m.numbers.nbytes + m.values.nbytes + m.shares.nbytes for m in maps) / 1e6
    print(f"{size:4d} px: measuring {measured:5.1f} s, comparing {judged:5.1f} s; {kept:.0f} MB are kept")
    if size == SIZE:
        _timed_against_a_loop(np.stack([m.values[0] for m in maps]), np.stack([m.shares[0] for m in maps]), keys)


def _timed_against_a_loop(values: Maps, shares: Maps, keys: Sequence[str]) -> None:
    subjects = [key.split("/")[0] for key in keys]
    start = time.process_time()
    nearest_of_others(values, shares, subjects, keys)
    product = time.process_time() - start
    start = time.process_time()
    for row in range(0, N_TIMED, 30):
        weights = shares * shares[row]
        np.argpartition((weights * np.abs(values - values[row])).sum(axis=1) / weights.sum(axis=1), 5)
    loop = 30 * (time.process_time() - start)
    print(f"         nearest maps of one region {product:.1f} s, by a loop {loop:.1f} s, ratio {product / loop:.2f}")


def found(rows: Rows, title: str) -> None:
    """Plant each fault into 4 % of the maps and count what the threshold finds."""
    clean = rows.judged(rows.targets)
    counts = {limit: int((clean.outlier >= limit).sum()) for limit in (4, 5, 6, 8)}
    false = "  ".join(f"{limit}: {count} ({100 * count / len(rows.subjects):.2f} %)" for limit, count in counts.items())
    print(f"\n{title}: {len(rows.subjects)} sound pairs of {len(set(rows.subjects))} people")
    print(f"  flagged though sound, by threshold: {false}")
    print(
        f"  {'fault in 4 % of the pairs':30s} found at {QC_THRESHOLD:g}    at 5   sound pairs flagged   "
        "named most often"
    )
    for name, fault in FAULTS.items():
        rng = np.random.default_rng(1)
        broken = rng.choice(len(rows.subjects), round(SHARE * len(rows.subjects)), replace=False)
        targets = rows.targets.copy()
        for row in broken:
            targets[row] = fault(targets[row], int(rng.integers(2)), rng)
        quality = rows.judged(targets)
        shares = [float((quality.outlier[broken] >= limit).mean()) for limit in (QC_THRESHOLD, 5)]
        sound = int(np.delete(quality.flagged, broken).sum())
        names = [SCORES[quality.worst(int(row))[1]].name for row in broken]
        most = max(sorted(set(names)), key=names.count)
        print(f"  {name:30s} {100 * shares[0]:7.0f} % {100 * shares[1]:7.0f} % {sound:15d}          {most}")


def hurt(rows: Rows) -> None:
    """Mean over the 20 nearest of a database by the true map, with 5 % broken, and without those that are flagged."""
    people = sorted(set(rows.subjects))
    tested = set(people[: len(people) // 4])
    test = [row for row, s in enumerate(rows.subjects) if s in tested and rows.months[row] == 0]
    base = rows.chosen([row for row, s in enumerate(rows.subjects) if s not in tested])
    truth, rng = rows.targets[test], np.random.default_rng(2)
    # Neighbors as an imperfect encoder finds them: by a noisy copy of the sound maps, whatever is stored.
    blurred = [ndimage.zoom(np.nan_to_num(x), (1, 1, 0.125, 0.125), order=1) for x in (truth, base.targets)]
    noise = [x + 0.5 * rng.standard_normal(x.shape) for x in blurred]
    queries, gallery = (x.reshape(len(x), -1) for x in noise)
    apart = (queries**2).sum(1)[:, None] + (gallery**2).sum(1) - 2 * queries @ gallery.T
    broken = rng.choice(len(gallery), round(0.05 * len(gallery)), replace=False)
    targets, faults = base.targets.copy(), list(FAULTS.values())
    for place, row in enumerate(broken):
        targets[row] = faults[place % len(faults)](targets[row], int(rng.integers(2)), rng)
    flagged = base.judged(targets).flagged
    nothing = np.zeros(len(gallery), dtype=np.bool_)
    print(
        f"\nerror of the mean of the 20 nearest, {len(test)} queries, {len(gallery)} stored pairs, {len(broken)} broken"
    )
    for name, stored, left_out in (
        ("no broken map", base.targets, nothing),
        ("5 % broken", targets, nothing),
        (f"5 % broken, {flagged.sum()} flagged left out", targets, flagged),
    ):
        near = np.argsort(np.where(left_out, np.inf, apart), axis=1)[:, :20]
        inside = np.isfinite(truth)
        errors = [
            np.abs(np.nanmean(stored[rows][:, known], axis=0) - target[known])
            for rows, known, target in zip(near, inside, truth, strict=True)
        ]
        print(
            f"  {name:36s} mean {np.mean([np.nanmean(error) for error in errors]):.4f} mm, "
            f"median {np.mean([np.nanmedian(error) for error in errors]):.4f} mm"
        )


def main() -> None:
    print(f"map quality: {N_TIMED} pairs of two regions; {machine()}")
    for size in (64, 128, 310):
        timed(size)
    rows = digital(0)
    found(rows, "all visits")
    found(rows.chosen([row for row, month in enumerate(rows.months) if month == 0]), "first visits only")
    still = digital(1, noise=False)
    found(still.chosen([row for row, month in enumerate(still.months) if month == 0]), "first visits, no pixel noise")
    hurt(rows)


if __name__ == "__main__":
    main()
