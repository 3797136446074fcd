"""How well numbers of knees agree with measured ones, by person."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

N_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % interval over people."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.lower:.2f}, {self.upper:.2f}]"


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation with tied ranks."""
    return pearson(rankdata(first), rankdata(second))


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation; 0 where one is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Intraclass correlation of single measurements, two-way, absolute agreement: ICC(A,1)."""
    pairs = np.stack([first, second], axis=1)
    n, k = pairs.shape
    grand = pairs.mean()
    rows = k * ((pairs.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((pairs.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    left = pairs - pairs.mean(axis=1, keepdims=True) - pairs.mean(axis=0) + grand
    rest = (left**2).sum() / ((n - 1) * (k - 1))
    return float((rows - rest) / (rows + (k - 1) * rest + k * (columns - rest) / n))


def recalibrated(predictors: np.ndarray, truth: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Linear fit of the truth, each person predicted from all others; predictors are (n,) or (n, q)."""
    design = np.column_stack([np.ones(len(truth)), predictors])
    told = np.empty(len(truth))
    for person in np.unique(people):
        own = people == person
        told[own] = design[own] @ np.linalg.lstsq(design[~own], truth[~own], rcond=None)[0]
    return told


def fitted(predictors: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The same with everybody: flatters predictors of several numbers, here the rivals."""
    design = np.column_stack([np.ones(len(truth)), predictors])
    return np.asarray(design @ np.linalg.lstsq(design, truth, rcond=None)[0])


def resampled(measure: Callable[[np.ndarray], float], people: np.ndarray, seed: int = 0) -> Interval:
    """A measure of rows and its interval; people are drawn with all their knees."""
    rng = np.random.default_rng(seed)
    names, codes = np.unique(people, return_inverse=True)
    rows = [np.flatnonzero(codes == code) for code in range(len(names))]
    drawn = [
        measure(np.concatenate([rows[i] for i in rng.integers(len(names), size=len(names))]))
        for _ in range(N_RESAMPLES)
    ]
    lower, upper = np.quantile(drawn, (0.025, 0.975))
    return Interval(measure(np.arange(len(people))), float(lower), float(upper))


def cross_conformal(told: np.ndarray, truth: np.ndarray, people: np.ndarray, level: float = 0.9) -> tuple[float, float]:
    """Share of knees inside told +- the conformal quantile of other people's errors, and its mean half width."""
    errors = np.abs(told - truth)
    halves = np.empty(len(truth))
    for person in np.unique(people):
        others = np.sort(errors[people != person])
        halves[people == person] = others[min(int(np.ceil(level * (len(others) + 1))) - 1, len(others) - 1)]
    return float((errors <= halves).mean()), float(halves.mean())
