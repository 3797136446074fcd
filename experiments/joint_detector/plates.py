"""Random plates at the detector's pixel size, far more varied than real ones: what the detector learns from.

Knees are simulated once and composed to whole plates (`make_pool`); each draw (`random_plate`) cuts a window out of
one, bends it, and changes tone, contrast, collimation, markers, implants and noise.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from mris.knee.joint_detector import PIXEL_MM
from mris.knee.phantom.bones import eminence_dip
from mris.knee.phantom.plate import compose_plate
from mris.knee.phantom.simulate import KneeVisit, simulate_subject

POOL_MM = 1.0
POOL_SHAPE = (464, 496)
_BORDER = 15
LARGEST = (176, 208)
"""Rows and columns of the largest window: 352 x 416 mm."""


@dataclass(frozen=True)
class Pool:
    """Composed plates with one or two knees; a missing center is NaN."""

    plates: np.ndarray  # (n, rows, columns) uint16
    centers: np.ndarray  # (n, 2, 2) row, column of right and left


@dataclass(frozen=True)
class Draw:
    """One random plate of pixels of `PIXEL_MM`.

    Joints are to be found, or replaced by an implant (no answer is wanted), or hidden by shutters, borders or an
    exposure that shows nothing (any answer is right).
    """

    pixels: np.ndarray  # (h, w) float32
    centers: tuple[tuple[float, float], ...]
    implants: tuple[tuple[float, float], ...]
    hidden: tuple[tuple[float, float], ...]


def joint_space_mm(visit: KneeVisit) -> tuple[float, float]:
    """Where the middle of the joint space lies from the middle of its picture, row and column: the view's shift.

    This is what the network is taught; `detect_joints` adds the way to the eminence. Taught the eminence itself, it
    left ten times as many joints of the people of development below its threshold: their spines look less like a
    phantom's than their joint spaces do.
    """
    down, across = visit.state.view.shift
    return down, across if visit.state.knee.side == "left" else -across


def eminence_mm(visit: KneeVisit) -> tuple[float, float]:
    """Where the middle of the eminence lies from the middle of its picture, row and column: the joint's center.

    It is the dip between the tibial spines, a little above the middle of the joint space; the view's roll turns the
    way from one to the other.
    """
    state = visit.state
    lateral, up = eminence_dip(state.shape)
    up -= 0.5 * state.placement.height
    cos, sin = np.cos(np.deg2rad(state.view.roll)), np.sin(np.deg2rad(state.view.roll))
    right = cos * lateral + sin * up
    down, across = joint_space_mm(visit)
    return down + sin * lateral - cos * up, across + (right if state.knee.side == "left" else -right)


def make_pool(path: Path, seed: int, n_subjects: int, n_plates: int) -> Pool:
    """Simulate the knees and compose the plates, or read them if they are there."""
    if path.is_file():
        with np.load(path) as arrays:
            return Pool(arrays["plates"], arrays["centers"])
    people = [simulate_subject(seed, i, size=192, enriched=True, max_visits=1)[:2] for i in range(n_subjects)]
    rng = np.random.default_rng([seed, 77])
    plates = np.zeros((n_plates, *POOL_SHAPE), np.uint16)
    found = np.full((n_plates, 2, 2), np.nan)
    rows, columns = POOL_SHAPE
    for k in range(n_plates):
        left, right = (
            people[k % n_subjects]
            if rng.random() < 0.7
            else (people[int(i)][0] for i in rng.integers(n_subjects, size=2))
        )
        if right.state.knee.side == "left":
            right = people[int(rng.integers(n_subjects))][1]
        apart = rng.uniform(150.0, 260.0) / POOL_MM
        middle, row = columns / 2 + rng.normal(0, 16) / POOL_MM, rows / 2 + rng.normal(0, 32) / POOL_MM
        pictures: dict[str, np.ndarray | None] = {"right": right.radiograph, "left": left.radiograph}
        centers = {
            "right": (row + rng.normal(0, 3) / POOL_MM, middle - apart / 2),
            "left": (row + rng.normal(0, 3) / POOL_MM, middle + apart / 2),
        }
        if rng.random() < 0.3:
            gone = ("right", "left")[int(rng.integers(2))]
            pictures[gone] = None
            del centers[gone]
            centers = {side: (row, middle + rng.normal(0, 24) / POOL_MM) for side in centers}
        plate = compose_plate(
            pictures["right"], pictures["left"], spacing_mm=POOL_MM, shape=POOL_SHAPE, centers=centers, rng=rng
        )
        plates[k] = plate.pixels
        for at, (side, visit) in enumerate((("right", right), ("left", left))):
            if side in centers:
                found[k, at] = np.asarray(centers[side]) + np.asarray(joint_space_mm(visit)) / POOL_MM
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, plates=plates, centers=found)
    return Pool(plates, found)


def random_plate(pool: Pool, rng: np.random.Generator, shape: tuple[int, int]) -> Draw:
    """Draw one plate of that many pixels."""
    k = int(rng.integers(len(pool.plates)))
    centers = pool.centers[k][~np.isnan(pool.centers[k]).any(axis=1)]
    kind = rng.choice(["knees", "crop", "none"], p=[0.58, 0.22, 0.20])
    pixels, found, frame = _window(pool.plates[k], centers, shape, rng, away=kind == "none")
    if kind == "none" and not found and rng.random() < 0.6:
        pixels = _scene(shape, rng)
    kept, implants = [], []
    p_implant = float(rng.choice([0.0, 1.0], p=[0.78, 0.22]))
    for center in found:
        if rng.random() < p_implant * 0.8:
            pixels = replaced(pixels, center, frame, rng)
            implants.append(center)
        else:
            kept.append(center)
    if rng.random() < 0.12 and len(found):
        pixels = _hardware(pixels, found[int(rng.integers(len(found)))], frame, rng)
    if rng.random() < 0.25:
        away = np.ones(pixels.shape, np.float32)
        for center in found:
            away *= np.clip((np.hypot(*frame.leg(pixels.shape, center)) - 40.0) / 10.0, 0.0, 1.0)
        pixels = _with_shapes(pixels, away, rng)
    if rng.random() < 0.4:
        pixels = _overlaid(pixels, kept, frame, rng)
    if rng.random() < 0.3:
        pixels = _trabeculae(pixels, frame, rng)
    visible = np.ones(pixels.shape, bool)
    inside = [c for c in kept if _is_seen(visible, c)]
    if kind == "crop" and inside:
        pixels, visible = _pasted(pixels, inside[int(rng.integers(len(inside)))], rng)
    elif kind == "none" and not found and rng.random() < 0.5:  # a rectangle alone is no knee
        pixels, visible = _pasted(pixels, tuple(rng.uniform(0.0, n - 1.0) for n in pixels.shape), rng)
    pixels = _photometry(pixels, rng)
    if rng.random() < 0.4:
        pixels, open_part = _collimated(pixels, rng)
        visible = visible & open_part
    if rng.random() < 0.5:
        pixels = _marked(pixels, rng)
    if rng.random() < 0.35:
        pixels = 1.0 - pixels
    clean = pixels
    if rng.random() < 0.7:
        pixels = pixels + rng.uniform(0.0, 0.05) * rng.standard_normal(pixels.shape, dtype=np.float32)
    seen = tuple(c for c in kept if _is_seen(visible, c) and _contrast(clean, c) > 0.02)
    hidden = tuple(c for c in kept if c not in seen)
    return Draw(pixels.astype(np.float32), seen, tuple(implants), hidden)


def _scene(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Shapes on an uneven or noisy ground: edges that belong to no knee."""
    pixels = 0.4 + rng.uniform(0.0, 0.15) * _smooth(rng, shape, rng.uniform(2.0, 40.0))
    if rng.random() < 0.5:
        pixels = pixels + rng.uniform(0.0, 0.2) * ndimage.gaussian_filter(
            rng.standard_normal(shape), rng.uniform(0.0, 1.5)
        )
    return np.clip(_with_shapes(pixels, np.ones(shape, np.float32), rng), 0.0, 1.0)


