"""How far a synthesized image is from the truth, on a mask that no method can change.

All functions take one image and one boolean mask. The mask is the caller's: truth finite and inside the atlas mask.
Pixels outside it never count, whatever a method says there; inside it every pixel counts, whatever a method leaves out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32
from skimage.metrics import structural_similarity

from mris.errors import SettingsError
from mris.types import AtlasMask, TargetMap

PSNR_CEILING = 100.0
"""A perfect image would have an infinite PSNR and spoil every mean; it counts as this many dB."""

_SSIM_WINDOW = 7


def image_errors(
    truth: TargetMap, prediction: TargetMap, mask: AtlasMask, own: AtlasMask, *, data_range: float
) -> Float[np.ndarray, "regions_and_combined metrics"]:
    """Measure one synthesized image, region by region and over all regions together.

    With e = abs(prediction - truth) over the pixels of the mask: ``median`` is median(e), ``mad`` is
    median(abs(e - median(e))), ``mae`` is mean(e), ``rmse`` is sqrt(mean(e**2)), ``psnr`` is
    20 log10(data_range / rmse) dB (at most `PSNR_CEILING`), ``ssim`` is the structural similarity map (window of 7 x 7
    pixels, 0 outside the mask in both images) averaged over the mask, and ``coverage`` is the share of the mask's
    pixels that the method predicted itself.

    Args:
        truth: (r, h, w) the true target, finite inside the mask.
        prediction: (r, h, w) the synthesis, finite inside the mask (see `fill_missing`).
        mask: (r, h, w) the evaluation mask.
        own: (r, h, w) where the method had a value of its own.
        data_range: The fixed range of target values that PSNR and SSIM refer to, in the target's unit, above 0.

    Returns:
        (r + 1, m) numbers in the order of `METRICS`: one row a region, then all regions as one image. A row without a
        single pixel in its mask is NaN.

    Raises:
        SettingsError: The data range is not positive.
    """
    if not data_range > 0:
        raise SettingsError(f"data range {data_range}: PSNR and SSIM need a range above 0, in the unit of the target")
    error = np.abs(prediction.astype(np.float64) - truth.astype(np.float64))
    similarity = np.stack([ssim_map(t, p, m, data_range) for t, p, m in zip(truth, prediction, mask, strict=True)])
    rows = [
        _summary(Compared(error[part][mask[part]], similarity[part][mask[part]], own[part][mask[part]], data_range))
        for part in [*range(len(truth)), slice(None)]
    ]
    return np.stack(rows)


def ssim_map(
    truth: Float32[np.ndarray, "h w"],
    prediction: Float32[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    data_range: float,
) -> Float32[np.ndarray, "h w"]:
    """Compute the structural similarity at each pixel of a mask; outside the mask both images are 0.

    Only the mask's bounding box (plus the window's reach) is computed; the values inside are those of the whole image.
    Images of less than 3 pixels a side have no neighborhood: NaN. Below 7 pixels a side the window is the largest odd
    one that fits.

    Args:
        truth: (h, w) true values.
        prediction: (h, w) synthesized values.
        mask: (h, w) where the two are compared.
        data_range: Range of values, above 0.

    Returns:
        (h, w) similarities in [-1, 1], NaN outside the mask.
    """
    result = np.full(mask.shape, np.nan, dtype=np.float32)
    smaller_side = min(mask.shape)
    if smaller_side < 3 or not mask.any():
        return result
    window = min(_SSIM_WINDOW, smaller_side - (smaller_side + 1) % 2)
    box = bounding_box(mask, window)
    inside = mask[box]
    _, similarity = structural_similarity(  # type: ignore[no-untyped-call]
        np.where(inside, truth[box], np.float32(0)),
        np.where(inside, prediction[box], np.float32(0)),
        data_range=data_range,
        win_size=window,
        full=True,
    )
    result[box] = np.where(inside, similarity, np.nan)
    return result


def bounding_box(mask: Bool[np.ndarray, "h w"], margin: int) -> tuple[slice, slice]:
    """Bound the pixels of a mask with a margin inside the image; an empty mask is bounded by the whole image."""
    bounds = []
    for axis in (1, 0):
        hit = np.flatnonzero(mask.any(axis=axis) if mask.any() else np.ones(mask.shape[1 - axis]))
        start, stop = max(int(hit[0]) - margin, 0), min(int(hit[-1]) + 1 + margin, mask.shape[1 - axis])
        bounds.append(slice(start, stop))
    return bounds[0], bounds[1]


@dataclass(frozen=True, eq=False)
class Compared:
    """One image beside the truth, inside the mask.

    Attributes:
        error: (pixels,) absolute errors, one pixel or more.
        similarity: (pixels,) structural similarities (see `ssim_map`).
        own: (pixels,) where the method had a value of its own.
        data_range: Range of values that PSNR refers to, in the unit of the error.
    """

    error: Float[np.ndarray, " pixels"]
    similarity: Float[np.ndarray, " pixels"]
    own: Bool[np.ndarray, " pixels"]
    data_range: float


def _median(error: Float[np.ndarray, " pixels"]) -> float:
    return float(np.median(error))


def _deviation(error: Float[np.ndarray, " pixels"]) -> float:
    return float(np.median(np.abs(error - np.median(error))))


def _mean(error: Float[np.ndarray, " pixels"]) -> float:
    return float(error.mean())


def _root_mean_square(error: Float[np.ndarray, " pixels"]) -> float:
    return float(np.sqrt(np.mean(error**2)))


def _psnr(compared: Compared) -> float:
    smallest = compared.data_range * 10 ** (-PSNR_CEILING / 20)
    return float(20 * np.log10(compared.data_range / max(_root_mean_square(compared.error), smallest)))


@dataclass(frozen=True)
class Metric:
    """One number of an image, and all that tables, figures and comparisons need to know of it.

    Attributes:
        name: In files.
        title: Above a column.
        meaning: In words.
        unit: "target" (that of the targets), "dB", "share" (written as a percentage) or "" (none).
        digits: Decimals; None where the size of the errors decides.
        higher_is_better: Whether more is better.
        compared: Whether methods are compared by it.
        measure: The number of one image.
    """

    name: str
    title: str
    meaning: str
    unit: Literal["target", "dB", "share", ""]
    digits: int | None
    higher_is_better: bool
    compared: bool
    measure: Callable[[Compared], float]


def _of_error(measure: Callable[[Float[np.ndarray, " pixels"]], float]) -> Callable[[Compared], float]:
    return lambda compared: measure(compared.error)


def _ssim(compared: Compared) -> float:
    return float(compared.similarity.mean(dtype=np.float64))


def _coverage(compared: Compared) -> float:
    return float(compared.own.mean())


_ALL = (
    Metric("median", "median error", "median absolute error", "target", None, False, True, _of_error(_median)),
    Metric("mad", "its MAD", "median absolute deviation", "target", None, False, False, _of_error(_deviation)),
    Metric("mae", "MAE", "MAE", "target", None, False, True, _of_error(_mean)),
    Metric("rmse", "RMSE", "RMSE", "target", None, False, True, _of_error(_root_mean_square)),
    Metric("psnr", "PSNR", "PSNR", "dB", 1, True, True, _psnr),
    Metric("ssim", "SSIM", "SSIM", "", 3, True, True, _ssim),
    Metric("coverage", "coverage", "coverage", "share", 1, True, False, _coverage),
)
METRIC = {metric.name: metric for metric in _ALL}
"""Every number of an image by its name, in the order of every table: one entry more is one more in all of them."""

METRICS = tuple(METRIC)
"""Their names, in the order of the last axis of every array of them."""


def error_numbers(error: Float[np.ndarray, " pixels"]) -> tuple[float, float, float, float]:
    """Summarize absolute errors of one image: median, MAD, MAE and RMSE, as `METRIC` has them.

    Args:
        error: (pixels,) absolute errors inside the mask.

    Returns:
        The four numbers, in the unit of the error; NaN without a pixel.

    Example:
        >>> error_numbers(np.array([0.0, 1.0, 5.0]))[:3]
        (1.0, 1.0, 2.0)
    """
    if error.size == 0:
        return (np.nan,) * 4
    return _median(error), _deviation(error), _mean(error), _root_mean_square(error)


def _summary(compared: Compared) -> Float[np.ndarray, " metrics"]:
    if compared.error.size == 0:
        return np.full(len(METRICS), np.nan)
    return np.array([metric.measure(compared) for metric in METRIC.values()])
