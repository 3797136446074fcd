"""A classifier's answers on the test images, checked once, where they are made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from mris.errors import CohortError, SettingsError

_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ClassPredictions:
    """A classifier's answers on the test images.

    Args:
        keys: (n,) the images' keys, each once. Keys name people's visits: treat this as personal data.
        subjects: (n,) the person of each image.
        truth: (n,) true classes, from 0 to c - 1.
        probabilities: (n, c) probability of each class, each row of sum 1.
        class_names: (c,) names of the classes, in ascending order where they have one; at least two.

    Raises:
        CohortError: There is no image, a key stands twice, or a true class is out of range.
        SettingsError: Shapes do not fit, a class name stands twice, or the rows are no probabilities.

    Example:
        >>> answers = np.array([[0.9, 0.1], [0.4, 0.6]])
        >>> ClassPredictions(("a", "b"), ("S1", "S2"), np.array([0, 0]), answers, ("stays", "rises")).predicted.tolist()
        [0, 1]
    """

    keys: tuple[str, ...]
    subjects: tuple[str, ...]
    truth: Int64[np.ndarray, " n"]
    probabilities: Float64[np.ndarray, "n c"]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_keys(self.keys)
        _check_truth(self)
        _check_probabilities(self)

    @property
    def predicted(self) -> Int64[np.ndarray, " n"]:
        """The most probable class of each image; of equals the first."""
        most_probable: Int64[np.ndarray, " n"] = self.probabilities.argmax(axis=1)
        return most_probable


def check_same_images(one: ClassPredictions, other: ClassPredictions) -> None:
    """Check that two classifiers were tested on the same images, with the same people and the same truth.

    Raises:
        CohortError: They were not.
    """
    if one.class_names != other.class_names:
        raise CohortError(
            f"one classifier knows the classes {one.class_names}, the other {other.class_names}: "
            "compare classifiers of one task"
        )
    if len(one.keys) != len(other.keys):
        raise CohortError(
            f"one classifier was tested on {len(one.keys)} images, the other on {len(other.keys)}: "
            "test both on the same images in the same order"
        )
    for i, (key, theirs) in enumerate(zip(one.keys, other.keys, strict=True)):
        if key != theirs:
            raise CohortError(
                f"test image {i} is {key!r} for one classifier and {theirs!r} for the other: "
                "test both on the same images in the same order"
            )
    for what, mine, yours in (("subject", one.subjects, other.subjects), ("true class", one.truth, other.truth)):
        for key, a, b in zip(one.keys, mine, yours, strict=True):
            if a != b:
                raise CohortError(
                    f"test image {key!r} has {what} {a} for one classifier and {b} for the other: "
                    "take both from the same labels"
                )


def _check_shapes(predictions: ClassPredictions) -> None:
    names, n = predictions.class_names, len(predictions.keys)
    if len(names) < 2 or len(set(names)) < len(names):
        raise SettingsError(f"class names {names}: give two or more, each once")
    if n == 0:
        raise CohortError("no test image: a classifier is measured on one at least")
    if predictions.truth.dtype.kind not in "iu":
        raise SettingsError(f"truth of type {predictions.truth.dtype}: give class codes as whole numbers")
    shapes = (len(predictions.subjects),), predictions.truth.shape, predictions.probabilities.shape
    if shapes != ((n,), (n,), (n, len(names))):
        raise SettingsError(
            f"{n} keys and {len(names)} classes, but subjects, truth and probabilities have shapes "
            f"{', '.join(map(str, shapes))}: give ({n},), ({n},) and ({n}, {len(names)})"
        )


def _check_keys(keys: Sequence[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise CohortError(f"key {key!r} stands twice among the test images; measure each image once")
        seen.add(key)


def _check_truth(predictions: ClassPredictions) -> None:
    truth, n_classes = predictions.truth, len(predictions.class_names)
    bad = (truth < 0) | (truth >= n_classes)
    if bad.any():
        first = int(bad.argmax())
        raise CohortError(
            f"image {predictions.keys[first]!r} is of class {int(truth[first])}, the classes are numbered 0 to "
            f"{n_classes - 1} ({', '.join(predictions.class_names)}); leave out images without a label "
            f"({int(bad.sum())} of {len(truth)} are out of range)"
        )


def _check_probabilities(predictions: ClassPredictions) -> None:
    rows = predictions.probabilities
    _refuse(predictions, ~np.isfinite(rows), "not all finite; the classifier is broken, train it again")
    _refuse(predictions, (rows < 0) | (rows > 1), "not all between 0 and 1; apply the softmax to a network's outputs")
    sums = rows.sum(axis=1, keepdims=True, dtype=np.float64)
    _refuse(predictions, np.abs(sums - 1) > _SUM_TOLERANCE, "not of sum 1; apply the softmax in 32 bits or more")


def _refuse(predictions: ClassPredictions, entries: Bool[np.ndarray, "n columns"], fault: str) -> None:
    bad: Bool[np.ndarray, " n"] = np.any(entries, axis=1)
    if bad.any():
        first = int(bad.argmax())
        raise SettingsError(
            f"image {predictions.keys[first]!r} has probabilities {predictions.probabilities[first].tolist()}, {fault} "
            f"({int(bad.sum())} of {len(bad)} images)"
        )