def _with_shapes(pixels: np.ndarray, where: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add ellipses and bands of any direction, as much as ``where`` (0 to 1) says."""
    shape = pixels.shape
    for _ in range(int(rng.integers(0, 8))):
        center = (rng.uniform(0.0, shape[0]), rng.uniform(0.0, shape[1]))
        x, y = Frame(angle=rng.uniform(-np.pi, np.pi)).leg(shape, center)
        half_x, half_y = np.exp(rng.uniform(np.log(4.0), np.log(90.0), 2))
        if rng.random() < 0.3:
            half_y = half_x
        if rng.random() < 0.5:
            part = _soft((np.hypot(x / half_x, y / half_y) - 1.0) * min(half_x, half_y))
        else:
            part = _box(x, y, half_x, half_y)
        pixels = pixels + rng.normal(0.0, 0.35) * part * where
    return pixels


def random_shape(rng: np.random.Generator) -> tuple[int, int]:
    """Draw rows and columns: 120 x 120 mm for a single knee to the largest plate for both."""
    rows = int(rng.integers(60, LARGEST[0] + 1))
    columns = int(rng.integers(60 if rng.random() < 0.2 else 110, LARGEST[1] + 1))
    return rows, columns


@dataclass(frozen=True)
class Frame:
    """How the leg lies in a picture: turn and scale against the picture's rows and columns."""

    angle: float = 0.0
    zoom: float = 1.0
    pixel_mm: float = PIXEL_MM

    def leg(self, shape: tuple[int, ...], center: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Distance (mm) of each pixel from a center across and along the leg (positive downwards)."""
        r, c = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        r, c = (r - center[0]) * self.pixel_mm / self.zoom, (c - center[1]) * self.pixel_mm / self.zoom
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return cos * c - sin * r, sin * c + cos * r


def _window(
    plate: np.ndarray, centers: np.ndarray, shape: tuple[int, int], rng: np.random.Generator, *, away: bool
) -> tuple[np.ndarray, list[tuple[float, float]], Frame]:
    """Cut, turn, scale, mirror and bend; the centers move along."""
    spread = 8.0 if rng.random() < 0.9 else 25.0
    angle = float(np.deg2rad(np.clip(rng.normal(0.0, spread), -40, 40)))
    zoom = float(np.exp(np.clip(rng.normal(0.06, 0.12), -0.25, 0.35)))
    stretch = float(np.exp(rng.normal(0.03, 0.06)))
    flip = 1.0 if rng.random() < 0.5 else -1.0
    anchor = centers.mean(axis=0) + rng.normal(0.0, 1.0, 2) * (35.0, 22.0) / POOL_MM
    if away:
        anchor[0] += (1 if rng.random() < 0.5 else -1) * rng.uniform(145.0, 240.0) / POOL_MM
    if rng.random() < 0.3:
        anchor = centers[int(rng.integers(len(centers)))] + rng.normal(0.0, 22.0, 2) / POOL_MM
    scale = PIXEL_MM / POOL_MM / zoom
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = scale * np.array([[cos, sin * flip / stretch], [-sin, cos * flip / stretch]])
    r, c = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    middle = (np.asarray(shape) - 1) / 2
    bend = rng.uniform(0.0, 2.2) * np.stack([_smooth(rng, shape, rng.uniform(14.0, 40.0)) for _ in range(2)])
    frame = Frame(-angle * flip, zoom)
    if rng.random() < 0.7:
        bend = bend + _arches(shape, [np.linalg.solve(matrix, c - anchor) + middle for c in centers], frame, rng)
    at = np.stack([r - middle[0], c - middle[1]]) + bend
    source = np.einsum("ij,jhw->ihw", matrix, at) + anchor[:, None, None]
    pixels = ndimage.map_coordinates(plate.astype(np.float32) / 65535.0, source, order=1, mode="nearest")
    found = []
    for center in centers:
        where = np.linalg.solve(matrix, center - anchor) + middle
        for _ in range(12):  # undo the bend by fixed-point steps
            row, column = (int(np.clip(round(v), 0, n - 1)) for v, n in zip(where, shape, strict=True))
            where = np.linalg.solve(matrix, center - anchor) + middle - bend[:, row, column]
        if all(-_BORDER <= v <= n - 1 + _BORDER for v, n in zip(where, shape, strict=True)):
            found.append((float(where[0]), float(where[1])))
    return pixels, found, frame


def _arches(shape: tuple[int, int], centers: list[np.ndarray], frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Bend that lifts the middle of each joint by up to 10 mm; real plateaus rise higher to the spines."""
    bend = np.zeros((2, *shape))
    lift, wide = rng.uniform(0.0, 10.0), rng.uniform(10.0, 24.0)
    tall = lift * rng.uniform(1.3, 3.0) + 8.0  # no fold: the bend changes by less than a pixel a pixel
    cos, sin = np.cos(frame.angle), np.sin(frame.angle)
    for center in centers:
        x, y = frame.leg(shape, (float(center[0]), float(center[1])))
        bump = lift / frame.pixel_mm * np.exp(-((x / wide) ** 2) - (y / tall) ** 2)
        bend += np.stack([cos * bump, -sin * bump])
    return bend


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Smooth field of mean 0 and standard deviation of about 1."""
    coarse = max(1, int(sigma / 3))
    small = rng.standard_normal([n // coarse + 4 for n in shape])
    small = ndimage.gaussian_filter(small, sigma / coarse, mode="wrap")
    small = small / max(small.std(), 1e-6)
    grid = np.mgrid[: shape[0], : shape[1]] / coarse
    return ndimage.map_coordinates(small, grid, order=1, mode="wrap")


def _soft(distance: np.ndarray) -> np.ndarray:
    """Inside (negative distance in mm) 1, outside 0, one pixel of transition."""
    return np.clip(0.5 - distance / PIXEL_MM, 0.0, 1.0)


def _box(x: np.ndarray, y: np.ndarray, half_x: float, half_y: float) -> np.ndarray:
    return _soft(np.maximum(np.abs(x) - half_x, np.abs(y) - half_y))


def replaced(pixels: np.ndarray, center: tuple[float, float], frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """A joint replacement: femoral cap, tibial tray with a stem; sometimes one compartment only."""
    x, y = frame.leg(pixels.shape, center)
    half = rng.uniform(29.0, 38.0)
    gap = rng.uniform(3.0, 7.0)
    if rng.random() < 0.2:
        x = x - (1 if rng.random() < 0.5 else -1) * rng.uniform(16.0, 21.0)
        half *= 0.42
    arcs = np.minimum(np.hypot(x - 0.5 * half, y + 16.0), np.hypot(x + 0.5 * half, y + 16.0))
    cap = _soft(np.maximum(arcs - (16.0 - gap / 2), -y - rng.uniform(18.0, 30.0)))
    cap = np.maximum(cap, _box(x, y + rng.uniform(14.0, 24.0), half * rng.uniform(0.8, 1.0), rng.uniform(4.0, 12.0)))
    tray = _box(x, y - gap - 4.0, half, rng.uniform(1.5, 3.5))
    stem = _box(x, y - 26.0, rng.uniform(4.0, 8.0), rng.uniform(10.0, 24.0))
    metal = np.maximum(np.maximum(cap, tray), stem)
    if rng.random() < 0.2:
        metal = np.maximum(metal, _box(x, y + 50.0, rng.uniform(4.0, 7.0), rng.uniform(25.0, 60.0)))
    return pixels * (1.0 - metal) + rng.uniform(0.95, 1.3) * metal


def _hardware(pixels: np.ndarray, center: tuple[float, float], frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Screws, plates and nails that leave the joint itself as it is."""
    x, y = frame.leg(pixels.shape, center)
    metal = np.zeros_like(pixels)
    side = 1 if rng.random() < 0.5 else -1
    away = side * rng.uniform(26.0, 60.0)
    if rng.random() < 0.4:
        metal = np.maximum(metal, _box(x - rng.uniform(-30.0, 30.0), y - away * 1.7, 3.0, rng.uniform(20.0, 45.0)))
    if rng.random() < 0.25:
        metal = np.maximum(metal, _box(x, y - side * 110.0, 5.0, 80.0))
    for _ in range(int(rng.integers(1, 4))):
        turn, along = rng.normal(0.0, 0.4), away + rng.normal(0.0, 8.0)
        u = np.cos(turn) * (x - rng.normal(0, 8)) + np.sin(turn) * (y - along)
        v = -np.sin(turn) * x + np.cos(turn) * (y - along)
        metal = np.maximum(metal, _box(u, v, rng.uniform(8.0, 30.0), rng.uniform(1.2, 3.0)))
    return pixels * (1.0 - metal) + rng.uniform(0.9, 1.3) * metal


def _overlaid(
    pixels: np.ndarray, centers: list[tuple[float, float]], frame: Frame, rng: np.random.Generator
) -> np.ndarray:
    """A dense patella over each femur, or a notch that lets more light through."""
    for center in centers:
        x, y = frame.leg(pixels.shape, center)
        up, beside = rng.uniform(18.0, 50.0), rng.normal(0.0, 5.0)
        patella = np.hypot((x - beside) / rng.uniform(17.0, 25.0), (y + up) / rng.uniform(17.0, 27.0))
        pixels = pixels + rng.uniform(0.0, 0.3) / (1.0 + np.exp(rng.uniform(4.0, 20.0) * (patella - 1.0)))
        notch = np.hypot((x - rng.normal(0.0, 2.0)) / rng.uniform(7.0, 14.0), (y + rng.uniform(5.0, 13.0)) / 8.0)
        pixels = pixels * (1.0 - rng.uniform(0.0, 0.6) / (1.0 + np.exp(rng.uniform(4.0, 12.0) * (notch - 1.0))))
    return pixels


def _trabeculae(pixels: np.ndarray, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Fine streaks along the leg, as spongy bone shows them."""
    grain = rng.standard_normal(pixels.shape)
    grain = ndimage.gaussian_filter(grain, (rng.uniform(0.5, 4.0), rng.uniform(0.4, 0.8)))
    grain = ndimage.rotate(np.pad(grain, 20, mode="wrap"), np.rad2deg(frame.angle), reshape=False, order=1)[
        20:-20, 20:-20
    ]
    return pixels * (1.0 + 0.08 * rng.random() ** 2 * grain / grain.std())


def _pasted(pixels: np.ndarray, center: tuple[float, float], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Only a rectangle round a place is left; the rest is empty, a slope, noise, or a shifted piece of the plate."""
    half = rng.uniform(34.0, 75.0, 2) / PIXEL_MM
    if rng.random() < 0.6:
        half[1] = half[0]
    middle = np.asarray(center) + np.clip(rng.normal(0.0, 5.0, 2), -0.6 * half, 0.6 * half)
    top, left = np.maximum(np.round(middle - half).astype(int), 0)
    bottom, right = np.minimum(np.round(middle + half).astype(int) + 1, pixels.shape)
    crop = pixels[top:bottom, left:right]
    if rng.random() < 0.7:
        crop = _equalized(crop, rng)
    kind = rng.integers(5)
    ground = np.full_like(pixels, rng.choice([0.0, rng.uniform(0.0, 1.0)]))
    if kind == 1:
        ground = 0.5 + 0.2 * _smooth(rng, pixels.shape, rng.uniform(5.0, 40.0))
    elif kind == 2:
        ground = np.roll(pixels, int(pixels.shape[0] * rng.uniform(0.35, 0.65)), axis=0)[:, ::-1] * rng.uniform(
            0.3, 1.0
        )
        ground = ndimage.gaussian_filter(ground, rng.uniform(3.0, 8.0))
    elif kind == 3:
        r, c = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
        ground = 0.5 + rng.normal(0, 0.004) * (r - r.mean()) + rng.normal(0, 0.004) * (c - c.mean())
    elif kind == 4:
        line = pixels.mean(axis=0) if rng.random() < 0.5 else pixels[0]
        ground = np.broadcast_to(line, pixels.shape) * rng.uniform(0.5, 1.0)
    feather = rng.uniform(0.5, 6.0) if rng.random() < 0.5 else 0.5
    inside = np.zeros_like(pixels)
    inside[top:bottom, left:right] = 1.0
    if feather > 0.6:
        inside *= np.clip(ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1] / feather, 0.0, 1.0)
    front = np.zeros_like(pixels)
    front[top:bottom, left:right] = crop
    return inside * front + (1.0 - inside) * ground, inside > 0.5


def _contrast(pixels: np.ndarray, center: tuple[float, float]) -> float:
    """Standard deviation within 16 mm of a center."""
    row, column = (round(v) for v in center)
    return float(pixels[max(row - 8, 0) : row + 9, max(column - 8, 0) : column + 9].std())


def _is_seen(visible: np.ndarray, center: tuple[float, float]) -> bool:
    row, column = (round(v) for v in center)
    inside = 0 <= row < visible.shape[0] and 0 <= column < visible.shape[1]
    return bool(inside and visible[row, column])


def _equalized(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contrast made even over windows of 10 to 60 mm, as an adaptive equalisation of histograms does."""
    size = max(3, round(rng.uniform(10.0, 60.0) / PIXEL_MM))
    mean = ndimage.uniform_filter(ndimage.uniform_filter(pixels, size), size)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(ndimage.uniform_filter((pixels - mean) ** 2, size), size), 0.0))
    even = 0.5 + rng.uniform(0.12, 0.3) * (pixels - mean) / (spread + rng.uniform(0.01, 0.06))
    share = rng.uniform(0.3, 1.0)
    return (1.0 - share) * pixels + share * np.clip(even, 0.0, 1.0)


def _photometry(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    pixels = np.clip(pixels, 0.0, 1.3)
    if rng.random() < 0.3:
        pixels = pixels * (1.0 + rng.uniform(0.0, 0.15) * _smooth(rng, pixels.shape, rng.uniform(1.5, 6.0)))
    if rng.random() < 0.45:
        pixels = _equalized(pixels, rng)
    if rng.random() < 0.3:
        pixels = pixels + rng.uniform(0.3, 2.0) * (pixels - ndimage.gaussian_filter(pixels, rng.uniform(1.0, 6.0)))
    low = float(pixels.min()) + rng.uniform(-0.1, 0.3) * float(np.ptp(pixels))
    high = float(pixels.max()) - rng.uniform(-0.1, 0.35) * float(np.ptp(pixels))
    pixels = np.clip((pixels - low) / max(high - low, 0.05), 0.0, 1.0)
    pixels = pixels ** float(np.exp(rng.normal(0.0, 0.35)))
    if rng.random() < 0.4:
        pixels = pixels + rng.uniform(0.0, 0.15) * _smooth(rng, pixels.shape, rng.uniform(20.0, 60.0))
    if rng.random() < 0.35:
        pixels = ndimage.gaussian_filter(pixels, rng.uniform(0.3, 1.3))
    return pixels


def _collimated(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Up to four straight shutters, turned together, black or white or grey beyond."""
    h, w = pixels.shape
    r, c = np.mgrid[:h, :w]
    turn = rng.normal(0.0, 0.08)
    x = np.cos(turn) * (c - w / 2) + np.sin(turn) * (r - h / 2)
    y = -np.sin(turn) * (c - w / 2) + np.cos(turn) * (r - h / 2)
    edges = [n / 2 - n * (rng.uniform(0.02, 0.3) if rng.random() < 0.6 else -0.5) for n in (w, w, h, h)]
    distance = np.maximum(np.maximum(x - edges[0], -x - edges[1]), np.maximum(y - edges[2], -y - edges[3]))
    visible = distance < 0
    soft = np.clip(0.5 - distance / rng.uniform(1.0, 3.0), 0.0, 1.0)
    level = float(rng.choice([0.0, 1.0, rng.uniform(0.0, 1.0)], p=[0.6, 0.25, 0.15]))
    return soft * pixels + (1.0 - soft) * level, visible


def _marked(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Letters L and R, bars of text, lead shot, rulers."""
    pixels = pixels.copy()
    h, w = pixels.shape
    for _ in range(int(rng.integers(1, 4))):
        row, column = int(rng.integers(h)), int(rng.integers(w))
        tall = int(rng.integers(4, 12))
        level = float(rng.choice([0.0, 1.0, 1.15], p=[0.2, 0.5, 0.3]))
        kind = int(rng.integers(4))
        if kind == 0:  # L
            pixels[row : row + tall, column : column + 2] = level
            pixels[row + tall - 2 : row + tall, column : column + tall // 2 + 1] = level
        elif kind == 1:  # R
            pixels[row : row + tall, column : column + 2] = level
            pixels[row : row + 1, column : column + tall // 2 + 1] = level
            pixels[row + tall // 2 : row + tall // 2 + 1, column : column + tall // 2 + 1] = level
            for step in range(tall):
                pixels[row + step : row + step + 1, column + tall // 2 : column + tall // 2 + 1] = level
        elif kind == 2:  # text
            length = int(rng.integers(8, 50))
            bars = rng.random((max(2, tall // 3), length)) < 0.6
            part = pixels[row : row + bars.shape[0], column : column + length]
            part[bars[: part.shape[0], : part.shape[1]]] = level
        else:  # ruler or shot
            pixels[row : row + int(rng.integers(1, 60)) : int(rng.integers(1, 6)), column : column + 3] = level
    return pixels
