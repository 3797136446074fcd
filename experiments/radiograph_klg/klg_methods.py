"""Answers without a network of their own: neighbors and logistic regression in a space, and grades alone.

Every choice (neighbors, penalty) is made on validation people, by quadratic kappa of grades or average precision.
"""

from dataclasses import dataclass

import numpy as np
from klg_tasks import KneeTask
from radiographs import Knees
from sklearn.linear_model import LogisticRegression

from mris.database.search import exact_search
from mris.study.class_predictions import ClassPredictions
from mris.study.class_results import find_estimate
from mris.study.downstream import measure_classification
from mris.synthesis.weights import similarity_weights


@dataclass(frozen=True)
class Parts:
    """A task's knees by split."""

    train: KneeTask
    val: KneeTask
    test: KneeTask

    @classmethod
    def of(cls, task: KneeTask, splits: np.ndarray) -> "Parts":
        """Split a task as its people are split."""
        return cls(*(task.part(splits == name) for name in ("train", "val", "test")))


def answers_of(task: KneeTask, knees: Knees, probabilities: np.ndarray) -> ClassPredictions:
    """Answers for a task's knees, with their keys and people."""
    subjects, sides = knees.subjects[task.rows].tolist(), knees.sides[task.rows].tolist()
    keys = tuple(f"{person}/0/{side}" for person, side in zip(subjects, sides, strict=True))
    return ClassPredictions(keys, tuple(subjects), task.classes, probabilities, task.class_names)


def goodness(task: KneeTask, knees: Knees, probabilities: np.ndarray) -> float:
    """What choices are made by: quadratic kappa of grades, average precision of rises; 0 where it does not exist."""
    answers = answers_of(task, knees, probabilities)
    once = np.ones((1, len(set(answers.subjects))), dtype=np.uint16)
    found = measure_classification(answers, once)
    return float(np.nan_to_num(find_estimate(found, "average_precision" if task.is_ranking else "kappa").value))


def neighbor_shares(space: np.ndarray, gallery: KneeTask, queries: KneeTask, n_neighbors: int) -> np.ndarray:
    """Share of each class among the nearest knees, weighed by similarity (Eq. 4 on labels); (n, c).

    One neighbor more is spread over the classes as the gallery is, so that no class is impossible and ties are few.

    Args:
        space: (all knees, d) unit vectors.
        gallery: Labeled knees.
        queries: Knees of other people.
        n_neighbors: k.
    """
    found = exact_search(space[gallery.rows], space[queries.rows], min(n_neighbors, len(gallery.rows)))
    weights = similarity_weights(found.similarities, found.rows).astype(np.float64)
    onehot = np.eye(len(gallery.class_names))[gallery.classes]
    shares = np.einsum("nk,nkc->nc", weights, onehot[found.rows])
    prior = onehot.mean(axis=0)
    return (shares * n_neighbors + prior) / (n_neighbors + 1)


def by_neighbors(space: np.ndarray, parts: Parts, knees: Knees, tried: list[int]) -> tuple[np.ndarray, int]:
    """Answers for test knees with the number of neighbors that validation people choose; and that number."""
    values = [goodness(parts.val, knees, neighbor_shares(space, parts.train, parts.val, k)) for k in tried]
    best = tried[int(np.argmax(values))]
    return neighbor_shares(space, parts.train, parts.test, best), best


def by_logistic(numbers: np.ndarray, parts: Parts, knees: Knees, tried: list[float]) -> tuple[np.ndarray, float]:
    """Answers of a logistic regression with the penalty that validation people choose; and its inverse strength.

    Args:
        numbers: (all knees, d) predictors; standardized by training knees.
        parts: The task.
        knees: All knees.
        tried: Inverse strengths of the penalty.
    """
    mean, spread = numbers[parts.train.rows].mean(axis=0), numbers[parts.train.rows].std(axis=0)
    scaled = (numbers - mean) / np.maximum(spread, 1e-9)
    models = [LogisticRegression(C=c, max_iter=2000).fit(scaled[parts.train.rows], parts.train.classes) for c in tried]
    values = [goodness(parts.val, knees, _full(m, scaled[parts.val.rows], parts.val)) for m in models]
    best = int(np.argmax(values))
    return _full(models[best], scaled[parts.test.rows], parts.test), tried[best]


def _full(model: LogisticRegression, rows: np.ndarray, task: KneeTask) -> np.ndarray:
    """Probabilities of all classes, also of one that the training knees lack."""
    found = np.zeros((len(rows), len(task.class_names)))
    found[:, model.classes_] = model.predict_proba(rows)
    return found


def rise_shares(parts: Parts, knees: Knees) -> np.ndarray:
    """Share of training knees that rise, by grade 0 to 4; of a grade that they lack, the share of all; (5,)."""
    own = knees.grades[parts.train.rows]
    everyone = parts.train.classes.mean()
    return np.array([parts.train.classes[own == g].mean() if (own == g).any() else everyone for g in range(5)])


def by_grade(parts: Parts, knees: Knees) -> np.ndarray:
    """What the own baseline grade says of rising, and nothing else: the share of its training knees."""
    rises = rise_shares(parts, knees)[knees.grades[parts.test.rows]]
    return np.column_stack([1 - rises, rises])


def grade_numbers(knees: Knees) -> np.ndarray:
    """Both knees' grades, one column a grade: own, then other; (n, 10)."""
    other = np.empty_like(knees.grades)
    other[knees.sides == "left"] = knees.grades_of("right")
    other[knees.sides == "right"] = knees.grades_of("left")
    return np.concatenate([np.eye(5)[knees.grades], np.eye(5)[other]], axis=1)


def principal_components(pixels: np.ndarray, training: np.ndarray, n_components: int) -> np.ndarray:
    """Unit vectors of principal components of training pixels; (n, d)."""
    flat = pixels.reshape(len(pixels), -1)
    mean = flat[training].mean(axis=0)
    _, _, directions = np.linalg.svd(flat[training] - mean, full_matrices=False)
    scores = (flat - mean) @ directions[:n_components].T
    return np.asarray(scores / np.linalg.norm(scores, axis=1, keepdims=True), dtype=np.float32)
