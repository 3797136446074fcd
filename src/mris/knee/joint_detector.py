"""Centers of the knee joints on a plate, found by a small heat-map network that saw digital knees only.

The plate is brought to pixels of `PIXEL_MM`; a fully convolutional network answers with one heat map for all knees; its
highest peaks, made finer by their centroid, are the joints. The network is ``weights/joint_detector.onnx``, trained by
``experiments/joint_detector/train.py``; facts about it are in the JSON beside it.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Float, Float32, Float64

from mris.errors import BundleError, ImageError, reason_of
from mris.images.image import Image
from mris.records import Record, read_record
from mris.training.onnx_network import RUNTIME_ERRORS
from mris.training.onnx_runtime import onnxruntime

PIXEL_MM = 2.0
"""Size of the network's input pixels."""

STRIDE = 2
"""Input pixels in one pixel of the heat map."""

MIN_CONFIDENCE = 0.5
"""Below it a person should give the center. The confidence is calibrated so that this is the threshold chosen."""

WEIGHTS = Path(__file__).with_name("weights") / "joint_detector.onnx"

LEAST_EXTENT_MM, LARGEST_EXTENT_MM = 40.0, 1500.0
"""Shortest and longest edge of a plate with knees."""

_MULTIPLE = 16
_WINDOW_MM = 42.0
_APART_MM = 100.0
_PEAK_RADIUS = 3
_HEAT_SD_MM = 6.0
_HEAT_RADIUS_MM = 16.0
_SECOND_CONFIDENCE = 0.1
_EMINENCE_MM = 1.4
"""How much higher the middle of the eminence lies than the middle of the joint space, on average in phantom knees."""


@dataclass(frozen=True)
class JointDetection:
    """One joint.

    Attributes:
        center: Row and column in pixels of the plate; 0 is the center of the first pixel.
        confidence: From 0 to 1; below `MIN_CONFIDENCE` a person should give the center.
    """

    center: tuple[float, float]
    confidence: float


def detect_joints(plate: Image) -> tuple[JointDetection, ...]:
    """Find the centers of at most two knee joints on a radiograph of any size, either photometric interpretation.

    A joint's center is the middle of the tibial eminence. The network finds the middle of the joint space, 1.4 mm
    below it in a leg that stands upright. A second joint is returned where its confidence is at least 0.1 and it is at
    least 100 mm from the first. The first is always returned, with its confidence, however low that is.

    Args:
        plate: Needs a spacing; several channels are averaged.

    Returns:
        One or two detections, the one further left in the picture first.

    Raises:
        ImageError: If the spacing is unknown, or with it the plate would be smaller than 40 mm or larger than 1.5 m.
        BundleError: If the package's weights are missing or damaged.

    Example:
        >>> from mris.knee.phantom.simulate import simulate_subject
        >>> from mris.knee.phantom.plate import compose_plate
        >>> knee = simulate_subject(0, 1, size=64, max_visits=1)[0].radiograph
        >>> rng = np.random.default_rng(0)
        >>> plate = compose_plate(None, knee, spacing_mm=0.5, shape=(600, 500), centers={"left": (280, 250)}, rng=rng)
        >>> (found,) = detect_joints(Image.from_array(plate.pixels, spacing=plate.spacing))
        >>> bool(abs(found.center[0] - 280) < 20), bool(abs(found.center[1] - 250) < 20)
        (True, True)
    """
    small = detector_pixels(plate)
    heat = _heat_map(detector_input(small))
    found = []
    for row, column, share in heat_peaks(heat, small.shape):
        eminence = (row - _EMINENCE_MM / (STRIDE * PIXEL_MM), column)
        at = tuple(
            min(max(((STRIDE * v + (STRIDE - 1) / 2) + 0.5) * n / m - 0.5, 0.0), n - 1.0)
            for v, n, m in zip(eminence, plate.size, small.shape, strict=True)
        )
        found.append(JointDetection((float(at[0]), float(at[1])), _confidence(share)))
    kept = [one for rank, one in enumerate(found) if rank == 0 or one.confidence >= _SECOND_CONFIDENCE]
    return tuple(sorted(kept, key=lambda one: one.center[1]))


