from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mris.errors import CohortError, SettingsError
from mris.study.class_predictions import ClassPredictions


def answers(rng: np.random.Generator) -> ClassPredictions:
    """Both knees of four people, two classes."""
    rises = rng.random(8)
    return ClassPredictions(
        keys=tuple(f"S{i // 2:03d}/{'LR'[i % 2]}" for i in range(8)),
        subjects=tuple(f"S{i // 2:03d}" for i in range(8)),
        truth=np.arange(8) % 2,
        probabilities=np.stack([1 - rises, rises], axis=1),
        class_names=("stays", "rises"),
    )


def _with_row(base: ClassPredictions, row: list[float]) -> ClassPredictions:
    return replace(base, probabilities=np.concatenate([base.probabilities[:-1], [row]]))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: _with_row(p, [1.5, -0.5]), SettingsError, r"'S003/R' has probabilities \[1.5, -0.5\], not all betw"),
        (lambda p: _with_row(p, [0.5, 0.6]), SettingsError, r"not of sum 1; apply the softmax .* \(1 of 8 images\)"),
        (lambda p: _with_row(p, [np.nan, 1.0]), SettingsError, "not all finite; the classifier is broken"),
        (lambda p: _with_row(p, [np.inf, -np.inf]), SettingsError, "not all finite; the classifier is broken"),
        (lambda p: replace(p, truth=p.truth + 1), CohortError, "is of class 2, the classes are numbered 0 to 1"),
        (lambda p: replace(p, truth=p.truth - 1), CohortError, "is of class -1.*leave out images without a label"),
        (lambda p: replace(p, truth=p.truth.astype(float)), SettingsError, "truth of type float64: give class codes"),
        (lambda p: replace(p, truth=p.truth[:, None]), SettingsError, r"have shapes \(8,\), \(8, 1\), \(8, 2\)"),
        (lambda p: replace(p, probabilities=p.probabilities[:, 1]), SettingsError, r"\(8,\): give \(8,\), \(8,\) and"),
        (lambda p: replace(p, subjects=p.subjects[1:]), SettingsError, r"8 keys and 2 classes, but .* \(7,\)"),
        (lambda p: replace(p, class_names=("stays",)), SettingsError, "give two or more"),
        (lambda p: replace(p, class_names=("stays", "stays")), SettingsError, "give two or more, each once"),
        (lambda p: replace(p, keys=p.keys[:1] * 8), CohortError, "key 'S000/L' stands twice"),
        (
            lambda p: replace(p, keys=(), subjects=(), truth=p.truth[:0], probabilities=p.probabilities[:0]),
            CohortError,
            "no test image",
        ),
    ],
)
def test_answers_that_cannot_be_measured_are_refused_with_the_image_and_the_rule(
    rng: np.random.Generator,
    change: Callable[[ClassPredictions], ClassPredictions],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message) as caught:
        change(answers(rng))
    assert "\n" not in str(caught.value)


def test_a_softmax_in_32_bits_is_accepted(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(8, 2)).astype(np.float32) * 20
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    base = replace(answers(rng), probabilities=rows / rows.sum(axis=1, keepdims=True))
    assert base.predicted.tolist() == logits.argmax(axis=1).tolist()


def test_of_equally_probable_classes_the_first_is_predicted(rng: np.random.Generator) -> None:
    assert replace(answers(rng), probabilities=np.full((8, 2), 0.5)).predicted.tolist() == [0] * 8