def detector_pixels(plate: Image) -> Float32[np.ndarray, "h w"]:
    """Bring a plate to pixels of about `PIXEL_MM` (outer edges stay where they are).

    Raises:
        ImageError: As `detect_joints`.
    """
    if plate.extent_mm is None or plate.spacing is None:
        raise ImageError(
            f"image {plate.origin}: its pixel spacing is unknown, and joints are looked for at a known scale; "
            "give the spacing, or the centers"
        )
    if min(plate.extent_mm) < LEAST_EXTENT_MM or max(plate.extent_mm) > LARGEST_EXTENT_MM:
        raise ImageError(
            f"image {plate.origin}: {plate.extent_mm[0]:g} x {plate.extent_mm[1]:g} mm, but a plate with knees is "
            f"{LEAST_EXTENT_MM:g} to {LARGEST_EXTENT_MM:g} mm wide and high; give the right spacing, or the centers"
        )
    pixels = plate.pixels.mean(axis=0) if plate.n_channels > 1 else plate.pixels[0]
    missing = np.isnan(pixels)
    if missing.any():
        pixels = np.where(missing, np.float32(0.0) if missing.all() else np.nanmin(pixels), pixels)
    size = tuple(max(1, round(mm / PIXEL_MM)) for mm in plate.extent_mm)
    # PIL averages whole blocks first, down to twice the wanted size: much faster than one wide filter.
    picture = PIL.Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return np.asarray(picture.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR, reducing_gap=2.0))


def detector_input(pixels: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "2 h2 w2"]:
    """Turn pixels of `PIXEL_MM` into the network's two channels, padded at the bottom and right to a multiple of 16.

    The first channel is the picture between its 1st and 99th percentile, from -1 to 1; the second is the picture less
    its local mean, divided by its local standard deviation (windows of 42 mm), from -1 to 1 at three deviations.
    """
    values = pixels.astype(np.float64)
    low, high = np.percentile(values, (1.0, 99.0))
    # Rounding of a constant level is no picture.
    scale = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-30)
    shown = np.clip((values - low) / scale, 0.0, 1.0)
    size = round(_WINDOW_MM / PIXEL_MM)
    mean = window_means(shown, size)
    variance = window_means(shown * shown, size) - mean * mean
    local = (shown - mean) / (3.0 * (np.sqrt(np.maximum(variance, 0.0)) + 0.02))
    both = np.stack([2.0 * shown - 1.0, np.clip(local, -1.0, 1.0)]).astype(np.float32)
    beyond = [(0, -n % _MULTIPLE) for n in pixels.shape]
    return np.pad(both, ((0, 0), *beyond))


def window_means(values: Float64[np.ndarray, "h w"], size: int) -> Float64[np.ndarray, "h w"]:
    """Average over a square window round each pixel; beyond the border stands the nearest pixel.

    To the last bit ``scipy.ndimage.uniform_filter``, whose import takes longer than to look at many pictures.

    Args:
        values: Pixels.
        size: Edge of the window in pixels, at least 1.
    """
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)
        padded = np.pad(lines, ((size // 2, size - 1 - size // 2), (0, 0)), mode="edge")
        first = np.cumsum(padded[:size], axis=0)[-1:]
        sums = np.cumsum(np.concatenate([first, padded[size:] - padded[:-size]]), axis=0)
        values = np.moveaxis(sums / size, 0, axis)
    return values


def heat_peaks(
    heat: Float[np.ndarray, "h w"], shape: tuple[int, ...], n_most: int = 2
) -> tuple[tuple[float, float, float], ...]:
    """Highest peaks of a heat map, at least 100 mm apart: row, column (heat-map pixels, sub-pixel) and share of heat.

    The position is the centroid of the heat within three pixels of the highest one. The share is the heat within 16 mm
    of that position over the heat of a joint as the network was taught it, a Gaussian with a standard deviation of
    6 mm and a height of 1. Where the network is sure of a joint and less so of its row, as on real radiographs, the
    height falls and the share does not.

    Args:
        heat: From 0 to 1.
        shape: Rows and columns of the input before padding; beyond them nothing is looked for.
        n_most: How many.
    """
    heat = np.asarray(heat[: -(-shape[0] // STRIDE), : -(-shape[1] // STRIDE)], dtype=np.float64)
    left = heat.copy()
    peaks = []
    for _ in range(n_most):
        row, column = (int(v) for v in np.unravel_index(int(left.argmax()), left.shape))
        height = float(left[row, column])
        if height < 0:
            break
        top, first = max(row - _PEAK_RADIUS, 0), max(column - _PEAK_RADIUS, 0)
        part = heat[top : row + _PEAK_RADIUS + 1, first : column + _PEAK_RADIUS + 1]
        weights = np.maximum(part - 0.2 * height, 0.0) + 1e-12
        rows, columns = np.indices(part.shape)
        at = (
            top + float((weights * rows).sum() / weights.sum()),
            first + float((weights * columns).sum() / weights.sum()),
        )
        peaks.append((*at, _share_of_heat(heat, at)))
        r, c = np.ogrid[: heat.shape[0], : heat.shape[1]]
        near = np.hypot(r - row, c - column) * (STRIDE * PIXEL_MM) < _APART_MM
        left[near] = -1.0
    return tuple(peaks)


def _share_of_heat(heat: Float[np.ndarray, "h w"], center: tuple[float, float]) -> float:
    """Heat round a place over the heat of one joint."""
    pixel = STRIDE * PIXEL_MM
    r, c = np.ogrid[: heat.shape[0], : heat.shape[1]]
    near = np.hypot(r - center[0], c - center[1]) * pixel < _HEAT_RADIUS_MM
    return float(heat[near].sum() / (2.0 * np.pi * (_HEAT_SD_MM / pixel) ** 2))


def _heat_map(inputs: Float32[np.ndarray, "2 h w"]) -> Float32[np.ndarray, "h2 w2"]:
    (heat,) = _session().run(None, {"plate": inputs[None]})
    return np.asarray(heat[0, 0], dtype=np.float32)


def _confidence(share: float) -> float:
    """Logistic function of the logarithm of the share of heat; scale and offset were fitted on validation plates."""
    calibration = detector_facts().calibration
    x = calibration.scale * np.log(max(share, 1e-6)) + calibration.offset
    return float(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))


class Calibration(Record):
    """From a share of heat to a confidence, see `_confidence`."""

    scale: float
    offset: float


class DetectorFacts(Record):
    """What is known about the network.

    Attributes:
        pixel_mm: Size in mm of the pixels that it sees.
        stride: Input pixels for each pixel of its answer.
        calibration: Of its confidence.
        validation: Counts on plates of the kind that it was trained on, of other subjects.
        sha256: SHA-256 (hex) of the weights' file.
    """

    pixel_mm: float
    stride: int
    calibration: Calibration
    validation: Mapping[str, int | float]
    sha256: str


@functools.cache
def detector_facts() -> DetectorFacts:
    """Read what lies beside the network's weights.

    Raises:
        BundleError: If the file is missing or damaged.
    """
    return read_record(WEIGHTS.with_suffix(".json"), DetectorFacts, BundleError, "install mris again")


@functools.cache
def _session() -> Any:
    expected = detector_facts().sha256
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        content = WEIGHTS.read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            raise ValueError("its SHA-256 is not the one that the facts beside it give")
        return onnxruntime.InferenceSession(content, sess_options=options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise BundleError(
            f"the joint detector {WEIGHTS} cannot be loaded ({reason_of(error)}); "
            "install mris again, or give the centers"
        ) from error
